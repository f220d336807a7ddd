"""How much work does a feed look like? Answered from the first 64 kB of its file, before anything is read."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb

from airflow_orchestration.domain.feed import Encoding, Feed, FeedFormat
from airflow_orchestration.engine.packing import packing_of, unpacked_start
from airflow_orchestration.engine.sandbox import sandbox
from airflow_orchestration.engine.source import OpenedFile, open_regular
from airflow_orchestration.engine.sqltext import literal
from airflow_orchestration.exceptions import FeedError
from airflow_orchestration.sources.fetched import SourceFile

SAMPLE = 64 * 1024
MAX_UNPACKED = 1024 * 1024
MAX_NESTING = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedVolume:
    """The size of a feed: bytes on disk, estimated rows, columns, and how deep values nest (1 is flat).

    What can't be told is 0; an absent file has `present` False and zeros.
    """

    bytes: int
    rows: int
    columns: int
    nesting: int
    present: bool


ABSENT = FeedVolume(bytes=0, rows=0, columns=0, nesting=0, present=False)
UNKNOWN = replace(ABSENT, present=True)
"""What is no file of this machine is there, and can't be looked at cheaply."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sample:
    """The unpacked start of a file, and which share of the file it is."""

    text: bytes
    share: float

    @property
    def whole(self) -> bool:
        return self.share >= 1

    def scaled(self, count: int) -> int:
        """A count over the sample, as it would be over the file."""
        return round(count / self.share) if self.share else 0


def survey(feed: Feed, file: SourceFile) -> FeedVolume:
    """Estimate the volume of one of a feed's files; never fails on what is in it.

    What lies outside its root, through a link or `..`, is absent.
    """
    try:
        with open_regular(file.root, file.path.absolute(), feed_id=feed.id) as opened:
            return _volume(feed, opened)
    except FeedError:
        return ABSENT


def together(volumes: Iterable[FeedVolume]) -> FeedVolume:
    """The volume of several files: rows and bytes of all that are there, columns and nesting of the richest."""
    there = [volume for volume in volumes if volume.present]
    return FeedVolume(
        bytes=sum(volume.bytes for volume in there),
        rows=sum(volume.rows for volume in there),
        columns=max((volume.columns for volume in there), default=0),
        nesting=max((volume.nesting for volume in there), default=0),
        present=bool(there),
    )


def scaled(volume: FeedVolume, times: float) -> FeedVolume:
    """A volume with so many times its rows and bytes."""
    return replace(volume, bytes=round(volume.bytes * times), rows=round(volume.rows * times))


def _volume(feed: Feed, opened: OpenedFile) -> FeedVolume:
    try:
        size, start = os.fstat(opened.file.fileno()).st_size, opened.file.read(SAMPLE)
    except OSError:
        return ABSENT
    rows, columns, nesting = _shape(feed, opened.readable, _sample(feed, start, size))
    return FeedVolume(bytes=size, rows=rows, columns=columns, nesting=nesting, present=True)


def _sample(feed: Feed, start: bytes, size: int) -> _Sample:
    text, used, packing = start, len(start), packing_of(start)
    if packing is not None:
        text, used = unpacked_start(packing, start, MAX_UNPACKED)
    if feed.encoding is not Encoding.UTF_8:
        text = text.decode(feed.encoding.value, "replace").encode()
    return _Sample(text=text, share=min(1.0, used / size) if size else 1.0)


def _shape(feed: Feed, path: Path, sample: _Sample) -> tuple[int, int, int]:
    match feed.format:
        case FeedFormat.CSV:
            return _csv_shape(feed, sample)
        case FeedFormat.NDJSON:
            line = sample.text.removeprefix(b"\xef\xbb\xbf").lstrip().split(b"\n", 1)[0]
            return _lines(sample), *_object_shape(line.decode("utf-8", "replace"))
        case FeedFormat.JSON:
            return _array_shape(sample)
        case FeedFormat.PARQUET:
            return _parquet_shape(path)
        case None:
            return 0, 0, 0


def _lines(sample: _Sample) -> int:
    text = sample.text.rstrip()
    return sample.scaled(text.count(b"\n") + 1) if text else 0


def _csv_shape(feed: Feed, sample: _Sample) -> tuple[int, int, int]:
    header = sample.text.split(b"\n", 1)[0].decode("utf-8", "replace")
    try:
        quoting = {"quotechar": feed.quote} if feed.quote else {"quoting": csv.QUOTE_NONE}
        names = next(csv.reader([header], delimiter=feed.delimiter, **quoting), [])
    except (csv.Error, TypeError, ValueError):
        names = []
    return max(0, _lines(sample) - int(feed.header)), len(names), 1 if names else 0


def _array_shape(sample: _Sample) -> tuple[int, int, int]:
    """Counts objects by the length of the first one: one pass of a parser, no second look."""
    text = sample.text.decode("utf-8", "replace")
    begin = text.find("{")
    if begin < 0:
        return 0, 0, 0
    columns, nesting = _object_shape(text[begin:])
    if not columns:
        return 0, 0, 0
    decoder, rows, at = json.JSONDecoder(), 0, begin
    while at >= 0:
        try:
            at = text.find("{", decoder.raw_decode(text, at)[1])
        except (ValueError, RecursionError):
            break
        rows += 1
    read = at if at >= 0 and not sample.whole else len(text)
    share = sample.share * (read / len(text))
    return (round(rows / share) if share else rows), columns, nesting


def _object_shape(text: str) -> tuple[int, int]:
    try:
        row, _ = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return 0, 0
    return (len(row), _depth(row)) if isinstance(row, dict) else (0, 0)


def _depth(value: object, level: int = 0) -> int:
    if level >= MAX_NESTING or not isinstance(value, dict | list):
        return level
    inside = value.values() if isinstance(value, dict) else value
    return max((_depth(item, level + 1) for item in inside), default=level + 1)


def _parquet_shape(path: Path) -> tuple[int, int, int]:
    """Rows and columns from the footer; a packed or broken file tells nothing."""
    try:
        with TemporaryDirectory() as scratch, sandbox(readable=[path], scratch=Path(scratch)) as connection:
            described = connection.execute(f"DESCRIBE SELECT * FROM read_parquet({literal(path)})").fetchall()  # noqa: S608
            counted = connection.execute(
                f"SELECT sum(num_rows)::BIGINT FROM parquet_file_metadata({literal(path)})"  # noqa: S608
            ).fetchone()
    except (duckdb.Error, UnicodeDecodeError):
        return 0, 0, 0
    nested = any(kind.endswith("]") or kind.startswith(("STRUCT", "MAP")) for _, kind, *_ in described)
    return int(counted[0] or 0) if counted else 0, len(described), 2 if nested else 1
