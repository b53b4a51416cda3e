"""Looks at the kernel's tables: descriptors, children, threads."""

from __future__ import annotations

import contextlib
import os
import signal
import stat
from pathlib import Path


def open_fds() -> dict[int, str]:
    """Descriptors of this process and what they are."""
    folder = "/proc/self/fd" if os.path.isdir("/proc/self/fd") else "/dev/fd"
    found = {}
    for name in os.listdir(folder):
        with contextlib.suppress(OSError):
            status = os.fstat(int(name))
            target = os.readlink(f"{folder}/{name}") if folder != "/dev/fd" else f"inode {status.st_ino}"
            found[int(name)] = target
    return found


def is_pipe(fd: int) -> bool:
    """Whether that descriptor is one of a pipe."""
    return stat.S_ISFIFO(os.fstat(fd).st_mode)


def pipes() -> set[str]:
    """The pipes and sockets among them."""
    return {target for target in open_fds().values() if target.startswith(("pipe:", "socket:"))}


def stat_fields(pid: int) -> list[str] | None:
    """Fields of /proc/PID/stat from the state on; None if there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes().decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text[text.rindex(")") + 2 :].split()


def state(pid: int) -> str | None:
    """One letter (R, S, Z, T ...) or None if there is no such process."""
    fields = stat_fields(pid)
    return fields[0] if fields else None


def children() -> dict[int, str]:
    """Children of this process, zombies too."""
    pids: set[int] = set()
    lists = list(Path("/proc/self/task").glob("*/children"))
    for path in lists:
        with contextlib.suppress(OSError):
            pids.update(map(int, path.read_text().split()))
    if not lists:
        for path in Path("/proc").glob("[0-9]*"):
            fields = stat_fields(int(path.name))
            if fields and int(fields[1]) == os.getpid():
                pids.add(int(path.name))
    found = {}
    for pid in pids:
        if letter := state(pid):
            with contextlib.suppress(OSError):
                command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                found[pid] = f"{letter} {command[:80]}".strip()
    return found


def threads() -> dict[int, str]:
    """Threads of this process by their kernel names, without those of the kernel's for io_uring, as libuv uses it."""
    found = {}
    for path in Path("/proc/self/task").glob("*"):
        with contextlib.suppress(OSError):
            name = (path / "comm").read_text().strip()
            if not name.startswith("iou-"):
                found[int(path.name)] = name
    return found


def resident_bytes() -> int:
    """Resident memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def suspend(pid: int) -> None:
    """Stop a child; return when it stands still."""
    os.kill(pid, signal.SIGSTOP)
    os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOWAIT)


def resume(pid: int) -> None:
    """Let it go on."""
    os.kill(pid, signal.SIGCONT)


def kill(pid: int) -> None:
    """End a process that may not be our child."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
