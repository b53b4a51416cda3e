"""`StreamReader.lines` and `Process.merged` with an encoding: where the bytes are cut makes no difference."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import procio
import pytest
from support import PIPE, PYTHON, cat, running

BOM = "\ufeff"

# What a child may write, with its encoding.
OUTPUTS = {
    "utf-8": "aé\r\n€😀\rb\n\n\r\r\nz".encode() + b"\xff\n\r\xe2\x82\n\r\n\xf0\x9f",
    "utf-8-sig": (BOM + "a\r\né").encode() + b"\xff" + (BOM + "b\n").encode(),
    "utf-16": (BOM + "ab\r\n").encode("utf-16-be") + b"\xd8\x00\x00a" + "\n€😀\r\ngh\n".encode("utf-16-be") + b"\x00",
    "utf-32": (BOM + "ab\n").encode("utf-32-be") + b"\x00\x11\x00\x00" + "\ncd\r\n😀\n".encode("utf-32-be"),
    "utf-16-le": "a\n\ud83dbc\r\nd".encode("utf-16-le", "surrogatepass"),
    "utf-7": "aé\r\n€ü\rb\n".encode("utf-7") + b"+AGEAYg\xff+AGE-\nc",
    "iso2022_jp": "ab表\r\n表計\rc\n".encode("iso2022_jp") + b"\x1b$BI=\xff\xffI=\x1b(B\nd",
    "shift_jis": "ab表\r\n計表\rc".encode("shift_jis") + b"\xff\n\x95",
    "ascii": b"a\xffb\r\n\xff\r\xff\nc",
}


def without_a_mark(encoding: str) -> bytes:
    """Text in the machine's byte order."""
    text = "ab\r\ncé\n"
    return text.encode(encoding)[len("".encode(encoding)) :]


async def told(lines: Any) -> list[Any]:
    """Lines and errors to the end, or to the first line that is too long."""
    found: list[Any] = []
    while True:
        try:
            found.append(await lines.__anext__())
        except UnicodeDecodeError as error:
            found.append((error.object[error.start : error.end], error.reason))
        except ValueError as error:
            with pytest.raises(ValueError, match="limit"):
                await lines.__anext__()
            return [*found, str(error).split(",")[-1]]
        except StopAsyncIteration:
            return found


def cuts(data: bytes) -> list[list[bytes]]:
    """Ways in which the bytes may arrive: at once, one by one, in two parts, at random."""
    ways = [[data], [data[i : i + 1] for i in range(len(data))]]
    ways += [[data[:i], data[i:]] for i in range(1, len(data))]
    rng = random.Random(len(data))
    for _ in range(10):
        at = sorted(rng.sample(range(len(data) + 1), 3))
        ways.append([data[i:j] for i, j in zip([0, *at], [*at, len(data)], strict=True)])
    return [[part for part in way if part] for way in ways]


async def fed(parts: list[bytes], limit: int, **options: Any) -> list[Any]:
    """What `lines` makes of bytes that arrive so: the task takes all there is before more comes."""
    async with running("cat", stdin=PIPE, stdout=PIPE, limit=limit) as proc:
        task = asyncio.create_task(told(proc.stdout.lines(**options)))
        for part in parts:
            proc.stdout.feed_data(part)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        proc.stdout.feed_eof()
        return await task


@pytest.mark.parametrize("limit", [3, 8, 1000])
@pytest.mark.parametrize("encoding", list(OUTPUTS))
async def test_the_pieces_make_no_difference(encoding: str, limit: int) -> None:
    ways = cuts(OUTPUTS[encoding])
    expected = await fed(ways[0], limit, encoding=encoding)
    assert expected
    for parts in ways[1:]:
        assert await fed(parts, limit, encoding=encoding) == expected, parts
    replaced = await fed(ways[0], limit, encoding=encoding, errors="replace", keepends=False)
    for parts in ways[1:]:
        assert await fed(parts, limit, encoding=encoding, errors="replace", keepends=False) == replaced, parts


@pytest.mark.parametrize("encoding", [*OUTPUTS, "utf-16 without a mark", "utf-32 without a mark"])
async def test_lines_are_those_of_the_whole_decoded(encoding: str) -> None:
    encoding, _, unmarked = encoding.partition(" ")
    data = without_a_mark(encoding) if unmarked else OUTPUTS[encoding]
    text = data.decode(encoding, "replace").replace("\r\n", "\n").replace("\r", "\n")
    for parts in cuts(data):
        found = await fed(parts, 1000, encoding=encoding, errors="replace")
        assert found == text.splitlines(True), parts


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
async def test_the_byte_order_is_kept_after_an_error(encoding: str) -> None:
    bad = {"utf-16": b"\xd8\x00", "utf-32": b"\x00\x11\x00\x00"}[encoding]
    reason = {"utf-16": "illegal UTF-16 surrogate", "utf-32": "code point not in range(0x110000)"}[encoding]
    data = (BOM + "ab\n").encode(f"{encoding}-be") + bad + "a\nef\ngh\n".encode(f"{encoding}-be")
    assert await fed([data], 1000, encoding=encoding) == ["ab\n", (bad, reason), "a\n", "ef\n", "gh\n"]


