"""Walks through a file in blocks of whole lines, and finds single lines again by their number."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

BLOCK = 1024 * 1024
MAX_LINE = 1024 * 1024
"""Bytes of the longest line that is read; a longer one is put aside."""
RAW_CHARACTERS = 1000
"""How much of a line its quarantine record keeps."""
_HEAD = 4 * RAW_CHARACTERS


@dataclass(frozen=True, slots=True)
class Block:
    """Whole lines of a file. Of a line that is too long, `data` holds the start only."""

    offset: int
    data: bytes
    overlong: bool = False


def blocks(file: IO[bytes], start: int = 0) -> Iterator[Block]:
    """Yield a file from byte `start` on as blocks that end with a line end; it is added at the file's end."""
    file.seek(start)
    offset, rest = start, b""
    while piece := file.read(BLOCK):
        data = rest + piece
        cut = data.rfind(b"\n") + 1
        if data.find(b"\n", 0, MAX_LINE + 1) < 0 and len(data) > MAX_LINE:
            yield Block(offset, data[:_HEAD] + b"\n", overlong=True)
            consumed, rest = _after_line(file, data)
            offset += consumed
        elif cut:
            yield Block(offset, data[:cut])
            offset, rest = offset + cut, data[cut:]
        else:
            rest = data
    if rest:
        yield Block(offset, rest if rest.endswith(b"\n") else rest + b"\n")


def _after_line(file: IO[bytes], data: bytes) -> tuple[int, bytes]:
    """Skip to the next line: how many bytes the line had with its end, and what was read behind it."""
    skipped = 0
    while (end := data.find(b"\n")) < 0:
        skipped += len(data)
        data = file.read(BLOCK)
        if not data:
            return skipped, b""
    return skipped + end + 1, data[end + 1 :]


@dataclass(frozen=True, slots=True)
class LineIndex:
    """Where the blocks of a file begin: the number of their first line, and their offset in bytes."""

    first_lines: Sequence[int]
    offsets: Sequence[int]

    def lines_at(self, path: Path, positions: Iterable[int]) -> Iterator[tuple[int, bytes]]:
        """Yield (number, line without its end) for ascending line numbers."""
        held, lines = -1, list[bytes]()
        with path.open("rb") as file:
            for position in positions:
                block = bisect_right(self.first_lines, position) - 1
                if block != held:
                    held, lines = block, self._block(file, block)
                yield position, lines[position - self.first_lines[block]].removesuffix(b"\r")

    def _block(self, file: IO[bytes], block: int) -> list[bytes]:
        end = self.offsets[block + 1] if block + 1 < len(self.offsets) else None
        file.seek(self.offsets[block])
        return file.read(-1 if end is None else end - self.offsets[block]).split(b"\n")


def shown(line: bytes) -> str:
    """The start of a line as text that any store accepts."""
    text = line[:_HEAD].decode("utf-8", "replace")[:RAW_CHARACTERS]
    return text.replace("\0", "\N{SYMBOL FOR NULL}")
