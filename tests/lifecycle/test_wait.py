"""Process.wait(): ends with the process, for every task that waits, even while its pipes are open elsewhere."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import procio
import pytest
import skips
from support import (
    KILLED,
    PIPE,
    cat,
    finish,
    helper,
    kill_stray,
    resume,
    running,
    script_result,
    sh,
    standing_still,
    state,
    suspend,
    turns,
    until,
)

HOLDER = "sleep 1000 & echo $!; exit 3"


async def test_wait_returns_the_status() -> None:
    proc = await sh("exit 9")
    assert await proc.wait() == 9
    assert await proc.wait() == 9
    assert proc.returncode == 9


async def test_returncode_without_wait() -> None:
    """The status is published although no task awaits it."""
    proc = await sh("exit 9")
    await until(lambda: proc.returncode == 9, "returncode")


async def test_zombie_is_reaped_without_wait() -> None:
    proc = await procio.create_subprocess_exec("true")
    await until(lambda: state(proc.pid) is None, "reaped")
    assert await proc.wait() == 0


async def test_wait_after_the_end_is_immediate() -> None:
    proc = await sh("exit 9")
    await proc.wait()
    task = asyncio.create_task(proc.wait())
    await asyncio.sleep(0)
    assert task.done()
    assert task.result() == 9


async def test_twenty_waiters() -> None:
    async with cat() as proc:
        waiters = [asyncio.create_task(proc.wait()) for _ in range(20)]
        await turns(3)
        proc.stdin.close()
        assert await asyncio.gather(*waiters) == [0] * 20


async def test_cancelled_waiters_do_not_disturb_the_others() -> None:
    """gh-67329 (issue 23140)."""
    async with cat() as proc:
        waiters = [asyncio.create_task(proc.wait()) for _ in range(20)]
        await turns(3)
        for waiter in waiters[::2]:
            waiter.cancel()
        results = await asyncio.gather(*waiters[::2], return_exceptions=True)
        assert all(isinstance(result, asyncio.CancelledError) for result in results)
        assert proc.returncode is None
        proc.stdin.close()
        assert await asyncio.gather(*waiters[1::2]) == [0] * 10
        assert await proc.wait() == 0


async def test_all_waiters_cancelled_then_awaited_again() -> None:
    async with cat() as proc:
        for _ in range(5):
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(proc.wait(), 0.002)
        proc.stdin.close()
        assert await proc.wait() == 0


@pytest.mark.differs
async def test_wait_while_a_grandchild_holds_the_pipes() -> None:
    """gh-119710."""
    proc = await sh(HOLDER, stdin=PIPE, stdout=PIPE, stderr=PIPE)
    stray = int(await proc.stdout.readline())
    try:
        assert await proc.wait() == 3
    finally:
        kill_stray(stray)
    assert await proc.stdout.read() == b""
    assert await proc.stderr.read() == b""


@pytest.mark.differs
async def test_waiters_from_before_while_pipes_are_held() -> None:
    """gh-119710 with a task that waits before the exit."""
    proc = await sh("sleep 1000 & echo $!; read x; exit 3", stdin=PIPE, stdout=PIPE)
    stray = int(await proc.stdout.readline())
    try:
        waiters = [asyncio.create_task(proc.wait()) for _ in range(3)]
        await turns(3)
        proc.stdin.write(b"\n")
        assert await asyncio.gather(*waiters) == [3] * 3
    finally:
        kill_stray(stray)


@pytest.mark.differs
async def test_output_of_a_grandchild_after_wait() -> None:
    """The pipe stays readable after the exit: what the grandchild writes later is not lost."""
    read_end, write_end = os.pipe()
    proc = await sh("exec 3<&0; (read x; echo late) <&3 & echo early; exit 3", stdin=read_end, stdout=PIPE)
    os.close(read_end)
    try:
        assert await proc.wait() == 3
        assert await proc.stdout.readline() == b"early\n"
    finally:
        os.write(write_end, b"\n")
        os.close(write_end)
    assert await proc.stdout.read() == b"late\n"


async def test_wait_with_unread_output() -> None:
    """Less than a pipe holds: the child ends, the output stays."""
    proc = await procio.create_subprocess_exec(*helper("emit", "x*50000"), stdout=PIPE)
    assert await proc.wait() == 0
    assert len(await proc.stdout.read()) == 50000


@pytest.mark.differs
async def test_wait_with_more_unread_output_than_the_limit() -> None:
    """gh-119710: the reader is paused, so asyncio never sees the end of the pipe."""
    proc = await procio.create_subprocess_exec(*helper("emit", "x*50000"), stdout=PIPE, limit=1000)
    assert await proc.wait() == 0
    assert len(await proc.stdout.read()) == 50000


@pytest.mark.differs
async def test_kill_with_unread_output(tmp_path: Path) -> None:
    """gh-119710: the child is blocked in write() and dies there."""
    report = tmp_path / "written"
    proc = await procio.create_subprocess_exec(*helper("flood", "x", report), stdout=PIPE)
    await standing_still(proc.pid, report)
    proc.kill()
    assert await proc.wait() == KILLED
    data = await proc.stdout.read()
    assert set(data) == {ord("x")}


@pytest.mark.differs
async def test_timed_out_communicate_then_kill_and_wait() -> None:
    """gh-127874: the recipe of every program; a grandchild survives."""
    proc = await sh("sleep 1000 & echo $!; wait", stdout=PIPE)
    stray = int(await proc.stdout.readline())
    try:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(proc.communicate(), 0.02)
        proc.kill()
        assert await proc.wait() == KILLED
    finally:
        kill_stray(stray)


async def test_wait_for_many_in_the_order_of_their_ends() -> None:
    async with cat() as first, cat() as second, cat() as third:
        ends: list[str] = []

        async def watch(name: str, proc: procio.Process) -> None:
            await proc.wait()
            ends.append(name)

        watchers = [
            asyncio.create_task(watch(name, proc)) for name, proc in (("1", first), ("2", second), ("3", third))
        ]
        for number, proc in enumerate((third, first, second)):
            proc.stdin.close()
            await until(lambda number=number: len(ends) == number + 1, "end")
        await asyncio.gather(*watchers)
        assert ends == ["3", "1", "2"]


async def test_wait_is_a_coroutine() -> None:
    async with running("cat", stdin=PIPE) as proc:
        waiting = proc.wait()
        assert asyncio.iscoroutine(waiting)
        task = asyncio.ensure_future(waiting)
        await turns(2)
        proc.kill()
        assert await task == KILLED


async def test_stopped_process_has_not_ended() -> None:
    async with running("cat", stdin=PIPE) as proc:
        task = asyncio.create_task(proc.wait())
        suspend(proc.pid)
        await turns(20)
        assert not task.done()
        assert proc.returncode is None
        resume(proc.pid)
        await turns(20)
        assert proc.returncode is None
        proc.kill()
        assert await task == KILLED


async def test_exit_of_another_thread_is_not_the_end() -> None:
    """Only the process counts."""
    code = "import threading, os; t = threading.Thread(target=lambda: None); t.start(); t.join(); os.read(0, 1)"
    proc = await procio.create_subprocess_exec(*helper("emit")[:3], "-c", code, stdin=PIPE)
    await turns(10)
    assert proc.returncode is None
    await finish(proc)


ANOTHER_LOOP = """
import contextlib

