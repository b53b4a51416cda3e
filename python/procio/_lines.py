"""The lines of one output, or of both, as asynchronous iterators. Cancelled, they lose nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Generic, TypeVar

from . import _core
from ._text import Codec, LineDecoder

_CHUNK = 64 * 1024

_T = TypeVar("_T", bytes, str)


class Lines(AsyncIterator[_T], Generic[_T]):
    """What :meth:`procio.StreamReader.lines` returns."""

    __slots__ = ("_ended", "_keepends", "_reader", "_text")

    def __init__(self, reader: _core.StreamReader, codec: Codec | None, keepends: bool) -> None:
        self._reader, self._keepends = reader, keepends
        self._text = None if codec is None else LineDecoder(codec, reader._limit)
        self._ended = False

    def __aiter__(self) -> Lines[_T]:
        return self

    async def __anext__(self) -> _T:
        line: Any
        if self._text is None:
            line = await self._reader.__anext__()
        else:
            while (line := self._text.take()) is None:
                if self._ended:
                    raise StopAsyncIteration
                data = await self._reader.read(_CHUNK)
                self._ended = not data
                self._text.feed(data)
        return line if self._keepends else _without_end(line)  # type: ignore[no-any-return]


class MergedLines(AsyncIterator[tuple[int, _T]], Generic[_T]):
    """What :meth:`procio.Process.merged` returns."""

    __slots__ = ("_keepends", "_lines", "_ready", "_text")

    def __init__(self, lines: _core.MergedLines, codec: Codec | None, limit: int, keepends: bool) -> None:
        self._lines, self._keepends = lines, keepends
        self._text = None if codec is None else {fd: LineDecoder(codec, limit) for fd in (1, 2)}
        self._ready = 1

    def __aiter__(self) -> MergedLines[_T]:
        return self

    async def __anext__(self) -> tuple[int, _T]:
        line: Any
        if self._text is None:
            fd, line = await self._lines.__anext__()
        else:
            fd = self._ready
            while (line := self._text[fd].take()) is None:
                fd, data = await self._lines._read()
                self._ready = fd
                self._text[fd].feed(data)
        return fd, line if self._keepends else _without_end(line)


def _without_end(line: Any) -> Any:
    """Take off the newline."""
    return line.removesuffix("\n" if isinstance(line, str) else b"\n")
