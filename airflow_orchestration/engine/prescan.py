"""Looks at every byte of a line-based feed before the engine does, and hands it a file without surprises.

What the scan finds: how many lines there are, which are blank, and which the engine must not see, each with
its number. Only when there are such lines is the file copied; in the copy a row of empty fields takes their
place, so that the n-th row of the engine stays the n-th line of the file.
"""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import IO, Protocol

from airflow_orchestration.engine.csv_grammar import CsvGrammar, Defect
from airflow_orchestration.engine.lines import Block, LineIndex, blocks, shown

_LAST_COMMAS = (b",}", b",]", b", }", b", ]")
"""The engine overlooks a comma behind the last value."""
MOST_LEVELS = 500
"""Ours: how deep a row may nest. Every Python parses that; where it gives up differs, from a thousand levels to ten thousand."""
_TEXT, _BRACKET = re.compile(rb'"(?:[^"\\]|\\.)*"'), re.compile(rb"[\[\]{}]")


class Judge(Protocol):
    """Knows which lines of a format are one row each."""

    @property
    def placeholder(self) -> bytes:
        """A line that the engine reads as a row without values."""

    def accepted(self, data: bytes) -> int | None:
        """How many lines a block has if all of them are fine as they stand, else None."""

    def doubtful(self, data: bytes, lines: Sequence[bytes]) -> Iterable[int]:
        """Which lines of a block have to be looked at one by one."""

    def is_blank(self, line: bytes) -> bool:
        """Whether a line is no row at all."""

    def defect(self, line: bytes) -> Defect | None:
        """Why a line is no row, None when it is one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CsvJudge:
    """Judges CSV lines; `careful` looks into every line that holds a quote."""

    grammar: CsvGrammar
    careful: bool

    @property
    def placeholder(self) -> bytes:
        """Empty fields."""
        return self.grammar.usual_shape

    def accepted(self, data: bytes) -> int | None:
        """See `Judge`: compares the delimiters, quotes and line ends of the block with what they should be."""
        if self.grammar.width == 1 or not is_utf8(data):
            return None
        shape, unit = data.translate(None, self.grammar.dropped), self.grammar.usual_shape + b"\n"
        count = len(shape) // len(unit)
        if shape == unit * count:
            return count
        shapes = shape.split(b"\n")[:-1]
        return None if self._odd(shapes) else len(shapes)

    def doubtful(self, data: bytes, lines: Sequence[bytes]) -> Iterable[int]:
        """See `Judge`: the lines whose shape is not known to be fine."""
        if self.grammar.width == 1 or not is_utf8(data):
            return range(len(lines))
        shapes = data.translate(None, self.grammar.dropped).split(b"\n")[: len(lines)]
        odd = self._odd(shapes)
        return [number for number, shape in enumerate(shapes) if shape in odd] if odd else ()

    def _odd(self, shapes: Iterable[bytes]) -> set[bytes]:
        return {s for s in set(shapes) if not self.grammar.shape_is_fine(s, careful=self.careful)}

    def is_blank(self, line: bytes) -> bool:
        """See `Judge`."""
        return not line

    def defect(self, line: bytes) -> Defect | None:
        """See `Judge`."""
        return self.grammar.defect(line)


@dataclass(frozen=True, slots=True, kw_only=True)
class NdjsonJudge:
    """Judges NDJSON lines; only `careful` parses them, since the engine refuses a bad one itself."""

    careful: bool
    placeholder: bytes = b"{}"

    def accepted(self, data: bytes) -> int | None:
        """See `Judge`."""
        odd = self.careful or data[:1].isspace() or b"\0" in data or b"\r" in data
        odd = odd or any(sign in data for sign in (b"\n\n", b"\n ", b"\n\t", *_LAST_COMMAS))
        return None if odd or not is_utf8(data) else data.count(b"\n")

    def doubtful(self, data: bytes, lines: Sequence[bytes]) -> Iterable[int]:
        """See `Judge`."""
        return range(len(lines))

    def is_blank(self, line: bytes) -> bool:
        """See `Judge`."""
        return not line.strip()

    def defect(self, line: bytes) -> Defect | None:
        """See `Judge`."""
        if b"\0" in line:
            return Defect.NUL
        if b"\r" in line:
            return Defect.CARRIAGE_RETURN
        if not is_utf8(line):
            return Defect.ENCODING
        parsed = self.careful or any(comma in line for comma in _LAST_COMMAS)
        return Defect.JSON if parsed and not _is_json_object(line) else None


def is_utf8(data: bytes) -> bool:
    """Tell whether bytes are UTF-8."""
    if data.isascii():
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _is_json_object(line: bytes) -> bool:
    try:
        row = json.loads(line.decode(), object_pairs_hook=_without_twins)
        if b"\\u" in line:
            json.dumps(row, ensure_ascii=False).encode()  # a lone surrogate is no character
    except (ValueError, RecursionError):
        return False
    return isinstance(row, dict) and _levels(line) <= MOST_LEVELS


def _levels(line: bytes) -> int:
    """How deep a line of JSON nests; only a line with many brackets is looked at one by one."""
    brackets = line.count(b"{") + line.count(b"[")
    if brackets <= MOST_LEVELS:
        return brackets
    signs = (1 if sign in b"{[" else -1 for sign in _BRACKET.findall(_TEXT.sub(b"", line)))
    return max(accumulate(signs))


def _without_twins(pairs: list[tuple[str, object]]) -> dict[str, object]:
    row = dict(pairs)
    if len(row) != len(pairs):
        raise ValueError("a key stands twice")
    return row


@dataclass(frozen=True, slots=True, kw_only=True)
class Prescan:
    """A line-based feed, ready for the engine."""

    original: Path
    clean: Path
    """What the engine reads: the original, or a copy with placeholders and without a header."""
    first_line: int
    """The number of the first line of data."""
    last_line: int
    blank: int
    malformed: int
    aside: Sequence[int]
    """Ascending numbers of the blank and the malformed lines."""
    sidecar: Path
    """NDJSON of the malformed lines: position, reason, raw."""
    index: LineIndex

    @property
    def skip(self) -> int:
        """How many lines the engine has to skip."""
        return self.first_line - 1 if self.clean == self.original else 0

    @property
    def slots(self) -> int:
        """How many rows the engine must read, placeholders included."""
        return self.last_line - self.first_line + 1

    @property
    def rows(self) -> int:
        """The physical lines that are rows, good or bad."""
        return self.slots - self.blank


@dataclass(slots=True, kw_only=True)
class _Scan:
    """The state of one walk through a file."""

    judge: Judge
    path: Path
    start: int
    line: int
    clean: IO[bytes]
    sidecar: IO[str]
    rewriting: bool
    blank: int = 0
    malformed: int = 0
    aside: array[int] = field(default_factory=lambda: array("q"))
    first_lines: array[int] = field(default_factory=lambda: array("q"))
    offsets: array[int] = field(default_factory=lambda: array("q"))

    def take(self, block: Block) -> None:
        self.first_lines.append(self.line)
        self.offsets.append(block.offset)
        count = None if block.overlong else self.judge.accepted(block.data)
        if count is None:
            self._look_into(block)
            return
        self.line += count
        if self.rewriting:
            self.clean.write(block.data)

    def _look_into(self, block: Block) -> None:
        data = block.data.replace(b"\r\n", b"\n")
        lines = data.split(b"\n")[:-1]
        numbers = range(1) if block.overlong else self.judge.doubtful(data, lines)
        put_aside = [number for number in numbers if self._put_aside(lines[number], number, block)]
        for number in put_aside:
            lines[number] = self.judge.placeholder
        self.line += len(lines)
        if put_aside or len(data) != len(block.data):
            self._rewrite_from(block.offset)
        if self.rewriting:
            self.clean.write(b"\n".join([*lines, b""]))

    def _put_aside(self, line: bytes, number: int, block: Block) -> bool:
        blank = not block.overlong and self.judge.is_blank(line)
        defect = Defect.LONG if block.overlong else self.judge.defect(line)
        if not blank and defect is None:
            return False
        self.aside.append(self.line + number)
        if blank:
            self.blank += 1
        else:
            self.malformed += 1
            json.dump({"position": self.line + number, "reason": defect, "raw": shown(line)}, self.sidecar)
            self.sidecar.write("\n")
        return True

    def _rewrite_from(self, offset: int) -> None:
        """Begin the copy with everything that was fine up to here."""
        if self.rewriting:
            return
        self.rewriting = True
        with self.path.open("rb") as file:
            file.seek(self.start)
            left = offset - self.start
            while left and (piece := file.read(min(left, 1024 * 1024))):
                self.clean.write(piece)
                left -= len(piece)


def prescan(
    path: Path, *, judge: Judge, scratch: Path, start: int = 0, first_line: int = 1, rewrite: bool = False
) -> Prescan:
    """Scan a file from byte `start`, which is line `first_line`; `rewrite` when it must be copied anyway."""
    clean, sidecar = scratch / "clean.txt", scratch / "malformed.ndjson"
    with path.open("rb") as file, clean.open("wb") as copy, sidecar.open("w", encoding="utf-8") as aside:
        scan = _Scan(
            judge=judge,
            path=path,
            start=start,
            line=first_line,
            clean=copy,
            sidecar=aside,
            rewriting=rewrite,
        )
        for block in blocks(file, start):
            scan.take(block)
    return Prescan(
        original=path,
        clean=clean if scan.rewriting else path,
        first_line=first_line,
        last_line=scan.line - 1,
        blank=scan.blank,
        malformed=scan.malformed,
        aside=scan.aside,
        sidecar=sidecar,
        index=LineIndex(scan.first_lines, scan.offsets),
    )
