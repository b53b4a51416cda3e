"""Bytes of children as text: a whole output, and lines that come in pieces."""

import codecs
import io
from collections import deque
from typing import NamedTuple

# As many bytes as one character may have in the encodings that are known to split.
_LONGEST_CHARACTER = 8


def universal_newlines(text: str) -> str:
    """Replace every line ending by ``\\n``, as ``subprocess`` does."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


class Codec(NamedTuple):
    """An encoding, and what is done about its errors."""

    encoding: str
    errors: str

    @classmethod
    def checked(cls, encoding: str | None, errors: str | None) -> "Codec | None":
        """Make one if ``encoding`` is given. Raises LookupError for an unknown name."""
        if encoding is None:
            if errors is not None:
                raise ValueError("errors needs an encoding")
            return None
        codecs.lookup(encoding)
        errors = "strict" if errors is None else errors
        codecs.lookup_error(errors)
        return cls(encoding, errors)

    @classmethod
    def for_lines(cls, encoding: str | None, errors: str) -> "Codec | None":
        """Do the same where ``errors`` has the default of an encoding."""
        return cls.checked(encoding, None if encoding is None and errors == "strict" else errors)

    def encode(self, text: str) -> bytes:
        """As ``subprocess`` encodes ``input``."""
        return text.encode(self.encoding, self.errors)

    def collected(self, output: tuple[bytes, int, int], lenient: bool) -> tuple[str, int]:
        """Decode an output of which, at ``seam``, a number of bytes were left out.

        A character of which a part was left out goes with it. ``lenient`` replaces what cannot be
        decoded because the output ended too early. Returns the text, and how many bytes were left out.
        """
        data, seam, dropped = output
        errors = "replace" if lenient and self.errors == "strict" else self.errors
        if not dropped:
            return universal_newlines(data.decode(self.encoding, errors)), dropped
        head, tail = data[:seam], data[seam:]
        decoder = codecs.getincrementaldecoder(self.encoding)(errors)
        first = decoder.decode(head)
        dropped += len(decoder.getstate()[0])
        for skipped in range(_LONGEST_CHARACTER):
            try:
                last = tail[skipped:].decode(self.encoding, errors if skipped == 0 and errors != "strict" else "strict")
            except UnicodeDecodeError:
                continue
            break
        else:
            # The beginning is not at fault: it is decoded as it stands, and its errors are told.
            skipped, last = 0, tail.decode(self.encoding, errors)
        return universal_newlines(first) + universal_newlines(last), dropped + skipped


class LineDecoder:
    """Cuts bytes that come in pieces into lines of text.

    A character, and a ``\\r\\n``, may be split over two pieces. Bytes that cannot be decoded raise their
    UnicodeDecodeError after the lines before them; what follows them goes on.
    """

    def __init__(self, codec: Codec, limit: int) -> None:
        self._decoder = codecs.getincrementaldecoder(codec.encoding)(codec.errors)
        self._newlines = io.IncrementalNewlineDecoder(None, translate=True)
        self._limit = limit
        self._lines: deque[str | UnicodeDecodeError] = deque()
        self._rest: list[str] = []
        self._rest_length = 0

    def feed(self, data: bytes) -> None:
        """Take more bytes; none are the end."""
        final = not data
        while True:
            try:
                text = self._decoder.decode(data, final)
                break
            except UnicodeDecodeError as error:
                whole = bytes(error.object)
                self._decoder.reset()
                self._add(self._newlines.decode(self._decoder.decode(whole[: error.start])))
                self._decoder.reset()
                self._lines.append(error)
                data = whole[error.end :]
        self._add(self._newlines.decode(text, final))
        if final and self._rest:
            self._lines.append("".join(self._rest))
            self._rest, self._rest_length = [], 0

    def _add(self, text: str) -> None:
        first, *others = text.split("\n")
        if others:
            self._lines.append("".join([*self._rest, first, "\n"]))
            self._lines.extend(line + "\n" for line in others[:-1])
            self._rest, self._rest_length = [], 0
            first = others[-1]
        if first:
            self._rest.append(first)
            self._rest_length += len(first)

    def take(self) -> str | None:
        """Return the next line, or None if more bytes are needed.

        Raises UnicodeDecodeError, and ValueError for a line longer than the limit.
        """
        if self._lines:
            line = self._lines.popleft()
            if isinstance(line, str):
                return line
            raise line
        if self._rest_length > self._limit:
            raise ValueError("Separator is not found, and chunk exceed the limit")
        return None
