"""Write as JSON (to stdout or FACTS_FD) how this process was set up: identity, session, descriptors, signals."""

import fcntl
import json
import os
import signal
import stat
import sys

LINUX = sys.platform == "linux"


def kind(fd):
    status = os.fstat(fd)
    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    fact = {"kind": stat.S_IFMT(status.st_mode), "access": flags & os.O_ACCMODE, "blocking": not flags & os.O_NONBLOCK}
    if stat.S_ISFIFO(status.st_mode) and LINUX:
        fact["size"] = fcntl.fcntl(fd, 1032)
    return fact


def descriptors():
    found = {}
    for name in sorted(os.listdir("/proc/self/fd" if LINUX else "/dev/fd"), key=int):
        try:
            found[name] = kind(int(name))
        except OSError:
            pass
    return found


def status():
    """What the kernel says of this process, and elsewhere than on Linux what the process can ask itself."""
    if not LINUX:
        blocked = sum(1 << (number - 1) for number in signal.pthread_sigmask(signal.SIG_BLOCK, []))
        ids = {"Uid": (os.getuid(), os.geteuid()), "Gid": (os.getgid(), os.getegid()), "Groups": os.getgroups()}
        return {key: "\t".join(map(str, value)) for key, value in ids.items()} | {"SigBlk": f"{blocked:016x}"}
    with open("/proc/self/status") as file:
        lines = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
    return {key: lines[key] for key in ("Uid", "Gid", "Groups", "SigBlk", "NoNewPrivs", "Seccomp")}


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
        **status(),
    }
)
os.write(int(os.environ.get("FACTS_FD", "1")), facts.encode())
