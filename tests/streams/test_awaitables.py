"""What the methods of streams and processes return: objects that behave as coroutines do."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import inspect
import io
import sys
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import procio
import pytest
from support import PIPE, running, turns


async def test_awaitables_are_coroutines(pair: procio.Process) -> None:
    """create_task, wait_for, gather and TaskGroup take what the methods return."""
    pair.stdin.write(b"a" * 6)
    assert await asyncio.create_task(pair.stdout.readexactly(1)) == b"a"
    assert await asyncio.wait_for(pair.stdout.readexactly(1), 20) == b"a"
    assert await asyncio.gather(pair.stdout.readexactly(1)) == [b"a"]
    assert await asyncio.shield(pair.stdout.readexactly(1)) == b"a"
    async with asyncio.TaskGroup() as group:
        task = group.create_task(pair.stdout.readexactly(1))
    assert task.result() == b"a"
    assert await pair.stdout.readexactly(1) == b"a"


async def test_awaitables_start_with_the_first_await(pair: procio.Process) -> None:
    read = pair.stdout.readexactly(3)
    assert asyncio.iscoroutine(read)
    assert inspect.isawaitable(read)
    pair.stdin.write(b"abcdef")
    assert await pair.stdout.readexactly(3) == b"abc"
    assert await read == b"def"


async def test_awaitable_cannot_be_awaited_twice(pair: procio.Process) -> None:
    pair.stdin.write(b"abc")
    read = pair.stdout.readexactly(3)
    assert await read == b"abc"
    with pytest.raises(RuntimeError, match="cannot reuse already awaited"):
        await read


async def test_an_awaitable_that_is_done_stays_itself(pair: procio.Process) -> None:
    """It is not one that was made later, however many are."""
    pair.stdin.write(b"0\n1\n2\n3\n4\n5\n6\n")
    pair.stdin.close()
    first = pair.stdout.readline()
    assert await first == b"0\n"
    later = [pair.stdout.readline() for _ in range(4)]
    assert len({id(one) for one in (first, *later)}) == 5
    with pytest.raises(RuntimeError, match="cannot reuse already awaited"):
        await first
    assert [await one for one in later] == [b"1\n", b"2\n", b"3\n", b"4\n"]
    del later
    assert [line async for line in pair.stdout] == [b"5\n", b"6\n"]


async def test_closed_awaitable_has_taken_nothing(pair: procio.Process) -> None:
    read = pair.stdout.readexactly(3)
    read.close()
    pair.stdin.write(b"abc")
    assert await pair.stdout.readexactly(3) == b"abc"


@pytest.mark.parametrize(
    "drive", [next, lambda coroutine: coroutine.send(None), lambda coroutine: coroutine.__next__()]
)
async def test_result_is_the_value_of_a_stopiteration(reader: asyncio.StreamReader, drive: Any) -> None:
    """As a coroutine's; it stays that of the code that catches it."""
    reader.feed_data(b"one\ntwo\n")
    caught = []
    for _ in range(2):
        with pytest.raises(StopIteration) as info:
            drive(reader.readline())
        caught.append(info.value)
    assert [error.value for error in caught] == [b"one\n", b"two\n"]
    assert [(error.__context__, error.__cause__) for error in caught] == [(None, None)] * 2


async def test_result_has_no_hidden_reference(reader: asyncio.StreamReader) -> None:
    """Neither the bytes nor the frame in which the StopIteration was caught."""

    class Mark:
        pass

    def drive() -> weakref.ref[Mark]:
        mark = Mark()
        with contextlib.suppress(StopIteration):
            next(reader.readline())  # type: ignore[call-overload]
        return weakref.ref(mark)

    reader.feed_data(b"one two\nthree\nfour\n")
    line = await reader.readline()
    mine = bytes(bytearray(b"one two\n"))
    assert sys.getrefcount(line) == sys.getrefcount(mine)
    mark = drive()
    gc.collect()
    assert mark() is None
    assert await reader.readline() == b"four\n"


