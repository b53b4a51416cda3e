"""Bytes of children as text: a whole output, and lines that come in pieces."""

import codecs
import locale
import sys
from collections import deque
from typing import Any, NamedTuple

# As many bytes as one character may have in the encodings that are known to split.
_LONGEST_CHARACTER = 8
# As many bytes as are decoded at once. Each undecodable byte costs a copy of them, so they are not many.
_PIECE = 16 * 1024
# Encodings whose first bytes may tell the byte order, and those that read bytes in units of more than one.
_MARKED: dict[str, Any] = {"utf-16": codecs.utf_16_ex_decode, "utf-32": codecs.utf_32_ex_decode}
_UNITS = {"utf-16": 2, "utf-16-le": 2, "utf-16-be": 2, "utf-32": 4, "utf-32-le": 4, "utf-32-be": 4}


def universal_newlines(text: str) -> str:
    """Replace every line ending by ``\\n``, as ``subprocess`` does."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


class Codec(NamedTuple):
    """An encoding, and what is done about its errors."""

    encoding: str
    errors: str

    @classmethod
    def checked(cls, encoding: str | None, errors: str | None) -> "Codec | None":
        """Make one if ``encoding`` is given. Raises LookupError for an unknown name, or one of no text.

        ``"locale"`` is the encoding of the locale, as it is for :func:`open` (PEP 597).
        """
        if encoding is None:
            if errors is not None:
                raise ValueError("errors needs an encoding")
            return None
        if encoding == "locale":
            encoding = locale.getencoding()
        if not getattr(codecs.lookup(encoding), "_is_text_encoding", True):
            # As bytes.decode has it, which would say so only when there is an output to lose.
            raise LookupError(f"{encoding!r} is not a text encoding; use codecs.decode() to handle arbitrary codecs")
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

    def decoder(self, errors: str) -> codecs.IncrementalDecoder:
        """Make a decoder for bytes that come in pieces."""
        ex_decode = _MARKED.get(codecs.lookup(self.encoding).name)
        if ex_decode is not None:
            return _MarkedDecoder(ex_decode, errors)
        return codecs.getincrementaldecoder(self.encoding)(errors)

    def collected(self, output: tuple[bytes, int, int], lenient: bool) -> tuple[str, int]:
        """Decode an output of which, at ``seam``, a number of bytes were left out.

        A character of which a part was left out goes with it; at the seam's far side only where errors are
        strict, as other ways to treat errors keep what is there. ``lenient`` replaces what cannot be
        decoded: the output ended too early, or goes with an error that it must not take the place of.
        Returns the text, and how many bytes were left out.
        """
        if not lenient:
            return self._joined(output, self.errors, lenient)
        try:
            return self._joined(output, "replace" if self.errors == "strict" else self.errors, lenient)
        except UnicodeDecodeError:  # by another way to treat errors that does not know what to do with this one
            return self._joined(output, "replace", lenient)

    def _joined(self, output: tuple[bytes, int, int], errors: str, lenient: bool) -> tuple[str, int]:
        data, seam, dropped = output
        if not dropped:
            return universal_newlines(data.decode(self.encoding, errors)), dropped
        head, tail = data[:seam], data[seam:]
        decoder = self.decoder(errors)
        first = decoder.decode(head)
        cut, flags = decoder.getstate()
        # The tail goes on in the byte order that the head told, and at a whole unit of the encoding.
        unit = _UNITS.get(codecs.lookup(self.encoding).name, 1)
        aligned = min(-(seam + dropped) % unit, len(tail))
        skipped = aligned
        if self.errors == "strict":
            skipped = self._beginning(tail, flags, aligned, unit, whole=not lenient)
        decoder.setstate((b"", flags))
        last = decoder.decode(tail[skipped:], True)
        return universal_newlines(first) + universal_newlines(last), dropped + len(cut) + skipped

    def _beginning(self, tail: bytes, flags: int, aligned: int, unit: int, whole: bool) -> int:
        """Tell where the first character begins of a tail that may begin within one."""
        decoder = self.decoder("strict")
        for skipped in range(aligned, aligned + _LONGEST_CHARACTER, unit):
            decoder.setstate((b"", flags))
            try:
                decoder.decode(tail[skipped:], whole)
            except UnicodeDecodeError:
                continue
            return min(skipped, len(tail))
        # The beginning is not at fault: it is decoded as it stands, and its errors are told.
        return aligned


class _MarkedDecoder(codecs.BufferedIncrementalDecoder):
    """UTF-16 or UTF-32 of which the first bytes may tell the byte order.

    Without such a mark it is the machine's, as for ``bytes.decode``; the library's incremental decoders
    have an error for that which tells no position.
    """

    def __init__(self, ex_decode: Any, errors: str) -> None:
        super().__init__(errors)
        self._ex_decode = ex_decode
        self._order = 0  # not known yet; -1 is little, 1 is big

    def _buffer_decode(self, input: Any, errors: str, final: bool) -> tuple[str, int]:
        text, consumed, order = self._ex_decode(input, errors, self._order, final)
        if consumed:
            self._order = order or (-1 if sys.byteorder == "little" else 1)
        return text, consumed

    def reset(self) -> None:
        super().reset()
        self._order = 0

    def getstate(self) -> tuple[bytes, int]:
        return super().getstate()[0], self._order % 3

    def setstate(self, state: tuple[bytes, int]) -> None:
        super().setstate(state)
        self._order = (0, 1, -1)[state[1]]


class _Newest(NamedTuple):
    """Where the unfinished line began: after a character of the text that these bytes are."""

    data: bytes
    flags: int
    end: int


class LineDecoder:
    """Cuts bytes that come in pieces into lines of text.

    A character, and a ``\\r\\n``, may be split over two pieces. Bytes that cannot be decoded raise their
    UnicodeDecodeError after the lines before them; what follows them goes on. A line of which a character,
    other than its end, is further than ``limit`` bytes from its beginning raises ValueError, and again at
    every call, as lines of bytes do. None of it depends on where the pieces are cut.
    """

    def __init__(self, codec: Codec, limit: int) -> None:
        self._codec, self._limit = codec, limit
        self._decoder = codec.decoder(codec.errors)
        # What was fed, and how much of it the decoder has; and whether the end is to be told to it.
        self._data, self._at, self._final = b"", 0, False
        self._lines: deque[str | UnicodeDecodeError] = deque()
        self._rest: list[str] = []
        # How many bytes of the unfinished line are decoded. Where `_newest` is given, more: all of its bytes count.
        self._length = 0
        self._newest: _Newest | None = None
        self._after_return = False
        self._too_long = False

    def feed(self, data: bytes) -> None:
        """Take more bytes; none are the end."""
        self._data, self._at, self._final = self._data[self._at :] + data, 0, not data

    def take(self) -> str | None:
        """Return the next line, or None if more bytes are needed.

        Raises UnicodeDecodeError, and ValueError for a line longer than the limit.
        """
        # No more is decoded than is asked for: each error keeps the bytes in which it was found.
        while not self._lines:
            if self._too_long:
                raise ValueError("Separator is not found, and chunk exceed the limit")
            if self._at < len(self._data):
                self._decode_some()
            elif self._final:
                self._decode_end()
            else:
                return None
        line = self._lines.popleft()
        if isinstance(line, str):
            return line
        raise line

    def _decode_some(self) -> None:
        """Decode a piece that cannot go beyond the limit, or a single byte."""
        buffered = len(self._decoder.getstate()[0])
        size = min(len(self._data) - self._at, _PIECE)
        if self._length + buffered + size > self._limit:
            self._measure()
            room = self._limit - self._length - buffered
            if room < -_LONGEST_CHARACTER:
                # Bytes that give no text, such as those that are ignored, are not waited for without end.
                self._too_long = True
                return
            size = max(1, min(size, room))
        piece = self._data[self._at : self._at + size]
        self._at += size
        self._decode(piece, False)

    def _decode_end(self) -> None:
        if self._decode(b"", True):
            self._final = False
            if self._rest and not self._too_long:
                self._lines.append("".join(self._rest))
                self._rest = []

    def _decode(self, piece: bytes, final: bool) -> bool:
        """Decode, and return True, or pass over what cannot be decoded."""
        buffered, flags = self._decoder.getstate()
        whole = buffered + piece
        try:
            text = self._decoder.decode(piece, final)
            if final and (left := self._decoder.getstate()[0]):  # "utf-8-sig" says nothing about half a mark
                text += left.decode(*self._codec)
        except UnicodeDecodeError as error:
            self._pass_over(whole, flags, error)
            return False
        except UnicodeError as error:
            # Encodings that do not say which bytes it is.
            if whole:
                self._pass_over(
                    whole, flags, UnicodeDecodeError(self._codec.encoding, whole, 0, len(whole), str(error))
                )
            return not whole
        self._add(text, whole, flags)
        return True

    def _pass_over(self, whole: bytes, flags: int, error: UnicodeDecodeError) -> None:
        """Take what is before an error, and go on behind it with what the decoder knows of the encoding."""
        offset = len(whole) - len(error.object)  # not 0 where a byte order mark was taken off
        start, end = error.start + offset, max(error.start + 1, error.end) + offset
        self._decoder.setstate((b"", flags))
        if start:
            self._add(self._decoder.decode(whole[:start], True), whole[:start], flags)
            self._decoder.setstate((b"", self._decoder.getstate()[1]))
        elif codecs.lookup(self._codec.encoding).name == "utf-8-sig":
            self._decoder.setstate((b"", 0))  # what follows is not the beginning, and has no mark
        if self._too_long:
            return
        self._lines.append(error)
        self._length += end - start
        self._after_return = False
        again = len(whole) - end
        if again <= self._at:
            self._at -= again
        else:  # some of it was fed before
            self._data, self._at = whole[end:] + self._data[self._at :], 0

    def _add(self, text: str, whole: bytes, flags: int) -> None:
        """Take the text of ``whole``, of which the decoder may have kept the end."""
        decoded = len(whole) - len(self._decoder.getstate()[0])
        if text and text[0] not in "\r\n" and self._length + decoded > self._limit:
            self._measure()
            self._too_long = self._length + decoded > self._limit
            if self._too_long:
                return
        self._length += decoded
        newest = max(text.rfind("\n"), text.rfind("\r"))
        if newest >= 0:
            self._newest, self._length = _Newest(whole, flags, newest), decoded
        if text:
            # A line that ends with \r is not kept waiting for the \n that may follow.
            pair = self._after_return and text[0] == "\n"
            self._after_return = text[-1] == "\r"
            self._cut(universal_newlines(text[1:] if pair else text))

    def _cut(self, text: str) -> None:
        first, *others = text.split("\n")
        if others:
            self._lines.append("".join([*self._rest, first, "\n"]))
            self._lines.extend(line + "\n" for line in others[:-1])
            self._rest = []
            first = others[-1]
        if first:
            self._rest.append(first)

    def _measure(self) -> None:
        """Find where among the bytes the unfinished line began. This is put off as long as it cannot matter."""
        if self._newest is None:
            return
        data, flags, end = self._newest
        state = self._decoder.getstate()
        low, high = 1, len(data)
        while low < high:
            middle = (low + high) // 2
            self._decoder.setstate((b"", flags))
            if len(self._decoder.decode(data[:middle])) > end:
                high = middle
            else:
                low = middle + 1
        self._decoder.setstate(state)
        self._length -= low
        self._newest = None
