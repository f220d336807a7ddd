"""Reads one feed into a staged Parquet file; every line of it is staged, or put aside with a reason.

Stage what breaks no rule in one pass, look closely at the few rows that are missing from the result, and
compare all counts with those of a scan that knows nothing of the engine.
"""

# ruff: noqa: S608  # names and values become SQL through `sqltext` only
from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from airflow_orchestration.domain.contract import Contract
from airflow_orchestration.domain.feed import Feed, FeedFormat
from airflow_orchestration.domain.outcome import QualityMeasures
from airflow_orchestration.engine.checking import DUPLICATE_KEY, MALFORMED, OUT_OF_SCOPE, Checks
from airflow_orchestration.engine.quarantine import Rejected, collect, write_quarantine
from airflow_orchestration.engine.reading import Reading, absent_keys, readings
from airflow_orchestration.engine.sandbox import MEMORY_MB, THREADS, sandbox
from airflow_orchestration.engine.source import open_source
from airflow_orchestration.engine.sqltext import identifiers, literal
from airflow_orchestration.exceptions import FeedError

PARQUET = (
    "(FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1, PARQUET_VERSION v2, DICTIONARY_SIZE_LIMIT 1000)"
)
"""Measured: 0.6 of the CPU time of the engine's defaults for the same size."""

_FILE_ERRORS = (duckdb.InvalidInputException, duckdb.ConversionException, duckdb.BinderException)
_PLACE = re.compile(r"(?:byte [0-9]+ in )?(?:record/value|line) [0-9]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingested:
    """What became of a feed's rows: `rows_in = rows_staged + rows_quarantined`.

    `rows_out_of_scope` is a part of the quarantine. `rejects` counts quarantined rows by rule. The
    measures are over the rows in scope: filled cells of the mapped columns (a malformed row has none),
    rows that break no rule of their own, and among those the rows that aren't `duplicate_key`.
    """

    rows_in: int
    rows_staged: int
    rows_quarantined: int
    rows_out_of_scope: int
    staged: Path
    quarantine: Path | None
    rejects: dict[str, int]
    measures: QualityMeasures


def ingest(
    feed: Feed,
    *,
    root: Path,
    path: Path,
    contract: Contract,
    scratch: Path,
    memory_mb: int = MEMORY_MB,
    threads: int = THREADS,
) -> Ingested:
    """Check every row of the file at `path`, below `root`, and write `staged.parquet` into `scratch`.

    `scratch` is an empty folder of this call alone. Raises `FeedError` when the feed can't be used as a
    whole, or when the rows that went in aren't exactly those that came out.
    """
    _check_key(feed, contract)
    scratch = scratch.resolve()
    staged = scratch / "staged.parquet"
    with (
        open_source(root, path, feed_id=feed.id, scratch=scratch) as source,
        sandbox(readable=[source.path], scratch=scratch, memory_mb=memory_mb, threads=threads) as connection,
    ):
        _check_patterns(connection, feed, contract)
        for reading in readings(feed, contract, source, connection, scratch):
            passed = _stage(connection, feed, reading, staged)
            if passed is not None:
                _check_json_columns(connection, feed, reading, passed)
                return _ingested(connection, feed, reading, passed)
    raise FeedError(
        f"{feed.id}: the rows that were read aren't as many as the lines of the file, and it can't be told which "
        "are missing; check its quotes and line ends."
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
    connection: duckdb.DuckDBPyConnection, feed: Feed, reading: Reading, staged: Path
) -> _Passed | None:
    """Write the good rows and reject the others; None when the counts disagree and a careful look may help."""
    good = f"SELECT {reading.checks.staged_columns} FROM ({reading.typed_rows}) WHERE {reading.checks.good}"
    try:
        kept = _copy(connection, good, staged)
        rows_in = reading.rows_in(connection, _rows_read(connection))
    except duckdb.Error as error:
        if not _is_about_the_file(error, feed):
            raise
        if feed.format in {FeedFormat.CSV, FeedFormat.NDJSON}:
            return None
        raise _unreadable(feed, error) from None
    if rows_in is None:
        return None
    kept, repeats = _drop_duplicates(connection, reading.checks, staged, kept)
    rejected = Rejected(by_rule={}, filled=0)
    if kept != rows_in:
        rejected = collect(connection, reading, staged, duplicates=repeats)
    if kept + rejected.rows != rows_in or "" in rejected.by_rule:
        return None
    return _Passed(
        staged=staged,
        rows_in=rows_in,
        rows_staged=kept,
        filled=_filled(connection, reading.checks, staged),
        rejected=rejected,
    )


def _ingested(
    connection: duckdb.DuckDBPyConnection, feed: Feed, reading: Reading, passed: _Passed
) -> Ingested:
    rejected = passed.rejected
    quarantine = passed.staged.with_name("quarantine.parquet") if rejected.rows else None
    if quarantine is not None:
        write_quarantine(connection, feed.id, quarantine)
    out_of_scope = rejected.by_rule.get(OUT_OF_SCOPE, 0)
    in_scope = passed.rows_in - out_of_scope
    valid = passed.rows_staged + rejected.by_rule.get(DUPLICATE_KEY, 0)
    filled = sum(passed.filled.values()) + rejected.filled
    return Ingested(
        rows_in=passed.rows_in,
        rows_staged=passed.rows_staged,
        rows_quarantined=rejected.rows,
        rows_out_of_scope=out_of_scope,
        staged=passed.staged,
        quarantine=quarantine,
        rejects=rejected.by_rule,
        measures=QualityMeasures(
            completeness=_share(filled, in_scope * len(reading.checks.columns)),
            validity=_share(valid, in_scope),
            uniqueness=_share(passed.rows_staged, valid),
        ),
    )


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 1.0


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
    connection: duckdb.DuckDBPyConnection, checks: Checks, staged: Path, kept: int
) -> tuple[int, bool]:
    """Keep the first row of each key: the rows that stay, and whether table `duplicates` has others."""
    source, keys = literal(staged), identifiers(checks.contract.key)
    if _ascending(connection, checks, staged):
        return kept, False
    repeated = f"SELECT {keys} FROM {source} GROUP BY ALL HAVING count(*) > 1"
    if connection.execute(f"SELECT 1 FROM ({repeated}) LIMIT 1").fetchone() is None:
        return kept, False
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE duplicates AS SELECT _position FROM {source} SEMI JOIN ({repeated}) "
        f"USING ({keys}) QUALIFY row_number() OVER (PARTITION BY {keys} ORDER BY _position) > 1"
    )
    first = staged.with_name("first.parquet")
    kept = _copy(
        connection, f"FROM {source} ANTI JOIN duplicates USING (_position) ORDER BY _position", first
    )
    first.replace(staged)
    return kept, True


