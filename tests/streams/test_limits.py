"""`limit` and flow control: bounded memory, whole lines, nothing lost."""

from __future__ import annotations

import asyncio
import functools
import inspect
import math
import os
import sys
from pathlib import Path
from typing import Any

import procio
import pytest
import shim
import skips
from support import PIPE, SH, children, helper, resident_bytes, running, sh, standing_still, turns

MEGABYTE = 1 << 20


@pytest.mark.parametrize("options", [{}, {"limit": 1000}, {"limit": 1 << 16}], ids=str)
async def test_endless_output_costs_bounded_memory(options: dict[str, Any], tmp_path: Path) -> None:
    """While no task reads, the child is stopped by a full pipe."""
    report = tmp_path / "written"
    async with running(*helper("flood", "x", report), stdout=PIPE, **options) as proc:
        before = resident_bytes()
        assert await standing_still(proc.pid, report) < 3 * MEGABYTE
        assert resident_bytes() - before < 8 * MEGABYTE
        for _ in range(3):
            await proc.stdout.readexactly(MEGABYTE)
            assert await standing_still(proc.pid, report) < 7 * MEGABYTE
        proc.kill()


async def test_endless_line_read_in_pieces_costs_bounded_memory() -> None:
    async with running(*helper("flood", "x"), stdout=PIPE) as proc:
        await proc.stdout.readexactly(MEGABYTE)
        before = resident_bytes()
        for _ in range(100):
            assert len(await proc.stdout.readexactly(MEGABYTE)) == MEGABYTE
        assert resident_bytes() - before < 30 * MEGABYTE
        proc.kill()


async def test_slow_reader_of_lines_costs_bounded_memory(tmp_path: Path) -> None:
    report = tmp_path / "written"
    async with running(*helper("flood", "line\\n", report), stdout=PIPE) as proc:
        for _ in range(100):
            assert await proc.stdout.readline() == b"line\n"
        assert await standing_still(proc.pid, report) < 3 * MEGABYTE
        proc.kill()


async def test_two_endless_outputs() -> None:
    """stderr that no task reads does not stop stdout."""
    script = "cat /dev/zero >&2 & exec cat /dev/zero"
    async with running("/bin/sh", "-c", script, stdout=PIPE, stderr=PIPE, process_group=0) as proc:
        for _ in range(50):
            await proc.stdout.readexactly(MEGABYTE)
        os.killpg(proc.pid, 9)


async def test_drained_input_costs_bounded_memory() -> None:
    """A child that reads slowly slows the writer that drains."""
    async with running("sleep", "1000", stdin=PIPE) as proc:
        sent = 0

        async def write() -> None:
            nonlocal sent
            while True:
                proc.stdin.write(b"x" * 10000)
                sent += 10000
                await proc.stdin.drain()

        task = asyncio.create_task(write())
        last = -1
        while last != sent:
            last = sent
            await turns(50)
        assert not task.done()
        assert sent < 2 * MEGABYTE
        task.cancel()


# --- long lines ----------------------------------------------------------------------------------


@pytest.mark.differs
@pytest.mark.parametrize("length", [65537, 131072, 200_000, 5_000_000])
async def test_long_line_without_a_limit_is_returned_whole(length: int) -> None:
    """asyncio raises ValueError from 64 KiB on, loses the head and returns the tail as a line."""
    async with running(*helper("emit", "a\\n", f"x*{length}", "\\nb\\n"), stdout=PIPE) as proc:
        lines = [line async for line in proc.stdout]
        assert [len(line) for line in lines] == [2, length + 1, 2]
        assert lines[1] == b"x" * length + b"\n"


@pytest.mark.differs
async def test_long_record_without_a_limit_is_returned_whole() -> None:
    async with running(*helper("emit", "x*1000000", ";;y"), stdout=PIPE) as proc:
        assert await proc.stdout.readuntil(b";;") == b"x" * 1000000 + b";;"
        assert await proc.stdout.readuntil((b"y", b";")) == b"y"


@pytest.mark.differs
async def test_long_last_line_without_a_newline() -> None:
    async with running(*helper("emit", "x*1000000"), stdout=PIPE) as proc:
        assert await proc.stdout.readline() == b"x" * 1000000
        assert await proc.stdout.readline() == b""


@pytest.mark.differs
@pytest.mark.parametrize("length", [101, 150, 250, 5000, 300_000])
async def test_long_line_with_a_limit_loses_nothing(length: int) -> None:
    """The exception of asyncio, but the line stays: never a torn one."""
    line = b"x" * length + b"\n"
    async with running(*helper("emit", f"x*{length}", "\\n", "next\\n"), stdout=PIPE, limit=100) as proc:
        for _ in range(3):
            with pytest.raises(ValueError, match="chunk"):
                await proc.stdout.readline()
        assert await proc.stdout.readexactly(len(line)) == line
        assert await proc.stdout.readline() == b"next\n"
        assert await proc.stdout.readline() == b""


@pytest.mark.differs
async def test_long_line_with_a_limit_is_still_there_for_read() -> None:
    async with running(*helper("emit", "x*100000", "\\nnext\\n"), stdout=PIPE, limit=100) as proc:
        with pytest.raises(ValueError, match="chunk"):
            await anext(proc.stdout)
        assert await proc.stdout.read() == b"x" * 100000 + b"\nnext\n"


