"""proc.stdin: every public method of asyncio.StreamWriter and of its transport."""

from __future__ import annotations

import asyncio
import contextlib
import math
import operator
import os
import stat
import sys
from decimal import Decimal
from fractions import Fraction
from typing import Any

import procio
import pytest
import shim
import skips
from support import DEVNULL, KILLED, PIPE, SH, cat, finish, resume, running, sh, suspend, turns

ENDLESS = 1 << 22


async def test_write_and_drain() -> None:
    async with cat() as proc:
        proc.stdin.write(b"abc")
        await proc.stdin.drain()
        assert await proc.stdout.readexactly(3) == b"abc"


@pytest.mark.parametrize("convert", [bytes, bytearray, memoryview])
async def test_write_takes_bytes_like_objects(convert: Any) -> None:
    async with cat() as proc:
        proc.stdin.write(convert(b"abc"))
        proc.stdin.writelines([convert(b"d"), convert(b"ef")])
        assert await proc.stdout.readexactly(6) == b"abcdef"


@pytest.mark.differs
@pytest.mark.parametrize("data", ["text", 5, None, ["x"]])
async def test_write_refuses_other_things(data: Any) -> None:
    """A TypeError, where asyncio has an assertion."""
    async with cat() as proc:
        with pytest.raises(TypeError):
            proc.stdin.write(data)
        proc.stdin.write(b"abc")
        assert await proc.stdout.readexactly(3) == b"abc"


async def test_write_of_nothing() -> None:
    async with cat() as proc:
        proc.stdin.write(b"")
        proc.stdin.writelines([])
        await proc.stdin.drain()
        proc.stdin.close()
        assert await proc.stdout.read() == b""


async def test_order_of_many_small_writes() -> None:
    proc = await procio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
    expected = b"".join(b"%d\n" % number for number in range(50000))
    reading = asyncio.create_task(proc.stdout.read())
    for number in range(50000):
        proc.stdin.write(b"%d\n" % number)
    proc.stdin.close()
    assert await reading == expected
    assert await proc.wait() == 0


async def test_buffer_changed_after_write() -> None:
    """What was written is what the buffer held at the call."""
    async with cat() as proc:
        data = bytearray(b"a" * ENDLESS)
        proc.stdin.write(data)
        data[:] = b"b" * ENDLESS
        assert await proc.stdout.readexactly(ENDLESS) == b"a" * ENDLESS


async def test_drain_waits_for_the_reader() -> None:
    proc = await sh("exec cat >/dev/null", stdin=PIPE)
    try:
        suspend(proc.pid)
        proc.stdin.write(b"x" * ENDLESS)
        drain = asyncio.create_task(proc.stdin.drain())
        await turns(50)
        assert not drain.done()
        resume(proc.pid)
        await drain
    finally:
        proc.kill()
        await finish(proc)


async def test_drain_returns_at_once_below_the_high_water_mark() -> None:
    async with running("sleep", "1000", stdin=PIPE) as proc:
        for _ in range(20):
            proc.stdin.write(b"x" * 1000)
            await proc.stdin.drain()


async def test_several_drains_at_once() -> None:
    proc = await procio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
    proc.stdin.write(b"x" * ENDLESS)
    drains = [asyncio.create_task(proc.stdin.drain()) for _ in range(5)]
    await turns(5)
    proc.stdin.close()
    assert len(await proc.stdout.read()) == ENDLESS
    await asyncio.gather(*drains, return_exceptions=True)
    assert await proc.wait() == 0


async def test_close_flushes_first() -> None:
    proc = await procio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
    proc.stdin.write(b"x" * ENDLESS)
    assert not proc.stdin.is_closing()
    proc.stdin.close()
    assert proc.stdin.is_closing()
    assert await proc.stdout.read() == b"x" * ENDLESS
    await proc.stdin.wait_closed()
    assert await proc.wait() == 0


