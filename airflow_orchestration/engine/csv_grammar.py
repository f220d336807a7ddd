"""Which lines of a CSV file the engine will read as exactly one row, told from the line alone.

An engine that meets an open quote reads on through the next lines and reports none of them. So every line is
judged before the engine sees it: cheaply by its shape (the delimiters and quotes in it, of which a file has
few different ones), and by the grammar below where the shape leaves a doubt.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property, lru_cache

CACHED_SHAPE = 256
"""Bytes of the longest shape that is remembered; lines with a longer one are judged by the grammar."""


class Defect(StrEnum):
    """Why a line can't be read as a row: the reason that its quarantine record carries."""

    FIELDS = "The line has not as many fields as the header."
    QUOTE = "A quote is opened and not closed, or text follows its end."
    CARRIAGE_RETURN = "A carriage return stands inside the line."
    NUL = "The line holds a NUL or control character."
    ENCODING = "The line holds bytes that are no letter in the feed's encoding."
    LONG = "The line is longer than 1 MiB."
    JSON = "The line is not one JSON object with keys that stand once."


@dataclass(frozen=True)
class CsvGrammar:
    """Lines with `width` fields between `delimiter`; without a `quote` nothing is quoted."""

    delimiter: bytes
    width: int
    quote: bytes = b'"'

    @cached_property
    def dropped(self) -> bytes:
        """Every byte that has no part in the shape of a line."""
        kept = b"\n\r\0" + self.quote + self.delimiter
        return bytes(byte for byte in range(256) if byte not in kept)

    @cached_property
    def usual_shape(self) -> bytes:
        """The shape of a line with the right number of fields and no quote."""
        return self.delimiter * (self.width - 1)

    def shape_is_fine(self, shape: bytes, *, careful: bool) -> bool:
        """Tell whether a line of this shape is one row, unless a quote stands inside an unquoted field."""
        if shape == self.usual_shape:
            return True
        if careful or not self.quote or len(shape) > CACHED_SHAPE:
            return False
        return _fullmatch(self._shape_pattern, shape)

    def defect(self, line: bytes) -> Defect | None:
        """What is wrong with a line, without its line end; None when it is one row."""
        if b"\0" in line:
            return Defect.NUL
        if b"\r" in line:
            return Defect.CARRIAGE_RETURN
        try:
            line.decode()
        except UnicodeDecodeError:
            return Defect.ENCODING
        if self._row.fullmatch(line):
            return None
        return Defect.FIELDS if self._any_row.fullmatch(line) else Defect.QUOTE

    @cached_property
    def _field(self) -> bytes:
        # Deterministic from left to right, as the engine reads, hence the possessive quantifiers.
        plain = b"[^" + re.escape(self.delimiter) + b"]*+"
        if not self.quote:
            return plain
        blanks, quote = b"" if self.delimiter == b" " else b" *+", re.escape(self.quote)
        quoted = blanks + quote + b"(?:[^" + quote + b"]|" + quote + quote + b")*+" + quote + blanks
        return b"(?:" + quoted + b"|(?!" + blanks + quote + b")" + plain + b")"

    @cached_property
    def _row(self) -> re.Pattern[bytes]:
        rest = b"(?:" + re.escape(self.delimiter) + self._field + b"){%d}" % (self.width - 1)
        return re.compile(self._field + rest, re.DOTALL)

    @cached_property
    def _any_row(self) -> re.Pattern[bytes]:
        rest = b"(?:" + re.escape(self.delimiter) + self._field + b")*+"
        return re.compile(self._field + rest, re.DOTALL)

    @cached_property
    def _shape_pattern(self) -> re.Pattern[bytes]:
        delimiter = re.escape(self.delimiter)
        quote = re.escape(self.quote)
        field = b"(?:" + quote + b"(?:" + quote + quote + b"|" + delimiter + b")*+" + quote + b")?+"
        return re.compile(field + b"(?:" + delimiter + field + b"){%d}" % (self.width - 1))


@lru_cache(maxsize=4096)
def _fullmatch(pattern: re.Pattern[bytes], shape: bytes) -> bool:
    return pattern.fullmatch(shape) is not None