async def test_long_line_skipped_by_its_pieces() -> None:
    """The recipe for a line over the limit: take `consumed` bytes and go on."""
    async with running(*helper("emit", "x*50000", "\\nnext\\n"), stdout=PIPE, limit=1000) as proc:
        taken = b""
        while not taken.endswith(b"\n"):
            try:
                taken += await proc.stdout.readuntil(b"\n")
            except asyncio.LimitOverrunError as error:
                taken += await proc.stdout.readexactly(error.consumed)
        assert taken == b"x" * 50000 + b"\n"
        assert await proc.stdout.readline() == b"next\n"


async def test_limit_of_both_streams() -> None:
    async with running(SH, "-c", "echo 12345678901; echo 12345678901 >&2", stdout=PIPE, stderr=PIPE, limit=10) as proc:
        for stream in (proc.stdout, proc.stderr):
            with pytest.raises(ValueError, match="chunk"):
                await stream.readline()


@pytest.mark.parametrize("create", [procio.create_subprocess_exec, procio.create_subprocess_shell])
def test_limit_is_a_keyword(create: Any) -> None:
    assert "limit" in inspect.signature(create).parameters


@pytest.mark.differs
@pytest.mark.differs
async def test_no_limit_given_by_name() -> None:
    """None means that no limit is given, for callers that pass one on."""
    async with running(*helper("emit", "x*200000", "\\n"), stdout=PIPE, limit=None) as proc:
        assert len(await proc.stdout.readline()) == 200_001


@pytest.mark.parametrize("limit", [math.inf, 2**64, 2**200, sys.maxsize, sys.maxsize + 1, 1e6])
async def test_limit_that_is_no_index(limit: Any) -> None:
    """It is only compared with, so that any number will do (for lines; with a float, asyncio's `read()` raises)."""
    proc = await procio.create_subprocess_exec(*helper("emit", "x*200000", "\\nnext\\n"), stdout=PIPE, limit=limit)
    assert await proc.stdout.readline() == b"x" * 200_000 + b"\n"
    assert await proc.stdout.readuntil(b"t\n") == b"next\n"
    assert await proc.stdout.readline() == b""
    assert await proc.wait() == 0


async def test_limit_that_is_a_fraction() -> None:
    limit: Any = 3.5
    proc = await procio.create_subprocess_exec(*helper("emit", "xxx\\nxxxx\\n"), stdout=PIPE, limit=limit)
    assert await proc.stdout.readline() == b"xxx\n"
    with pytest.raises(ValueError, match="chunk"):
        await proc.stdout.readline()
    assert await proc.wait() == 0


@pytest.mark.parametrize("shell", [False, True])
async def test_limit_that_is_no_index_of_each_function(shell: bool) -> None:
    limit: Any = math.inf
    create = procio.create_subprocess_shell if shell else procio.create_subprocess_exec
    proc = await create("true", stdout=PIPE, limit=limit)
    assert await proc.stdout.readline() == b""
    assert await proc.wait() == 0
    loop = asyncio.get_running_loop()
    with procio.installed():
        factory = functools.partial(asyncio.subprocess.SubprocessStreamProtocol, limit=limit, loop=loop)
        transport, protocol = await loop.subprocess_exec(factory, "true")
        assert await asyncio.subprocess.Process(transport, protocol, loop).wait() == 0
        transport.close()
        await turns(5)


@pytest.mark.skipif(shim.ACTIVE, reason=skips.OWN_NAMES)
async def test_limit_that_is_no_index_of_an_owned_process() -> None:
    limit: Any = math.inf
    async with procio.open_process(["echo", "x"], stdout=PIPE, limit=limit) as proc:
        assert proc.stdout is not None
        assert await proc.stdout.readline() == b"x\n"


async def test_limit_of_a_wrong_type() -> None:
    with pytest.raises(TypeError):
        await procio.create_subprocess_exec("true", stdout=PIPE, limit="10")  # type: ignore[arg-type]
    assert not children()


@pytest.mark.differs
async def test_readline_over_the_limit_tells_how_much_can_be_read() -> None:
    proc = await sh("printf 'abcdefgh\\nij\\n'", stdout=PIPE, limit=4)
    with pytest.raises(ValueError, match="chunk") as caught:
        await proc.stdout.readline()
    cause = caught.value.__cause__
    assert isinstance(cause, asyncio.LimitOverrunError)
    assert await proc.stdout.readexactly(cause.consumed) + await proc.stdout.readline() == b"abcdefgh\n"
    assert await proc.stdout.read() == b"ij\n"
    await proc.wait()


async def test_what_was_given_up_is_handed_out_within_the_budget_of_a_turn() -> None:
    """The loop serves its other tasks meanwhile, although nothing has to be waited for."""
    count = 32 * MEGABYTE
    script = f"head -c {count} /dev/zero; echo written >&2; read x"
    async with running(SH, "-c", script, stdin=PIPE, stdout=PIPE, stderr=PIPE) as proc:
        task = asyncio.create_task(proc.stdout.readexactly(count + 1))
        # What is still in the pipe is a small part.
        assert await proc.stderr.readline() == b"written\n"
        task.cancel()
        await asyncio.wait([task])
        assert len(await proc.stdout.readexactly(10)) == 10
        passed = 0
        task = asyncio.create_task(proc.stdout.readexactly(count // 2))
        while not task.done():
            await turns(1)
            passed += 1
        # A turn's budget is 1 MiB, and some loops look for events more than once in a turn.
        assert passed >= 8