@pytest.mark.differs
async def test_what_was_raised_once_is_not_raised_again(reader: asyncio.StreamReader) -> None:
    """What a program has done to a StopIteration is gone with it, and what it keeps does not change."""

    def drive() -> StopIteration:
        try:
            next(reader.readline())  # type: ignore[call-overload]
        except StopIteration as error:
            return error
        raise AssertionError("nothing was raised")

    count = 100
    reader.feed_data(b"".join(b"%d\n" % i for i in range(4 * count)))
    for i in range(count):
        error = drive()
        assert error.value == b"%d\n" % i
        assert error.args in ((), (error.value,))
        assert error.__traceback__ is not None
        assert (error.__cause__, error.__context__, error.__suppress_context__) == (None, None, False)
        assert not hasattr(error, "mark")
        assert not hasattr(error, "__notes__")
        error.mark, error.args, error.__cause__ = "mine", (1, 2), ValueError()  # type: ignore[attr-defined]
        error.add_note("a note")
    kept = [drive() for _ in range(count)]
    assert [await reader.readline() for _ in range(count)] == [b"%d\n" % i for i in range(2 * count, 3 * count)]
    assert [error.value for error in kept] == [b"%d\n" % i for i in range(count, 2 * count)]
    # A cycle, which only the collector finds.
    for error in kept:
        error.value = error
    del kept, error
    gc.collect()
    for i in range(3 * count, 4 * count):
        assert drive().value == b"%d\n" % i


@pytest.mark.differs
async def test_a_method_is_called_as_a_function_is(pair: procio.Process) -> None:
    """Whatever way the call takes: by the class, by keyword, with what is too much or no reader."""
    reader, readline = pair.stdout, pair.stdout.readline
    mine: Any = procio.StreamReader.readline
    theirs: Any = asyncio.StreamReader.readline
    pair.stdin.write(b"0\n1\n2\n")
    assert [await mine(reader), await mine(self=reader), await readline()] == [b"0\n", b"1\n", b"2\n"]
    assert inspect.iscoroutinefunction(readline)
    assert not inspect.signature(readline).parameters

    def refused(function: Any, *args: object, **names: object) -> str:
        with pytest.raises(TypeError) as info:
            function(*args, **names)
        return str(info.value)

    wrong: list[tuple[tuple[object, ...], dict[str, object]]]
    wrong = [((reader, 1), {}), ((), {}), ((reader,), {"n": 1}), ((reader,), {"self": reader})]
    for args, names in wrong:
        assert refused(mine, *args, **names) == refused(theirs, *args, **names)
    assert "StreamReader" in refused(mine, object())


@pytest.mark.differs
async def test_awaitable_awaited_by_two() -> None:
    async with running("cat", stdin=PIPE, stdout=PIPE) as proc:
        line = proc.stdout.readline()
        first = asyncio.ensure_future(line)
        await turns(3)
        with pytest.raises(RuntimeError, match="being awaited already"):
            await line
        proc.stdin.write(b"x\n")
        assert await first == b"x\n"


async def test_an_awaitable_takes_weak_references(pair: procio.Process) -> None:
    """Each dies with its awaitable, and does not come back with one that is made later."""
    pair.stdin.write(b"0\n1\n2\n3\n")
    first = pair.stdout.readline()
    seen = weakref.ref(first)
    assert seen() is first
    assert await first == b"0\n"  # type: ignore[misc]
    later = weakref.ref(first)
    del first
    assert seen() is None
    assert later() is None
    second = pair.stdout.readline()
    assert await second == b"1\n"
    after_the_end = weakref.ref(second)
    del second
    third = pair.stdout.readline()
    assert after_the_end() is not third
    assert await third == b"2\n"


async def test_the_state_of_an_awaitable(pair: procio.Process) -> None:
    """inspect tells it as of a coroutine, and a task that waits for it can show its stack."""
    read = pair.stdout.readexactly(1)
    assert inspect.getcoroutinestate(read) == inspect.CORO_CREATED
    assert read.cr_frame.f_code.co_name == "StreamReader.readexactly"
    task = asyncio.ensure_future(read)
    assert len(task.get_stack()) == 1
    await turns(3)
    assert inspect.getcoroutinestate(read) == inspect.CORO_SUSPENDED
    assert inspect.getcoroutinelocals(read) == {}
    assert len(task.get_stack()) == 1
    report = io.StringIO()
    task.print_stack(file=report)
    assert "readexactly" in report.getvalue()
    pair.stdin.write(b"a")
    assert await task == b"a"
    assert inspect.getcoroutinestate(read) == inspect.CORO_CLOSED
    assert task.get_stack() == []


