"""What the tests share: polling with a deadline, looks at the kernel's tables, child programs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import shim

shim.load()

import procio  # noqa: E402

TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parent
HELPERS = TESTS / "helpers"
PYTHON = (sys.executable, "-S", "-E")
SH = "/bin/sh"
PIPE, STDOUT, DEVNULL = procio.PIPE, procio.STDOUT, procio.DEVNULL
DEADLINE = 20.0
LOOPS = tuple(os.environ.get("PROCIO_TEST_LOOPS", "asyncio,uvloop").split(","))


def helper(name: str, *args: object) -> tuple[str, ...]:
    """The command line of a child program in `helpers/`."""
    return (*PYTHON, str(HELPERS / f"{name}.py"), *map(str, args))


# --- waiting -------------------------------------------------------------------------------------


async def until(condition: Callable[[], Any], what: str = "condition", seconds: float = DEADLINE) -> Any:
    """Let the loop run until `condition()` is true; fail after the deadline."""
    end = time.monotonic() + seconds
    while not (result := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s: {what}")
        await asyncio.sleep(0.002)
    return result


def until_sync(condition: Callable[[], Any], what: str = "condition", seconds: float = DEADLINE) -> Any:
    """The same without a loop."""
    end = time.monotonic() + seconds
    while not (result := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.002)
    return result


async def turns(count: int) -> None:
    """Let the loop make `count` turns."""
    for _ in range(count):
        await asyncio.sleep(0)


# --- what the kernel says ------------------------------------------------------------------------


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


def gone(pid: int) -> bool:
    """No process and no zombie of that pid that could be ours."""
    fields = stat_fields(pid)
    return fields is None


def dead(pid: int) -> bool:
    """It has ended: gone, or a zombie."""
    return state(pid) in (None, "Z", "X")


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
    """Threads of this process by their kernel names."""
    found = {}
    for path in Path("/proc/self/task").glob("*"):
        with contextlib.suppress(OSError):
            found[int(path.name)] = (path / "comm").read_text().strip()
    return found


def written_bytes(pid: int) -> int:
    """How many bytes a process has written so far; more than any number if it has gone."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for line in Path(f"/proc/{pid}/io").read_text().splitlines():
            if line.startswith("wchar:"):
                return int(line.split()[1])
    return sys.maxsize


def resident_bytes() -> int:
    """Resident memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def kernel_at_least(*version: int) -> bool:
    """Whether Linux is at least that new."""
    if sys.platform != "linux":
        return False
    parts = platform.release().split("-")[0].split(".")
    return tuple(int(part) for part in parts[:2] if part.isdigit()) >= version


def status_survives_theft() -> bool:
    """PIDFD_GET_INFO tells the exit status of a child that somebody else reaped (Linux 6.15)."""
    return kernel_at_least(6, 15) and os.environ.get("PROCIO_PIDFD") != "0"


def parse_status(text: bytes) -> dict[str, str]:
    """The lines of a /proc/PID/status."""
    pairs = (line.split(":", 1) for line in text.decode().splitlines() if ":" in line)
    return {key: value.strip() for key, value in pairs}


def in_mask(mask: str, number: int) -> bool:
    """Whether a hexadecimal signal set of /proc/PID/status contains a signal."""
    return bool(int(mask, 16) >> (number - 1) & 1)


# --- children ------------------------------------------------------------------------------------


async def sh(script: str, *args: str, **options: Any) -> procio.Process:
    """Start `/bin/sh -c script`."""
    return await procio.create_subprocess_exec(SH, "-c", script, "sh", *args, **options)


async def output(*command: Any, **options: Any) -> bytes:
    """Run a command to its end, successfully, and return what it printed."""
    proc = await procio.create_subprocess_exec(*command, stdout=PIPE, **options)
    out, _ = await proc.communicate()
    assert proc.returncode == 0
    return out


async def finish(proc: procio.Process) -> int:
    """Kill what still runs, reap it and let go of its pipes."""
    if proc.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            proc.kill()
    if proc.stdin is not None:
        proc.stdin.close()
    streams = [stream for stream in (proc.stdout, proc.stderr) if stream is not None and not stream.exception()]
    code, *_ = await asyncio.gather(proc.wait(), *(stream.read() for stream in streams))
    return code


@contextlib.asynccontextmanager
async def running(*command: Any, **options: Any) -> AsyncIterator[procio.Process]:
    """A process for the length of a `with` block."""
    proc = await procio.create_subprocess_exec(*command, **options)
    try:
        yield proc
    finally:
        await finish(proc)


def cat() -> contextlib.AbstractAsyncContextManager[procio.Process]:
    """`cat` with both of its ends in our hands."""
    return running("cat", stdin=PIPE, stdout=PIPE)


def kill_stray(pid: int) -> None:
    """Kill a process that is not our child and wait until it has gone."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    until_sync(lambda: dead(pid), f"end of {pid}")


# --- programs that use procio themselves ---------------------------------------------------------

PRELUDE = """
import asyncio, contextlib, gc, json, os, signal, sys, time
sys.path.insert(0, {tests!r})
from support import *
import procio

def new_loop():
    if {loop!r} == "uvloop":
        import uvloop
        return uvloop.new_event_loop()
    return asyncio.new_event_loop()

def run(coroutine):
    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(coroutine)

args = sys.argv[1:]
"""


def run_script(
    code: str,
    *args: object,
    loop: str = "asyncio",
    timeout: float = 40.0,
    env: dict[str, str] | None = None,
    python: tuple[str, ...] = (),
    prefix: tuple[str, ...] = (),
    **options: Any,
) -> subprocess.CompletedProcess[str]:
    """Run a program that uses procio in a fresh interpreter; it sees this module's names and `run`."""
    source = PRELUDE.format(tests=str(TESTS), loop=loop) + code
    return subprocess.run(
        [*prefix, sys.executable, *python, "-c", source, *map(str, args)],
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        **options,
    )


def script_result(code: str, *args: object, **options: Any) -> Any:
    """Run such a program; it must say nothing on stderr; its last line of output is JSON."""
    done = run_script(code, *args, **options)
    assert (done.returncode, done.stderr) == (0, ""), f"{done.returncode}\n{done.stdout}\n{done.stderr}"
    lines = done.stdout.splitlines()
    return json.loads(lines[-1]) if lines else None
