"""Many loops in many threads at once: each has its own reactor, none needs the main thread."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import procio
import pytest
from support import PIPE, SH, WINDOWS, cat, output, sh, turns

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


def in_threads(count: int, factory: LoopFactory, work: Callable[[int], Coroutine[Any, Any, None]]) -> None:
    """Run `work(number)` on a loop of its own in each of `count` threads; raise what they raise."""
    errors: list[BaseException] = []
    start = threading.Barrier(count)

    def body(number: int) -> None:
        try:
            with asyncio.Runner(loop_factory=factory) as runner:
                start.wait()
                runner.run(work(number))
        except BaseException as error:
            errors.append(error)
            start.abort()

    threads = [threading.Thread(target=body, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def test_eight_threads_with_eight_loops(loop_factory: LoopFactory) -> None:
    """uvloop #508: `Racing with another loop to spawn a process`."""

    async def work(number: int) -> None:
        for turn in range(10):
            word = f"{number} {turn}"
            assert await output(SH, "-c", f"echo {word}") == f"{word}\n".encode()
            proc = await sh(f"exit {turn}")
            assert await proc.wait() == turn

    in_threads(8, loop_factory, work)


def test_streams_in_threads(loop_factory: LoopFactory) -> None:
    async def work(number: int) -> None:
        data = bytes([number]) * 2_000_000
        proc = await procio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
        assert (await proc.communicate(data))[0] == data

    in_threads(8, loop_factory, work)


def test_a_thread_beside_the_main_thread(loop_factory: LoopFactory) -> None:
    """gh-79802 and the like: no child watcher that needs the main thread."""

    async def main() -> None:
        async with cat() as proc:
            inner = await asyncio.to_thread(in_threads, 1, loop_factory, talk)  # type: ignore[func-returns-value]
            assert inner is None
            proc.stdin.write(b"x")
            assert await proc.stdout.readexactly(1) == b"x"

    async def talk(number: int) -> None:
        assert await output("echo", "inner") == b"inner\n"

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(main())


def test_two_loops_in_turns_in_one_thread(loop_factory: LoopFactory) -> None:
    first, second = loop_factory(), loop_factory()
    try:
        one = first.run_until_complete(procio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE))
        two = second.run_until_complete(procio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE))
        for loop, proc in ((first, one), (second, two)) * 3:
            proc.stdin.write(b"abc\n")
            assert loop.run_until_complete(proc.stdout.readline()) == b"abc\n"
        second.run_until_complete(two.communicate())
        first.run_until_complete(one.communicate())
        assert (one.returncode, two.returncode) == (0, 0)
    finally:
        first.close()
        second.close()


def test_a_new_thread_for_each_loop(loop_factory: LoopFactory) -> None:
    """What belongs to a loop goes when its thread goes."""

    async def work(number: int) -> None:
        assert await output("echo", "x") == b"x\n"

    for _ in range(5):
        in_threads(1, loop_factory, work)


def test_what_other_threads_do_breaks_nothing(loop_factory: LoopFactory) -> None:
    """Not that it is promised to work; but lines still arrive, and nothing crashes or hangs.

    This matters most where threads run freely (a build of CPython without the GIL).
    """
    alive: list[procio.Process] = []
    done = threading.Event()
    foreign: list[BaseException] = []

    def touch(proc: procio.Process) -> None:
        proc.returncode, proc.pid, proc.stdout.at_eof()
        repr((proc, proc.stdin, proc.stdout))
        proc.stdin.is_closing()
        proc.stdin.write(b"")
        proc.stdin.transport.get_write_buffer_size()
        proc.stdout.readline().close()  # type: ignore[attr-defined]
        proc.wait().close()  # type: ignore[attr-defined]
        with contextlib.suppress(ProcessLookupError, ValueError):
            proc.send_signal(9 if WINDOWS else 0)  # neither reaches anybody; 0 is CTRL_C_EVENT on Windows

    def others() -> None:
        try:
            while not done.is_set():
                for proc in list(alive):
                    touch(proc)
        except BaseException as error:
            foreign.append(error)

    async def work(_: int) -> None:
        for _ in range(10):
            async with cat() as proc:
                alive.append(proc)
                proc.stdin.write(b"line\n" * 500)
                assert [await proc.stdout.readline() for _ in range(500)] == [b"line\n"] * 500
                alive.remove(proc)

    threads = [threading.Thread(target=others) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        in_threads(2, loop_factory, work)
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert foreign == []


@pytest.mark.differs
@pytest.mark.parametrize("touch", ["feed_data", "feed_eof", "set_exception", "feed_and_read"])
def test_a_thread_leaves_the_futures_of_another_one_to_it(loop_factory: LoopFactory, touch: str) -> None:
    """It wakes the loop, which completes them; in debug mode a loop says so if a thread does not."""
    errors: list[BaseException] = []

    async def feed_and_read(stream: asyncio.StreamReader) -> None:
        stream.feed_data(b"abc")
        assert await stream.read(0) == b""

    def work(stream: asyncio.StreamReader) -> None:
        try:
            if touch == "feed_data":
                stream.feed_data(b"abc")
            elif touch == "feed_eof":
                stream.feed_eof()
            elif touch == "set_exception":
                stream.set_exception(ValueError("from the thread"))
            else:
                with asyncio.Runner(loop_factory=loop_factory) as runner:
                    runner.run(feed_and_read(stream))
        except BaseException as error:
            errors.append(error)

    async def main() -> None:
        asyncio.get_running_loop().set_debug(True)
        async with cat() as proc:
            waiting = asyncio.ensure_future(proc.stdout.readexactly(2))
            await turns(3)
            thread = threading.Thread(target=work, args=(proc.stdout,))
            thread.start()
            # Nothing else wakes the loop meanwhile.
            result = await asyncio.wait_for(asyncio.gather(waiting, return_exceptions=True), 20)
            thread.join()
            assert errors == []
            if touch in ("feed_data", "feed_and_read"):
                assert result == [b"ab"]
            else:
                assert isinstance(result[0], asyncio.IncompleteReadError if touch == "feed_eof" else ValueError)

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(main())
