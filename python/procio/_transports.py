"""asyncio's pipe transports over procio's pipes.

The same pipe has two faces. Driven by a protocol, a transport delivers what it reads by callbacks,
as asyncio's does. Without one it is a view of a stream, which goes on to own the pipe.
"""

from __future__ import annotations

import asyncio
import contextvars
import errno
import warnings
import weakref
from asyncio.log import logger
from collections.abc import Callable, Iterable
from typing import Any

from . import _core

_feed_buffered: Any = getattr(asyncio.protocols, "_feed_data_to_buffered_proto")  # noqa: B009

# What one data_received is given at most, in bytes, and how often one turn of the loop calls it.
# Together they are what asyncio reads in a turn.
_PIECE = 64 * 1024
_PIECES = 4


class PipeInfo:
    """What ``get_extra_info("pipe")`` gives for a child's pipe: the descriptor, which procio owns."""

    def __init__(self, stream: _core.StreamReader | _core.StreamWriter) -> None:
        self._stream = stream

    def fileno(self) -> int:
        """Return the descriptor, or -1 once it is closed."""
        return self._stream._fileno()

    @property
    def closed(self) -> bool:
        """Whether the descriptor is closed."""
        return self.fileno() == -1

    def close(self) -> None:
        """Close the stream of the pipe, and with it the descriptor."""
        self._stream.close()


class _PipeTransport(asyncio.BaseTransport):
    """What both directions share: the protocol, its callbacks, and the end."""

    _stream: Any

    def __init__(
        self,
        loop: Any,
        stream: Any,
        protocol: Any = None,
        pipe: Any = None,
        context: contextvars.Context | None = None,
    ) -> None:
        super().__init__({"pipe": PipeInfo(stream) if pipe is None else pipe})
        self._loop = loop
        self._stream = stream
        self._protocol: Any = None
        self.set_protocol(protocol)
        self._pipe = pipe
        self._context = contextvars.copy_context() if context is None else context
        # Whether a protocol is served at all, and whether it still is.
        self._callback_mode = self._connected = protocol is not None

    def get_protocol(self) -> Any:
        """Return the protocol, or None for the pipe of a stream."""
        return self._protocol

    def set_protocol(self, protocol: Any) -> None:
        """Deliver to another protocol from now on."""
        self._protocol = protocol

    def _connect(self) -> None:
        """Call connection_made: at once, so that no task can be cancelled between it and the pipe."""
        self._call(self._protocol.connection_made, self, context=self._context.copy())

    def _call(self, callback: Callable[..., Any], *args: Any, context: Any = None) -> None:
        """Call the protocol. What it raises goes to the loop's exception handler, as in asyncio."""
        try:
            if context is None:
                callback(*args)
            else:
                context.run(callback, *args)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            self._report(exc, f"Exception in {getattr(callback, '__qualname__', callback)}")

    def _report(self, exc: BaseException, message: str) -> None:
        self._loop.call_exception_handler(
            {"message": message, "exception": exc, "transport": self, "protocol": self._protocol}
        )

    def _soon(self, callback: Callable[..., Any], *args: Any) -> None:
        # A copy for each callback, as in asyncio: one that runs the loop again has entered its own.
        self._loop.call_soon(callback, *args, context=self._context.copy())

    def _lose(self, exc: BaseException | None) -> None:
        """Tell the protocol, once, in a turn of its own."""
        if not self._connected:
            return
        self._connected = False
        if self._loop.is_closed():
            self._release()
        else:
            self._soon(self._connection_lost, exc)

    def _connection_lost(self, exc: BaseException | None) -> None:
        try:
            self._protocol.connection_lost(exc)
        finally:
            self._release()

    def _release(self) -> None:
        """Let go of the protocol, the loop and the pipe: a reference to the transport keeps nothing else alive."""
        self._protocol = self._loop = None
        if self._pipe is not None:
            self._pipe.close()

    def __del__(self, _warn: Callable[..., None] = warnings.warn) -> None:
        if self._connected and self._pipe is not None:
            _warn(f"unclosed transport {self!r}", ResourceWarning, source=self)
            self._pipe.close()

    def _state(self) -> str:
        if self._stream._fileno() == -1:
            return "closed"
        return "closing" if self.is_closing() else "open"


