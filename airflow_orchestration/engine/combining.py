"""Makes one staged file of several: of rows with the same key one stays, whichever file it is in."""

# ruff: noqa: S608  # names and values become SQL through `sqltext` only
from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path

import duckdb

from airflow_orchestration.engine.checking import SQL_TYPES
from airflow_orchestration.engine.part import PARQUET, Desk, Part, ReadFile, reject_repeats
from airflow_orchestration.engine.sqltext import identifier, identifiers, listed, literal
from airflow_orchestration.engine.uniqueness import DUPLICATES, SUPERSEDED, find_repeats

_FILE = 2**40
"""What the position of a row in all files counts for each file; no file has as many rows."""


def combined(
    connection: duckdb.DuckDBPyConnection, desk: Desk, read: Sequence[ReadFile], scratch: Path
) -> Part:
    """Put what was read of each file together, in the order of the files.

    In the staged file `_position` counts its rows; in the quarantine a position is one in the row's origin.
    """
    parts = [one.part for one in read]
    repeats = _repeats(connection, desk, parts) if parts else {}
    quarantines = [part.quarantine for part in parts if part.quarantine is not None]
    for number in repeats:
        folder = scratch / f"repeats-{number:06}"
        folder.mkdir()
        found = _repeats_of(connection, number, folder / "found.parquet")
        quarantines.append(reject_repeats(desk, read[number], found, folder))
    rejects = Counter[str]()
    for part in parts:
        rejects.update(part.rejects)
    repeated = Counter[str]()
    for by_rule in repeats.values():
        repeated.update(by_rule)
    rejects.update(repeated)
    return Part(
        staged=_staged(connection, desk, parts, scratch, repeated=bool(repeated)),
        quarantine=_quarantine(connection, read, quarantines, scratch),
        rows_in=sum(part.rows_in for part in parts),
        rows_staged=sum(part.rows_staged for part in parts) - repeated.total(),
        rejects=dict(sorted(rejects.items())),
        filled=sum(part.filled for part in parts)
        - (_filled(connection, desk, parts) if SUPERSEDED in repeated else 0),
        judged=sum(part.judged for part in parts),
        marks=tuple(map(sum, zip_longest(*(part.marks for part in parts), fillvalue=0))),
    )


def _repeats(
    connection: duckdb.DuckDBPyConnection, desk: Desk, parts: Sequence[Part]
) -> dict[int, dict[str, int]]:
    """How many rows of each file repeat something of another one, by rule; they are in table `repeats`."""
    names = listed(str(part.staged) for part in parts)
    place = f"list_position({names}, filename)::BIGINT * {_FILE} + _position"
    source = f"(SELECT * REPLACE ({place} AS _position) FROM read_parquet({names}, filename = true))"
    find_repeats(connection, source, desk.contract, is_stream=desk.feed.is_stream)
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE repeats AS SELECT {names}[_position // {_FILE}] AS filename, "
        f"_position // {_FILE} - 1 AS number, _position % {_FILE} AS _position, rule, column_name, reason "
        f"FROM {DUPLICATES}"
    )
    counts = dict[int, dict[str, int]]()
    for number, rule, rows in connection.execute(
        "SELECT number, rule, count(*) FROM repeats GROUP BY ALL ORDER BY ALL"
    ).fetchall():
        counts.setdefault(number, {})[rule] = rows
    return counts


def _filled(connection: duckdb.DuckDBPyConnection, desk: Desk, parts: Sequence[Part]) -> int:
    """The filled cells of the rows in table `repeats` that are superseded: they are out of scope after all."""
    mapped = (column.name for column in desk.contract.columns if column.name in desk.feed.columns)
    cells = " + ".join(f"count({identifier(name)})" for name in mapped)
    row = connection.execute(
        f"SELECT {cells} FROM read_parquet({listed(str(part.staged) for part in parts)}, filename = true) "
        f"SEMI JOIN (FROM repeats WHERE rule = {literal(SUPERSEDED)}) USING (filename, _position)"
    ).fetchone()
    return int(row[0]) if row else 0


def _repeats_of(connection: duckdb.DuckDBPyConnection, number: int, target: Path) -> Path:
    """Write the rows of table `repeats` of one file as Parquet: there may be as many as the file has rows."""
    connection.execute(
        f"COPY (SELECT _position, rule, column_name, reason FROM repeats WHERE number = {number} "
        f"ORDER BY _position) TO {literal(target)} {PARQUET}"
    )
    return target


def _staged(
    connection: duckdb.DuckDBPyConnection,
    desk: Desk,
    parts: Sequence[Part],
    scratch: Path,
    *,
    repeated: bool,
) -> Path:
    target = scratch / "staged.parquet"
    columns = identifiers(column.name for column in desk.contract.columns)
    if parts:
        names = listed(str(part.staged) for part in parts)
        rows = f"FROM read_parquet({names}, filename = true)"
        if repeated:
            rows += " ANTI JOIN repeats USING (filename, _position) ORDER BY filename, _position"
        query = f"SELECT {columns}, row_number() OVER () AS _position FROM ({rows})"
    else:
        nothing = ", ".join(
            f"NULL::{SQL_TYPES[column.type]} AS {identifier(column.name)}" for column in desk.contract.columns
        )
        query = f"SELECT {nothing}, NULL::BIGINT AS _position WHERE false"
    connection.execute(f"COPY ({query}) TO {literal(target)} {PARQUET}")
    return target


def _quarantine(
    connection: duckdb.DuckDBPyConnection,
    read: Sequence[ReadFile],
    quarantines: Sequence[Path],
    scratch: Path,
) -> Path | None:
    """One file of all, in the order of the files and positions."""
    if not quarantines:
        return None
    target = scratch / "quarantine.parquet"
    origins = listed(one.file.origin for one in read)
    connection.execute(
        f"COPY (FROM read_parquet({listed(map(str, quarantines))}) "
        f"ORDER BY list_position({origins}, origin), position) "
        f"TO {literal(target)} (FORMAT parquet, COMPRESSION zstd)"
    )
    return target
