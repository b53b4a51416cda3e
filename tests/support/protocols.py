"""Protocols that write down what they are told, for the tests of the low-level API."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from support import DEADLINE, turns


class Recorder(asyncio.SubprocessProtocol):
    """Every callback by name, in order; what came on each pipe; and a future for the end."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.data: dict[int, bytearray] = {1: bytearray(), 2: bytearray()}
        self.transport: Any = None
        self.ended = asyncio.get_running_loop().create_future()

    def note(self, *call: Any) -> None:
        self.calls.append(call)

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.note("connection_made")

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self.data[fd] += data
        self.note("pipe_data_received", fd)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        self.note("pipe_connection_lost", fd, exc)

    def process_exited(self) -> None:
        self.note("process_exited")

    def connection_lost(self, exc: Exception | None) -> None:
        self.note("connection_lost", exc)
        self.ended.set_result(None)

    def pause_writing(self) -> None:
        self.note("pause_writing")

    def resume_writing(self) -> None:
        self.note("resume_writing")

    def names(self) -> list[str]:
        """The callbacks, without their arguments."""
        return [name for name, *_ in self.calls]

    def lost(self, fd: int) -> Any:
        """What pipe_connection_lost was told of a pipe: a list of one exception or None, or empty."""
        return [call[2] for call in self.calls if call[:2] == ("pipe_connection_lost", fd)]

    async def end(self) -> None:
        """Wait for connection_lost."""
        async with asyncio.timeout(DEADLINE):
            await self.ended


class PipeRecorder(asyncio.Protocol):
    """The same for a pipe of its own."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.data = bytearray()
        self.transport: Any = None
        self.ended = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.calls.append(("connection_made",))

    def data_received(self, data: bytes) -> None:
        self.data += data
        self.calls.append(("data_received",))

    def eof_received(self) -> None:
        self.calls.append(("eof_received",))

    def connection_lost(self, exc: Exception | None) -> None:
        self.calls.append(("connection_lost", exc))
        self.ended.set_result(exc)

    def pause_writing(self) -> None:
        self.calls.append(("pause_writing",))

    def resume_writing(self) -> None:
        self.calls.append(("resume_writing",))

    def names(self) -> list[str]:
        """The callbacks, without their arguments."""
        return [name for name, *_ in self.calls]

    async def end(self) -> Any:
        """Wait for connection_lost; return its argument."""
        async with asyncio.timeout(DEADLINE):
            return await self.ended


async def start(*command: Any, protocol: Callable[[], Any] = Recorder, **options: Any) -> tuple[Any, Any]:
    """`subprocess_exec` of the running loop."""
    return await asyncio.get_running_loop().subprocess_exec(protocol, *command, **options)


async def finish(transport: Any, protocol: Any) -> None:
    """Close it and wait for its end."""
    transport.close()
    if not protocol.ended.done():
        await protocol.end()
    await turns(2)


@contextlib.contextmanager
def reported(loop: asyncio.AbstractEventLoop) -> Iterator[list[dict[str, Any]]]:
    """What goes to the loop's exception handler meanwhile."""
    contexts: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _loop, context: contexts.append(context))
    try:
        yield contexts
    finally:
        loop.set_exception_handler(None)
