"""proc.stdout and proc.stderr: every public method of asyncio.StreamReader, as the newest CPython behaves."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

import procio
import pytest
import shim
import skips
from support import PIPE, cat, helper, running, sh, turns, until


async def emitted(*words: str, **options: Any) -> procio.Process:
    """A process that writes the words to its stdout and ends."""
    return await procio.create_subprocess_exec(*helper("emit", *words), stdout=PIPE, **options)


# --- read ----------------------------------------------------------------------------------------


async def test_read_to_the_end() -> None:
    proc = await emitted("x*1000000")
    assert await proc.stdout.read() == b"x" * 1000000
    assert await proc.stdout.read() == b""
    assert await proc.stdout.read(-1) == b""
    assert await proc.wait() == 0


async def test_read_some(pair: procio.Process) -> None:
    pair.stdin.write(b"abcdef")
    assert await pair.stdout.read(3) == b"abc"
    assert await pair.stdout.read(100) == b"def"


async def test_read_returns_what_is_there(pair: procio.Process) -> None:
    """Not only when n bytes have come."""
    pair.stdin.write(b"abc")
    assert await pair.stdout.read(1 << 20) == b"abc"


async def test_read_nothing(pair: procio.Process) -> None:
    assert await pair.stdout.read(0) == b""


async def test_read_more_than_the_limit() -> None:
    """read and readexactly are not bound by the limit."""
    proc = await emitted("x*100000", limit=10)
    data = await proc.stdout.readexactly(50000)
    data += await proc.stdout.read()
    assert data == b"x" * 100000
    assert await proc.wait() == 0


async def test_read_negative_is_to_the_end() -> None:
    proc = await emitted("abc")
    assert await proc.stdout.read(-5) == b"abc"
    await proc.wait()


async def test_both_streams_apart() -> None:
    proc = await sh("echo out; echo err >&2", stdout=PIPE, stderr=PIPE)
    assert await asyncio.gather(proc.stdout.read(), proc.stderr.read()) == [b"out\n", b"err\n"]
    await proc.wait()


# --- readexactly ---------------------------------------------------------------------------------


async def test_readexactly(pair: procio.Process) -> None:
    pair.stdin.write(b"abc")
    task = asyncio.create_task(pair.stdout.readexactly(5))
    await turns(5)
    pair.stdin.write(b"defg")
    assert await task == b"abcde"
    assert await pair.stdout.readexactly(0) == b""
    assert await pair.stdout.readexactly(2) == b"fg"


async def test_readexactly_at_the_end() -> None:
    proc = await emitted("abc")
    with pytest.raises(asyncio.IncompleteReadError) as caught:
        await proc.stdout.readexactly(5)
    assert (caught.value.partial, caught.value.expected) == (b"abc", 5)
    assert await proc.stdout.read() == b""
    await proc.wait()


async def test_readexactly_negative(pair: procio.Process) -> None:
    with pytest.raises(ValueError, match="readexactly size can not be less than zero"):
        await pair.stdout.readexactly(-1)


async def test_readexactly_large() -> None:
    proc = await emitted("x*3000000", "y*5")
    assert await proc.stdout.readexactly(3000000) == b"x" * 3000000
    assert await proc.stdout.read() == b"yyyyy"
    await proc.wait()


# --- readline and async for ----------------------------------------------------------------------


async def test_readline() -> None:
    proc = await emitted("one\\ntwo\\n\\nfour")
    lines = [await proc.stdout.readline() for _ in range(6)]
    assert lines == [b"one\n", b"two\n", b"\n", b"four", b"", b""]
    await proc.wait()


async def test_async_for() -> None:
    proc = await emitted("one\\ntwo\\n\\nfour")
    assert [line async for line in proc.stdout] == [b"one\n", b"two\n", b"\n", b"four"]
    await proc.wait()


async def test_line_in_pieces(pair: procio.Process) -> None:
    task = asyncio.create_task(pair.stdout.readline())
    for piece in (b"on", b"e", b"\ntwo"):
        pair.stdin.write(piece)
        await turns(20)
    assert await task == b"one\n"
    pair.stdin.close()
    assert await pair.stdout.readline() == b"two"


async def test_readline_limit_is_without_the_newline() -> None:
    """A line of exactly `limit` bytes before its newline is fine."""
    proc = await emitted("x*100", "\\n", "y\\n", limit=100)
    assert await proc.stdout.readline() == b"x" * 100 + b"\n"
    assert await proc.stdout.readline() == b"y\n"
    assert await proc.stdout.read() == b""
    await proc.wait()


@pytest.mark.parametrize("length", [101, 150, 200, 201, 5000, 300000])
async def test_readline_over_the_limit(length: int) -> None:
    proc = await emitted(f"x*{length}", "\\n", "y\\n", limit=100)
    with pytest.raises(ValueError, match="chunk"):
        await proc.stdout.readline()
    await proc.stdout.read()
    await proc.wait()


# --- readuntil -----------------------------------------------------------------------------------


async def test_readuntil() -> None:
    proc = await emitted("one;two;;three")
    assert await proc.stdout.readuntil(b";") == b"one;"
    assert await proc.stdout.readuntil(b";;") == b"two;;"
    with pytest.raises(asyncio.IncompleteReadError) as caught:
        await proc.stdout.readuntil(b";")
    assert (caught.value.partial, caught.value.expected) == (b"three", None)
    assert proc.stdout.at_eof()
    await proc.wait()


async def test_readuntil_default_is_newline(reader: asyncio.StreamReader) -> None:
    reader.feed_data(b"one\ntwo")
    assert await reader.readuntil() == b"one\n"


async def test_readuntil_separator_across_pieces(reader: asyncio.StreamReader) -> None:
    task = asyncio.create_task(reader.readuntil(b"SEPARATOR"))
    for piece in (b"some SEP", b"ARAT", b"SEPARA", b"TOR", b"rest"):
        reader.feed_data(piece)
        await turns(2)
    assert await task == b"some SEPARATSEPARATOR"
    assert await reader.read(10) == b"rest"


@pytest.mark.parametrize("separator", [None, 5, (None,)])
async def test_readuntil_refuses_what_is_no_separator(reader: Any, separator: Any) -> None:
    reader.feed_data(b"abc\n")
    with pytest.raises(TypeError):
        await reader.readuntil(separator)
    assert await reader.readuntil() == b"abc\n"


async def test_readuntil_tuple(reader: asyncio.StreamReader) -> None:
    """3.13: the shortest piece that ends with any of the separators."""
    reader.feed_data(b"one,two;three;;four")
    assert await reader.readuntil((b";", b",")) == b"one,"  # type: ignore[arg-type]
    assert await reader.readuntil((b";;", b";")) == b"two;"  # type: ignore[arg-type]
    assert await reader.readuntil((b"e;", b"three;;")) == b"three;"  # type: ignore[arg-type]
    reader.feed_data(b"!")
    assert await reader.readuntil((b"nothing", b"!")) == b";four!"  # type: ignore[arg-type]


async def test_readuntil_tuple_of_different_lengths(reader: asyncio.StreamReader) -> None:
    task = asyncio.create_task(reader.readuntil((b"\r\n\r\n", b"END")))  # type: ignore[arg-type]
    for piece in (b"head\r\n", b"\r", b"\n", b"body"):
        reader.feed_data(piece)
        await turns(2)
    assert await task == b"head\r\n\r\n"
    assert await reader.read(10) == b"body"


@pytest.mark.parametrize("separator", [b"", (b"",), (b"a", b"")])
async def test_readuntil_empty_separator(reader: asyncio.StreamReader, separator: Any) -> None:
    with pytest.raises(ValueError, match="Separator should be at least one-byte string"):
        await reader.readuntil(separator)


async def test_readuntil_empty_tuple(reader: asyncio.StreamReader) -> None:
    with pytest.raises(ValueError, match="Separator should contain at least one element"):
        await reader.readuntil(())  # type: ignore[arg-type]


async def test_readuntil_over_the_limit_not_found() -> None:
    """consumed: so much may be thrown away without losing the start of a separator; nothing is taken."""
    proc = await emitted("x*5000", "wait", "SEP", limit=100, stdin=PIPE)
    with pytest.raises(asyncio.LimitOverrunError, match="Separator is not found, and chunk exceed the limit") as caught:
        await proc.stdout.readuntil(b"SEP")
    consumed = caught.value.consumed
    assert 100 < consumed <= 5000
    proc.stdin.close()
    assert await proc.stdout.readexactly(consumed) == b"x" * consumed
    assert await proc.stdout.read() == b"x" * (5000 - consumed) + b"SEP"
    await proc.wait()


async def test_readuntil_over_the_limit_found() -> None:
    proc = await emitted("x*150", "SEPy", limit=100)
    await proc.wait()
    with pytest.raises(asyncio.LimitOverrunError) as caught:
        await proc.stdout.readuntil(b"SEP")
    assert caught.value.args[0] in (
        "Separator is found, but chunk is longer than limit",
        "Separator is not found, and chunk exceed the limit",
    )
    assert 100 < caught.value.consumed <= 150
    assert await proc.stdout.read() == b"x" * 150 + b"SEPy"


async def test_limit_overrun_as_asyncio_counts() -> None:
    """consumed is the position of the separator, or the bytes that cannot belong to one."""
    for data, separator, consumed in ((b"x" * 15 + b";", b";", 15), (b"x" * 20, b";;;", 18), (b"x" * 12, b";", 12)):
        ours = await overrun(data, separator, 10)
        theirs = asyncio.StreamReader(limit=10)
        theirs.feed_data(data)
        with pytest.raises(asyncio.LimitOverrunError) as caught:
            await theirs.readuntil(separator)
        assert (ours.consumed, str(ours)) == (caught.value.consumed, str(caught.value))
        assert ours.consumed == consumed


async def overrun(data: bytes, separator: bytes, limit: int) -> asyncio.LimitOverrunError:
    async with running("cat", stdin=PIPE, stdout=PIPE, limit=limit) as proc:
        proc.stdout.feed_data(data)
        with pytest.raises(asyncio.LimitOverrunError) as caught:
            await proc.stdout.readuntil(separator)
        assert await proc.stdout.readexactly(len(data)) == data
        return caught.value


@pytest.mark.parametrize("separator", ["c", 99, [99], ("c",), ([99],)], ids=repr)
async def test_readuntil_wrong_type(reader: asyncio.StreamReader, separator: Any) -> None:
    reader.feed_data(b"abc")
    with pytest.raises(TypeError):
        await reader.readuntil(separator)
    assert await reader.read(3) == b"abc"


# --- the end -------------------------------------------------------------------------------------


async def test_at_eof() -> None:
    proc = await emitted("abc", "wait", stdin=PIPE)
    assert not proc.stdout.at_eof()
    assert await proc.stdout.readexactly(3) == b"abc"
    assert not proc.stdout.at_eof()
    proc.stdin.close()
    assert await proc.stdout.read() == b""
    assert proc.stdout.at_eof()
    await proc.wait()


async def test_at_eof_without_a_read() -> None:
    """The end is noticed without another read."""
    proc = await emitted("abc")
    await proc.stdout.readexactly(3)
    await until(proc.stdout.at_eof, "end of file")
    await proc.wait()


async def test_loop_until_at_eof() -> None:
    proc = await emitted("a\\n*50", "b")
    lines = []
    while not proc.stdout.at_eof():
        if line := await proc.stdout.readline():
            lines.append(line)
    assert lines == [b"a\n"] * 50 + [b"b"]
    await proc.wait()


async def test_not_at_eof_while_data_is_there() -> None:
    proc = await emitted("abc")
    await proc.wait()
    await turns(20)
    assert not proc.stdout.at_eof()
    assert await proc.stdout.read() == b"abc"
    assert proc.stdout.at_eof()


async def test_nothing_is_read_while_another_waits(pair: procio.Process) -> None:
    """A read of no bytes is in no other reader's way."""
    waiting = asyncio.create_task(pair.stdout.readexactly(3))
    await turns(3)
    assert (await pair.stdout.read(0), await pair.stdout.readexactly(0)) == (b"", b"")
    pair.stdin.write(b"abc")
    assert await waiting == b"abc"


