"""Other code takes the exit status: the true one where the kernel tells, else 255; never a hang."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator

import procio
import pytest
import skips
from support import PIPE, output, running, sh, state, status_survives_theft, turns, until, until_sync

pytestmark = [skips.needs_proc, pytest.mark.differs]


def expected(status: int) -> int:
    return status if status_survives_theft() else 255


async def stolen(script: str) -> tuple[procio.Process, int]:
    """A process whose zombie was taken by waitpid(-1) before the loop could look."""
    proc = await sh(script, stdin=PIPE)
    proc.stdin.write(b"\n")
    await proc.stdin.drain()
    until_sync(lambda: state(proc.pid) in ("Z", None), "zombie")
    pid, status = os.waitpid(-1, 0)
    assert pid == proc.pid
    return proc, os.waitstatus_to_exitcode(status)


@pytest.mark.parametrize("script", ["read x; exit 7", "read x; exit 0", "read x; kill -9 $$", "read x; kill -11 $$"])
async def test_status_taken_by_waitpid(script: str) -> None:
    """gh-81697, gh-87744: asyncio reports 255, uvloop waits for ever."""
    proc, status = await stolen(f"ulimit -c 0; {script}")
    assert await asyncio.wait_for(proc.wait(), 20) == expected(status)
    assert proc.returncode == expected(status)


async def test_status_taken_while_a_task_waits() -> None:
    proc = await sh("read x; exit 7", stdin=PIPE)
    waiters = [asyncio.create_task(proc.wait()) for _ in range(3)]
    await turns(3)
    os.write(proc.stdin.get_extra_info("pipe").fileno(), b"\n")
    pid, _ = os.waitpid(proc.pid, 0)
    assert pid == proc.pid
    assert await asyncio.gather(*waiters) == [expected(7)] * 3


async def test_lost_status_is_worth_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    """As in asyncio; none where the kernel still knows the status."""
    proc, _ = await stolen("read x; exit 7")
    assert await proc.wait() == await proc.wait() == proc.returncode
    lost = [record for record in caplog.records if "exit status already read" in record.getMessage()]
    assert len(lost) == (0 if status_survives_theft() else 1)


async def test_kill_after_the_theft_hits_no_process() -> None:
    proc, _ = await stolen("read x; exit 7")
    for _ in range(2):
        try:
            proc.kill()
        except ProcessLookupError:
            pass
    assert await proc.wait() == expected(7)


async def test_communicate_after_the_theft() -> None:
    proc = await sh("read x; echo out; exit 7", stdin=PIPE, stdout=PIPE)
    os.write(proc.stdin.get_extra_info("pipe").fileno(), b"\n")
    os.waitpid(proc.pid, 0)
    assert await asyncio.wait_for(proc.communicate(), 20) == (b"out\n", None)
    assert proc.returncode == expected(7)


@pytest.fixture
def ignored_sigchld() -> Iterator[None]:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGCHLD, before)


@pytest.mark.usefixtures("ignored_sigchld")
async def test_status_with_sigchld_ignored() -> None:
    """gh-76296: the kernel reaps at once."""
    for status in (0, 7):
        proc = await sh(f"exit {status}")
        assert await asyncio.wait_for(proc.wait(), 20) == expected(status)


@pytest.mark.usefixtures("ignored_sigchld")
async def test_everything_else_with_sigchld_ignored() -> None:
    proc = await procio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
    assert await proc.communicate(b"x" * 300000) == (b"x" * 300000, None)
    with pytest.raises(FileNotFoundError):
        await procio.create_subprocess_exec("/nonexistent/program")
    async with running("sleep", "1000") as proc:
        proc.kill()
        assert await proc.wait() == expected(-9)


async def test_sigchld_belongs_to_the_program() -> None:
    """uvloop #409, #582: a handler of the program stays and is called."""
    calls: list[int] = []
    before = signal.signal(signal.SIGCHLD, lambda number, frame: calls.append(number))
    try:
        assert await output("echo", "x") == b"x\n"
        await until(lambda: calls, "SIGCHLD")
        assert callable(signal.getsignal(signal.SIGCHLD))
    finally:
        signal.signal(signal.SIGCHLD, before)


async def test_children_of_others_are_left_alone() -> None:
    """Only our own pids are waited for."""
    other = os.posix_spawn("/bin/sh", ["sh", "-c", "exit 5"], os.environ)
    assert await output("echo", "x") == b"x\n"
    until_sync(lambda: state(other) == "Z", "zombie of another")
    await turns(20)
    assert os.waitpid(other, 0) == (other, 5 << 8)