KEEP_OPEN = {keep_open}


async def start():
    proc = await procio.create_subprocess_exec(
        "sh", "-c", "echo one; echo two; printf three", stdout=-1, stderr=-1
    )
    sleeping = await procio.create_subprocess_exec("sleep", "60", stdout=-1)
    assert await proc.stdout.readline() == b"one\\n"
    assert await proc.wait() == 0
    if sys.platform == "win32":  # a read that was begun ends on the port of this loop
        for output in (proc.stdout, proc.stderr):
            await until(lambda: "eof" in repr(output), "end of an output")
    return proc, sleeping


async def elsewhere(proc, sleeping):
    assert proc.returncode == 0
    assert await proc.wait() == 0
    assert await proc.stdout.readline() == b"two\\n"
    assert await proc.communicate() == (b"three", b"")
    assert await proc.stdout.read() == b""
    for method in (sleeping.wait, sleeping.stdout.read, sleeping.stdout.readline, sleeping.communicate):
        try:
            await method()
        except RuntimeError as error:
            assert "different event loop" in str(error)
        else:
            raise AssertionError(method)
    sleeping.kill()
    return True


with contextlib.ExitStack() as stack:
    first = asyncio.Runner(loop_factory=new_loop)
    pair = first.run(start())
    if not KEEP_OPEN:
        first.close()
    asyncio.run(elsewhere(*pair))
    if KEEP_OPEN:
        assert first.run(pair[1].wait()) == KILLED
        first.close()
"""


UNNOTICED = """
async def start(until_closed):
    command = ("sh", "-c", "read line; exit 3")
    return [await procio.create_subprocess_exec(*command, stdin=until_closed) for _ in range(2)]

async def elsewhere(waited, communicated):
    assert await waited.wait() == 3
    assert await communicated.communicate() == (None, None)
    assert (waited.returncode, communicated.returncode) == (3, 3)

read_end, write_end = os.pipe()
first = asyncio.Runner(loop_factory=new_loop)
children = first.run(start(read_end))
os.close(write_end)
for child in children:
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
if not {keep_open}:
    first.close()
asyncio.run(elsewhere(*children))
if {keep_open}:
    assert first.run(children[0].wait()) == 3
    first.close()
os.close(read_end)
"""


@pytest.mark.skipif(not hasattr(os, "waitid"), reason=skips.NO_WAITID)
@pytest.mark.parametrize("keep_open", [False, True])
def test_an_end_that_its_loop_has_not_noticed_is_had_from_another(loop_name: str, keep_open: bool) -> None:
    assert script_result(UNNOTICED.replace("{keep_open}", str(keep_open)), loop=loop_name) is None


@pytest.mark.parametrize("keep_open", [False, True])
def test_what_needs_no_waiting_is_had_from_another_loop(loop_name: str, keep_open: bool) -> None:
    assert script_result(ANOTHER_LOOP.replace("{keep_open}", str(keep_open)), loop=loop_name) is None
