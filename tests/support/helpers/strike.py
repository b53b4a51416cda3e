"""Send a signal to the next child of a process, if it can be caught before it has executed its program."""

import os
import signal
import sys

parent, number = map(int, sys.argv[1:])


def of(pid):
    """State and parent of a process, and its program."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            state, ppid = file.read().rpartition(")")[2].split()[:2]
        return state, int(ppid), os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return None, 0, None


def next_child(known):
    while True:
        for name in set(os.listdir("/proc")) - known:
            known.add(name)
            if name.isdigit() and of(name)[1] == parent:
                return int(name)


known = set(os.listdir("/proc"))
print("ready", flush=True)
child = next_child(known)
# It must not go on between the look at its program and the signal.
os.kill(child, signal.SIGSTOP)
while of(child)[0] not in ("T", "Z", None):
    pass
early = of(child)[2] == of(parent)[2] is not None
os.kill(child, number)
os.kill(child, signal.SIGCONT)
print("before exec" if early else "after exec", flush=True)
