"""Reads Parquet, whose columns have types of their own."""

# ruff: noqa: S608  # names and values become SQL through `sqltext` only
from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import duckdb

from airflow_orchestration.domain.contract import Contract
from airflow_orchestration.domain.feed import Feed
from airflow_orchestration.engine.checking import Checks, checks
from airflow_orchestration.engine.computing import computed_columns, filled
from airflow_orchestration.engine.header import check_names
from airflow_orchestration.engine.layout import Layout
from airflow_orchestration.engine.prescan import Prescan
from airflow_orchestration.engine.source import Source
from airflow_orchestration.engine.sqltext import identifier, literal
from airflow_orchestration.engine.table_shape import SUSPECTS, looked_at
from airflow_orchestration.exceptions import FeedCode, FeedError


@dataclass(frozen=True, slots=True, kw_only=True)
class ParquetReading:
    """Parquet; a column whose type fits is used as it is, any other through its text."""

    checks: Checks
    path: Path
    types: Mapping[str, str]

    @property
    def typed_rows(self) -> str:
        """See `Reading`."""
        return self._rows("")

    def _rows(self, chosen: str) -> str:
        rows = f"read_parquet({literal(self.path)}, file_row_number = true) {chosen}"
        relation = self.checks.relation(identifier, rows, given=self._given, _position="file_row_number + 1")
        carried = ", ".join(self.checks.read.values())
        return self.checks.typed(relation, carried=f"_position, {carried}, ")

    def _given(self, name: str) -> str:
        """An input of an expression, beside something that is never the same in all rows."""
        beside = f"TRY_CAST(file_row_number::VARCHAR AS {self.types[name]})"
        return filled(identifier(name), self.checks.null_words, beside)

    def rows_in(self, connection: duckdb.DuckDBPyConnection, read: int) -> int | None:
        """See `Reading`: the footer's own count, since the engine skips rows by their statistics."""
        query = f"SELECT sum(num_rows)::BIGINT FROM parquet_file_metadata({literal(self.path)})"
        found = connection.execute(query).fetchone()
        return int(found[0]) if found else None

    def prescan(self) -> Prescan | None:
        """See `Reading`."""
        return None

    def suspects(self, positions: Iterable[int]) -> str:
        """See `Reading`: the join stands at the file itself, so that the engine unpacks these rows only."""
        chosen = f"SEMI JOIN {SUSPECTS} AS __suspects ON file_row_number = __suspects._position - 1"
        return looked_at(self.checks, self._rows(chosen))


def parquet_reading(
    feed: Feed,
    contract: Contract,
    layout: Layout,
    source: Source,
    connection: duckdb.DuckDBPyConnection,
) -> ParquetReading:
    """The way to read a Parquet file; raises `FeedError` when it is none, or lacks a column."""
    types = _parquet_types(feed, source, connection)
    computed = computed_columns(connection, feed, types)
    found = checks(feed, contract, layout, types, computed)
    return ParquetReading(checks=found, path=source.path, types=types)


def _parquet_types(feed: Feed, source: Source, connection: duckdb.DuckDBPyConnection) -> dict[str, str]:
    try:
        rows = connection.execute(f"DESCRIBE SELECT * FROM read_parquet({literal(source.path)})").fetchall()
    except (duckdb.Error, UnicodeDecodeError):
        raise FeedError(
            f"{feed.id}: the file is no readable Parquet; deliver it again.", code=FeedCode.DAMAGED
        ) from None
    types = {str(name): str(kind) for name, kind, *_ in rows}
    check_names(list(types), feed)
    return types
