"""In which turn of the loop a protocol is told of the end of its pipe: in the one in which asyncio tells it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import shim
import skips
from pipe_ends import MEG, opened, writing
from protocols import PipeRecorder, Recorder, start
from stock_loop import StockLoop
from support import turns, until

pytestmark = pytest.mark.skipif(shim.ACTIVE, reason=skips.COMPARES_WITH_ASYNCIO)

Scenario = Callable[[], Coroutine[Any, Any, Any]]
LoopFactory = Callable[[], asyncio.AbstractEventLoop]


def on_both(scenario: Scenario, loop_factory: LoopFactory) -> tuple[Any, Any]:
    """The result on procio and on asyncio."""
    results = []
    for factory in (loop_factory, StockLoop):
        with asyncio.Runner(loop_factory=factory) as runner:
            results.append(runner.run(scenario()))
    return results[0], results[1]


async def turn_of(condition: Callable[[], Any]) -> int:
    """How many times the program gave way before it was true."""
    for turn in range(20):
        if condition():
            return turn
        await turns(1)
    raise AssertionError("not within twenty turns")


async def _queue(transport: Any) -> None:
    transport.write(b"x" * 8 * MEG)
    await turns(4)


async def _end(how: str, transport: Any, reader: Any) -> None:
    """End a pipe in one of many ways."""
    if how.startswith("queued"):
        await _queue(transport)
    if how.endswith("the peer"):
        reader.close()
    if "then write" in how:
        reader.close()
        transport.write(b"x")
    if "write_eof" in how:
        transport.write_eof()
        if "written" in how:
            transport.write(b"x")
    if "close" in how.split():
        transport.close()
    if "abort" in how.split():
        transport.abort()


BY_PROGRAM = ("close", "abort", "write_eof", "write_eof, written after it", "queued, abort", "queued, close, abort")
BY_PEER = ("the peer", "queued, the peer", "queued, close, the peer")


async def _lost(kind: str, how: str, folder: Path) -> tuple[int, str]:
    reader, writer = opened(kind, folder)
    transport, protocol = await writing(writer)
    await turns(5)
    if how == "queued, close, the peer":
        await _queue(transport)
        transport.close()
        reader.close()
    else:
        await _end(how, transport, reader)
    turn = await turn_of(protocol.ended.done)
    reader.close()
    return turn, repr(protocol.ended.result())


@pytest.mark.parametrize("kind", ["pipe", "socket"])
@pytest.mark.parametrize("how", [*BY_PROGRAM, "the peer, then write"])
def test_what_the_program_ends(kind: str, how: str, loop_factory: LoopFactory, tmp_path: Path) -> None:
    ours, theirs = on_both(lambda: _lost(kind, how, tmp_path), loop_factory)
    assert ours == theirs


@pytest.mark.parametrize("kind", ["pipe", "socket"])
@pytest.mark.parametrize("how", BY_PEER)
def test_what_the_peer_ends(kind: str, how: str, loop_factory: LoopFactory, tmp_path: Path) -> None:
    """Not later, that is: uvloop asks for events at another point of its turn."""
    (turn, error), (their_turn, their_error) = on_both(lambda: _lost(kind, how, tmp_path), loop_factory)
    assert turn <= their_turn
    assert error == their_error


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_a_stream_writer_learns_of_it_at_its_first_drain(kind: str, loop_factory: LoopFactory, tmp_path: Path) -> None:
    async def errors() -> list[str]:
        reader, writer = opened(kind, tmp_path)
        transport, protocol = await writing(writer, asyncio.streams.FlowControlMixin)  # type: ignore[attr-defined]
        stream = asyncio.StreamWriter(transport, protocol, None, asyncio.get_running_loop())
        reader.close()
        found = []
        for _ in range(3):
            stream.write(b"x")
            try:
                await stream.drain()
            except OSError as error:
                found.append(type(error).__name__)
        return found

    ours, theirs = on_both(errors, loop_factory)
    assert ours == theirs == ["ConnectionResetError"] * 3


def test_what_connection_lost_raises_goes_to_the_exception_handler(loop_factory: LoopFactory, tmp_path: Path) -> None:
    class Raises(PipeRecorder):
        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            raise KeyError("on purpose")

    async def reported() -> tuple[list[str], bool]:
        contexts: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: contexts.append(context))
        reader, writer = opened("pipe", tmp_path)
        transport, protocol = await writing(writer, Raises)
        transport.close()
        await turn_of(protocol.ended.done)
        reader.close()
        return [repr(context["exception"]) for context in contexts], writer.closed

    ours, theirs = on_both(reported, loop_factory)
    assert ours == theirs == (["KeyError('on purpose')"], True)


@pytest.mark.parametrize("how", ["close", "abort", "queued, abort", "close the output", "close all"])
def test_pipes_of_a_child(how: str, loop_factory: LoopFactory) -> None:
    async def lost() -> tuple[int, list[int]]:
        transport, protocol = await start("sleep", "1000", protocol=Recorder)
        await turns(5)
        stdin, stdout = transport.get_pipe_transport(0), transport.get_pipe_transport(1)
        if how == "close all":
            transport.close()
        elif how == "close the output":
            stdout.close()
        else:
            await _end(how, stdin, None)
        turn = await turn_of(lambda: "pipe_connection_lost" in protocol.names())
        fds = [call[1] for call in protocol.calls if call[0] == "pipe_connection_lost"]
        with contextlib.suppress(ProcessLookupError):
            transport.kill()
        transport.close()
        await protocol.end()
        return turn, fds

    ours, theirs = on_both(lost, loop_factory)
    assert ours == theirs


def test_an_input_that_is_closed_and_then_drained(loop_factory: LoopFactory) -> None:
    """By a protocol that is not asyncio's own, whose streams are asyncio's."""

    class Protocol(asyncio.subprocess.SubprocessStreamProtocol):
        pass

    async def drained() -> tuple[str, bytes]:
        loop = asyncio.get_running_loop()
        transport, protocol = await start("cat", protocol=lambda: Protocol(2**16, loop))
        process = asyncio.subprocess.Process(transport, protocol, loop)
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"data")
        process.stdin.close()
        try:
            await process.stdin.drain()
            result = "nothing"
        except OSError as error:
            result = repr(error)
        data = await process.stdout.read()
        await process.wait()
        await turns(5)
        return result, data

    ours, theirs = on_both(drained, loop_factory)
    assert ours == theirs == ("nothing", b"data")


@pytest.mark.parametrize("outputs", [True, False])
def test_the_transport_of_streams_is_closing_after_the_end(outputs: bool, loop_factory: LoopFactory) -> None:
    async def closing() -> tuple[bool, bool]:
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.subprocess_exec(
            lambda: asyncio.subprocess.SubprocessStreamProtocol(2**16, loop),
            "cat",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE if outputs else asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        process = asyncio.subprocess.Process(transport, protocol, loop)
        before = transport.is_closing()
        assert process.stdin is not None
        process.stdin.close()
        if process.stdout is not None:
            assert await process.stdout.read() == b""
        assert await process.wait() == 0
        await until(transport.is_closing, "closing")
        return before, transport.is_closing()

    ours, theirs = on_both(closing, loop_factory)
    assert ours == theirs == (False, True)
