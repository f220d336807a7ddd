"""Which part of the keys is merged at a time? So many that a part is in proportion to the memory.

The engine can spill a join, but what it can't do without has to fit, for all joins of a statement at once.
"""

# ruff: noqa: S608  # names and values become SQL through `sqltext` only
from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import duckdb

from airflow_orchestration.domain.contract import ColumnType
from airflow_orchestration.engine.sqltext import identifier, identifiers, literal
from airflow_orchestration.engine.terms import Terms

VALUE_BYTES = 16
"""What a value takes in a join, and a text more than these by its length."""
WIDTH_ROWS = 1000
"""So many rows of each source are looked at to know how long its texts are."""
SAMPLE_ROWS = 20_000


def key_ranges(
    connection: duckdb.DuckDBPyConnection, terms: Terms, *, rows: int, part_mb: float
) -> Iterator[str]:
    """Yield conditions on the key, in its order, of which one holds for each key that is not null.

    `part_mb` is how much the rows of one of them may take, roughly, in MiB.
    """
    parts = math.ceil(rows * _row_bytes(connection, terms) / (part_mb * 2**20))
    whole = " AND ".join(f"{identifier(name)} IS NOT NULL" for name in terms.contract.key)
    if parts <= 1:
        yield whole
        return
    after = None
    for bound in _bounds(connection, terms, rows=rows, parts=parts):
        yield f"{whole} AND {_between(terms.contract.key, after, bound)}"
        after = bound
    yield f"{whole} AND {_between(terms.contract.key, after, None)}"


def _row_bytes(connection: duckdb.DuckDBPyConnection, terms: Terms) -> float:
    texts = [column.name for column in terms.contract.columns if column.type is ColumnType.STRING]
    length = " + ".join(["0", *(f"coalesce(strlen({identifier(name)}), 0)" for name in texts)])
    rows = letters = 0.0
    for some in terms.chunks():
        looked_at = " UNION ALL ".join(
            f"(SELECT {length} AS length FROM {terms.rows(number)} LIMIT {WIDTH_ROWS})" for number in some
        )
        found = connection.execute(f"SELECT count(*), coalesce(sum(length), 0) FROM ({looked_at})").fetchone()
        seen, read = found or (0, 0)
        rows, letters = rows + seen, letters + read
    return VALUE_BYTES * (len(terms.contract.columns) + 2) + (letters / rows if rows else 0.0)


def _bounds(
    connection: duckdb.DuckDBPyConnection, terms: Terms, *, rows: int, parts: int
) -> Sequence[Sequence[str]]:
    """The keys between the parts, as SQL, from a sample that is the same each time."""
    keys = identifiers(terms.contract.key)
    every = max(1, rows // SAMPLE_ROWS)
    for place, some in enumerate(terms.chunks()):
        sampled = " UNION ".join(
            f"SELECT {keys} FROM {terms.rows(number, f'hash({keys}) % {every} = 0')}" for number in some
        )
        into = "INSERT INTO sampled" if place else "CREATE OR REPLACE TEMP TABLE sampled AS"
        connection.execute(f"{into} {sampled}")
    texts = ", ".join(
        f"{identifier(name)}::VARCHAR, typeof({identifier(name)})" for name in terms.contract.key
    )
    found: list[tuple[Any, ...]] = connection.execute(
        f"SELECT {texts} FROM (SELECT DISTINCT {keys} FROM sampled) ORDER BY {keys}"
    ).fetchall()
    places = sorted({len(found) * part // parts for part in range(1, parts)}) if found else []
    return [
        [f"{literal(text)}::{kind}" for text, kind in zip(found[place][::2], found[place][1::2], strict=True)]
        for place in places
    ]


def _between(key: Sequence[str], after: Sequence[str] | None, up_to: Sequence[str] | None) -> str:
    """After one bound, and up to and with the other."""
    bounds = [_beyond(key, after)] if after is not None else []
    if up_to is not None:
        bounds.append(f"{identifier(key[0])} <= {up_to[0]}")  # lets the engine skip what it needn't read
        bounds += [f"NOT {_beyond(key, up_to)}"] if len(key) > 1 else []
    return " AND ".join(bounds) or "true"


def _beyond(key: Sequence[str], bound: Sequence[str]) -> str:
    """Compare keys column by column."""
    first = f"{identifier(key[0])} > {bound[0]}"
    if len(key) == 1:
        return first
    return f"({first} OR ({identifier(key[0])} = {bound[0]} AND {_beyond(key[1:], bound[1:])}))"
