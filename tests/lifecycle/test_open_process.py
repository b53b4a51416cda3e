"""`open_process`: however the block ends, nothing of the process is left."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import warnings
from typing import Any

import procio
import pytest
from blocks import CancelledAt, all_dead, family, pids
from support import (
    BROKEN,
    KILLED,
    PIPE,
    PYTHON,
    TERMINATED,
    children,
    dead,
    kill_stray,
    state,
    turns,
    until,
    until_sync,
)


class Failed(Exception):
    pass


# --- the ends of a block -------------------------------------------------------------------------


async def test_a_block_that_ends_waits_for_the_process() -> None:
    async with procio.open_process(["sh", "-c", "cat >/dev/null; exit 3"], stdin=PIPE) as proc:
        proc.stdin.write(b"x" * 200_000)
    assert proc.returncode == 3


async def test_a_block_that_ends_closes_the_pipes() -> None:
    """As `Popen.__exit__`: a child that goes on writing is told by the closed pipe."""
    async with procio.open_process(["sh", "-c", "while echo y; do :; done"], stdout=PIPE) as proc:
        assert await proc.stdout.readline() == b"y\n"
    assert proc.returncode in (BROKEN, 0, 1, 141)


async def test_a_block_that_ends_leaves_no_member_of_the_group() -> None:
    async with procio.open_process(family("obey", "ignore", "end"), stdout=PIPE) as proc:
        both = await pids(proc)
    assert proc.returncode == 0
    await all_dead(*both)


@pytest.mark.parametrize(("given", "status"), [(-1, 255), (256, 0)])
async def test_a_status_is_the_lowest_byte_of_what_exit_was_given(given: int, status: int) -> None:
    """By a look, as of a process that is kept until its block ends, and when it is reaped.

    Some kernels tell a look all that was given.
    """
    command = [*PYTHON, "-c", f"import os; os._exit({given})"]
    async with procio.open_process(command) as kept:
        assert await kept.wait() == status
    assert kept.returncode == status
    plain = await procio.create_subprocess_exec(*command)
    assert await plain.wait() == status


@pytest.mark.parametrize("leader", ["obey", "ignore"])
@pytest.mark.parametrize("member", ["obey", "ignore"])
async def test_an_exception_ends_the_group(leader: str, member: str) -> None:
    with pytest.raises(Failed):
        async with procio.open_process(family(leader, member), stdout=PIPE, grace=0.05) as proc:
            both = await pids(proc)
            raise Failed
    assert proc.returncode == (TERMINATED if leader == "obey" else KILLED)
    await all_dead(*both)


async def test_a_timeout_ends_the_group() -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(None) as limit, procio.open_process(family("obey", "ignore"), stdout=PIPE) as proc:
            both = await pids(proc)
            limit.reschedule(asyncio.get_running_loop().time() + 0.05)
            await asyncio.sleep(1000)
    assert asyncio.current_task().cancelling() == 0
    assert proc.returncode == TERMINATED
    await all_dead(*both)


@pytest.mark.parametrize("times", [1, 2, 3])
@pytest.mark.parametrize("raises", [False, True])
@pytest.mark.parametrize("late", [False, True])
async def test_cancelled_at_every_await(times: int, raises: bool, late: bool) -> None:
    """Until a run that needs no more steps than were cancelled at; each time nothing is left."""
    for step in range(1, 50):
        seen: list[int] = []

        async def block() -> None:
            async with procio.open_process(family("ignore", "ignore"), stdout=PIPE, grace=0.01) as proc:
                seen.extend(await pids(proc))  # noqa: B023
                if raises:
                    raise Failed
                await proc.stop(grace=0.01)

        driver = CancelledAt(block(), step, times, late=late)
        with contextlib.suppress(asyncio.CancelledError, Failed):
            await driver
        await all_dead(*seen)
        if driver.steps < step:
            return
    raise AssertionError("it never ends by itself")


@pytest.mark.parametrize("times", [1, 2, 3])
async def test_a_start_cancelled_again_leaves_nothing(times: int) -> None:
    """Neither a child nor a zombie is there when the exception comes."""

    async def block() -> None:
        async with procio.open_process(["sleep", "1000"], grace=1000):
            await asyncio.sleep(1000)

    for phase in range(40):
        task = asyncio.create_task(block())
        await turns(phase)
        for _ in range(times):
            task.cancel()
            await turns(1)
        await asyncio.wait([task])
        assert task.cancelled()
        assert children() == {}, phase


async def test_a_cancellation_during_the_teardown_is_raised() -> None:
    """The block raised something else, and the canceller is waiting for its CancelledError."""

    async def block() -> None:
        async with procio.open_process(family("ignore", "ignore"), stdout=PIPE, grace=1000) as proc:
            await pids(proc)
            raise Failed

    task = asyncio.create_task(block())
    await until(lambda: task.get_coro().cr_await is not None, "the first wait")
    await asyncio.sleep(0.3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError) as info:
        await task
    assert isinstance(info.value.__context__, Failed) or info.value.__context__ is None


async def test_in_a_task_group() -> None:
    both: list[int] = []

    async def serve() -> None:
        async with procio.open_process(family(), stdout=PIPE) as proc:
            both.extend(await pids(proc))
            await proc.wait()

    with pytest.raises(ExceptionGroup) as info:
        async with asyncio.TaskGroup() as group:
            group.create_task(serve())
            await until(lambda: both, "a start")
            raise Failed
    assert [type(error) for error in info.value.exceptions] == [Failed]
    await all_dead(*both)


async def test_a_hundred_blocks_at_once() -> None:
    async def block() -> int:
        async with procio.open_process(["sleep", "1000"]) as proc:
            return await proc.stop()

    assert await asyncio.gather(*(block() for _ in range(100))) == [TERMINATED] * 100


def test_the_loop_is_closed_in_the_block(loop_factory: Any) -> None:
    """The coroutine is closed by the garbage collector, which cannot wait; the group is killed all the same."""
    loop = loop_factory()
    both: list[int] = []

    async def block() -> None:
        async with procio.open_process(family("ignore", "ignore"), stdout=PIPE) as proc:
            both.extend(await pids(proc))
            loop.stop()
            await asyncio.sleep(1000)

    task = loop.create_task(block())
    loop.run_forever()
    loop.close()
    task._log_destroy_pending = False
    for pid in both:
        until_sync(lambda pid=pid: dead(pid), f"end of {pid}")
    del task
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the coroutine did not end by itself
        gc.collect()


async def test_a_fork_in_the_block_leaves_the_process_alone() -> None:
    async with procio.open_process(["sleep", "1000"]) as proc:
        with warnings.catch_warnings():
            # Earlier tests may have left asyncio's pool of threads.
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if pid == 0:
            proc._kill_with_group()
            del proc
            gc.collect()
            os._exit(0)
        os.waitpid(pid, 0)
        assert not dead(proc.pid)
        await proc.stop()


async def test_a_dropped_process_takes_its_group_along() -> None:
    """Entered by hand, and never left."""
    manager = procio.open_process(family("ignore", "ignore"), stdout=PIPE)
    proc = await manager.__aenter__()
    both = await pids(proc)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        del manager, proc
        gc.collect()
    await all_dead(*both)


async def test_what_has_left_the_session_survives() -> None:
    script = "import os, time; os.fork() or (os.setsid(), os.write(1, b'%d\\n' % os.getpid())); time.sleep(1000)"
    with pytest.raises(Failed):
        async with procio.open_process([*PYTHON, "-c", script], stdout=PIPE) as proc:
            escaped = int(await proc.stdout.readline())
            raise Failed
    assert proc.returncode == TERMINATED
    assert not dead(escaped)
    kill_stray(escaped)


async def test_the_leader_is_kept_until_its_group_is_dead() -> None:
    """Its end is known in the block, and its number is not free before the block ends."""
    async with procio.open_process(family("obey", "ignore", "end"), stdout=PIPE) as proc:
        leader, member = await pids(proc)
        assert await proc.wait() == 0
        assert proc.returncode == 0
        assert state(leader) == "Z"
        with pytest.raises(ProcessLookupError):
            proc.kill()
    assert state(leader) is None
    await all_dead(member)


async def test_an_owned_process_cannot_be_handed_over() -> None:
    async with procio.open_process(["sleep", "1000"]) as proc:
        with pytest.raises(RuntimeError, match="owned by a block"):
            proc._detach()
        await proc.stop()


# --- how it is started ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "leads"),
    [({}, True), ({"process_group": 0}, True), ({"start_new_session": False}, False)],
)
async def test_what_it_leads(options: dict[str, Any], leads: bool) -> None:
    async with procio.open_process(["sleep", "1000"], **options) as proc:
        assert (os.getpgid(proc.pid) == proc.pid) is leads
        assert (os.getsid(proc.pid) == proc.pid) is (options == {})
        await proc.stop()


async def test_an_interactive_child_is_ended_alone() -> None:
    with pytest.raises(Failed):
        async with procio.open_process(family(), stdout=PIPE, start_new_session=False) as proc:
            leader, member = await pids(proc)
            raise Failed
    assert dead(leader)
    assert not dead(member)
    kill_stray(member)


async def test_a_command_line_and_a_path(tmp_path: Any) -> None:
    async with procio.open_process("echo $0-$((1+1))", shell=True, stdout=PIPE) as proc:
        assert (await proc.stdout.read()).endswith(b"sh-2\n")
    program = tmp_path / "a program"
    program.write_text("#!/bin/sh\necho $#\n")
    program.chmod(0o755)
    async with procio.open_process(program, stdout=PIPE) as proc:
        assert await proc.stdout.read() == b"0\n"


def test_bad_arguments_raise_at_the_call() -> None:
    for command in ("ls -l", b"ls"):
        with pytest.raises(TypeError, match="shell=True"):
            procio.open_process(command)
    with pytest.raises(TypeError, match="shell=True"):
        procio.open_process(["ls"], shell=True)
    with pytest.raises(ValueError, match="empty"):
        procio.open_process([])
    with pytest.raises(ValueError, match="grace"):
        procio.open_process(["ls"], grace=-1)
    with pytest.raises(ValueError, match="text"):
        procio.open_process(["ls"], text=True)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="nonsense"):
        procio.open_process(["ls"], nonsense=True)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="Limit"):
        procio.open_process(["ls"], limit=0)


async def test_a_program_that_does_not_exist() -> None:
    with pytest.raises(FileNotFoundError) as info:
        async with procio.open_process(["/no/such/program"]):
            raise AssertionError
    assert info.value.filename == "/no/such/program"


async def test_a_block_cannot_be_entered_twice() -> None:
    manager = procio.open_process(["true"])
    async with manager:
        pass
    with pytest.raises(RuntimeError):
        await manager.__aenter__()


async def test_signals_keep_their_meaning() -> None:
    """`terminate` and `kill` are Popen's: the child only."""
    async with procio.open_process(family(), stdout=PIPE) as proc:
        _, member = await pids(proc)
        proc.send_signal(signal.SIGTERM)
        assert await proc.wait() == TERMINATED
        assert not dead(member)
    await all_dead(member)
