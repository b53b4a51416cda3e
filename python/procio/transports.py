"""The pipe of a child's standard input as asyncio's transports present it."""

import asyncio
from collections.abc import Iterable
from typing import Any

from . import _core


class PipeInfo:
    """What ``get_extra_info("pipe")`` gives: the descriptor, which procio owns."""

    def __init__(self, stream: _core.StreamWriter) -> None:
        self._stream = stream

    def fileno(self) -> int:
        """The descriptor, or -1 once it is closed."""
        return self._stream._fileno()

    @property
    def closed(self) -> bool:
        """Whether the descriptor is closed."""
        return self.fileno() == -1


class WritePipeTransport(asyncio.WriteTransport):
    """The writing end of a pipe, by the names of :class:`asyncio.WriteTransport`."""

    __slots__ = ("_stream",)

    def __init__(self, stream: _core.StreamWriter) -> None:
        super().__init__({"pipe": PipeInfo(stream)})
        self._stream = stream

    def write(self, data: Any) -> None:
        """Write bytes: at once what the pipe takes, the rest in the background."""
        self._stream.write(data)

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        """Write each of an iterable."""
        self._stream.writelines(list_of_data)

    def write_eof(self) -> None:
        """Close once everything is written."""
        self._stream.close()

    def can_write_eof(self) -> bool:
        """Return True."""
        return True

    def close(self) -> None:
        """Close once everything is written."""
        self._stream.close()

    def abort(self) -> None:
        """Close at once; what is queued is lost."""
        self._stream.abort()

    def is_closing(self) -> bool:
        """Whether it was closed, or the child no longer reads."""
        return self._stream.is_closing()

    def get_write_buffer_size(self) -> int:
        """Bytes that wait to be written."""
        return self._stream.get_write_buffer_size()

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """The low-water and the high-water mark, in bytes."""
        return self._stream.get_write_buffer_limits()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set the marks, in bytes."""
        self._stream.set_write_buffer_limits(high, low)

    def __repr__(self) -> str:
        if self.get_extra_info("pipe").closed:
            state = "closed"
        elif self.is_closing():
            state = "closing"
        else:
            state = "open"
        size = self.get_write_buffer_size()
        return f"<WritePipeTransport {state} bufsize={size}>"
