"""Walks through a file in blocks of whole lines, and finds single lines again by their number."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

BLOCK = 128 * 1024
"""Bytes that stay in a core's own cache while they are looked at several times: measured, half the time of 1 MiB."""
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
    offset = start
    while piece := file.read(BLOCK):
        data = piece + file.readline(MAX_LINE + 1)
        end = len(data) - data.endswith(b"\n")
        last = data.rfind(b"\n", 0, end) + 1
        if end - last <= MAX_LINE:
            yield Block(offset, data if end < len(data) else data + b"\n")
            offset += len(data)
            continue
        if last:
            yield Block(offset, data[:last])
        yield Block(offset + last, data[last : last + _HEAD] + b"\n", overlong=True)
        offset += len(data) + (0 if end < len(data) else _skip_line(file))


def _skip_line(file: IO[bytes]) -> int:
    """Go to the next line: how many bytes were skipped."""
    skipped = 0
    while piece := file.readline(BLOCK):
        skipped += len(piece)
        if piece.endswith(b"\n"):
            break
    return skipped


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