class ReadPipeTransport(_PipeTransport, asyncio.ReadTransport):
    """The reading end of a pipe, by the names of :class:`asyncio.ReadTransport`."""

    _stream: _core.StreamReader

    def __init__(self, *args: Any, **kwds: Any) -> None:
        super().__init__(*args, **kwds)
        self._closing = False
        # The view of a stream may not be the first one.
        self._paused = self._stream._is_read_ahead_paused()
        self._due = False

    def set_protocol(self, protocol: Any) -> None:
        """Deliver to another protocol from now on."""
        super().set_protocol(protocol)
        # asyncio's pipes do not serve these, but uvloop's do.
        self._buffered = isinstance(protocol, asyncio.BufferedProtocol)

    def _start(self) -> None:
        """Read in a turn of its own; only one is ever due."""
        if not self._due:
            self._due = True
            self._soon(self._turn)

    def _turn(self) -> None:
        self._due = False
        self._read()

    def _again(self) -> None:
        """Read on. The loop calls it when there is more."""
        self._context.copy().run(self._read)

    def _read(self) -> None:
        """Deliver what there is, but not more than is right for one turn; or wait for more."""
        for _ in range(_PIECES):
            if self._paused or not self._connected:
                return
            try:
                data = self._stream._read_nowait(_PIECE, self._again)
            except OSError as exc:
                self._fail(exc)
                return
            except BaseException:
                # Of a lack of memory the loop is told, and the next turn tries again, as with asyncio.
                self._start()
                raise
            if data is None:
                return
            if not data:
                self._end()
                return
            try:
                self._deliver(data)
            except BaseException:
                # What ends the run of the loop does not end the delivery.
                self._start()
                raise
        self._start()

    def _fail(self, exc: OSError) -> None:
        """Report what ended the pipe. EIO is the end of a pseudo-terminal and no news."""
        self._closing = True
        if exc.errno != errno.EIO:
            self._report(exc, "Fatal read error on pipe transport")
        elif self._loop.get_debug():
            logger.debug("%r: fatal read error on pipe transport", self, exc_info=exc)
        self._lose(exc)

    def _end(self) -> None:
        self._closing = True
        if self._loop.get_debug():
            logger.info("%r was closed by peer", self)
        self._soon(self._protocol.eof_received)
        self._lose(None)

    def _deliver(self, data: bytes) -> None:
        if self._buffered:
            self._call(_feed_buffered, self._protocol, data)
        else:
            self._call(self._protocol.data_received, data)

    def is_reading(self) -> bool:
        """Return whether bytes that come will be delivered."""
        return not self._paused and not self.is_closing()

    def pause_reading(self) -> None:
        """Deliver nothing more until :meth:`resume_reading`.

        The child is held up once the pipe is full. A second call, or one after the end, does nothing.
        """
        if not self.is_reading():
            return
        self._paused = True
        if self._callback_mode:
            self._stream._cancel_callback()
        else:
            self._stream._pause_read_ahead(True)
        self._log("%r pauses reading")

    def resume_reading(self) -> None:
        """Deliver again, from the next turn of the loop on. Without a pause before, it does nothing."""
        if self._closing or not self._paused:
            return
        self._paused = False
        if self._connected:
            self._start()
        elif not self._callback_mode:
            self._stream._pause_read_ahead(False)
        self._log("%r resumes reading")

    def _log(self, text: str) -> None:
        if self._loop is not None and self._loop.get_debug():
            logger.debug(text, self)

    def is_closing(self) -> bool:
        """Return whether it was closed, or has ended."""
        return self._closing or (self._protocol is None and self._stream._fileno() == -1)

    def close(self) -> None:
        """Close the pipe now; ``connection_lost`` follows. A child that goes on writing gets SIGPIPE, or EPIPE."""
        self._closing = True
        if self._callback_mode:
            self._stream._cancel_callback()
        self._stream.close()
        self._lose(None)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._state()} fd={self._stream._fileno()}>"


