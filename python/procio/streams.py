"""The streams of a child: asyncio's classes by type, the work done in Rust."""

import asyncio
from typing import Any

from . import _core, transports
from ._coroutine import coroutine_function

_read = _core.StreamReader.read
_readline = _core.StreamReader.readline
_readexactly = _core.StreamReader.readexactly
_readuntil = _core.StreamReader.readuntil
_drain = _core.StreamWriter.drain
_wait_closed = _core.StreamWriter.wait_closed


class StreamReader(_core.StreamReader, asyncio.StreamReader):
    """The reading end of a child's standard output or error.

    It has every public method of :class:`asyncio.StreamReader`, and ``close()``, which asyncio
    lacks (CPython issue 130925). Made by procio only.
    """

    def __new__(cls, *args: Any, **kwds: Any) -> "StreamReader":
        return super().__new__(cls, *args)

    def __init__(self, *args: Any, **kwds: Any) -> None:
        """Made by procio only."""

    @coroutine_function
    def read(self, n: int = -1) -> _core.Awaitable[bytes]:
        """At most ``n`` bytes, as soon as there are any; all until the end if ``n`` is negative.

        ``b""`` at the end. Cancelled, it loses nothing.
        """
        return _read(self, n)

    @coroutine_function
    def readline(self) -> _core.Awaitable[bytes]:
        """A line with its newline; what is left at the end; ``b""`` after it.

        Raises ValueError for a line longer than the limit, which stays to be read. Cancelled, it
        loses nothing.
        """
        return _readline(self)

    @coroutine_function
    def readexactly(self, n: int) -> _core.Awaitable[bytes]:
        """Exactly ``n`` bytes. Raises IncompleteReadError at the end. Cancelled, it loses nothing."""
        return _readexactly(self, n)

    @coroutine_function
    def readuntil(self, separator: Any = b"\n") -> _core.Awaitable[bytes]:
        """All bytes up to and with the first separator: bytes, or a tuple of them.

        Raises IncompleteReadError at the end, LimitOverrunError above the limit. Cancelled, it loses
        nothing.
        """
        return _readuntil(self, separator)

    def set_transport(self, transport: asyncio.BaseTransport) -> None:
        """Do nothing: there is no transport to set, the stream reads its pipe itself."""

    @property
    def _transport(self) -> transports.ReadPipeTransport:
        transport: transports.ReadPipeTransport = transports.view(self)
        return transport


class StreamWriter(_core.StreamWriter, asyncio.StreamWriter):
    """The writing end of a child's standard input.

    It has every public method of :class:`asyncio.StreamWriter`. Made by procio only.
    """

    def __init__(self, *args: Any, **kwds: Any) -> None:
        """Made by procio only."""

    @coroutine_function
    def drain(self) -> _core.Awaitable[None]:
        """Wait until at most the low-water mark is queued, if more than the high-water mark was.

        Raises BrokenPipeError or ConnectionResetError when the child no longer reads. Cancelled, it
        loses nothing.
        """
        return _drain(self)

    @coroutine_function
    def wait_closed(self) -> _core.Awaitable[None]:
        """Wait until it is closed and everything is written. Raises the error that ended writing."""
        return _wait_closed(self)

    def __del__(self, *args: Any) -> None:
        """Nothing is left to do: the descriptor is closed by its owner."""

    @property
    def transport(self) -> asyncio.WriteTransport:
        """The transport that asyncio would have beneath: the same pipe by other names."""
        transport: asyncio.WriteTransport = transports.view(self)
        return transport

    _transport = transport

    @property
    def _protocol(self) -> "_FlowControl":
        return _FlowControl(self)

    @property
    def _loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """``"pipe"`` gives an object with the descriptor's ``fileno()``."""
        return self.transport.get_extra_info(name, default)

    def __repr__(self) -> str:
        return f"<StreamWriter transport={self.transport!r}>"


class _FlowControl:
    """What ``StreamWriter._protocol`` is to those who look at it: the state of the flow control."""

    def __init__(self, stream: StreamWriter) -> None:
        self._stream = stream

    @property
    def _paused(self) -> bool:
        return self._stream._is_paused()

    async def _drain_helper(self) -> None:
        await self._stream.drain()