async def test_stdin_closed_twice_and_after_the_end() -> None:
    proc = await procio.create_subprocess_exec("cat", stdin=PIPE)
    proc.stdin.close()
    proc.stdin.close()
    assert await proc.wait() == 0
    proc.stdin.close()
    await proc.stdin.wait_closed()
    await proc.stdin.wait_closed()


async def test_write_eof() -> None:
    proc = await procio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
    assert proc.stdin.can_write_eof()
    proc.stdin.write(b"abc")
    proc.stdin.write_eof()
    assert await proc.stdout.read() == b"abc"
    assert await proc.wait() == 0
    await proc.stdin.wait_closed()


async def test_wait_closed_waits_for_the_flush() -> None:
    async with cat() as proc:
        waiting = asyncio.create_task(proc.stdin.wait_closed())
        await turns(5)
        assert not waiting.done()
        proc.stdin.write(b"x" * ENDLESS)
        proc.stdin.close()
        await turns(5)
        assert not waiting.done()
        assert len(await proc.stdout.read()) == ENDLESS
        await waiting


async def test_write_after_close_is_not_sent() -> None:
    async with cat() as proc:
        proc.stdin.write(b"abc")
        proc.stdin.close()
        proc.stdin.write(b"lost")
        assert await proc.stdout.read() == b"abc"


async def test_drain_after_close_of_the_pipe() -> None:
    """The write end has gone: drain says so."""
    proc = await procio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
    proc.stdin.close()
    await proc.stdin.wait_closed()
    with pytest.raises(ConnectionResetError):
        await proc.stdin.drain()
    assert await finish(proc) in (0, KILLED)


ENDS = ("close", "write_eof", "transport.close")


@pytest.mark.parametrize("first", [b"", b"x", b"x" * ENDLESS], ids=["nothing", "little", "much"])
@pytest.mark.parametrize("end", ENDS)
async def test_drain_at_once_after_our_own_close(first: bytes, end: str) -> None:
    """That is no news: drain() returns once everything is written. A later one raises."""

    async def drained(module: Any) -> list[type[BaseException] | None]:
        proc = await module.create_subprocess_exec("cat", stdin=PIPE, stdout=DEVNULL)
        proc.stdin.write(first)
        operator.attrgetter(end)(proc.stdin)()
        results: list[type[BaseException] | None] = []
        for _ in range(2):
            try:
                results.append(await proc.stdin.drain())
            except OSError as error:
                results.append(type(error))
            with contextlib.suppress(OSError):
                await proc.stdin.wait_closed()
        await proc.wait()
        return results

    expected = [None, ConnectionResetError]
    assert await drained(procio) == expected
    with contextlib.suppress(NotImplementedError):  # Windows' selector loop
        assert await drained(asyncio.subprocess) == expected


@pytest.mark.differs
async def test_drain_turns_after_our_own_close() -> None:
    async with cat() as proc:
        proc.stdin.write(b"x")
        proc.stdin.close()
        await turns(5)
        await proc.stdin.drain()
        with pytest.raises(ConnectionResetError):
            await proc.stdin.drain()


# --- a child that does not read ------------------------------------------------------------------


async def until_broken(proc: procio.Process) -> BaseException:
    """Write until drain() says that the child no longer reads."""
    for _ in range(10000):
        try:
            proc.stdin.write(b"x" * 1000)
            await proc.stdin.drain()
        except (BrokenPipeError, ConnectionResetError) as error:
            return error
        await asyncio.sleep(0)
    raise AssertionError("drain never raised")


async def test_drain_raises_when_the_child_closed_its_stdin() -> None:
    """gh-104340; uvloop #506 raises RuntimeError out of write()."""
    async with running(SH, "-c", "exec <&-; echo closed; exec sleep 1000", stdin=PIPE, stdout=PIPE) as proc:
        assert await proc.stdout.readline() == b"closed\n"
        await until_broken(proc)
        proc.stdin.write(b"nobody is told")
        proc.stdin.close()
        assert proc.returncode is None


