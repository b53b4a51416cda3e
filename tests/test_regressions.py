"""Faults that a review found: each once crashed, hung, or lost something."""

from __future__ import annotations

import asyncio
import gc
import os
import warnings
from collections.abc import Callable
from typing import Any

import procio
import pytest
from support import PIPE, running, script_result, sh, turns, until_sync

pytestmark = pytest.mark.differs


async def test_object_dropped_while_an_exception_unwinds() -> None:
    """Its warning must neither swallow nor replace the exception that is under way."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        async with running("cat", stdin=PIPE, stdout=PIPE) as proc:
            with pytest.raises(ZeroDivisionError):
                (proc.stdout.readline(), 1 / 0)
        with pytest.raises(ZeroDivisionError):
            (await procio.create_subprocess_exec("sleep", "1000"), 1 / 0)


class Meddler(asyncio.SelectorEventLoop):
    """A loop in whose create_future anything may happen, as in a signal handler there."""

    def __init__(self) -> None:
        super().__init__()
        self.meddle: Callable[[], object] | None = None

    def create_future(self) -> asyncio.Future[Any]:
        meddle, self.meddle = self.meddle, None
        if meddle is not None:
            meddle()
        return super().create_future()


def meddled(main: Callable[[Meddler], Any]) -> Any:
    with asyncio.Runner(loop_factory=Meddler) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, Meddler)
        return runner.run(main(loop))


def test_stream_closed_while_an_operation_begins_to_wait() -> None:
    async def main(loop: Meddler) -> None:
        async with running("cat", stdin=PIPE, stdout=PIPE) as proc:
            loop.meddle = proc.stdout.close
            assert await proc.stdout.readline() == b""

    meddled(main)


def test_exception_while_an_operation_begins_to_wait() -> None:
    """The operation is given up, and the next one finds the stream free."""

    def interrupt() -> None:
        raise InterruptedError

    async def main(loop: Meddler) -> None:
        async with running("cat", stdin=PIPE, stdout=PIPE) as proc:
            for operation in (proc.stdout.readline, proc.wait, proc.communicate):
                loop.meddle = interrupt
                with pytest.raises(InterruptedError):
                    await operation()
            assert await proc.communicate() == (b"", None)

    meddled(main)


async def test_drain_that_ends_with_everything_written_and_closed() -> None:
    proc = await sh("wc -c", stdin=PIPE, stdout=PIPE)
    proc.stdin.write(b"x" * 300_000)
    proc.stdin.close()
    await proc.stdin.drain()
    assert (await proc.stdout.read()).split() == [b"300000"]
    await proc.wait()


async def test_awaitable_awaited_by_two() -> None:
    async with running("cat", stdin=PIPE, stdout=PIPE) as proc:
        line = proc.stdout.readline()
        first = asyncio.ensure_future(line)
        await turns(3)
        with pytest.raises(RuntimeError, match="being awaited already"):
            await line
        proc.stdin.write(b"x\n")
        assert await first == b"x\n"


@pytest.mark.parametrize("method", ["wait", "communicate"])
def test_loop_closed_with_a_waiting_task(method: str) -> None:
    """Task, process and child go, although the task waits for the child and the child for the task."""

    async def start() -> tuple[int, asyncio.Task[Any]]:
        proc = await procio.create_subprocess_exec("sleep", "1000", stdout=PIPE)
        task = asyncio.ensure_future(getattr(proc, method)())
        await turns(3)
        return proc.pid, task

    loop = asyncio.SelectorEventLoop()
    pid, task = loop.run_until_complete(start())
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        loop.close()
        del task, loop
        gc.collect()
    until_sync(lambda: not os.path.exists(f"/proc/{pid}"), "end of the child")


def test_transport_while_the_loop_stands_still(loop_name: str) -> None:
    """Between two runs of the loop a program may write, change the marks, pause and resume."""
    assert script_result(STANDING, loop=loop_name) == [600_000, ["pause", "resume"]]


STANDING = """
class Protocol(asyncio.SubprocessProtocol):
    def __init__(self):
        self.received, self.flow = 0, []

    def pipe_data_received(self, fd, data):
        self.received += len(data)

    def pause_writing(self):
        self.flow.append("pause")

    def resume_writing(self):
        self.flow.append("resume")

procio.install()
loop = new_loop()
transport, protocol = loop.run_until_complete(loop.subprocess_exec(Protocol, "cat"))
stdin, stdout = transport.get_pipe_transport(0), transport.get_pipe_transport(1)
stdin.set_write_buffer_limits(high=100_000)
stdin.write(b"x" * 600_000)
stdout.pause_reading()
stdout.resume_reading()

async def all_of_it():
    await until(lambda: protocol.received == 600_000)

loop.run_until_complete(all_of_it())
for fd in range(3):
    transport.get_pipe_transport(fd).close()
transport.close()
loop.close()
print(json.dumps([protocol.received, protocol.flow]))
"""
