"""Every await cancelled at every phase: nothing is lost, nothing is left."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import warnings
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import procio
import pytest
from support import KILLED, PIPE, PYTHON, cat, children, finish, helper, noted, running, turns, until, until_sync

Read = Callable[[asyncio.StreamReader], Coroutine[Any, Any, bytes]]
READS: dict[str, Read] = {
    "read": lambda reader: reader.read(100),
    "readexactly": lambda reader: reader.readexactly(6),
    "readline": lambda reader: reader.readline(),
    "readuntil": lambda reader: reader.readuntil(b"\n"),
    "anext": lambda reader: reader.__anext__(),  # type: ignore[return-value]
}
ALL_READS = {**READS, "read all": lambda reader: reader.read()}


async def cancelled(task: asyncio.Task[bytes]) -> bytes:
    """Wait for a task that was asked to stop; what it returned in spite of that."""
    try:
        return await task
    except asyncio.CancelledError:
        return b""


# --- reads ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL_READS)
@pytest.mark.parametrize("phase", [0, 1, 2, 5])
async def test_read_cancelled_while_it_waits(name: str, phase: int) -> None:
    """Before its first step and later, with nothing there."""
    async with cat() as proc:
        task = asyncio.create_task(ALL_READS[name](proc.stdout))
        await turns(phase)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        proc.stdin.write(b"abcde\nrest")
        assert await proc.stdout.readline() == b"abcde\n"
        assert await proc.stdout.readexactly(4) == b"rest"


@pytest.mark.parametrize("name", [*list(READS)[1:4], pytest.param("read all", marks=pytest.mark.differs)])
async def test_read_cancelled_with_a_part_of_its_data(name: str) -> None:
    """A part has come; asyncio's read(-1) loses it."""
    async with cat() as proc:
        task = asyncio.create_task(ALL_READS[name](proc.stdout))
        await turns(2)
        proc.stdin.write(b"abc")
        await proc.stdin.drain()
        async with cat() as other:
            other.stdin.write(b"x\n")
            assert await other.stdout.readline() == b"x\n"
        await turns(20)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        proc.stdin.write(b"de\n")
        assert await proc.stdout.readline() == b"abcde\n"


@pytest.mark.parametrize("name", READS)
async def test_read_cancelled_between_data_and_resume(name: str) -> None:
    """The data is there, the task was not resumed yet."""
    async with cat() as proc:
        task = asyncio.create_task(READS[name](proc.stdout))
        await turns(3)
        proc.stdout.feed_data(b"abcde\n")
        task.cancel()
        data = await cancelled(task)
        proc.stdout.feed_data(b"more\n")
        data += await proc.stdout.readexactly(11 - len(data))
        assert data == b"abcde\nmore\n"


ANSWER = "import os, sys\nwhile os.read(0, 1): os.write(1, b'abcde\\n'); os.mkdir(sys.argv[1])"


def taken_away(folder: Path) -> bool:
    """Whether it was there. On Windows it can be seen before the program that makes it has closed it."""
    try:
        folder.rmdir()
    except (FileNotFoundError, PermissionError):
        return False
    return True


@pytest.mark.parametrize("name", [*READS, pytest.param("read all", marks=pytest.mark.differs)])
async def test_read_cancelled_in_each_turn_after_the_data(name: str, tmp_path: Path) -> None:
    """The loop stands still until the data is in the pipe; then the cancel comes k turns later."""
    answered = tmp_path / "answered"
    async with running(*PYTHON, "-c", ANSWER, answered, stdin=PIPE, stdout=PIPE) as proc:
        loop = asyncio.get_running_loop()

        def cancel_later(task: asyncio.Task[bytes], turn: int) -> None:
            if turn == 0:
                task.cancel()
            else:
                loop.call_soon(cancel_later, task, turn - 1)

        for turn in range(8):
            task = asyncio.create_task(ALL_READS[name](proc.stdout))
            await turns(3)
            proc.stdin.write(b"g")
            until_sync(lambda: taken_away(answered), "answer")
            cancel_later(task, turn)
            data = await cancelled(task)
            data += await proc.stdout.readexactly(6 - len(data))
            assert data == b"abcde\n"


async def test_reads_cancelled_at_random_lose_no_byte() -> None:
    chance = random.Random(5)
    async with running(*helper("emit", "abcdefghi\\n*20000"), stdout=PIPE) as proc:
        data = bytearray()
        while not proc.stdout.at_eof():
            task = asyncio.create_task(chance.choice(list(READS.values()))(proc.stdout))
            await turns(chance.randrange(6))
            if chance.random() < 0.5:
                task.cancel()
            with contextlib.suppress(StopAsyncIteration):
                try:
                    data += await cancelled(task)
                except asyncio.IncompleteReadError as error:
                    data += error.partial
        assert bytes(data) == b"abcdefghi\n" * 20000


