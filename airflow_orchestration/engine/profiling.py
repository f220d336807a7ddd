"""What do the checked rows of a feed look like? The staged file knows a part of it; the rest is a sample's.

Empty cells and bounds stand in the file's own statistics. Means and variety are taken from a sample of rows in a
large file: stretches of equal length, evenly spread, so that every run looks at about as many rows.
"""

# ruff: noqa: S608  # names and values become SQL through `sqltext` only
from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from airflow_orchestration.domain.contract import Column, ColumnType, Contract
from airflow_orchestration.domain.profile import ColumnProfile, FeedProfile
from airflow_orchestration.domain.quality_rule import Metric
from airflow_orchestration.domain.statistics import Share
from airflow_orchestration.engine.checking import DUPLICATE_KEY
from airflow_orchestration.engine.ingest import Ingested
from airflow_orchestration.engine.sandbox import MEMORY_MB, THREADS, sandbox
from airflow_orchestration.engine.sqltext import identifier, literal

SAMPLE_ROWS = 50_000
STRETCHES = 4
DIGITS = 12
"""Sums of floats differ in their last digits from run to run."""
LARGEST = 1e150
"""The square of a larger number is none: these have no part in means."""
_NUMBERS = {ColumnType.INTEGER, ColumnType.NUMBER}
_TIMES = {ColumnType.DATE, ColumnType.TIMESTAMP}


