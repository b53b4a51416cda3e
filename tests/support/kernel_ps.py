"""Asks ps(1) for processes and threads, where there is no /proc: on macOS and the BSDs."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time

from kernel_linux import is_pipe, kill, open_fds, resume

__all__ = [
    "children",
    "is_pipe",
    "kill",
    "open_fds",
    "pipes",
    "resident_bytes",
    "resume",
    "stat_fields",
    "state",
    "suspend",
    "threads",
]


def _ps(*options: str) -> tuple[int, list[str]]:
    """The number of a ps that has ended, and its lines; none if it has found nothing."""
    # Not run(): a number that is asked for is often not there, and its status is no error.
    with subprocess.Popen(["ps", *options], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        out, _ = process.communicate()
    return process.pid, out.decode(errors="replace").splitlines()


def pipes() -> set[str]:
    """The pipes and sockets among the descriptors."""
    found = set()
    for fd, target in open_fds().items():
        with contextlib.suppress(OSError):
            if is_pipe(fd):
                found.add(target)
    return found


def stat_fields(pid: int) -> list[str] | None:
    """The state of a process and the number of its parent; None if there is no such process."""
    _, lines = _ps("-o", "state=,ppid=", "-p", str(pid))
    return lines[0].split() if lines else None


def state(pid: int) -> str | None:
    """One letter (R, S, Z, T ...) or None if there is no such process."""
    fields = stat_fields(pid)
    return fields[0][0] if fields else None


def children() -> dict[int, str]:
    """Children of this process, zombies too."""
    found = {}
    ps, lines = _ps("-axo", "pid=,ppid=,state=,command=")
    for line in lines:
        pid, parent, letters, *command = line.split(maxsplit=3)
        if int(parent) == os.getpid() and int(pid) != ps:
            found[int(pid)] = f"{letters[0]} {''.join(command)[:80]}".strip()
    return found


def threads() -> dict[int, str]:
    """Threads of this process by name; on macOS, whose ps names none, by their place in its list."""
    pid = str(os.getpid())
    if sys.platform == "darwin":
        _, lines = _ps("-M", "-p", pid)  # a line for each thread, below a header
        return dict.fromkeys(range(len(lines) - 1), "thread")
    _, lines = _ps("-L" if sys.platform == "linux" else "-H", "-o", "lwp=,comm=", "-p", pid)
    named = (line.split(maxsplit=1) for line in lines)
    return {int(number): name.strip() for number, name in named if not name.startswith("iou-")}


def resident_bytes() -> int:
    """Resident memory of this process."""
    _, lines = _ps("-o", "rss=", "-p", str(os.getpid()))
    return int(lines[0]) * 1024


def suspend(pid: int) -> None:
    """Stop a child; return when it stands still."""
    os.kill(pid, signal.SIGSTOP)
    # os.waitid is not there on macOS before Python 3.13.
    while state(pid) not in ("T", "Z", None):
        time.sleep(0.01)
