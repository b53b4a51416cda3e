"""Bytes of children as text: a whole output, and lines that come in pieces."""

import codecs
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
