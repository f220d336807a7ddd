"""Rewrites text of other encodings as UTF-8, so that everything behind it meets one encoding only.

What can't be decoded becomes bytes that are no UTF-8, on the same line: the line is then put aside.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from airflow_orchestration.domain.feed import Encoding
from airflow_orchestration.engine.source import Source, first_bytes
from airflow_orchestration.exceptions import FeedCode, FeedError

PIECE = 1024 * 1024
NO_LETTER = b"\xff"
"""A byte that UTF-8 never has."""
_MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


def check_utf8(source: Source) -> int:
    """The length of the byte order mark to skip; raises `FeedError` when the text isn't UTF-8."""
    start = first_bytes(source.path, 4096)
    for mark, encoding in _MARKS.items():
        if start.startswith(mark):
            raise _wrong(source, encoding)
    if _is_wide(start):
        raise _wrong(source, "UTF-16")
    return len(codecs.BOM_UTF8) if start.startswith(codecs.BOM_UTF8) else 0


def as_utf8(source: Source, encoding: Encoding, scratch: Path) -> tuple[Path, int]:
    """The file as UTF-8, and the length of its byte order mark; raises `FeedError` when it is plainly something else."""
    if encoding is Encoding.UTF_8:
        return source.path, check_utf8(source)
    start = first_bytes(source.path, 4096)
    if start.startswith(codecs.BOM_UTF8):
        raise _wrong(source, "UTF-8")
    wide = encoding is Encoding.UTF_16
    if wide != (_is_wide(start) or start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))):
        raise _wrong(source, "not UTF-16" if wide else "UTF-16")
    target = scratch / "utf8.txt"
    with source.path.open("rb") as file, target.open("wb") as plain:
        plain.writelines(_from_utf16(file, start) if wide else _from_bytes(file, encoding))
    return target, 0


def _from_bytes(file: IO[bytes], encoding: Encoding) -> Iterator[bytes]:
    """One byte is one letter. A byte that stands for none stays as it is, which alone is never UTF-8."""
    while piece := file.read(PIECE):
        yield piece.decode(encoding.value, "surrogateescape").encode("utf-8", "surrogateescape")


def _from_utf16(file: IO[bytes], start: bytes) -> Iterator[bytes]:
    """Half a pair of surrogates is written as such, which is no UTF-8."""
    big = start.startswith(codecs.BOM_UTF16_BE)
    marked = big or start.startswith(codecs.BOM_UTF16_LE)
    big = big or (not marked and start[::2].count(0) > start[1::2].count(0))
    file.seek(len(codecs.BOM_UTF16_LE) if marked else 0)
    decoder = codecs.getincrementaldecoder("utf-16-be" if big else "utf-16-le")("surrogatepass")
    while piece := file.read(PIECE):
        yield decoder.decode(piece).encode("utf-8", "surrogatepass")
    try:
        yield decoder.decode(b"", final=True).encode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        yield NO_LETTER


def _is_wide(start: bytes) -> bool:
    return max(start[::2].count(0), start[1::2].count(0)) > len(start) // 4


def _wrong(source: Source, encoding: str) -> FeedError:
    return FeedError(
        f"{source.feed_id}: the file is {encoding}; deliver it in the feed's encoding, or change encoding.",
        code=FeedCode.ENCODING,
    )
