"""`Process.stop`, and what it is made of: signals to the group, `fileno`, `usage`."""

from __future__ import annotations

import asyncio
import math
import os
import select
import signal
from typing import Any

import procio
import pytest
import skips
from blocks import CancelledAt, all_dead, family, pids
from support import DEVNULL, KILLED, PIPE, TERMINATED, dead, open_fds, running, sh, until, until_sync


async def session(*command: str, **options: Any) -> procio.Process:
    """Start a process that leads a session."""
    return await procio.create_subprocess_exec(*command, stdout=PIPE, start_new_session=True, **options)


# --- stop ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("leader", "member", "grace", "status"),
    [
        ("obey", "obey", 20.0, TERMINATED),
        ("obey", "ignore", 20.0, TERMINATED),
        ("ignore", "obey", 0.05, KILLED),
        ("ignore", "ignore", 0.0, KILLED),
        ("obey", "obey", math.inf, TERMINATED),
        ("obey", "obey", 365 * 86400.0, TERMINATED),
    ],
)
async def test_stop_ends_the_group(leader: str, member: str, grace: float, status: int) -> None:
    proc = await session(*family(leader, member))
    both = await pids(proc)
    assert await proc.stop(grace=grace) == status == proc.returncode
    await all_dead(*both)
    assert await proc.stop() == status


async def test_stop_of_a_leader_that_has_ended_ends_what_it_left() -> None:
    proc = await session(*family("obey", "ignore", "end"), stdin=PIPE)
    leader, member = await pids(proc)
    proc.stdin.write(b"x")
    until_sync(lambda: dead(leader), "end of the leader")  # before the loop can reap it
    assert await proc.stop() == 0
    await all_dead(member)


async def test_stop_without_a_group_ends_the_process_alone() -> None:
    async with running(*family(), stdout=PIPE) as proc:
        _, member = await pids(proc)
        assert await proc.stop() == TERMINATED
        assert not dead(member)
        os.kill(member, signal.SIGKILL)


async def test_stop_sends_the_signal_that_it_is_told() -> None:
    proc = await session("sh", "-c", "trap 'exit 7' INT; echo ready; while :; do sleep 0.01; done")
    await proc.stdout.readline()
    assert await proc.stop(signal=signal.SIGINT) == 7


async def test_two_tasks_stop_one_process() -> None:
    proc = await session(*family("ignore", "ignore"))
    both = await pids(proc)
    assert await asyncio.gather(proc.stop(grace=0.02), proc.stop(grace=30), proc.wait()) == [KILLED] * 3
    await all_dead(*both)


@pytest.mark.parametrize("times", [1, 2, 3])
async def test_a_cancelled_stop_ends_the_grace_and_not_the_stop(times: int) -> None:
    proc = await session(*family("ignore", "ignore"))
    both = await pids(proc)
    with pytest.raises(asyncio.CancelledError):
        await CancelledAt(proc.stop(grace=math.inf), step=1, times=times)
    assert proc.returncode == KILLED
    await all_dead(*both)


async def test_stop_within_a_timeout_leaves_the_task_uncancelled() -> None:
    proc = await session(*family("ignore", "ignore"))
    both = await pids(proc)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await proc.stop(grace=100)
    assert asyncio.current_task().cancelling() == 0
    assert proc.returncode == KILLED
    await all_dead(*both)


async def test_a_dropped_stop_kills_at_once() -> None:
    proc = await session(*family("ignore", "ignore"))
    both = await pids(proc)
    stop = proc.stop(grace=math.inf)
    stop.send(None)
    stop.close()
    await all_dead(*both)
    assert await proc.wait() == KILLED


async def test_a_process_that_is_being_stopped_cannot_be_handed_over() -> None:
    proc = await session(*family("ignore", "ignore"))
    both = await pids(proc)
    stop = asyncio.ensure_future(proc.stop(grace=0.1))
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError):
        proc._detach()
    assert await stop == KILLED
    await all_dead(*both)


@pytest.mark.parametrize("timeout", [0, -1, 0.05])
async def test_a_wait_that_times_out_can_be_repeated(timeout: float) -> None:
    async with running("sleep", "1000", stdout=PIPE) as proc:
        for operation in (proc.wait, proc.communicate):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(operation(), timeout)
        assert proc.returncode is None


async def test_a_wait_of_any_length() -> None:
    for timeout in (math.inf, 365 * 86400.0, None):
        async with running("cat", stdin=PIPE, stdout=PIPE) as proc:
            proc.stdin.close()
            if asyncio.get_running_loop().__class__.__module__.startswith("uvloop") and timeout == math.inf:
                continue  # its timers take no infinity
            assert await asyncio.wait_for(proc.wait(), timeout) == 0


