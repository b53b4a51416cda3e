"""The streams of a child: asyncio's classes by type, the work done in Rust."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, overload

from . import _core
from ._coroutine import coroutine_function

if TYPE_CHECKING:
    from . import _transports

_read = _core.StreamReader.read
_readline = _core.StreamReader.readline
_readexactly = _core.StreamReader.readexactly
_readuntil = _core.StreamReader.readuntil
_drain = _core.StreamWriter.drain
_wait_closed = _core.StreamWriter.wait_closed


class _AsAsyncio(type):
    """Classes whose instances are asyncio's, too: the streams of sockets, and those made by hand.

    A program that takes this module for asyncio asks ``isinstance(reader, asyncio.StreamReader)``.
    """

    def __instancecheck__(cls, instance: object) -> bool:
        if cls is StreamReader:
            return isinstance(instance, asyncio.StreamReader)
        if cls is StreamWriter:
            return isinstance(instance, asyncio.StreamWriter)
        return super().__instancecheck__(instance)


class StreamReader(_core.StreamReader, asyncio.StreamReader, metaclass=_AsAsyncio):
    """The reading end of a child's standard output or error.

    It has every public method of :class:`asyncio.StreamReader`, and ``close()``, which asyncio
    lacks (CPython issue 130925). Safe to cancel: a read that is cancelled loses nothing.

    Called by a program, with ``limit`` and ``loop`` or with neither, it returns asyncio's stream, which
    is filled by ``feed_data``. A class that is to be made by hand derives from asyncio's.
    """

    if TYPE_CHECKING:

        def __init__(self, limit: int = 2**16, loop: asyncio.AbstractEventLoop | None = None) -> None: ...

    else:

        def __new__(cls, *args, **kwds):
            if cls is StreamReader and (kwds or not args or isinstance(args[0], int | float)):
                return asyncio.StreamReader(*args, **kwds)
            return super().__new__(cls, *args)

        def __init__(self, *args, **kwds) -> None:
            """Make nothing: what procio makes is made by ``__new__``."""

    if not TYPE_CHECKING:  # checkers take the types from _core.pyi, where these are `async def`

        @coroutine_function
        def read(self, n: int = -1) -> bytes:
            """Read at most ``n`` bytes, waiting until there are any; all until the end if ``n`` is negative.

            Returns ``b""`` at the end. Raises OSError if the pipe cannot be read, RuntimeError while
            another task reads. Safe to cancel: nothing is lost, call again.
            """
            return _read(self, n)

        @coroutine_function
        def readline(self) -> bytes:
            """Read a line.

            Returns it with its newline; what is left, without one, at the end; then ``b""``. Raises
            ValueError for a line longer than the limit, which stays to be read, and otherwise as
            :meth:`read`. Safe to cancel: nothing is lost, call again.
            """
            return _readline(self)

        @coroutine_function
        def readexactly(self, n: int) -> bytes:
            """Read ``n`` bytes, neither more nor fewer.

            Raises IncompleteReadError, with what there was, if the pipe ends before, ValueError for a
            negative ``n``, and otherwise as :meth:`read`. Safe to cancel: nothing is lost, call again.
            """
            return _readexactly(self, n)

        @coroutine_function
        def readuntil(self, separator=b"\n") -> bytes:
            """Read until ``separator``: bytes, or a tuple of them of which the first that occurs counts.

            Returns what was read, the separator included. Raises IncompleteReadError, with what there
            was, if the pipe ends before; LimitOverrunError if the separator is not within the limit,
            and then the bytes stay to be read; otherwise as :meth:`read`. Safe to cancel: nothing is
            lost, call again.
            """
            return _readuntil(self, separator)

    @overload
    def lines(
        self, *, encoding: None = None, errors: str = "strict", keepends: bool = True
    ) -> AsyncIterator[bytes]: ...

    @overload
    def lines(self, *, encoding: str, errors: str = "strict", keepends: bool = True) -> AsyncIterator[str]: ...

    def lines(self, *, encoding: str | None = None, errors: str = "strict", keepends: bool = True) -> Any:
        """Return an asynchronous iterator over the lines of the stream.

        They are bytes that end with ``\\n``. With an ``encoding`` (``"locale"`` is that of the locale) they are text,
        every line ending is ``\\n``, and the iterator reads up to 64 KiB ahead, which other readers do not see. Without
        ``keepends`` the line ending is taken off. The last line may have none.

        Raises LookupError for an unknown ``encoding`` or ``errors``, and for an encoding that is not of
        text. The iterator raises ValueError for a line longer than the limit, which counts bytes, as they
        were before decoding and without the line ending; the line stays, so it raises that again when it
        is asked again. It raises UnicodeDecodeError for bytes that cannot be decoded (unless ``errors``
        says what is to be done), after the lines before them, and goes on behind those bytes; otherwise it
        raises as :meth:`read`. Safe to cancel: nothing is lost, go on with the same iterator.
        """
        from ._lines import Lines
        from ._text import Codec

        codec = Codec.for_lines(encoding, errors)
        return self if codec is None and keepends else Lines(self, codec, keepends)

    def set_transport(self, transport: asyncio.BaseTransport) -> None:
        """Do nothing: there is no transport to set, the stream reads its pipe itself."""

    @property
    def _transport(self) -> _transports.ReadPipeTransport:
        from . import _transports

        transport: _transports.ReadPipeTransport = _transports.view(self)
        return transport


class StreamWriter(_core.StreamWriter, asyncio.StreamWriter, metaclass=_AsAsyncio):
    """The writing end of a child's standard input.

    It has every public method of :class:`asyncio.StreamWriter`. Called by a program, with a transport,
    a protocol, a reader and a loop, it returns asyncio's stream.
    """

    if TYPE_CHECKING:

        def __init__(
            self,
            transport: asyncio.WriteTransport,
            protocol: asyncio.BaseProtocol,
            reader: asyncio.StreamReader | None,
            loop: asyncio.AbstractEventLoop,
        ) -> None: ...

    else:

        def __new__(cls, *args, **kwds):
            if cls is StreamWriter and len(args) + len(kwds) > 1:
                return asyncio.StreamWriter(*args, **kwds)
            return super().__new__(cls, *args)

        def __init__(self, *args, **kwds) -> None:
            """Make nothing: what procio makes is made by ``__new__``."""

    if not TYPE_CHECKING:  # checkers take the types from _core.pyi, where these are `async def`

        @coroutine_function
        def drain(self) -> None:
            """Wait until the buffer has drained to the low-water mark, if it has grown past the high-water mark.

            Otherwise return at once. The marks are 16 and 64 KiB, see
            :meth:`asyncio.WriteTransport.set_write_buffer_limits`. Raises BrokenPipeError or
            ConnectionResetError when the child no longer reads. Safe to cancel: nothing is lost.
            """
            return _drain(self)

        @coroutine_function
        def wait_closed(self) -> None:
            """Wait until everything is written and the pipe is closed.

            Raises the OSError that ended writing, if one did. Safe to cancel: nothing is lost.
            """
            return _wait_closed(self)

    async def start_tls(self, *args: Any, **kwds: Any) -> None:
        """Raise NotImplementedError: there is no TLS on a pipe, which asyncio cannot start either."""
        raise NotImplementedError("a pipe to a child cannot be upgraded to TLS")

    def __del__(self, *args: Any) -> None:
        """Nothing is left to do: the descriptor is closed by its owner."""

    @property
    def transport(self) -> asyncio.WriteTransport:
        """The transport that asyncio would have beneath: the same pipe by other names."""
        from . import _transports

        transport: asyncio.WriteTransport = _transports.view(self)
        return transport

    _transport = transport

    @property
    def _protocol(self) -> _FlowControl:
        return _FlowControl(self)

    @property
    def _loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what the transport knows: ``"pipe"`` gives an object with the descriptor's ``fileno()``."""
        return self.transport.get_extra_info(name, default)

    def __repr__(self) -> str:
        try:
            return f"<StreamWriter transport={self.transport!r}>"
        except ImportError:  # while the interpreter shuts down, in the warning about an unclosed transport
            return "<StreamWriter>"


class _FlowControl:
    """What ``StreamWriter._protocol`` is to those who look at it: the state of the flow control."""

    def __init__(self, stream: StreamWriter) -> None:
        self._stream = stream

    @property
    def _paused(self) -> bool:
        return self._stream._is_paused()

    async def _drain_helper(self) -> None:
        await self._stream.drain()