async def test_drain_raises_when_the_child_has_ended() -> None:
    proc = await procio.create_subprocess_exec("true", stdin=PIPE)
    await proc.wait()
    await until_broken(proc)


async def test_drain_that_waits_is_woken_by_the_end() -> None:
    proc = await procio.create_subprocess_exec("sleep", "1000", stdin=PIPE)
    proc.stdin.write(b"x" * ENDLESS)
    drain = asyncio.create_task(proc.stdin.drain())
    await turns(10)
    assert not drain.done()
    proc.kill()
    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        await drain
    assert await proc.wait() == KILLED


async def test_wait_closed_after_a_broken_pipe() -> None:
    proc = await procio.create_subprocess_exec("true", stdin=PIPE)
    await proc.wait()
    await until_broken(proc)
    proc.stdin.close()
    try:
        await proc.stdin.wait_closed()
    except (BrokenPipeError, ConnectionResetError):
        pass


async def test_broken_pipe_without_a_drain_is_silent() -> None:
    """gh-105616: no `Future exception was never retrieved`."""
    errors: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: errors.append(context))
    proc = await procio.create_subprocess_exec("true", stdin=PIPE)
    await proc.wait()
    for _ in range(4):
        proc.stdin.write(b"x" * 100000)
        await turns(10)
    proc.stdin.close()
    del proc
    await turns(10)
    assert errors == []


# --- the transport -------------------------------------------------------------------------------


async def test_transport() -> None:
    async with cat() as proc:
        transport = proc.stdin.transport
        assert isinstance(transport, asyncio.WriteTransport)
        assert transport.get_write_buffer_size() == 0
        assert not transport.is_closing()
        transport.write(b"abc")
        transport.writelines([b"de", b"f"])
        assert transport.can_write_eof()
        assert await proc.stdout.readexactly(6) == b"abcdef"
        transport.write_eof()
        assert transport.is_closing()
        assert await proc.stdout.read() == b""