@pytest.mark.differs
async def test_bytes_belong_to_the_operation_that_waits(reader: asyncio.StreamReader) -> None:
    """They are in its order, whatever was read when another came; asyncio gives the other the first ones."""
    waiting = asyncio.create_task(reader.readexactly(5))
    await turns(3)
    reader.feed_data(b"ab\n")
    await turns(3)
    with pytest.raises(RuntimeError, match="already waiting for incoming data"):
        await reader.readline()
    reader.feed_data(b"cd")
    assert await waiting == b"ab\ncd"


# --- feeding -------------------------------------------------------------------------------------


async def test_feed_data_and_eof(reader: asyncio.StreamReader) -> None:
    reader.feed_data(b"abc")
    reader.feed_data(b"")
    reader.feed_data(bytearray(b"d"))
    reader.feed_eof()
    assert not reader.at_eof()
    assert await reader.read() == b"abcd"
    assert reader.at_eof()


async def test_feed_data_wakes_a_reader(reader: asyncio.StreamReader) -> None:
    task = asyncio.create_task(reader.read(10))
    await turns(3)
    reader.feed_data(b"abc")
    assert await task == b"abc"


async def test_feed_eof_wakes_a_reader(reader: asyncio.StreamReader) -> None:
    task = asyncio.create_task(reader.readline())
    await turns(3)
    reader.feed_data(b"abc")
    await turns(3)
    reader.feed_eof()
    assert await task == b"abc"


