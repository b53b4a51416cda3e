"""`StreamReader.lines` and `Process.merged`."""

from __future__ import annotations

import asyncio
import contextlib
import io
import random
from typing import Any

import procio
import pytest
from blocks import CancelledAt
from support import PIPE, PYTHON, cat, finish, running, sh


async def collected(lines: Any) -> list[Any]:
    """All there are."""
    return [line async for line in lines]


def as_python_reads(data: bytes, encoding: str, errors: str = "strict") -> list[str]:
    """The lines that a text file with these bytes has."""
    return list(io.TextIOWrapper(io.BytesIO(data), encoding, errors, newline=None))


# --- lines ---------------------------------------------------------------------------------------


async def test_lines_as_bytes(pair: procio.Process) -> None:
    pair.stdin.write(b"one\n\ntwo\r\nthree")
    pair.stdin.close()
    assert await collected(pair.stdout.lines()) == [b"one\n", b"\n", b"two\r\n", b"three"]


async def test_lines_without_their_ends(pair: procio.Process) -> None:
    pair.stdin.write(b"one\n\ntwo\nthree")
    pair.stdin.close()
    assert await collected(pair.stdout.lines(keepends=False)) == [b"one", b"", b"two", b"three"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "latin-1", "utf-8-sig", "shift_jis"])
@pytest.mark.parametrize("keepends", [True, False])
async def test_text_that_comes_byte_by_byte(encoding: str, keepends: bool) -> None:
    """Every character and every line ending is split somewhere."""
    text = "ab\r\ncd\ref\n\n\r\r\nz" if encoding in ("latin-1", "shift_jis") else "aé\r\n€😀\rb\n\n\r\r\nz"
    data = text.encode(encoding)
    async with cat() as proc:
        lines = proc.stdout.lines(encoding=encoding, keepends=keepends)
        task = asyncio.create_task(collected(lines))
        for i in range(len(data)):
            proc.stdout.feed_data(data[i : i + 1])
            await asyncio.sleep(0)
        proc.stdout.feed_eof()
        expected = as_python_reads(data, encoding)
        assert await task == (expected if keepends else [line.removesuffix("\n") for line in expected])


async def test_bytes_that_are_no_text(pair: procio.Process) -> None:
    """The error comes after the lines before it, and what follows goes on."""
    pair.stdin.write(b"good\nbad \xff\xfe rest\nlast")
    pair.stdin.close()
    lines = pair.stdout.lines(encoding="utf-8")
    found: list[Any] = []
    while True:
        try:
            found.append(await lines.__anext__())
        except UnicodeDecodeError as error:
            found.append(bytes(error.object[error.start : error.end]))
        except StopAsyncIteration:
            break
    assert found == ["good\n", b"\xff", b"\xfe", "bad  rest\n", "last"]


async def test_errors_of_text_can_be_replaced(pair: procio.Process) -> None:
    pair.stdin.write(b"a\xffb\n\xe2\x82")
    pair.stdin.close()
    assert await collected(pair.stdout.lines(encoding="utf-8", errors="replace")) == ["a\ufffdb\n", "\ufffd"]


async def test_a_line_of_text_that_is_too_long() -> None:
    async with running("cat", stdin=PIPE, stdout=PIPE, limit=100) as proc:
        proc.stdin.write(b"short\n" + b"x" * 1000)
        lines = proc.stdout.lines(encoding="utf-8")
        assert await lines.__anext__() == "short\n"
        with pytest.raises(ValueError, match="limit"):
            await lines.__anext__()


async def test_lines_cancelled_at_each_step() -> None:
    data = "".join(f"line {i} é\r\n" for i in range(300))
    for encoding in (None, "utf-8"):
        async with cat() as proc:
            lines = proc.stdout.lines(encoding=encoding)
            found: list[Any] = []
            rng = random.Random(7)
            rest = data.encode()
            while rest or len(found) < 300:
                count = rng.randrange(1, 40)
                proc.stdout.feed_data(rest[:count])
                rest = rest[count:]
                for late in (False, True):
                    with contextlib.suppress(asyncio.CancelledError):
                        found.append(await CancelledAt(lines.__anext__(), 1, late=False))
                    if late:
                        await asyncio.sleep(0)
            expected = data.encode().splitlines(True) if encoding is None else as_python_reads(data.encode(), "utf-8")
            assert found == expected
            await finish(proc)


async def test_bad_arguments_of_lines(pair: procio.Process) -> None:
    for method in (pair.stdout.lines, pair.merged):
        with pytest.raises(LookupError):
            method(encoding="no such encoding")
        with pytest.raises(LookupError):
            method(encoding="utf-8", errors="no such way")
        with pytest.raises(ValueError, match="encoding"):
            method(errors="replace")
        with pytest.raises(TypeError):
            method("utf-8")  # type: ignore[call-overload]


# --- merged --------------------------------------------------------------------------------------

BOTH = """
import os, sys
count = int(sys.argv[1])
out = err = b""
for i in range(count):
    if i % 3:
        out += b"out %d\\n" % i
    else:
        err += b"err %d\\n" % i
    if len(out) > 4000 or i == count - 1:
        os.write(1, out)
        os.write(2, err)
        out = err = b""
os.write(2, b"no end")
"""


def both(count: int) -> list[tuple[int, bytes]]:
    """What that program writes, stream by stream."""
    out = [(1, b"out %d\n" % i) for i in range(count) if i % 3]
    err = [(2, b"err %d\n" % i) for i in range(count) if not i % 3]
    return [*out, *err, (2, b"no end")]