def _ascending(connection: duckdb.DuckDBPyConnection, checks: Checks, staged: Path) -> bool:
    """Tell cheaply that a key is unique because it only ever rises, as in most exports."""
    if len(checks.contract.key) > 1:
        return False
    key = identifiers(checks.contract.key)
    found = connection.execute(
        f"SELECT 1 FROM (SELECT {key} AS this, lag({key}) OVER () AS before FROM {literal(staged)}) "
        "WHERE this <= before LIMIT 1"
    ).fetchone()
    return found is None


def _filled(connection: duckdb.DuckDBPyConnection, checks: Checks, staged: Path) -> dict[str, int]:
    """Non-null cells of each mapped column, out of the file's statistics."""
    rows = connection.execute(
        "SELECT path_in_schema, sum(num_values - stats_null_count)::BIGINT "
        f"FROM parquet_metadata({literal(staged)}) GROUP BY 1"
    ).fetchall()
    counted = {str(name): int(filled) for name, filled in rows}
    return {column.column.name: counted.get(column.column.name, 0) for column in checks.columns}


def _check_key(feed: Feed, contract: Contract) -> None:
    if missing := [name for name in contract.key if name not in feed.columns]:
        raise FeedError(
            f"{feed.id}: the feed maps nothing to the key column {', '.join(missing)}; add it to columns."
        )


def _check_patterns(connection: duckdb.DuckDBPyConnection, feed: Feed, contract: Contract) -> None:
    """Refuse a regular expression that Python knows and the engine doesn't, before it meets a row."""
    patterns = {f"columns.{name}.extract": source.extract for name, source in feed.columns.items()}
    patterns |= {f"the contract's pattern of {column.name}": column.pattern for column in contract.columns}
    for place, pattern in patterns.items():
        try:
            connection.execute(f"SELECT regexp_matches('', {literal(pattern)})")
        except duckdb.Error:
            raise FeedError(
                f"{feed.id}: {place} is no RE2 expression; write it without look-around and back-references."
            ) from None


def _check_json_columns(
    connection: duckdb.DuckDBPyConnection, feed: Feed, reading: Reading, passed: _Passed
) -> None:
    """Refuse a JSON feed in which no row has a mapped column at all; a null value is a value here."""
    if feed.format not in {FeedFormat.JSON, FeedFormat.NDJSON}:
        return
    names = [
        column.source.column for column in reading.checks.columns if not passed.filled[column.column.name]
    ]
    readable = passed.rows_in - passed.rejected.by_rule.get(MALFORMED, 0)
    absent = absent_keys(connection, reading, names) if names and readable else []
    if absent:
        raise FeedError(
            f"{feed.id}: no row has a column {', '.join(map(repr, absent))}; change the feed's columns."
        )


def _is_about_the_file(error: duckdb.Error, feed: Feed) -> bool:
    """Tell a file that can't be read from a machine that can't read it just now.

    A damaged Parquet file ends in errors of nearly any class.
    """
    if feed.format is not FeedFormat.PARQUET:
        return isinstance(error, _FILE_ERRORS)
    return not isinstance(error, duckdb.OutOfMemoryException) and "No space left" not in str(error)


def _unreadable(feed: Feed, error: duckdb.Error) -> FeedError:
    place = _PLACE.search(str(error))
    where = f", near {place.group()}" if place else ""
    return FeedError(
        f"{feed.id}: the file is no complete {feed.format.value.upper()}{where}; deliver it again."
    )