async def test_write_buffer_limits() -> None:
    async with cat() as proc:
        transport = proc.stdin.transport
        low, high = transport.get_write_buffer_limits()
        assert (low, high) == (high // 4, 64 * 1024)
        transport.set_write_buffer_limits(high=1000)
        assert transport.get_write_buffer_limits() == (250, 1000)
        transport.set_write_buffer_limits(low=10)
        assert transport.get_write_buffer_limits() == (10, 40)
        transport.set_write_buffer_limits(high=0)
        assert transport.get_write_buffer_limits() == (0, 0)
        with pytest.raises(ValueError, match="must be >= low"):
            transport.set_write_buffer_limits(high=10, low=20)


async def test_write_buffer_size_counts_what_waits() -> None:
    async with running("sleep", "1000", stdin=PIPE) as proc:
        proc.stdin.write(b"x" * ENDLESS)
        waiting = proc.stdin.transport.get_write_buffer_size()
        assert ENDLESS - (1 << 20) <= waiting <= ENDLESS
        proc.stdin.write(b"x" * 100)
        assert proc.stdin.transport.get_write_buffer_size() == waiting + 100


async def test_drain_follows_the_limits() -> None:
    async with running("sleep", "1000", stdin=PIPE) as proc:
        proc.stdin.transport.set_write_buffer_limits(high=ENDLESS * 2)
        proc.stdin.write(b"x" * ENDLESS)
        await asyncio.wait_for(proc.stdin.drain(), 20)
        proc.stdin.transport.set_write_buffer_limits(high=0)
        proc.stdin.write(b"x")
        drain = asyncio.create_task(proc.stdin.drain())
        await turns(10)
        assert not drain.done()
        drain.cancel()


async def test_marks_may_be_any_integer() -> None:
    async with running("sleep", "1000", stdin=PIPE) as proc:
        for marks in ({"high": 2**64}, {"low": 2**64}, {"high": 2**200, "low": 2**100}):
            proc.stdin.transport.set_write_buffer_limits(**marks)
            proc.stdin.write(b"x" * ENDLESS)
            await asyncio.wait_for(proc.stdin.drain(), 20)
        with pytest.raises(ValueError, match="must be >="):
            proc.stdin.transport.set_write_buffer_limits(low=-(2**64))


class Marks(asyncio.transports._FlowControlMixin):  # type: ignore[name-defined]
    """A transport of asyncio's of which only the marks are real."""

    def get_write_buffer_size(self) -> int:
        return 0


NUMBERS: list[Any] = [None, 0, 1, 3, True, -1, 2**70, -(2**70), Fraction(7, 2), Decimal("7.5")]
NUMBERS += [0.5, 1.5, 7.9, -0.5, -1.5, math.inf, -math.inf, math.nan, "4", b"4", 1j, [4]]


@pytest.mark.skipif(shim.ACTIVE, reason=skips.COMPARES_WITH_ASYNCIO)
async def test_marks_are_the_numbers_that_asyncio_takes() -> None:
    """In whole bytes, by which as many are above and below; what is wrong is said in the same words."""

    def outcome(transport: Any, high: Any, low: Any) -> Any:
        try:
            transport.set_write_buffer_limits(high, low)
        except (TypeError, ValueError, ArithmeticError) as error:
            return type(error), str(error)
        return [min(mark // 1, sys.maxsize) if mark < math.inf else sys.maxsize for mark in limits(transport)]

    def limits(transport: Any) -> tuple[Any, Any]:
        return transport.get_write_buffer_limits()  # type: ignore[no-any-return]

    loop = asyncio.get_running_loop()
    async with running("sleep", "1000", stdin=PIPE) as proc:
        for high in NUMBERS:
            for low in NUMBERS:
                theirs = outcome(Marks(loop=loop), high, low)
                assert outcome(proc.stdin.transport, high, low) == theirs, (high, low)


async def test_abort_drops_what_waits() -> None:
    async with running("sleep", "1000", stdin=PIPE) as proc:
        proc.stdin.write(b"x" * ENDLESS)
        proc.stdin.transport.abort()
        assert proc.stdin.is_closing()
        try:
            await proc.stdin.wait_closed()
        except (BrokenPipeError, ConnectionResetError):
            pass


async def test_extra_info() -> None:
    async with cat() as proc:
        pipe = proc.stdin.get_extra_info("pipe")
        assert stat.S_ISFIFO(os.fstat(pipe.fileno()).st_mode)
        assert proc.stdin.transport.get_extra_info("pipe").fileno() == pipe.fileno()
        assert proc.stdin.get_extra_info("no such thing") is None
        assert proc.stdin.get_extra_info("no such thing", 5) == 5


async def test_repr_of_the_writer() -> None:
    async with cat() as proc:
        assert "StreamWriter" in repr(proc.stdin)


@pytest.mark.differs
async def test_drain_that_ends_with_everything_written_and_closed() -> None:
    proc = await sh("wc -c", stdin=PIPE, stdout=PIPE)
    proc.stdin.write(b"x" * 300_000)
    proc.stdin.close()
    await proc.stdin.drain()
    assert (await proc.stdout.read()).split() == [b"300000"]
    await proc.wait()


async def test_drain_waits_for_the_low_water_mark_only() -> None:
    """Not until the queue is empty: the child reads once and then no more."""
    script = "import os; os.read(0, 65536); os.read(int(os.sys.argv[1]), 1)"
    wait, go = os.pipe()
    async with running(sys.executable, "-c", script, str(wait), stdin=PIPE, pass_fds=[wait]) as proc:
        os.close(wait)
        # A full pipe, what makes room for the child's read, and half of the low-water mark.
        proc.stdin.write(bytes(65536 + 65536 + 8192))
        assert proc.stdin.transport.get_write_buffer_size() > 65536
        await asyncio.wait_for(proc.stdin.drain(), 20)
        assert proc.stdin.transport.get_write_buffer_size() == 8192
        os.close(go)
