"""What several readings share: pieces of SQL, and rows that have a place and no line."""

# ruff: noqa: S608  # names and values become SQL through `sqltext` only
from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import duckdb

from airflow_orchestration.engine.checking import Checks
from airflow_orchestration.engine.lines import RAW_CHARACTERS
from airflow_orchestration.engine.prescan import Prescan
from airflow_orchestration.engine.sqltext import literal

SUSPECTS = "suspects"
"""The table with the positions of the rows that are looked at closely."""


def numbered(typed: str, before: int) -> str:
    """Number rows that come in the order of their positions, the first one behind `before`."""
    return f"SELECT *, row_number() OVER () + {before} AS _position FROM ({typed})"


def looked_at(found: Checks, rows: str) -> str:
    """SQL of rows with `_raw` and `_malformed` beside their usual columns."""
    return f"SELECT *, {_raw_fields(found)} AS _raw, false AS _malformed FROM ({rows})"


def suspects_of(rows: str) -> str:
    """SQL of those rows whose `_position` is in table `suspects`."""
    return f"SELECT * FROM ({rows}) SEMI JOIN {SUSPECTS} USING (_position)"


def _raw_fields(found: Checks) -> str:
    """SQL for the columns that are read of a row as text: what its quarantine record shows."""
    pairs = ", ".join(f"{literal(name)}, {value}" for name, value in found.read.items())
    return f"left(json_object({pairs})::VARCHAR, {RAW_CHARACTERS})"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedRows(ABC):
    """A `Reading` of a file in which rows are no lines: the position of a row is its place among them."""

    checks: Checks
    path: Path

    @property
    @abstractmethod
    def relation(self) -> str:
        """SQL that reads the columns `x{i}` of all rows, in their order."""

    @property
    def typed_rows(self) -> str:
        """See `Reading`."""
        carried = ", ".join(self.checks.read.values())
        return numbered(self.checks.typed(self.relation, carried=f"{carried}, "), 0)

    def rows_in(self, connection: duckdb.DuckDBPyConnection, read: int) -> int | None:
        """See `Reading`: nothing here but the engine counts; a database has counted as well (`Fetched.rows`)."""
        return read

    def prescan(self) -> Prescan | None:
        """See `Reading`."""
        return None

    def suspects(self, positions: Iterable[int]) -> str:
        """See `Reading`: all rows are read once more."""
        return looked_at(self.checks, suspects_of(self.typed_rows))
