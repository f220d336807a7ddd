"""Pieces of SQL that several readings share."""

# ruff: noqa: S608  # names and values become SQL through `sqltext` only
from __future__ import annotations

from airflow_orchestration.engine.checking import Checks
from airflow_orchestration.engine.lines import RAW_CHARACTERS
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