def profile(
    ingested: Ingested,
    *,
    contract: Contract,
    columns: Iterable[str],
    moment: datetime,
    scratch: Path,
    memory_mb: int = MEMORY_MB,
    threads: int = THREADS,
) -> FeedProfile:
    """Describe the rows that an ingestion staged, column by column.

    `columns` are those that the feed fills. How new the rows are says the column of the contract's freshness rule;
    without one, the timestamp column whose newest value is the latest before `moment`, if there is any.
    """
    wanted = set(columns)
    chosen = [column for column in contract.columns if column.name in wanted]
    readable = [path for path in (ingested.staged, ingested.quarantine) if path is not None]
    with sandbox(readable=readable, scratch=scratch, memory_mb=memory_mb, threads=threads) as connection:
        refused = _refused(connection, ingested.quarantine)
        known = _known(connection, ingested.staged)
        seen = _seen(connection, ingested, chosen) if chosen else {}
    newest = _newest(chosen, known, moment, _fresh_by(contract))
    in_scope = ingested.rows_in - ingested.rows_out_of_scope
    valid = ingested.rows_staged + ingested.rejects.get(DUPLICATE_KEY, 0)
    cells = in_scope * len(chosen)
    return FeedProfile(
        rows=ingested.rows_staged,
        completeness=Share(part=round(ingested.measures.completeness * cells), whole=cells),
        validity=Share(part=valid, whole=in_scope),
        uniqueness=Share(part=ingested.rows_staged, whole=valid),
        columns=tuple(
            _column(column, ingested.rows_staged, refused, known.get(column.name), seen[column.name])
            for column in chosen
        ),
        newest=newest.isoformat() if newest else None,
        age_seconds=(moment - newest).total_seconds() if newest else None,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """A column by the statistics of its file."""

    empty: int
    numbers: tuple[float | None, float | None]
    times: tuple[datetime | None, datetime | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """A column by its sample."""

    filled: int
    distinct: int
    mean: float | None
    deviation: float | None


def _refused(connection: duckdb.DuckDBPyConnection, quarantine: Path | None) -> dict[str, int]:
    """How many rows were put aside for each column."""
    if quarantine is None:
        return {}
    counted = connection.execute(
        f"SELECT column_name, count(*) FROM {literal(quarantine)} WHERE column_name IS NOT NULL GROUP BY 1"
    ).fetchall()
    return {str(name): int(rows) for name, rows in counted}


def _known(connection: duckdb.DuckDBPyConnection, staged: Path) -> dict[str, _Known]:
    def bounds(sql_type: str) -> str:
        low, high = (f"TRY_CAST(stats_{end}_value AS {sql_type})" for end in ("min", "max"))
        return f"min({low}), max({high})"

    found = connection.execute(
        f"SELECT path_in_schema, sum(stats_null_count)::BIGINT, {bounds('DOUBLE')}, {bounds('TIMESTAMP')} "
        f"FROM parquet_metadata({literal(staged)}) GROUP BY 1"
    ).fetchall()
    return {
        str(name): _Known(empty=int(empty or 0), numbers=(low, high), times=(_utc(first), _utc(last)))
        for name, empty, low, high, first, last in found
    }


def _utc(time: datetime | None) -> datetime | None:
    return None if time is None else time.replace(tzinfo=UTC)


def _seen(
    connection: duckdb.DuckDBPyConnection, ingested: Ingested, columns: Sequence[Column]
) -> dict[str, _Seen]:
    figures = ", ".join(figure for column in columns for figure in _figures(column))
    rows = f"read_parquet({literal(ingested.staged)}, file_row_number = true)"
    found = connection.execute(
        f"SELECT {figures} FROM {rows} WHERE {_sampled(ingested.rows_staged)}"
    ).fetchone()
    values = iter(found or ())
    return {column.name: _seen_of(column, values) for column in columns}


def _sampled(rows: int) -> str:
    if rows <= SAMPLE_ROWS:
        return "true"
    step, stretch = rows // STRETCHES, SAMPLE_ROWS // STRETCHES
    middle = (
        step - (step - stretch) // 2
    )  # at the beginning of each quarter, a rising column would seem lower
    return f"(file_row_number + {middle}) % {step} < {stretch}"


def _figures(column: Column) -> Iterator[str]:
    name = identifier(column.name)
    yield f"count({name})"
    yield f"approx_count_distinct({name})"
    if column.type not in _TIMES:
        value = f"strlen({name})" if column.type is ColumnType.STRING else f"{name}::DOUBLE"
        among = f" FILTER (abs({name}) < {LARGEST})" if column.type is ColumnType.NUMBER else ""
        yield f"avg({value}){among}"
        yield f"stddev_pop({value}){among}"


def _seen_of(column: Column, values: Iterator[float | None]) -> _Seen:
    filled, distinct = int(next(values) or 0), int(next(values) or 0)
    mean, deviation = (None, None) if column.type in _TIMES else (next(values), next(values))
    return _Seen(
        filled=filled, distinct=min(distinct, filled), mean=_rounded(mean), deviation=_rounded(deviation)
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.{DIGITS}g}")


def _column(
    column: Column, rows: int, refused: Mapping[str, int], known: _Known | None, seen: _Seen
) -> ColumnProfile:
    lowest, highest = _bounds(column, known) if known else (None, None)
    return ColumnProfile(
        name=column.name,
        rows=rows,
        filled=rows - known.empty if known else 0,
        sampled=seen.filled,
        distinct=seen.distinct,
        refused=refused.get(column.name, 0),
        mean=seen.mean,
        deviation=seen.deviation,
        lowest=lowest,
        highest=highest,
    )


def _bounds(column: Column, known: _Known) -> tuple[float | str | None, float | str | None]:
    if column.type in _NUMBERS:
        return known.numbers
    if column.type in _TIMES:
        first, last = (None if time is None else time.isoformat() for time in known.times)
        return first, last
    return None, None


def _fresh_by(contract: Contract) -> str | None:
    rules = (rule for rule in contract.measured if rule.metric is Metric.FRESHNESS)
    return next((name for rule in rules for name in rule.columns), None)


def _newest(
    columns: Sequence[Column], known: Mapping[str, _Known], moment: datetime, fresh_by: str | None
) -> datetime | None:
    if fresh_by is not None:
        return known[fresh_by].times[1] if fresh_by in known else None
    times = [
        last
        for column in columns
        if column.type is ColumnType.TIMESTAMP
        and (last := known[column.name].times[1] if column.name in known else None) is not None
        and last <= moment
    ]
    return max(times, default=None)
