"""Writes the rows that were put aside, each with its position, the rule it broke and a reason."""

# ruff: noqa: S608  # names and values become SQL through `sqltext` only
from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from airflow_orchestration.engine.checking import (
    DUPLICATE_KEY,
    DUPLICATE_VALUE,
    MALFORMED,
    OUT_OF_SCOPE,
    Checks,
    marked,
)
from airflow_orchestration.engine.prescan import Prescan
from airflow_orchestration.engine.reading import Reading
from airflow_orchestration.engine.sqltext import literal
from airflow_orchestration.engine.table_shape import SUSPECTS
from airflow_orchestration.engine.uniqueness import DUPLICATES, SUPERSEDED, make_duplicates

_FETCH = 10_000
_MOST_RULES = 3
"""As many are named to explain why rows were put aside."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """What was put aside: rows by rule, and filled cells of the rows in scope.

    `marks` counts, for each of `checking.marked`, the `judged` rows that break it: those with a bad value.
    """

    by_rule: dict[str, int]
    filled: int
    judged: int = 0
    marks: tuple[int, ...] = ()

    @property
    def rows(self) -> int:
        """All rows that were put aside."""
        return sum(self.by_rule.values())


def collect(
    connection: duckdb.DuckDBPyConnection, reading: Reading, staged: Path, *, rows_in: int
) -> Rejected:
    """Find out why each row that wasn't staged was rejected; the answer stays in table `rejected`.

    Table `duplicates` holds the positions of the rows that repeat a key, if there are any. A row that was
    not staged and breaks no rule gets a null rule; `Rejected.by_rule` then has the key "".
    """
    _make_tables(connection)
    scan = reading.prescan()
    if scan is None:
        _choose(connection, f"({_missing(staged, rows_in)})")
        _insert(connection, reading.checks, reading.suspects(()))
    else:
        missing = without(gaps(connection, staged, scan.first_line, scan.last_line), scan.aside)
        _insert(connection, reading.checks, reading.suspects(missing))
        _insert_malformed(connection, scan)
    counted = connection.execute(
        "SELECT coalesce(rule, ''), count(*), sum(filled) FROM rejected GROUP BY ALL ORDER BY ALL"
    ).fetchall()
    judged, *marks = _marked(connection, len(marked(reading.checks.contract)))
    return Rejected(
        by_rule={str(rule): int(rows) for rule, rows, _ in counted},
        filled=sum(int(filled) for rule, _, filled in counted if rule not in {OUT_OF_SCOPE, SUPERSEDED}),
        judged=judged,
        marks=tuple(marks),
    )


def _marked(connection: duckdb.DuckDBPyConnection, rules: int) -> tuple[int, ...]:
    """How many rows were put aside for a value of theirs, and how many of these have each mark."""
    counts = ", ".join(["count(*)", *(f"count_if(marks[{number}])" for number in range(1, rules + 1))])
    others = ", ".join(map(literal, (OUT_OF_SCOPE, MALFORMED, DUPLICATE_KEY, DUPLICATE_VALUE, SUPERSEDED)))
    row = connection.execute(f"SELECT {counts} FROM rejected WHERE rule NOT IN ({others})").fetchone()
    return tuple(int(count) for count in row or ())


def collect_repeats(connection: duckdb.DuckDBPyConnection, reading: Reading, found: Path) -> None:
    """Put rows that break no rule of their own, and repeat something of another file, into table `rejected`.

    `found` is Parquet with the columns of table `duplicates`, in the order of `_position`.
    """
    _make_tables(connection)
    rows = f"read_parquet({literal(found)})"
    connection.execute(f"INSERT INTO {DUPLICATES} FROM {rows}")
    _choose(connection, DUPLICATES)
    _insert(connection, reading.checks, reading.suspects(_positions(connection, rows)))


def _positions(connection: duckdb.DuckDBPyConnection, rows: str) -> Iterator[int]:
    cursor = connection.cursor()
    cursor.execute(f"SELECT _position FROM {rows} ORDER BY _position")
    while found := cursor.fetchmany(_FETCH):
        yield from (position for (position,) in found)


def _choose(connection: duckdb.DuckDBPyConnection, positions: str) -> None:
    connection.execute(f"CREATE OR REPLACE TEMP TABLE {SUSPECTS} AS SELECT _position FROM {positions}")


def _make_tables(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE rejected "
        "(position BIGINT, rule VARCHAR, column_name VARCHAR, reason VARCHAR, raw VARCHAR, filled INTEGER, "
        "marks BOOLEAN[])"
    )
    make_duplicates(connection)


def write_quarantine(connection: duckdb.DuckDBPyConnection, feed_id: str, origin: str, target: Path) -> Path:
    """Write table `rejected` as Parquet, by position; return the file."""
    connection.execute(
        f"COPY (SELECT {literal(feed_id)} AS feed_id, {literal(origin)} AS origin, position, rule, column_name, "
        f"reason, raw FROM rejected ORDER BY position) TO {literal(target)} (FORMAT parquet, COMPRESSION zstd)"
    )
    return target


def why_aside(connection: duckdb.DuckDBPyConnection, quarantine: Path, *, unit: str) -> str:
    """Say which rules most of the rows broke that were put aside, and the first of each: no values.

    `unit` is what a position counts.
    """
    found = connection.execute(
        "SELECT rule, column_name, count(*), min(position), arg_min(reason, position) "
        f"FROM read_parquet({literal(quarantine)}) GROUP BY ALL ORDER BY 3 DESC, rule, column_name LIMIT {_MOST_RULES}"
    ).fetchall()
    return "; ".join(
        f"{rule}{f' of {column}' if column else ''} {rows:,} ({unit} {first}: {reason.removesuffix('.')})"
        for rule, column, rows, first, reason in found
    )


def gaps(connection: duckdb.DuckDBPyConnection, staged: Path, first: int, last: int) -> Iterator[int]:
    """Yield the positions from `first` to `last` that aren't in the staged file, ascending.

    Staged rows stand in the order of their positions, so rows without a gap between them share the
    difference between position and row number.
    """
    cursor = connection.cursor()
    cursor.execute(f"{_runs(staged)} ORDER BY first")
    expected = first
    while runs := cursor.fetchmany(_FETCH):
        for start, end in runs:
            yield from range(expected, start)
            expected = end + 1
    yield from range(expected, last + 1)


def _runs(staged: Path) -> str:
    return (
        "SELECT min(_position) AS first, max(_position) AS last FROM "
        "(SELECT _position, _position - file_row_number AS run "
        f"FROM read_parquet({literal(staged)}, file_row_number = true)) GROUP BY run"
    )


def _missing(staged: Path, rows: int) -> str:
    """SQL for what `gaps` yields from 1 to `rows`."""
    ends = f"SELECT first, last FROM ({_runs(staged)}) UNION ALL SELECT {rows + 1}, NULL"
    holes = f"SELECT lag(last, 1, 0) OVER (ORDER BY first) + 1 AS expected, first FROM ({ends})"
    return f"SELECT position AS _position FROM ({holes}) AS hole, range(hole.expected, hole.first) AS r (position)"


def without(positions: Iterator[int], aside: Sequence[int]) -> Iterator[int]:
    """Leave out positions that are known already; both are ascending."""
    known = iter(aside)
    skip = next(known, None)
    for position in positions:
        while skip is not None and skip < position:
            skip = next(known, None)
        if position != skip:
            yield position


def _insert(connection: duckdb.DuckDBPyConnection, checks: Checks, suspects: str) -> None:
    rules = ", ".join(
        f"({number}, {literal(rule.name)}, {literal(rule.column)}, {literal(rule.reason)})"
        for number, rule in enumerate(checks.rules)
    )
    connection.execute(
        f"INSERT INTO rejected SELECT _position, "
        f"CASE WHEN _malformed THEN '{MALFORMED}' WHEN rule.name IS NOT NULL THEN rule.name "
        "ELSE d.rule END AS rule_name, "
        "CASE WHEN NOT _malformed THEN coalesce(rule.column_name, d.column_name) END, "
        "CASE WHEN _malformed THEN 'The line is not one JSON object.' "
        "ELSE coalesce(rule.reason, d.reason) END, "
        f"CASE WHEN rule_name IS DISTINCT FROM '{OUT_OF_SCOPE}' THEN replace(_raw, chr(0), '\u2400') END, filled, marks "
        f"FROM (SELECT _position, _raw, _malformed, {checks.filled} AS filled, {checks.marks} AS marks, "
        f"{checks.first_broken} AS number FROM ({suspects})) "
        f"LEFT JOIN (VALUES {rules}) AS rule(number, name, column_name, reason) USING (number) "
        "LEFT JOIN duplicates AS d USING (_position)"
    )


def _insert_malformed(connection: duckdb.DuckDBPyConnection, scan: Prescan) -> None:
    if scan.malformed:
        connection.execute(
            f"INSERT INTO rejected SELECT position, '{MALFORMED}', NULL, reason, raw, 0, NULL "
            f"FROM read_json({literal(scan.sidecar)}, format = 'newline_delimited', "
            "columns = {position: 'BIGINT', reason: 'VARCHAR', raw: 'VARCHAR'})"
        )
