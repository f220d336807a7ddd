"""Reads the beginning of a text file: the header of CSV, the bracket of a JSON array."""

from __future__ import annotations

import codecs
import csv
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from airflow_orchestration.domain.feed import Feed
from airflow_orchestration.engine.layout import Layout
from airflow_orchestration.engine.source import first_bytes
from airflow_orchestration.exceptions import FeedCode, FeedError

MAX_HEADER = 1024 * 1024
MAX_NAMES_SHOWN = 40
SAMPLE = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """The names of a CSV file's columns, and where its data begins."""

    names: tuple[str, ...]
    data_offset: int
    first_line: int
    """The line number of the first line of data."""
    crlf: bool


def read_header(path: Path, offset: int, feed: Feed, layout: Layout) -> Header:
    """The header of a CSV file, or what stands for one; raises `FeedError` when it doesn't fit the feed's columns.

    `offset` is where the text begins.
    """
    if layout.columns:
        check_names(list(layout.columns), feed)
        return Header(names=layout.columns, data_offset=offset, first_line=1, crlf=False)
    start = first_bytes(path, MAX_HEADER)
    number = 1
    while offset < len(start):
        begin, end = offset, start.find(b"\n", offset)
        line = start[offset:] if end < 0 else start[offset:end]
        offset = len(start) if end < 0 else end + 1
        if line.strip(b"\r"):
            crlf = line.endswith(b"\r")
            if layout.header:
                names = _names(line.removesuffix(b"\r"), feed, layout)
                return Header(names=names, data_offset=offset, first_line=number + 1, crlf=crlf)
            names = _numbers(start[begin : begin + SAMPLE], feed, layout)
            return Header(names=names, data_offset=begin, first_line=number, crlf=crlf)
        number += 1
    if not layout.header:
        raise FeedError(f"{feed.id}: the file has blank lines only; deliver it again.", code=FeedCode.EMPTY)
    raise FeedError(
        f"{feed.id}: the file has no header; its first line must name the columns.", code=FeedCode.HEADER
    )


def _names(line: bytes, feed: Feed, layout: Layout) -> tuple[str, ...]:
    try:
        (names,) = _rows([line.decode()], layout)
    except (csv.Error, UnicodeDecodeError, ValueError):
        raise FeedError(
            f"{feed.id}: the header is no line of CSV in {layout.encoding.value.upper()}; "
            "check its quotes, its line ends and its encoding.",
            code=FeedCode.HEADER,
        ) from None
    check_names(names, feed)
    return tuple(names)


def _numbers(start: bytes, feed: Feed, layout: Layout) -> tuple[str, ...]:
    """Columns without names are numbered: as many as most of the first lines have."""
    widths = Counter[int]()
    for line in start.decode("utf-8", "replace").splitlines():
        try:
            widths.update(len(row) for row in _rows([line], layout))
        except csv.Error:
            continue
    width = max(widths, key=lambda one: (widths[one], -one), default=0)
    names = [str(number + 1) for number in range(width)]
    check_names(names, feed)
    return tuple(names)


def _rows(lines: list[str], layout: Layout) -> list[list[str]]:
    if not layout.quote:
        return [line.split(layout.delimiter) for line in lines]
    return list(csv.reader(lines, delimiter=layout.delimiter, quotechar=layout.quote, strict=True))


def check_names(names: list[str], feed: Feed) -> None:
    """Raise `FeedError` unless every mapped column is there, once."""
    expected = sorted({source.column for source in feed.columns.values() if source.column is not None})
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise FeedError(
            f"{feed.id}: the header names {_shown(twice)} twice; give every column a name of its own.",
            code=FeedCode.COLUMNS,
        )
    if missing := [name for name in expected if name not in names]:
        raise FeedError(
            f"{feed.id}: the feed has no column {_shown(missing)}. "
            f"Expected {_shown(expected)}, got {_shown(names)}; change the feed's columns or its delimiter.",
            code=FeedCode.COLUMNS,
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
            "deliver [{...}, ...], or declare format: ndjson for one object a line.",
            code=FeedCode.SYNTAX,
        )
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 4096))
        if not file.read().rstrip().endswith(b"]"):
            raise FeedError(
                f"{feed.id}: the file is no complete JSON, it doesn't end with ]; deliver it again.",
                code=FeedCode.DAMAGED,
            )