async def test_set_exception(reader: asyncio.StreamReader) -> None:
    assert reader.exception() is None
    error = ZeroDivisionError("set")
    reader.feed_data(b"abc")
    reader.set_exception(error)
    assert reader.exception() is error
    for read in (reader.read(1), reader.read(), reader.readexactly(1), reader.readline(), reader.readuntil(b"c")):
        with pytest.raises(ZeroDivisionError) as caught:
            await read
        assert caught.value is error


async def test_set_exception_wakes_a_reader(reader: asyncio.StreamReader) -> None:
    task = asyncio.create_task(reader.readline())
    await turns(3)
    reader.set_exception(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        await task


async def test_set_exception_to_none_lets_reading_go_on(reader: Any) -> None:
    reader.set_exception(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        await reader.read(1)
    reader.set_exception(None)
    assert reader.exception() is None
    reader.feed_data(b"abc\ndef")
    assert await reader.readline() == b"abc\n"
    assert await reader.readexactly(1) == b"d"
    reader.feed_eof()
    assert await reader.read() == b"ef"


@pytest.mark.parametrize("method", ["read", "readline", "read_all"])
async def test_a_woken_reader_raises_although_the_exception_has_gone(reader: Any, method: str) -> None:
    task = asyncio.create_task(reader.read(-1) if method == "read_all" else getattr(reader, method)())
    await turns(3)
    reader.set_exception(ZeroDivisionError())
    reader.set_exception(None)
    with pytest.raises(ZeroDivisionError):
        await task
    reader.feed_data(b"abc\n")
    assert await reader.readline() == b"abc\n"


async def test_a_woken_communicate_raises_although_the_exception_has_gone() -> None:
    async with cat() as proc:
        stdin, proc.stdin = proc.stdin, None
        task = asyncio.create_task(proc.communicate())
        await turns(3)
        proc.stdout.set_exception(ZeroDivisionError())
        proc.stdout.set_exception(None)
        with pytest.raises(ZeroDivisionError):
            await task
        proc.stdin = stdin
        assert await proc.communicate(b"abc") == (b"abc", None)


async def raised_within_a_handler(read: Any) -> BaseException:
    try:
        try:
            raise KeyError("outer")
        except KeyError:
            await read()
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


async def test_the_context_of_a_set_exception(reader: Any) -> None:
    """Raised as by the statement: with the exception that is being handled, and without a cycle."""
    error = ZeroDivisionError()
    reader.set_exception(error)
    for read in (reader.read, reader.readline, lambda: reader.readexactly(1)):
        error.__context__ = None
        assert await raised_within_a_handler(read) is error
        assert isinstance(error.__context__, KeyError)
    error.__context__ = None
    with pytest.raises(ZeroDivisionError) as caught:
        await reader.read()
    try:
        raise caught.value
    except ZeroDivisionError:
        with pytest.raises(ZeroDivisionError):
            await reader.read()
    assert error.__context__ is None
    reader.set_exception(None)


async def test_the_context_of_a_set_exception_that_wakes(reader: asyncio.StreamReader) -> None:
    task = asyncio.create_task(raised_within_a_handler(reader.readline))
    await turns(3)
    reader.set_exception(ZeroDivisionError())
    assert isinstance((await task).__context__, KeyError)


# --- two at a time, awaitables -------------------------------------------------------------------


@pytest.mark.parametrize("method", ["read", "readline", "readexactly", "readuntil"])
async def test_two_readers_at_once(pair: procio.Process, method: str) -> None:
    """The second is refused by name; the first goes on."""
    arguments: dict[str, tuple[Any, ...]] = {"readexactly": (3,), "read": (3,)}
    first = asyncio.create_task(pair.stdout.readexactly(3))
    await turns(3)
    name = "read(line|until)" if method == "readline" else method
    message = rf"^{name}\(\) called while another coroutine is already waiting for incoming data$"
    with pytest.raises(RuntimeError, match=message):
        await getattr(pair.stdout, method)(*arguments.get(method, ()))
    pair.stdin.write(b"abc")
    assert await first == b"abc"


@pytest.mark.skipif(shim.ACTIVE, reason=skips.COMPARES_WITH_ASYNCIO)
@pytest.mark.parametrize("limit", [{}, {"limit": 1000}])
async def test_reader_repr(limit: Any) -> None:
    """As asyncio's without a transport."""

    class Asks(Exception):
        def __repr__(self) -> str:
            return f"Asks({proc.stdout.exception() is not None})"

    async with running("cat", stdin=PIPE, stdout=PIPE, **limit) as proc:
        theirs = asyncio.StreamReader(**limit)
        for step in (
            lambda reader: None,
            lambda reader: reader.set_exception(ValueError("x")),
            lambda reader: reader.feed_data(b"abc"),
            lambda reader: reader.feed_eof(),
            lambda reader: reader.set_exception(None),
            lambda reader: setattr(reader, "_limit", 50),
            lambda reader: reader.set_exception(Asks()),
        ):
            step(proc.stdout)
            step(theirs)
            assert repr(proc.stdout) == repr(theirs)


async def test_reads_do_not_starve_the_loop() -> None:
    """A child that is faster than its reader does not keep the loop from its other tasks."""
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)

    ticker = asyncio.create_task(tick())
    async with running(*helper("flood", "line\\n"), stdout=PIPE) as proc:
        for _ in range(20000):
            await proc.stdout.readline()
        assert ticks > 10
        proc.kill()
    ticker.cancel()


async def test_stream_outlives_the_exit() -> None:
    proc = await sh("echo a; echo b; exit 3", stdout=PIPE)
    assert await proc.wait() == 3
    assert [line async for line in proc.stdout] == [b"a\n", b"b\n"]


async def test_reader_of_a_shell_is_a_reader() -> None:
    proc = await procio.create_subprocess_shell("echo a", stdout=PIPE)
    assert (await proc.stdout.readline()).split() == [b"a"]
    await proc.wait()


# --- how results arrive --------------------------------------------------------------------------


# --- pipes of records ----------------------------------------------------------------------------

RECORDS = """
import fcntl, os, sys
fcntl.fcntl(1, fcntl.F_SETFL, fcntl.fcntl(1, fcntl.F_GETFL) | os.O_DIRECT)
for record in (b"one\\n", b"two\\n", b"three\\n"):
    os.write(1, record)
os.write(int(sys.argv[1]), b"!")
os.read(0, 1)
os.write(1, b"end\\n")
"""


@skips.needs_proc
async def test_records_that_came_together() -> None:
    """A child that sets O_DIRECT has each read of its output give one record (pipe2(2))."""
    told, tell = os.pipe()
    async with running(sys.executable, "-c", RECORDS, str(tell), stdin=PIPE, stdout=PIPE, pass_fds=[tell]) as proc:
        os.close(tell)
        # The loop does not run meanwhile: the records become one event.
        assert os.read(told, 1) == b"!"
        os.close(told)
        for record in (b"one\n", b"two\n", b"three\n"):
            assert await asyncio.wait_for(proc.stdout.readline(), 20) == record
        proc.stdin.write(b"x")
        assert await proc.stdout.read() == b"end\n"


@pytest.mark.parametrize("count", [1 << 70, -1 << 70])
async def test_more_bytes_than_there_can_be(count: int) -> None:
    """As of asyncio's reader: what is there, or, of a negative number, everything."""
    proc = await emitted("abc")
    assert await proc.stdout.read(count) == b"abc"
    assert await proc.stdout.read(count) == b""
    assert await proc.wait() == 0


async def test_exactly_more_bytes_than_there_can_be() -> None:
    proc = await emitted("abc")
    with pytest.raises(asyncio.IncompleteReadError) as caught:
        await proc.stdout.readexactly(1 << 70)
    assert caught.value.partial == b"abc"
    assert await proc.wait() == 0
