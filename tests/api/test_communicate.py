"""Process.communicate()."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import procio
import pytest
from support import DEVNULL, PIPE, STDOUT, finish, helper, kill_stray, running, sh, state, turns, until


async def both(script: str, data: Any = None, **options: Any) -> tuple[bytes | None, bytes | None]:
    options = {"stdin": PIPE, "stdout": PIPE, "stderr": PIPE, **options}
    proc = await sh(script, **options)
    result = await proc.communicate(data)
    assert proc.returncode == 0
    return result


async def test_input_and_both_outputs() -> None:
    assert await both("cat; echo err >&2", b"in\n") == (b"in\n", b"err\n")


@pytest.mark.parametrize("convert", [bytes, bytearray, memoryview])
async def test_input_of_each_kind(convert: Callable[[bytes], Any]) -> None:
    assert await both("cat", convert(b"data")) == (b"data", b"")


async def test_input_of_other_item_sizes() -> None:
    """A memoryview of 4-byte items is its bytes, not its items."""
    view = memoryview(b"abcdefgh").cast("I")
    assert (await both("cat", view))[0] == b"abcdefgh"


@pytest.mark.differs
@pytest.mark.parametrize("data", [None, b""])
async def test_no_input_closes_stdin(data: Any) -> None:
    assert await both("cat", data) == (b"", b"")


async def test_result_is_none_without_a_pipe() -> None:
    assert await both("cat", b"x", stdout=None, stderr=None, executable=shutil.which("true")) == (None, None)
    assert await both("cat; echo err >&2", b"x", stderr=DEVNULL) == (b"x", None)
    assert await both("cat; echo err >&2", b"x", stdout=DEVNULL) == (None, b"err\n")
    assert await both("cat; echo err >&2", b"x", stderr=STDOUT) == (b"xerr\n", None)


@pytest.mark.differs
async def test_input_without_a_pipe_is_ignored() -> None:
    """Newer CPython: stdin was not asked for, so there is nothing to feed."""
    assert (await both("echo out", b"ignored", stdin=DEVNULL))[0] == b"out\n"


@pytest.mark.parametrize("size", [1, 4096, 65535, 65536, 65537, 1_000_000, 20_000_000])
async def test_sizes(size: int) -> None:
    data = os.urandom(min(size, 1000)) * (size // min(size, 1000))
    out, err = await both("cat", data)
    assert out == data
    assert err == b""


async def test_both_outputs_large_at_once() -> None:
    """Neither pipe may be left to fill while the other is read."""
    script = "head -c 3000000 /dev/zero >&2 & head -c 3000000 /dev/zero; wait"
    out, err = await both(script, b"x" * 300000, stdin=PIPE)
    assert (len(out or b""), len(err or b"")) == (3000000, 3000000)


async def test_limit_does_not_bind() -> None:
    assert (await both("cat", b"x" * 1000000, limit=1))[0] == b"x" * 1000000


async def test_broken_pipe_is_ignored() -> None:
    """gh-63301: the child ends without reading its input."""
    assert await both("echo out", b"x" * 5_000_000) == (b"out\n", b"")


async def test_child_that_closes_stdin_early() -> None:
    assert await both("exec <&-; echo a; echo b", b"x" * 5_000_000) == (b"a\nb\n", b"")


async def test_stdin_closed_by_the_caller() -> None:
    proc = await procio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
    proc.stdin.write(b"abc")
    proc.stdin.close()
    assert await proc.communicate() == (b"abc", None)


async def test_after_own_writes_and_reads() -> None:
    proc = await procio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
    proc.stdin.write(b"first ")
    assert await proc.stdout.readexactly(3) == b"fir"
    assert await proc.communicate(b"second") == (b"st second", None)


async def test_waits_for_the_exit() -> None:
    """Its pipes closed, the process may still run."""
    proc = await sh("exec >&- 2>&-; read x; exit 6", stdin=PIPE, stdout=PIPE, stderr=PIPE)
    assert await proc.stdout.read() == b""
    assert proc.returncode is None
    assert await proc.communicate(b"go\n") == (b"", b"")
    assert proc.returncode == 6


async def test_waits_for_the_pipes() -> None:
    """The process ended, a grandchild still writes."""
    proc = await sh("exec 3<&0; (read x; echo late) <&3 & exit 3", stdin=PIPE, stdout=PIPE)
    await until(lambda: state(proc.pid) in ("Z", None), "exit")
    assert await proc.communicate(b"go\n") == (b"late\n", None)
    assert proc.returncode == 3


async def test_communicate_after_the_end() -> None:
    proc = await sh("echo out", stdin=PIPE, stdout=PIPE)
    assert await proc.wait() == 0
    assert await proc.communicate(b"nobody") == (b"out\n", None)
    assert await proc.communicate() == (b"", None)


async def test_without_any_pipe() -> None:
    proc = await procio.create_subprocess_exec("true")
    assert await proc.communicate() == (None, None)
    assert proc.returncode == 0


async def test_kill_ends_it() -> None:
    proc = await procio.create_subprocess_exec(*helper("emit", "some", "wait"), stdin=PIPE, stdout=PIPE)
    assert await proc.stdout.readexactly(4) == b"some"
    task = asyncio.create_task(proc.stdout.read())
    await turns(3)
    proc.kill()
    assert await task == b""
    await finish(proc)


async def test_communicate_while_another_task_reads() -> None:
    """The second reader is refused; the first goes on."""
    async with running("cat", stdin=PIPE, stdout=PIPE) as proc:
        first = asyncio.create_task(proc.stdout.readexactly(3))
        await turns(3)
        with pytest.raises(RuntimeError, match="already waiting for incoming data"):
            await proc.communicate()
        proc.stdout.feed_data(b"abc")
        assert await first == b"abc"


async def test_many_at_once() -> None:
    async def one(number: int) -> None:
        assert await both("cat", b"%d" % number) == (b"%d" % number, b"")

    await asyncio.gather(*(one(number) for number in range(50)))


@pytest.mark.differs
@pytest.mark.parametrize("data", ["text", 5, [b"x"], object()])
async def test_input_of_a_wrong_type(data: Any) -> None:
    """TypeError, and the process is as before (asyncio: AssertionError and an unusable process)."""
    proc = await procio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
    with pytest.raises(TypeError):
        await proc.communicate(data)
    assert proc.returncode is None
    assert await proc.communicate(b"bytes") == (b"bytes", None)


async def test_with_timeout() -> None:
    proc = await procio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(proc.wait(), 0.01)
    assert await asyncio.wait_for(proc.communicate(b"x"), 20) == (b"x", None)


@pytest.mark.parametrize("spare", [0, 1])
async def test_output_is_bytes(spare: int) -> None:
    out, _ = await both("cat", b"x" * spare)
    assert type(out) is bytes


async def test_input_is_not_copied_back(tmp_path: Any) -> None:
    """A bytearray given as input may be changed as soon as communicate() has returned."""
    data = bytearray(b"x" * 100000)
    assert (await both("cat", data))[0] == b"x" * 100000
    data.clear()


@pytest.mark.differs
async def test_communicate_does_not_wait_for_unread_input() -> None:
    """A descendant holds standard input open and does not read it; asyncio waits for it to go."""
    proc = await sh("exec 3<&0; sleep 1000 <&3 >/dev/null 2>&1 & echo $!", stdin=PIPE, stdout=PIPE)
    out, _ = await asyncio.wait_for(proc.communicate(b"x" * (1 << 20)), 20)
    kill_stray(int(out))
    assert proc.returncode == 0


@pytest.mark.differs
async def test_unread_input_is_written_after_communicate(tmp_path: Path) -> None:
    """As long as the Process is held: it was not lost with the end of communicate()."""
    start, count = tmp_path / "start", tmp_path / "count"
    os.mkfifo(start)
    script = 'exec 3<&0; (read x <"$1"; wc -c <&3 >"$2.new"; mv "$2.new" "$2") >/dev/null 2>&1 &'
    proc = await sh(script, str(start), str(count), stdin=PIPE, stdout=PIPE)
    try:
        assert await asyncio.wait_for(proc.communicate(b"x" * (1 << 20)), 20) == (b"", None)
    finally:
        start.write_bytes(b"\n")
    await until(count.exists, "count")
    assert int(count.read_text()) == 1 << 20


# --- streams that the program serves itself ------------------------------------------------------


@pytest.mark.parametrize("name", ["stdout", "stderr"])
async def test_an_output_that_is_set_to_none_is_read_by_another(name: str) -> None:
    proc = await sh("echo out; echo err >&2", stdout=PIPE, stderr=PIPE)
    stream = getattr(proc, name)
    setattr(proc, name, None)
    reading = asyncio.ensure_future(stream.read())
    await turns(1)
    expected = {"stdout": (None, b"err\n"), "stderr": (b"out\n", None)}
    assert await proc.communicate() == expected[name]
    assert await reading == {"stdout": b"out\n", "stderr": b"err\n"}[name]


async def test_an_input_that_is_set_to_none_is_fed_by_another() -> None:
    proc = await sh("cat", stdin=PIPE, stdout=PIPE)
    stdin, proc.stdin = proc.stdin, None
    assert stdin is not None

    async def feed() -> None:
        for _ in range(5):
            stdin.write(b"data")
            await stdin.drain()
            await turns(3)
        stdin.close()

    feeding = asyncio.ensure_future(feed())
    assert await proc.communicate() == (b"data" * 5, None)
    await feeding


async def test_all_streams_set_to_none() -> None:
    proc = await sh("cat; echo err >&2", stdin=PIPE, stdout=PIPE, stderr=PIPE)
    streams = (proc.stdin, proc.stdout, proc.stderr)
    proc.stdin = proc.stdout = proc.stderr = None
    streams[0].close()
    assert await proc.communicate() == (None, None)
    assert proc.returncode == 0
    assert await streams[1].read() == b""
    assert await streams[2].read() == b"err\n"