@pytest.mark.skipif(sys.version_info < (3, 14), reason="asyncio has no call graphs")
async def test_the_call_graph_shows_what_a_task_waits_for(pair: procio.Process) -> None:
    """By the names of the methods, whether a coroutine awaits them or a task is made of them."""

    async def inner() -> bytes:
        return await pair.stdout.readexactly(1)

    for coroutine, names in ((pair.stdout.readexactly(1), []), (inner(), ["inner"])):
        task = asyncio.ensure_future(coroutine)
        await turns(3)
        graph = asyncio.capture_call_graph(task)  # type: ignore[attr-defined]
        shown = [entry.frame.f_code.co_qualname for entry in graph.call_stack]
        assert [name.rpartition(".")[2] for name in shown][: len(names) + 1] == ["readexactly", *names]
        report = io.StringIO()
        asyncio.print_call_graph(task, file=report)  # type: ignore[attr-defined]
        assert "readexactly()" in report.getvalue()
        pair.stdin.write(b"a")
        assert await task == b"a"


@pytest.mark.skipif(sys.version_info < (3, 14), reason="no tool reads it")
async def test_an_awaitable_looks_like_a_finished_generator_from_outside(pair: procio.Process) -> None:
    """To `python -m asyncio ps`, which reads the state of a generator's frame out of any object's memory."""

    async def coroutine() -> None:
        pass

    def state(value: object) -> int:
        flags = object.__basicsize__ + 6 * ctypes.sizeof(ctypes.c_void_p)
        return ctypes.string_at(id(value), flags + 4)[-1]

    native, started = coroutine(), asyncio.ensure_future(pair.stdout.readexactly(1))
    created = state(native)
    with pytest.raises(StopIteration):
        native.send(None)
    finished = state(native)
    assert finished != created
    await turns(3)
    assert state(started.get_coro()) == finished
    later = pair.stdout.readline()
    assert state(later) == finished
    pair.stdin.write(b"ab\n")
    assert await started == b"a"
    assert await later == b"b\n"
    assert state(later) == finished


async def _debugged(proc: procio.Process) -> list[Any]:
    """Coroutines that are never awaited, made in three ways."""
    return [proc.wait(), proc.stdout.readline(), proc.stdout.read()]


@pytest.mark.parametrize("debug", [True, False])
def test_debug_mode_says_where_a_coroutine_was_created(loop_factory: Callable[[], Any], debug: bool) -> None:
    async def main() -> None:
        async with running("cat", stdin=PIPE, stdout=PIPE) as proc:
            made = await _debugged(proc)
            for coroutine in made:
                origin = coroutine.cr_origin
                assert (origin is not None) == debug
                if debug:
                    assert origin[0][::2] == (__file__, "_debugged")
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                coroutine = None
                made.clear()
                gc.collect()
            texts = sorted(str(warning.message) for warning in caught if warning.category is RuntimeWarning)
            names = ["Process.wait", "StreamReader.read", "StreamReader.readline"]
            assert len(texts) == 3
            for text, name in zip(texts, names, strict=True):
                assert text.startswith(f"coroutine '{name}' was never awaited")
                assert ("Coroutine created at" in text and "in _debugged" in text) == debug
            # And those that are awaited do as they do without.
            proc.stdin.write(b"one\ntwo\n")
            assert await proc.stdout.readline() == b"one\n"
            assert await asyncio.create_task(proc.stdout.readline()) == b"two\n"
            task = asyncio.create_task(proc.stdout.readline())
            await turns(3)
            task.cancel()
            assert await asyncio.gather(task, return_exceptions=True) != [None]
            proc.stdin.write(b"three\n")
            await proc.stdin.drain()
            assert await proc.stdout.readline() == b"three\n"

    with asyncio.Runner(debug=debug, loop_factory=loop_factory) as runner:
        runner.run(main())
