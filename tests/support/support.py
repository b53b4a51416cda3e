"""What the tests share: polling with a deadline, looks at the kernel's tables, child programs."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import shim

shim.load()

import procio  # noqa: E402

WINDOWS = sys.platform == "win32"
if WINDOWS:
    import kernel_windows as kernel
elif not os.path.isdir("/proc/self/task") or os.environ.get("PROCIO_TEST_PS") == "1":
    import kernel_ps as kernel
else:
    import kernel_linux as kernel

# What the tests ask of the system's tables, the same on each.
children, threads, state, stat_fields = kernel.children, kernel.threads, kernel.state, kernel.stat_fields
open_fds, pipes, is_pipe, resident_bytes = kernel.open_fds, kernel.pipes, kernel.is_pipe, kernel.resident_bytes
suspend, resume, kill = kernel.suspend, kernel.resume, kernel.kill

SUPPORT = Path(__file__).resolve().parent
TESTS = SUPPORT.parent
ROOT = TESTS.parent
HELPERS = SUPPORT / "helpers"
PYTHON = (sys.executable, "-S", "-E")
# The return codes of a child that was killed or terminated.
KILLED, TERMINATED = (1, 1) if WINDOWS else (-9, -15)
# Those of an owned child that was asked to end and obeys. On Windows CTRL_BREAK ends it with STATUS_CONTROL_C_EXIT;
# without a console, and under Wine, it cannot be asked.
ASKED = {TERMINATED, 0xC000013A} if WINDOWS else {TERMINATED}
# That of one that wrote to a pipe without a reader.
BROKEN = 1 if WINDOWS else -13
SH = "sh" if WINDOWS else "/bin/sh"
PIPE, STDOUT, DEVNULL = procio.PIPE, procio.STDOUT, procio.DEVNULL
DEADLINE = 20.0
LOOPS = tuple(os.environ.get("PROCIO_TEST_LOOPS", "proactor,selector" if WINDOWS else "asyncio,uvloop").split(","))


def new_loop_named(name: str) -> asyncio.AbstractEventLoop:
    """A new loop of that kind."""
    if name == "uvloop":
        import uvloop

        return uvloop.new_event_loop()
    if name == "proactor":
        return asyncio.ProactorEventLoop()  # type: ignore[attr-defined]
    return asyncio.SelectorEventLoop() if name == "selector" else asyncio.new_event_loop()


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


# The user without privileges.
NOBODY = 65534

# --- what the kernel says ------------------------------------------------------------------------


def gone(pid: int) -> bool:
    """No process and no zombie of that pid that could be ours."""
    return state(pid) is None


def dead(pid: int) -> bool:
    """It has ended: gone, or a zombie."""
    return state(pid) in (None, "Z", "X")


def kernel_at_least(*version: int) -> bool:
    """Whether Linux is at least that new."""
    if sys.platform != "linux":
        return False
    parts = platform.release().split("-")[0].split(".")
    return tuple(int(part) for part in parts[:2] if part.isdigit()) >= version


def clears_signal_handlers() -> bool:
    """Whether this system has clone3 with CLONE_CLEAR_SIGHAND (Linux 5.5), which filters like to refuse."""
    if not kernel_at_least(5, 5) or platform.machine() not in ("x86_64", "aarch64"):
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    return libc.syscall(435, None, 0) == -1 and ctypes.get_errno() == errno.EINVAL


def status_survives_theft() -> bool:
    """PIDFD_GET_INFO tells the exit status of a child that other code reaped (Linux 6.15)."""
    pidfds = os.environ.get("PROCIO_PIDFD") != "0" and os.environ.get("PROCIO_TEST_KQUEUE") != "1"
    return kernel_at_least(6, 15) and pidfds


def noted(file: Path) -> int:
    """The number that a helper has written into a file; 0 before that."""
    with contextlib.suppress(FileNotFoundError):
        return int.from_bytes(file.read_bytes(), "little")
    return 0


async def standing_still(pid: int, report: Path) -> int:
    """Wait until a flooding child can write no more; how much it has written."""
    last, still = 0, 0

    def standing() -> bool:
        nonlocal last, still
        count = noted(report)
        still = still + 1 if count == last > 0 and (WINDOWS or state(pid) == "S") else 0
        last = count
        return still > 25

    await until(standing, "child blocked in write()")
    return last


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
    end = asyncio.gather(*(stream.read() for stream in streams))
    code, _ = await asyncio.gather(proc.wait(), end)
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
    kill(pid)
    until_sync(lambda: dead(pid), f"end of {pid}")


# --- programs that use procio themselves ---------------------------------------------------------

PRELUDE = """
import asyncio, contextlib, gc, json, os, signal, subprocess, sys, time
sys.path.insert(0, {folder!r})
from support import *
import procio

def new_loop():
    return new_loop_named({loop!r})

def run(coroutine):
    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(coroutine)

args = sys.argv[1:]
"""


def script_source(code: str, loop: str = LOOPS[0]) -> str:
    """Such a program as text: it sees this module's names and `run`."""
    return PRELUDE.format(folder=str(SUPPORT), loop=loop) + code


def run_script(
    code: str,
    *args: object,
    loop: str = LOOPS[0],
    timeout: float = 40.0,
    env: dict[str, str] | None = None,
    python: tuple[str, ...] = (),
    prefix: tuple[str, ...] = (),
    **options: Any,
) -> subprocess.CompletedProcess[str]:
    """Run a program that uses procio in a fresh interpreter; it sees this module's names and `run`."""
    return subprocess.run(
        [*prefix, sys.executable, *python, "-c", script_source(code, loop), *map(str, args)],
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
