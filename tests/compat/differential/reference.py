"""asyncio as a reference: stock, but for the differences that docs/differences.md names.

Each of them is one function here. What is not here has to be the same.
"""

from __future__ import annotations

import asyncio
import asyncio.base_subprocess
import asyncio.subprocess
import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

from play import Child, Player

_read = asyncio.StreamReader.read
_drain = asyncio.StreamWriter.drain
_communicate = asyncio.subprocess.Process.communicate
_read_stream = asyncio.subprocess.Process._read_stream  # type: ignore[attr-defined]
_process_exited = asyncio.base_subprocess.BaseSubprocessTransport._process_exited


async def read(self: Any, n: int = -1) -> bytes:
    """Reading: "a cancelled read() (to the end)", and with it a cancelled communicate()."""
    if n >= 0:
        return await _read(self, n)
    blocks = []
    try:
        while block := await _read(self, self._limit):
            blocks.append(block)
    except asyncio.CancelledError:
        self._buffer[0:0] = b"".join(blocks)
        raise
    return b"".join(blocks)


async def readline(self: Any) -> bytes:
    """Reading: "readline() or async for over an explicit limit"."""
    try:
        return await self.readuntil(b"\n")
    except asyncio.IncompleteReadError as error:
        return error.partial
    except asyncio.LimitOverrunError as error:
        raise ValueError(error.args[0]) from error


async def communicate(self: Any, input: bytes | None = None) -> tuple[Any, Any]:
    """Writing: "communicate() without input, stdin=PIPE". Reading: "a cancelled communicate()"."""
    self._collected = {}
    try:
        return await _communicate(self, b"" if input is None and self.stdin is not None else input)
    except asyncio.CancelledError:
        for fd, data in self._collected.items():
            (self.stdout if fd == 1 else self.stderr)._buffer[0:0] = data
        raise


async def read_stream(self: Any, fd: int) -> bytes:
    """Reading: "a cancelled communicate()", when one of the outputs has ended before the other."""
    self._collected[fd] = await _read_stream(self, fd)
    return self._collected[fd]


def process_exited(self: Any, returncode: int) -> None:
    """Waiting: "wait() while a descendant of the child holds its pipes" and "while output is unread"."""
    _process_exited(self, returncode)
    if self._exit_waiters is None:  # asyncio itself does so from 3.14 on
        return
    for waiter in self._exit_waiters:
        if not waiter.done():
            waiter.set_result(returncode)
    self._exit_waiters = []


def send_signal(self: Any, signal: int) -> None:
    """Signals: "a signal after the end"."""
    if self.returncode is not None:
        raise ProcessLookupError
    self._transport.send_signal(signal)


async def wait_closed(self: Any) -> None:
    """Writing: "a cancelled stdin.wait_closed()"."""
    await asyncio.shield(self._protocol._get_close_waiter(self))
    self._own_close = False


def close(self: Any) -> None:
    """Writing: "drain() after the program's own close()"."""
    self._own_close = getattr(self, "_own_close", not self.transport.is_closing())
    self.transport.close()


def write_eof(self: Any) -> None:
    """The same."""
    self._own_close = getattr(self, "_own_close", not self.transport.is_closing())
    self.transport.write_eof()


async def drain(self: Any) -> None:
    """The same."""
    own_close = getattr(self, "_own_close", False)
    try:
        await _drain(self)
    except ConnectionResetError:
        closed = self._protocol._get_close_waiter(self)
        if not own_close or not closed.done() or closed.exception():
            raise
    if self.transport.is_closing() and not self.transport.get_write_buffer_size():
        self._own_close = False


@contextlib.contextmanager
def differences() -> Iterator[None]:
    """All of them, for the length of a block."""
    process = asyncio.subprocess.Process
    with (
        mock.patch.object(asyncio.StreamReader, "read", read),
        mock.patch.object(asyncio.StreamReader, "readline", readline),
        mock.patch.object(asyncio.StreamWriter, "wait_closed", wait_closed),
        mock.patch.object(asyncio.StreamWriter, "close", close),
        mock.patch.object(asyncio.StreamWriter, "write_eof", write_eof),
        mock.patch.object(asyncio.StreamWriter, "drain", drain),
        mock.patch.object(process, "communicate", communicate),
        mock.patch.object(process, "_read_stream", read_stream),
        mock.patch.object(process, "send_signal", send_signal),
        mock.patch.object(process, "kill", lambda self: send_signal(self, 9)),
        mock.patch.object(process, "terminate", lambda self: send_signal(self, 15)),
        mock.patch.object(asyncio.base_subprocess.BaseSubprocessTransport, "_process_exited", process_exited),
    ):
        yield


class Reference(Player):
    """A run on asyncio."""

    def drop(self, child: Child) -> None:
        """Ends: "a Process that is dropped while it runs"."""
        child.process._transport.close()
        child.process = None

    async def do_close_loop(self) -> None:
        """Ends: "a loop that is closed while children run"."""
        for child in self.children:
            if child.process is not None:
                await self.do_drop(self.children.index(child))
