"""Reads the beginning of a text feed: its encoding, and the header of a CSV file."""

from __future__ import annotations

import codecs
import csv
from dataclasses import dataclass
from pathlib import Path

from airflow_orchestration.domain.feed import Feed
from airflow_orchestration.engine.source import Source, first_bytes
from airflow_orchestration.exceptions import FeedError

MAX_HEADER = 1024 * 1024
MAX_NAMES_SHOWN = 40
_MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """The names in a CSV header, and where the data begins."""

    names: tuple[str, ...]
    data_offset: int
    first_line: int
    """The line number of the first line of data."""
    crlf: bool


def check_encoding(source: Source) -> int:
    """The length of the byte order mark to skip; raises `FeedError` when the text isn't UTF-8."""
    start = first_bytes(source.path, 4096)
    for mark, encoding in _MARKS.items():
        if start.startswith(mark):
            raise _wrong_encoding(source, encoding)
    if max(start[::2].count(0), start[1::2].count(0)) > len(start) // 4:
        raise _wrong_encoding(source, "UTF-16")
    return len(codecs.BOM_UTF8) if start.startswith(codecs.BOM_UTF8) else 0


def _wrong_encoding(source: Source, encoding: str) -> FeedError:
    return FeedError(f"{source.feed_id}: the file is {encoding}; deliver it as UTF-8.")


def read_header(source: Source, feed: Feed) -> Header:
    """The header of a CSV feed; raises `FeedError` when it has none that fits the feed's columns."""
    offset = check_encoding(source)
    start = first_bytes(source.path, MAX_HEADER)
    number = 1
    while offset < len(start):
        end = start.find(b"\n", offset)
        line = start[offset:] if end < 0 else start[offset:end]
        offset = len(start) if end < 0 else end + 1
        if line.strip(b"\r"):
            crlf = line.endswith(b"\r")
            names = _names(line.removesuffix(b"\r"), feed)
            return Header(names=names, data_offset=offset, first_line=number + 1, crlf=crlf)
        number += 1
    raise FeedError(f"{feed.id}: the file has no header; its first line must name the columns.")


def _names(line: bytes, feed: Feed) -> tuple[str, ...]:
    try:
        rows = list(csv.reader([line.decode()], delimiter=feed.delimiter, strict=True))
        (names,) = rows
    except (csv.Error, UnicodeDecodeError, ValueError):
        raise FeedError(
            f"{feed.id}: the header is no line of CSV in UTF-8; check its quotes and its encoding."
        ) from None
    check_names(names, feed)
    return tuple(names)


def check_names(names: list[str], feed: Feed) -> None:
    """Raise `FeedError` unless every mapped column is there, once."""
    expected = sorted({source.column for source in feed.columns.values()})
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise FeedError(
            f"{feed.id}: the header names {_shown(twice)} twice; give every column a name of its own."
        )
    if missing := [name for name in expected if name not in names]:
        raise FeedError(
            f"{feed.id}: the feed has no column {_shown(missing)}. "
            f"Expected {_shown(expected)}, got {_shown(names)}; change the feed's columns or its delimiter."
        )


def _shown(names: list[str]) -> str:
    more = f" and {len(names) - MAX_NAMES_SHOWN} more" if len(names) > MAX_NAMES_SHOWN else ""
    return ", ".join(repr(name[:80]) for name in names[:MAX_NAMES_SHOWN]) + more


def check_array(path: Path, feed: Feed) -> None:
    """Raise `FeedError` unless a JSON feed begins and ends as an array; the engine overlooks a missing end."""
    start = first_bytes(path, 4096).removeprefix(codecs.BOM_UTF8).lstrip()
    if not start.startswith(b"["):
        raise FeedError(
            f"{feed.id}: the JSON is no array of objects; "
            "deliver [{...}, ...], or declare format: ndjson for one object a line."
        )
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 4096))
        if not file.read().rstrip().endswith(b"]"):
            raise FeedError(
                f"{feed.id}: the file is no complete JSON, it doesn't end with ]; deliver it again."
            )
