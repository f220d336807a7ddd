"""Reads one file of a feed into a staged Parquet file; every line of it is staged, or put aside with a reason.

Stage what breaks no rule in one pass, look closely at the few rows that are missing from the result, and
compare all counts with those of a scan that knows nothing of the engine.
"""

# ruff: noqa: S608  # names and values become SQL through `sqltext` only
from __future__ import annotations

import json
import re
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from airflow_orchestration.domain.contract import Contract
from airflow_orchestration.domain.feed import Feed, FeedFormat
from airflow_orchestration.engine.checking import MALFORMED, Checks
from airflow_orchestration.engine.json_reading import absent_keys
from airflow_orchestration.engine.layout import Layout
from airflow_orchestration.engine.limits import Meter
from airflow_orchestration.engine.quarantine import Rejected, collect, collect_repeats, write_quarantine
from airflow_orchestration.engine.reading import Reading, readings
from airflow_orchestration.engine.sandbox import sandbox
from airflow_orchestration.engine.source import Fingerprint, Source, open_source
from airflow_orchestration.engine.sqltext import literal
from airflow_orchestration.engine.uniqueness import DUPLICATES, find_repeats
from airflow_orchestration.exceptions import FeedCode, FeedError
from airflow_orchestration.sources.fetched import SourceFile

PARQUET = (
    "(FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1, PARQUET_VERSION v2, DICTIONARY_SIZE_LIMIT 1000)"
)
"""Measured: 0.6 of the CPU time of the engine's defaults for the same size."""