def by_stream(lines: list[tuple[int, Any]]) -> list[tuple[int, Any]]:
    """The order within each stream is kept."""
    return sorted(lines, key=lambda line: line[0])


@pytest.mark.parametrize("count", [0, 1, 100, 20_000])
async def test_the_lines_of_both_outputs(count: int) -> None:
    proc = await procio.create_subprocess_exec(*PYTHON, "-c", BOTH, str(count), stdout=PIPE, stderr=PIPE)
    assert by_stream(await collected(proc.merged())) == both(count)
    assert await proc.wait() == 0


@pytest.mark.parametrize("keepends", [True, False])
async def test_the_lines_of_both_outputs_as_text(keepends: bool) -> None:
    proc = await procio.create_subprocess_exec(*PYTHON, "-c", BOTH, "5000", stdout=PIPE, stderr=PIPE)
    lines = [(fd, line.decode()) for fd, line in both(5000)]
    if not keepends:
        lines = [(fd, line.removesuffix("\n")) for fd, line in lines]
    assert by_stream(await collected(proc.merged(encoding="utf-8", keepends=keepends))) == lines
    await proc.wait()


async def test_lines_come_in_the_order_in_which_they_are_written() -> None:
    """As long as each is read before the next is written."""
    proc = await sh(
        "while read line; do echo $line; read line; echo $line >&2; done", stdin=PIPE, stdout=PIPE, stderr=PIPE
    )
    lines = proc.merged()
    for i in range(20):
        proc.stdin.write(b"%d\n" % i)
        assert await lines.__anext__() == (1 + i % 2, b"%d\n" % i)
    proc.stdin.close()
    assert await collected(lines) == []
    await proc.wait()


async def test_a_stream_that_floods_does_not_keep_the_other_waiting() -> None:
    proc = await sh("echo found >&2; while :; do echo flood; done", stdout=PIPE, stderr=PIPE)
    async for fd, line in proc.merged():
        if fd == 2:
            assert line == b"found\n"
            break
    await finish(proc)


@pytest.mark.parametrize("text", [False, True])
async def test_merged_cancelled_at_each_step(text: bool) -> None:
    count = 2000
    proc = await procio.create_subprocess_exec(*PYTHON, "-c", BOTH, str(count), stdout=PIPE, stderr=PIPE)
    lines = proc.merged(encoding="utf-8") if text else proc.merged()
    found: list[Any] = []
    cancelled = 0
    while True:
        try:
            found.append(await CancelledAt(lines.__anext__(), 1, late=bool(cancelled % 2)))
        except asyncio.CancelledError:
            cancelled += 1
            await asyncio.sleep(0)
        except StopAsyncIteration:
            break
    assert cancelled > 0
    expected = both(count)
    assert by_stream(found) == ([(fd, line.decode()) for fd, line in expected] if text else expected)
    await proc.wait()


async def test_one_output_is_enough_and_none_is_too_few() -> None:
    async with cat() as proc:
        proc.stdin.write(b"x\n")
        proc.stdin.close()
        assert await collected(proc.merged()) == [(1, b"x\n")]
    async with running("true") as proc:
        with pytest.raises(ValueError, match="neither"):
            proc.merged()


async def test_other_readers_are_refused_meanwhile() -> None:
    proc = await sh("cat; echo x >&2", stdin=PIPE, stdout=PIPE, stderr=PIPE)
    lines = proc.merged()
    proc.stdin.write(b"a\nb\n")
    assert await lines.__anext__() == (1, b"a\n")
    for call in (proc.stdout.readline, proc.stderr.read, proc.communicate):
        with pytest.raises(RuntimeError, match="already waiting"):
            await call()
    with pytest.raises(RuntimeError, match="already waiting"):
        proc.merged()
    del lines
    assert await proc.stdout.readline() == b"b\n"
    await finish(proc)


async def test_merged_leaves_out_a_stream_that_is_set_to_none() -> None:
    proc = await sh("echo out; echo err >&2", stdout=PIPE, stderr=PIPE)
    stdout, proc.stdout = proc.stdout, None
    assert await collected(proc.merged()) == [(2, b"err\n")]
    assert stdout is not None
    assert await stdout.read() == b"out\n"
    assert await proc.wait() == 0


async def test_merged_raises_although_the_exception_has_gone() -> None:
    async with cat() as proc:
        lines = proc.merged()
        task = asyncio.create_task(anext(lines))
        await asyncio.sleep(0)
        proc.stdout.set_exception(ZeroDivisionError())
        proc.stdout.set_exception(None)
        with pytest.raises(ZeroDivisionError):
            await task
        proc.stdin.write(b"abc\n")
        assert await anext(lines) == (1, b"abc\n")
        del lines


async def test_merged_is_refused_while_another_reads() -> None:
    async with cat() as proc:
        task = asyncio.create_task(proc.stdout.readline())
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="already waiting"):
            proc.merged()
        proc.stdin.write(b"x\n")
        assert await task == b"x\n"


async def test_merged_in_a_block_that_is_left() -> None:
    async with procio.open_process(["sh", "-c", "while :; do echo y; done"], stdout=PIPE, stderr=PIPE) as proc:
        async for fd, line in proc.merged():
            assert (fd, line) == (1, b"y\n")
            break
        await proc.stop()