async def test_wait_for_with_a_timeout_takes_nothing() -> None:
    async with cat() as proc:
        for _ in range(3):
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(proc.stdout.readline(), 0.002)
        proc.stdin.write(b"abc\n")
        assert await asyncio.wait_for(proc.stdout.readline(), 20) == b"abc\n"


async def test_timeout_of_zero() -> None:
    async with cat() as proc:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(proc.stdout.readline(), 0)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(proc.wait(), 0)


async def test_reader_is_free_after_a_cancelled_read() -> None:
    """No `already waiting` from a read that has gone."""
    async with cat() as proc:
        for _ in range(10):
            task = asyncio.create_task(proc.stdout.read(1))
            await turns(2)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        proc.stdin.write(b"a")
        assert await proc.stdout.read(1) == b"a"


# --- writes --------------------------------------------------------------------------------------


async def test_drain_cancelled() -> None:
    """What was written is sent all the same."""
    async with cat() as proc:
        proc.stdin.write(b"x" * 3_000_000)
        task = asyncio.create_task(proc.stdin.drain())
        await turns(3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await proc.stdout.readexactly(3_000_000) == b"x" * 3_000_000
        await proc.stdin.drain()


@pytest.mark.differs
async def test_wait_closed_cancelled() -> None:
    """asyncio cancels the one future that everybody awaits."""
    async with cat() as proc:
        task = asyncio.create_task(proc.stdin.wait_closed())
        await turns(3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        proc.stdin.close()
        await proc.stdin.wait_closed()


# --- communicate ---------------------------------------------------------------------------------


@pytest.mark.differs
async def test_communicate_cancelled_then_called_again(tmp_path: Path) -> None:
    """gh-139373: the next communicate() returns everything."""
    read_end, write_end = os.pipe()
    note = tmp_path / "note"
    command = helper("emit", "first;", f"note:{note}", "wait", "second")
    async with running(*command, stdin=read_end, stdout=PIPE) as proc:
        os.close(read_end)
        task = asyncio.create_task(proc.communicate())
        await until(note.exists, "output")
        await turns(20)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        os.close(write_end)
        assert (await proc.communicate())[0] == b"first;second"


@pytest.mark.differs
@pytest.mark.parametrize("echoed", [-1, 0, 1, 100_000, 1_000_000, 3_999_999])
async def test_communicate_cancelled_with_input_and_output_half_way(echoed: int, tmp_path: Path) -> None:
    """Every byte of the input is sent once and every byte of the output returned once."""
    data = os.urandom(100_000) * 40
    report = tmp_path / "copied"
    proc = await procio.create_subprocess_exec(*helper("echo", report), stdin=PIPE, stdout=PIPE, stderr=PIPE)
    task = asyncio.create_task(proc.communicate(data))
    if echoed >= 0:
        await turns(1)
        await until(lambda: task.done() or noted(report) >= echoed, "output")
    task.cancel()
    try:
        result = await task
    except asyncio.CancelledError:
        result = await proc.communicate(data if echoed < 0 else None)
    assert result == (data, b"")
    assert proc.returncode == 0


@pytest.mark.differs
async def test_communicate_timed_out_many_times() -> None:
    async with running(
        "sh", "-c", "; sleep 0.02; ".join(f"echo {number}" for number in range(1, 6)), stdout=PIPE
    ) as proc:
        result = None
        while result is None:
            with contextlib.suppress(asyncio.TimeoutError):
                result = await asyncio.wait_for(proc.communicate(), 0.01)
        assert result == (b"1\n2\n3\n4\n5\n", None)


@pytest.mark.differs
async def test_read_to_the_end_cancelled_then_called_again(tmp_path: Path) -> None:
    """read() keeps what it has gathered."""
    note = tmp_path / "note"
    async with running(*helper("emit", "first;", f"note:{note}", "wait", "second"), stdin=PIPE, stdout=PIPE) as proc:
        task = asyncio.create_task(proc.stdout.read())
        await until(note.exists, "output")
        await turns(20)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        proc.stdin.close()
        assert await proc.stdout.read() == b"first;second"


@pytest.mark.differs
async def test_communicate_cancelled_then_kill(tmp_path: Path) -> None:
    """The recipe of the documentation of subprocess.communicate(): time-out, kill, communicate again."""
    read_end, write_end = os.pipe()
    note = tmp_path / "note"
    proc = await procio.create_subprocess_exec(
        *helper("emit", "out\\n", f"note:{note}", "wait"), stdin=read_end, stdout=PIPE
    )
    os.close(read_end)
    task = asyncio.create_task(proc.communicate())
    await until(note.exists, "output")
    await turns(20)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    proc.kill()
    assert await proc.communicate() == (b"out\n", None)
    assert proc.returncode == KILLED
    os.close(write_end)


# --- creation ------------------------------------------------------------------------------------


async def create_and_cancel(phase: int, *command: str, **options: Any) -> bool:
    """Cancel a creation after some turns; True if it was too late."""
    task = asyncio.create_task(procio.create_subprocess_exec(*command, **options))
    await turns(phase)
    task.cancel()
    try:
        proc = await task
    except asyncio.CancelledError:
        return False
    await finish(proc)
    return True


@pytest.mark.parametrize("phase", range(8))
async def test_creation_cancelled(phase: int) -> None:
    """gh-103847, gh-125502: a Process or nothing."""
    for _ in range(5):
        await create_and_cancel(phase, "sleep", "1000", stdin=PIPE, stdout=PIPE, stderr=PIPE)
    await until(lambda: not children(), "no child")


async def test_failing_creation_cancelled() -> None:
    for phase in range(8):
        with contextlib.suppress(FileNotFoundError):
            await create_and_cancel(phase, "/nonexistent/program", stdin=PIPE)
    await until(lambda: not children(), "no child")


@pytest.mark.parametrize("phase", [0, 1, 3])
async def test_creation_cancelled_while_path_is_searched(phase: int) -> None:
    """Slow exec: thousands of directories without the program."""
    path = ":".join([f"/none/{number}" for number in range(9000)] + ["/bin", "/usr/bin"])
    await create_and_cancel(phase, "sleep", "1000", stdin=PIPE, stdout=PIPE, env={"PATH": path})
    await until(lambda: not children(), "no child")


@pytest.mark.differs
async def test_creation_cancelled_while_preexec_fn_runs() -> None:
    """The child is killed in the middle of its preparations."""
    read_end, write_end = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        task = asyncio.create_task(
            procio.create_subprocess_exec("sleep", "1000", stdin=PIPE, preexec_fn=lambda: os.read(read_end, 1))
        )
        await until(children, "child")
        await turns(20)
        assert not task.done()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    os.close(read_end)
    os.close(write_end)
    await until(lambda: not children(), "no child")


@pytest.mark.differs
async def test_creation_with_a_timeout() -> None:
    """gh-103847."""
    for seconds in (0, 0.0001, 0.0005, 0.001, 0.002):
        try:
            proc = await asyncio.wait_for(procio.create_subprocess_exec("sleep", "1000", stdin=PIPE), seconds)
        except TimeoutError:
            continue
        await finish(proc)
    await until(lambda: not children(), "no child")


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
async def test_creations_in_a_task_group_that_fails() -> None:
    """gh-125502: the group must not hang."""

    async def group_that_fails(phase: int) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(3):
                group.create_task(procio.create_subprocess_exec("true", stdin=PIPE, stdout=PIPE))
            group.create_task(fail(phase))

    async def fail(phase: int) -> None:
        await turns(phase)
        raise ZeroDivisionError

    for phase in range(5):
        with pytest.raises(ExceptionGroup) as caught:
            await group_that_fails(phase)
        assert caught.value.subgroup(ZeroDivisionError) is not None
    await until(lambda: not children(), "no child")


async def test_creation_cancelled_twice() -> None:
    task = asyncio.create_task(procio.create_subprocess_exec("sleep", "1000", stdin=PIPE))
    await turns(1)
    task.cancel()
    task.cancel()
    await asyncio.wait([task], timeout=20)
    assert task.done()
    if not task.cancelled():
        await finish(task.result())
    await until(lambda: not children(), "no child")


@pytest.mark.differs
async def test_cancelled_creation_leaves_no_child() -> None:
    """gh-103847: at once, not when garbage is collected."""
    for phase in range(6):
        task = asyncio.create_task(procio.create_subprocess_exec("sleep", "1000", stdin=PIPE))
        await turns(phase)
        task.cancel()
        try:
            proc = await task
        except asyncio.CancelledError:
            continue
        proc.kill()
        await proc.wait()
    await until(lambda: not children(), "no child")


@pytest.mark.differs
@pytest.mark.parametrize("times", [1, 2, 3])
async def test_creation_cancelled_again_while_the_child_is_killed(times: int) -> None:
    """Neither a child nor a zombie is there when the exception comes."""
    for phase in range(40):
        task = asyncio.create_task(procio.create_subprocess_exec("sleep", "1000"))
        await turns(phase)
        for _ in range(times):
            task.cancel()
            await turns(1)
        await asyncio.wait([task])
        if task.cancelled():
            assert children() == {}, phase
        else:
            await finish(task.result())