_FILE_ERRORS = (duckdb.InvalidInputException, duckdb.ConversionException)
_TOO_LONG = re.compile(r"Maximum line size of ([0-9]+) bytes exceeded")
_PLACE = re.compile(r"(?:byte [0-9]+ in )?(?:record/value|line) [0-9]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What reading the files of one feed works with; `layout` says how they are written."""

    feed: Feed
    contract: Contract
    layout: Layout
    meter: Meter
    memory_mb: int
    threads: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What became of rows: `rows_in = rows_staged + rows_quarantined`.

    `filled` counts the cells that aren't empty in the mapped columns, of the rows in scope; `judged` and
    `marks` are those of `Rejected`.
    """

    staged: Path
    quarantine: Path | None
    rows_in: int
    rows_staged: int
    rejects: dict[str, int]
    filled: int
    judged: int
    marks: tuple[int, ...]

    @property
    def rows_quarantined(self) -> int:
        """All rows that were put aside."""
        return sum(self.rejects.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadFile:
    """A file that was read: the bytes that were seen, and what became of its rows."""

    file: SourceFile
    seen: Fingerprint
    part: Part
    absent: tuple[str, ...] | None
    """Which mapped keys none of its JSON objects has; None when that says nothing about the feed."""


def read_file(desk: Desk, file: SourceFile, scratch: Path) -> ReadFile:
    """Check every row of a file and write `staged.parquet` and perhaps `quarantine.parquet` into `scratch`.

    `scratch` is an empty folder of this file alone. Raises `FeedError` when the file can't be used as a
    whole, or when the rows that went in aren't exactly those that came out.
    """
    staged = scratch / "staged.parquet"
    with (
        open_source(
            file,
            feed_id=desk.feed.id,
            scratch=scratch,
            max_bytes=desk.feed.limits.bytes,
            may_be_empty=desk.layout.format is FeedFormat.NDJSON,
        ) as source,
        _sandbox(desk, source, scratch) as connection,
    ):
        desk.meter.before(connection, source.path, desk.layout.format)
        for reading in readings(desk.feed, desk.contract, desk.layout, source, connection, scratch):
            passed = _stage(connection, desk, reading, staged)
            if passed is not None:
                desk.meter.after(passed.rows_in)
                absent = _absent(connection, desk, reading, passed)
                part = _part(connection, desk, file, passed)
                return ReadFile(file=file, seen=source.seen, part=part, absent=absent)
    raise FeedError(
        f"{desk.feed.id}: the rows that were read aren't as many as the lines of the file, and it can't be told "
        "which are missing; check its quotes and line ends.",
        code=FeedCode.ROWS_LOST,
    )


def reject_repeats(desk: Desk, read: ReadFile, found: Path, scratch: Path) -> Path:
    """Read rows of a file once more that repeat something of earlier files; return the quarantine with them.

    `found` is a file in `scratch`, see `collect_repeats`. Raises `FeedError` when the file isn't what it was.
    """
    with (
        open_source(read.file, feed_id=desk.feed.id, scratch=scratch) as source,
        _sandbox(desk, source, scratch) as connection,
    ):
        if source.seen != read.seen:
            raise FeedError(
                f"{desk.feed.id}: {read.file.origin} was changed while it was read; "
                "deliver files under another name and rename them when they are complete.",
                code=FeedCode.CHANGED_WHILE_READ,
            )
        reading = next(readings(desk.feed, desk.contract, desk.layout, source, connection, scratch))
        collect_repeats(connection, reading, found)
        return write_quarantine(connection, desk.feed.id, read.file.origin, scratch / "repeats.parquet")


def _sandbox(desk: Desk, source: Source, scratch: Path) -> AbstractContextManager[duckdb.DuckDBPyConnection]:
    return sandbox(
        readable=[source.path],
        scratch=scratch,
        memory_mb=desk.memory_mb,
        threads=desk.threads,
        trusts_statistics=desk.layout.format is not FeedFormat.PARQUET,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Passed:
    """A staging pass that came out even."""

    staged: Path
    rows_in: int
    rows_staged: int
    filled: dict[str, int]
    rejected: Rejected


def _stage(
    connection: duckdb.DuckDBPyConnection, desk: Desk, reading: Reading, staged: Path
) -> _Passed | None:
    """Write the good rows and reject the others; None when the counts disagree and a careful look may help."""
    try:
        return _passed(connection, desk, reading, staged)
    except (duckdb.Error, UnicodeDecodeError) as error:
        if not _is_about_the_file(error, desk.layout.format):
            raise
        if reading.prescan() is not None:
            return None
        raise _unreadable(desk, error) from None


def _passed(
    connection: duckdb.DuckDBPyConnection, desk: Desk, reading: Reading, staged: Path
) -> _Passed | None:
    """The same, ended by whatever error the engine has; bad rows are read once more, so that may be at its end."""
    good = f"SELECT {reading.checks.staged_columns} FROM ({reading.typed_rows}) WHERE {reading.checks.good}"
    kept = _copy(connection, good, staged)
    rows_in = reading.rows_in(connection, _rows_read(connection))
    if rows_in is None:
        return None
    kept = _drop_duplicates(connection, reading.checks, staged, kept, is_stream=desk.feed.is_stream)
    rejected = Rejected(by_rule={}, filled=0)
    if kept != rows_in:
        rejected = collect(connection, reading, staged, rows_in=rows_in)
    if kept + rejected.rows != rows_in or "" in rejected.by_rule:
        return None
    return _Passed(
        staged=staged,
        rows_in=rows_in,
        rows_staged=kept,
        filled=_filled(connection, reading.checks, staged),
        rejected=rejected,
    )


def _part(connection: duckdb.DuckDBPyConnection, desk: Desk, file: SourceFile, passed: _Passed) -> Part:
    rejected, quarantine = passed.rejected, None
    if rejected.rows:
        target = passed.staged.with_name("quarantine.parquet")
        quarantine = write_quarantine(connection, desk.feed.id, file.origin, target)
    return Part(
        staged=passed.staged,
        quarantine=quarantine,
        rows_in=passed.rows_in,
        rows_staged=passed.rows_staged,
        rejects=rejected.by_rule,
        filled=sum(passed.filled.values()) + rejected.filled,
        judged=rejected.judged,
        marks=rejected.marks,
    )


def _copy(connection: duckdb.DuckDBPyConnection, query: str, target: Path) -> int:
    written = connection.execute(f"COPY ({query}) TO {literal(target)} {PARQUET}").fetchone()
    return int(written[0]) if written else 0


def _rows_read(connection: duckdb.DuckDBPyConnection) -> int:
    """How many rows the last statement's scan produced: the leaf of its profile."""
    profile = json.loads(connection.get_profiling_information(format="json"))
    node: dict[str, Any] = profile["operator"][0]
    while node.get("children"):
        node = node["children"][0]
    return int(node["intermediate_rows"])


def _drop_duplicates(
    connection: duckdb.DuckDBPyConnection, checks: Checks, staged: Path, kept: int, *, is_stream: bool
) -> int:
    """Keep one row of each key and unique value; return how many stay."""
    source = literal(staged)
    if not find_repeats(connection, source, checks.contract, is_stream=is_stream):
        return kept
    first = staged.with_name("first.parquet")
    kept = _copy(
        connection, f"FROM {source} ANTI JOIN {DUPLICATES} USING (_position) ORDER BY _position", first
    )
    first.replace(staged)
    return kept


def _filled(connection: duckdb.DuckDBPyConnection, checks: Checks, staged: Path) -> dict[str, int]:
    """Non-null cells of each mapped column, out of the file's statistics."""
    rows = connection.execute(
        "SELECT path_in_schema, sum(num_values - stats_null_count)::BIGINT "
        f"FROM parquet_metadata({literal(staged)}) GROUP BY 1"
    ).fetchall()
    counted = {str(name): int(filled) for name, filled in rows}
    return {column.column.name: counted.get(column.column.name, 0) for column in checks.columns}


def _absent(
    connection: duckdb.DuckDBPyConnection, desk: Desk, reading: Reading, passed: _Passed
) -> tuple[str, ...] | None:
    """Which mapped keys no object of a JSON file has; a null value is a value here.

    Says nothing where no line is an object. The few records of a stream may well have left a key out.
    """
    readable = passed.rows_in - passed.rejected.by_rule.get(MALFORMED, 0)
    is_json = desk.layout.format in {FeedFormat.JSON, FeedFormat.NDJSON}
    if not is_json or desk.feed.is_stream or not readable:
        return None
    names = [
        name
        for column in reading.checks.columns
        if not passed.filled[column.column.name]
        for name in column.names
    ]
    return tuple(absent_keys(connection, reading, names)) if names else ()


def _is_about_the_file(error: duckdb.Error | UnicodeDecodeError, layout: FeedFormat) -> bool:
    """Tell a file that can't be read from a machine that can't read it just now.

    A damaged Parquet file ends in errors of nearly any class. An error that quotes a piece of the file and cuts it
    inside a letter can't be told by the engine, and is one of decoding.
    """
    if isinstance(error, UnicodeDecodeError):
        return True
    if layout is not FeedFormat.PARQUET:
        return isinstance(error, _FILE_ERRORS)
    return not isinstance(error, duckdb.OutOfMemoryException) and "No space left" not in str(error)


def _unreadable(desk: Desk, error: duckdb.Error | UnicodeDecodeError) -> FeedError:
    if too_long := _TOO_LONG.search(str(error)):
        return FeedError(
            f"{desk.feed.id}: a row is longer than {int(too_long[1]) // 1024**2} MiB, which is all that is read of a row "
            "with line ends in its texts; leave its longest column out of the query, or shorten it there.",
            code=FeedCode.TOO_LARGE,
        )
    place = _PLACE.search(str(error))
    where = f", near {place.group()}" if place else ""
    return FeedError(
        f"{desk.feed.id}: the file is no complete {desk.layout.format.value.upper()}{where}; deliver it again.",
        code=FeedCode.DAMAGED,
    )