@pytest.mark.parametrize("merged", [False, True])
@pytest.mark.parametrize("end", [b"", b"\n", b"\nyy\n"])
@pytest.mark.parametrize("length", [1, 9, 10, 11, 20])
async def test_the_limit_is_that_of_lines_of_bytes(length: int, end: bytes, merged: bool) -> None:
    """A line of just as many bytes is allowed, its end does not count; the line that is too long stays."""
    data = b"a\n" + b"x" * length + end
    found = []
    for encoding in (None, "utf-8"):
        code = f"import os; os.write(1, {data!r})"
        async with running(*PYTHON, "-c", code, stdout=PIPE, limit=10) as proc:
            lines: Any = proc.merged(encoding=encoding) if merged else proc.stdout.lines(encoding=encoding)
            found.append([line[1] if isinstance(line, tuple) else line for line in await told(lines)])
            del lines
    in_bytes, in_text = found
    assert [line.decode() if isinstance(line, bytes) else line.split()[-1] + " limit" for line in in_bytes] == [
        line if "limit" not in line else line.split()[-1] + " limit" for line in in_text
    ]
    assert ("limit" in in_text[-1]) == (length > 10)


@pytest.mark.parametrize(
    ("encoding", "limit", "line"),
    [("utf-8", 4, "éé"), ("utf-16-le", 4, "ab"), ("utf-16", 6, "ab"), ("utf-32-be", 8, "ab"), ("iso2022_jp", 8, "表")],
)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
async def test_the_limit_counts_bytes_without_the_end(encoding: str, limit: int, line: str, end: str) -> None:
    data = (line + end + "y").encode(encoding)
    for parts in cuts(data):
        assert (await fed(parts, limit, encoding=encoding))[0] == line + "\n"
        longer = await fed(parts, limit - 1, encoding=encoding)
        # The escape sequence that ends Japanese text belongs to the line, and gives no character.
        assert longer[0] == line + "\n" if encoding == "iso2022_jp" else "limit" in longer[0]


async def test_many_lines_within_a_small_limit() -> None:
    """Each is measured from its own beginning, whatever was decoded with it."""
    lines = ["é" * (i % 50) + "x" * (i % 3) + "\n" for i in range(5000)]
    data = "".join(lines).encode()
    assert await fed([data], 100, encoding="utf-8") == lines
    assert await fed([data[i : i + 997] for i in range(0, len(data), 997)], 100, encoding="utf-8") == lines


async def test_bytes_that_are_ignored_count() -> None:
    """A child that writes nothing else does not have them taken without end."""
    found = await fed([b"a\n" + b"\xff" * 1000], 100, encoding="utf-8", errors="ignore")
    assert found[0] == "a\n"
    assert "limit" in found[1]


async def test_a_line_that_ends_with_a_return_is_given_at_once() -> None:
    async with cat() as proc:
        lines = proc.stdout.lines(encoding="utf-8")
        proc.stdin.write(b"10%\r")
        assert await lines.__anext__() == "10%\n"
        proc.stdin.write(b"\n\n20%\r")
        assert [await lines.__anext__() for _ in range(2)] == ["\n", "20%\n"]


async def test_an_error_comes_after_a_line_that_ends_with_a_return() -> None:
    found = await fed([b"ab\r\xffcd\r\xff\n"], 1000, encoding="utf-8")
    bad = (b"\xff", "invalid start byte")
    assert found == ["ab\n", bad, "cd\n", bad, "\n"]


@pytest.mark.parametrize("encoding", ["rot13", "hex", "base64", "zlib"])
async def test_encodings_that_are_not_of_text(encoding: str) -> None:
    async with cat() as proc:
        for method in (proc.stdout.lines, proc.merged):
            with pytest.raises(LookupError, match="not a text encoding"):
                method(encoding=encoding)
        with pytest.raises(LookupError, match="not a text encoding"):
            procio.run_process(["true"], encoding=encoding)  # type: ignore[unused-coroutine]


async def test_half_a_mark_and_a_mark_that_is_not_at_the_beginning() -> None:
    for parts in cuts(b"\xe2\x82" + f"{BOM}a\n".encode()):
        found = await fed(parts, 1000, encoding="utf-8-sig")
        assert found == [(b"\xe2\x82", "invalid continuation byte"), f"{BOM}a\n"], parts
    for parts in cuts(BOM.encode()[:2]):
        assert await fed(parts, 1000, encoding="utf-8-sig") == [(b"\xef\xbb", "unexpected end of data")]
