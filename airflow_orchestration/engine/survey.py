"""How much work does a feed look like? Answered from the first 64 kB of its file, before anything is read."""

from __future__ import annotations

import csv
import json
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb

from airflow_orchestration.domain.feed import Feed, FeedFormat
from airflow_orchestration.engine.sandbox import sandbox
from airflow_orchestration.engine.source import GZIP_MAGIC, OpenedFile, open_regular
from airflow_orchestration.engine.sqltext import literal
from airflow_orchestration.exceptions import FeedError

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


def survey(feed: Feed, path: Path, *, root: Path) -> FeedVolume:
    """Estimate the volume of a feed's file; never fails on what is in it.

    What lies outside `root`, through a link or `..`, is absent.
    """
    try:
        with open_regular(root, path.absolute(), feed_id=feed.id) as opened:
            return _volume(feed, opened)
    except FeedError:
        return ABSENT


def _volume(feed: Feed, opened: OpenedFile) -> FeedVolume:
    try:
        size, start = os.fstat(opened.file.fileno()).st_size, opened.file.read(SAMPLE)
    except OSError:
        return ABSENT
    rows, columns, nesting = _shape(feed, opened.readable, _sample(start, size))
    return FeedVolume(bytes=size, rows=rows, columns=columns, nesting=nesting, present=True)


def _sample(start: bytes, size: int) -> _Sample:
    share = min(1.0, len(start) / size) if size else 1.0
    if not start.startswith(GZIP_MAGIC):
        return _Sample(text=start, share=share)
    unpacker = zlib.decompressobj(wbits=31)
    try:
        text = unpacker.decompress(start, MAX_UNPACKED)
    except zlib.error:
        return _Sample(text=b"", share=share)
    used = len(start) - len(unpacker.unconsumed_tail)
    return _Sample(text=text, share=used / size)


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


def _lines(sample: _Sample) -> int:
    text = sample.text.rstrip()
    return sample.scaled(text.count(b"\n") + 1) if text else 0


def _csv_shape(feed: Feed, sample: _Sample) -> tuple[int, int, int]:
    header = sample.text.split(b"\n", 1)[0].decode("utf-8", "replace")
    try:
        names = next(csv.reader([header], delimiter=feed.delimiter), [])
    except (csv.Error, TypeError, ValueError):
        names = []
    return max(0, _lines(sample) - 1), len(names), 1 if names else 0


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
    except duckdb.Error:
        return 0, 0, 0
    nested = any(kind.endswith("]") or kind.startswith(("STRUCT", "MAP")) for _, kind, *_ in described)
    return int(counted[0] or 0) if counted else 0, len(described), 2 if nested else 1