async def test_a_hundred_stops_at_once() -> None:
    procs = [await procio.create_subprocess_exec("sleep", "1000", start_new_session=True) for _ in range(100)]
    assert await asyncio.gather(*(proc.stop() for proc in procs)) == [TERMINATED] * 100


async def test_bad_arguments_of_stop_raise_at_the_call() -> None:
    async with running("sleep", "1000") as proc:
        for grace in (-1, -0.1, math.nan, -math.inf):
            with pytest.raises(ValueError, match="grace"):
                proc.stop(grace=grace)
        with pytest.raises(ValueError, match="signal"):
            proc.stop(signal=4096)
        with pytest.raises(TypeError):
            proc.stop(grace="long")
        with pytest.raises(TypeError):
            proc.stop(signal.SIGTERM)
        assert proc.returncode is None


def test_stop_when_the_loop_is_closed_meanwhile(loop_factory: Any) -> None:
    loop = loop_factory()

    async def begin() -> tuple[procio.Process, asyncio.Task[int], tuple[int, int]]:
        proc = await session(*family("ignore", "ignore"))
        both = await pids(proc)
        task = asyncio.ensure_future(proc.stop(grace=math.inf))
        await asyncio.sleep(0.01)
        return proc, task, both

    proc, task, both = loop.run_until_complete(begin())
    task._log_destroy_pending = False
    loop.close()
    for pid in both:
        until_sync(lambda pid=pid: dead(pid), f"end of {pid}")
    assert proc.returncode == KILLED


# --- signals to the group ------------------------------------------------------------------------


async def test_a_signal_to_the_group_reaches_its_members() -> None:
    proc = await session(*family())
    both = await pids(proc)
    proc.send_signal_to_group(signal.SIGTERM)
    assert await proc.wait() == TERMINATED
    await all_dead(*both)


async def test_signal_zero_to_the_group_only_asks() -> None:
    proc = await session(*family())
    await pids(proc)
    proc.send_signal_to_group(0)
    assert proc.returncode is None
    with pytest.raises(OSError, match="Invalid argument"):
        proc.send_signal_to_group(4096)
    await proc.stop()
    with pytest.raises(ProcessLookupError):
        proc.send_signal_to_group(0)


async def test_no_group_no_signal() -> None:
    """Without one of its own the process is in the group of this very program."""
    async with running("sleep", "1000") as proc:
        with pytest.raises(ProcessLookupError):
            proc.send_signal_to_group(signal.SIGKILL)
        assert proc.returncode is None


async def test_no_signal_to_the_group_once_the_end_is_known() -> None:
    proc = await session("true")
    await proc.wait()
    assert proc.returncode == 0
    with pytest.raises(ProcessLookupError):
        proc.send_signal_to_group(signal.SIGKILL)


# --- fileno and usage ----------------------------------------------------------------------------


@skips.needs_pidfds
async def test_fileno_is_readable_at_the_end_and_stays_ours() -> None:
    async with running("cat", stdin=PIPE, stdout=DEVNULL) as proc:
        fd = proc.fileno()
        assert fd == proc.fileno() > 2
        assert not os.get_inheritable(fd)
        assert select.select([fd], [], [], 0)[0] == []
        seen = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().add_reader(fd, lambda: seen.done() or seen.set_result(None))  # type: ignore[func-returns-value]
        proc.stdin.close()
        await seen
        asyncio.get_running_loop().remove_reader(fd)
        assert await proc.wait() == 0
        assert proc.returncode == 0
        # It is not closed, or another's, as long as there is the process.
        assert proc.fileno() == fd
        assert "pidfd" in open_fds()[fd]
        assert select.select([fd], [], [], 0)[0] == [fd]


@skips.needs_pidfds
async def test_no_descriptor_is_kept_that_was_not_asked_for() -> None:
    await (await sh("exit 0")).wait()  # the loop's reactor, and the thread that waits for it where one does
    before = len(open_fds())
    procs = [await sh("exit 0", start_new_session=True) for _ in range(10)]
    for proc in procs:
        assert await proc.wait() == 0
        with pytest.raises(ProcessLookupError):
            proc.fileno()
    # A start that takes long has a timer, for 50 ms.
    await until(lambda: len(open_fds()) <= before, "no descriptor more than before")


@pytest.mark.skipif(os.environ.get("PROCIO_PIDFD") != "0", reason=skips.NO_PIDFDS_ONLY)
async def test_fileno_without_pidfds() -> None:
    async with running("sleep", "1000") as proc:
        with pytest.raises(NotImplementedError):
            proc.fileno()


async def test_usage() -> None:
    proc = await sh("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done")
    assert proc.usage is None
    await proc.wait()
    usage = proc.usage
    assert isinstance(usage, procio.Usage)
    assert usage.user_time > 0
    assert usage.system_time >= 0
    assert usage.max_rss is None or usage.max_rss > 100_000
    assert usage == proc.usage