class WritePipeTransport(_PipeTransport, asyncio.Transport):
    """The writing end of a pipe, by the names of :class:`asyncio.WriteTransport`.

    As with asyncio, the names of the other direction raise NotImplementedError.
    """

    _stream: _core.StreamWriter

    def __init__(self, *args: Any, **kwds: Any) -> None:
        super().__init__(*args, **kwds)
        self._paused = False
        # What waits for the end of writing, and what for a queue that is short enough.
        self._ending: Any = None
        self._drain: Any = None

    def _start(self) -> None:
        self._ending = self._stream.wait_closed()
        self._closed()

    def _closed(self, done: object = None) -> None:
        """Wait for the end of writing, by either side."""
        error: OSError | None = None
        try:
            self._ending.send(None).add_done_callback(self._closed, context=self._context.copy())
            return
        except StopIteration:
            pass
        except OSError as exc:
            error = exc
            if self._loop.get_debug():
                logger.debug("%r: fatal write error on pipe transport", self, exc_info=exc)
        self._ending = None
        if done is None:
            self._lose(error)
        elif self._connected:
            # The loop has called, so this is a turn of its own already. A program that writes, gives way once
            # and writes again (StreamWriter.drain) is to meet the error there, as with asyncio.
            self._connected = False
            self._connection_lost(error)

    def write(self, data: Any) -> None:
        """Write bytes: at once what the pipe takes, the rest in the background.

        Raises TypeError for what is not bytes-like. If the other side no longer reads, they are dropped,
        and ``connection_lost`` tells why. Above the high-water mark the protocol's ``pause_writing`` is called.
        """
        self._stream.write(data)
        self._flow()

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        """Write each of an iterable, as :meth:`write` does."""
        self._stream.writelines(list_of_data)
        self._flow()

    def _flow(self) -> None:
        """Tell the protocol, once, that more is queued than the high-water mark."""
        if self._connected and not self._paused and self._stream._is_paused():
            self._paused = True
            self._soon(self._drained)
            self._call(self._protocol.pause_writing)

    def _drained(self, _done: object = None) -> None:
        """Wait until it is at or below the low one, and tell the protocol."""
        if self._drain is None:
            self._drain = self._stream.drain()
        try:
            self._drain.send(None).add_done_callback(self._drained, context=self._context.copy())
            return
        except OSError:
            # connection_lost tells of it, and of the waiting drains of asyncio's protocols.
            self._drain = None
            return
        except StopIteration:
            self._drain = None
        if self._stream._is_paused():
            # More was written before the news of the first drain came here.
            self._soon(self._drained)
            return
        self._paused = False
        if self._protocol is not None:
            self._call(self._protocol.resume_writing)

    def write_eof(self) -> None:
        """Close once everything is written: the other side then reads the end."""
        self._stream.close()

    def can_write_eof(self) -> bool:
        """Return True: closing a pipe is its end."""
        return True

    def close(self) -> None:
        """Close once everything is written; ``connection_lost`` follows."""
        self._stream.close()
        self._end()

    def abort(self) -> None:
        """Close at once; what is queued is lost, and ``connection_lost`` follows."""
        if self._drain is not None:
            self._drain.close()
            self._drain = None
        self._stream.abort()
        self._end()

    def _end(self) -> None:
        """Without a loop nothing writes what is queued, nor resumes what waits for that."""
        if self._connected and self._loop.is_closed():
            self._stream.abort()
            self._lose(None)

    def is_closing(self) -> bool:
        """Return whether it was closed, or the other side no longer reads."""
        return self._stream.is_closing()

    def get_write_buffer_size(self) -> int:
        """Return how many bytes wait to be written."""
        return self._stream.get_write_buffer_size()

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Return the low-water and the high-water mark, in bytes."""
        return self._stream.get_write_buffer_limits()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set the marks, in bytes. Raises ValueError unless ``high >= low >= 0``."""
        self._stream.set_write_buffer_limits(high, low)
        self._flow()

    def __repr__(self) -> str:
        size = self.get_write_buffer_size()
        return f"<{type(self).__name__} {self._state()} fd={self._stream._fileno()} bufsize={size}>"


def view(stream: _core.StreamReader | _core.StreamWriter) -> Any:
    """Return the transport beneath a stream that owns its pipe: the same one for as long as it is held."""
    known = stream.__dict__.get("_view")
    transport = None if known is None else known()
    if transport is None:
        kind = ReadPipeTransport if isinstance(stream, _core.StreamReader) else WritePipeTransport
        transport = kind(None, stream)
        stream.__dict__["_view"] = weakref.ref(transport)
    return transport
