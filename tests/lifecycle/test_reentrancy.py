"""What a signal handler or a callback may do while an operation begins to wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from support import PIPE, running, script_result

pytestmark = pytest.mark.differs


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


# --- calls into Python for which a lock would still be held --------------------------------------


def test_an_exception_whose_finalizer_asks_the_stream() -> None:
    """It goes when another takes its place."""
    code = """
seen = []

class Curious(Exception):
    def __del__(self):
        seen.append(repr(reader.exception()))

async def main():
    global reader
    async with running("cat", stdin=PIPE, stdout=PIPE) as proc:
        reader = proc.stdout
        reader.set_exception(Curious())
        reader.set_exception(ZeroDivisionError())

run(main())
print(json.dumps(seen))
"""
    assert script_result(code) == ["ZeroDivisionError()"]


def test_bytes_whose_finalizer_asks_the_writer() -> None:
    """They go when they are written."""
    code = """
seen = []

class Curious(bytes):
    def __del__(self):
        seen.append(writer.transport.get_write_buffer_size() >= 0)

async def main():
    global writer
    async with running("cat", stdin=PIPE, stdout=PIPE) as proc:
        writer = proc.stdin
        for _ in range(3):
            writer.write(Curious(1 << 20))
        await proc.stdout.readexactly(3 << 20)
        await proc.communicate(Curious(1 << 20))

run(main())
print(json.dumps(seen))
"""
    assert script_result(code) == [True] * 4


def test_a_timer_that_looks_at_the_operation_when_it_is_cancelled() -> None:
    """As the handler of a signal may do it, which prints what the tasks wait for."""
    code = """
seen = []

class Timer:
    def __init__(self, handle):
        self.handle = handle

    def cancel(self):
        seen.append(repr(running.cr_await))
        self.handle.cancel()

class Loop(asyncio.SelectorEventLoop):
    def call_later(self, delay, callback, *args, **keywords):
        handle = super().call_later(delay, callback, *args, **keywords)
        return Timer(handle) if "Timer" in type(callback).__name__ else handle

async def main():
    global running
    # What has left the session holds the pipe, so that reading goes on, by another timer.
    script = "import os, time; os.fork() or (os.setsid(), os.write(1, b'%d' % os.getpid())); time.sleep(1000)"
    running = procio.run_process([sys.executable, "-S", "-c", script], timeout=0.5, grace=1000)
    try:
        await running
    except procio.TimeoutExpired as error:
        os.kill(int(error.stdout), signal.SIGKILL)

with asyncio.Runner(loop_factory=Loop) as runner:
    runner.run(main())
print(json.dumps(seen))
"""
    assert "<coroutine run_process>" in script_result(code)


def test_a_finalizer_that_asks_the_stream_whose_exception_is_made() -> None:
    """Up to 3.11 the collector of cycles runs where an object is made, such as an exception."""
    code = """
async def read(stream):
    try:
        await stream.read()
    except RuntimeError:
        pass

class Asks:
    def __init__(self):
        self.itself = self

    def __del__(self):
        seen.append(proc.stdout.at_eof())

seen = []
loop = new_loop()
proc = loop.run_until_complete(procio.create_subprocess_exec("sleep", "1000", stdout=PIPE))
loop.close()
asyncio.run(read(proc.stdout))
assert isinstance(proc.stdout.exception(), OSError)
gc.collect()
gc.disable()
Asks()
gc.set_threshold(1)
gc.enable()
for _ in range(5):
    made = proc.stdout.exception()
gc.set_threshold(700)
gc.collect()
proc.kill()
print(json.dumps(seen))
"""
    assert script_result(code) == [True]
