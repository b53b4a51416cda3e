"""Write as JSON (to stdout or FACTS_FD) how this process was set up: identity, session, descriptors, signals."""

import fcntl
import json
import os
import stat
import sys


def kind(fd):
    status = os.fstat(fd)
    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    fact = {"kind": stat.S_IFMT(status.st_mode), "access": flags & os.O_ACCMODE, "blocking": not flags & os.O_NONBLOCK}
    if stat.S_ISFIFO(status.st_mode):
        fact["size"] = fcntl.fcntl(fd, 1032)
    return fact


def descriptors():
    found = {}
    for name in sorted(os.listdir("/proc/self/fd"), key=int):
        try:
            found[name] = kind(int(name))
        except OSError:
            pass
    return found


with open("/proc/self/status") as file:
    status = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
pid = os.getpid()
parent = os.getppid()
umask = os.umask(0)
facts = json.dumps(
    {
        "argv": sys.argv[1:],
        "cwd": os.getcwd(),
        "environment": {os.fsdecode(k): os.fsdecode(v) for k, v in os.environb.items()},
        "own group": os.getpgrp() == pid,
        "own session": os.getsid(0) == pid,
        "parent's group": os.getpgrp() == os.getpgid(parent),
        "parent's session": os.getsid(0) == os.getsid(parent),
        "umask": umask,
        "descriptors": descriptors(),
        **{key: status[key] for key in ("Uid", "Gid", "Groups", "SigBlk", "NoNewPrivs", "Seccomp")},
    }
)
os.write(int(os.environ.get("FACTS_FD", "1")), facts.encode())
