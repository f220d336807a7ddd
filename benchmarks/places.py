"""The rows that reading and checking are timed with: ten columns, ten rules, and a few lines that break them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import duckdb

from airflow_orchestration.domain.contract import Contract
from airflow_orchestration.engine.part import PARQUET

BAD_SHARE = 0.00005
STEP = 7919
"""Coprime to every power of ten: multiples of it are the keys in no order."""
TYPES = {
    "id": "BIGINT",
    "code": "VARCHAR",
    "name": "VARCHAR",
    "city": "VARCHAR",
    "lat": "DOUBLE",
    "lon": "DOUBLE",
    "elevation": "BIGINT",
    "active": "BOOLEAN",
    "opened": "DATE",
    "updated": "TIMESTAMP",
}
CITIES = ("Berlin", "São Paulo", "Zürich", "New York", "Tokyo", "Lagos")
CODE = "[A-J][0-9]{7}"
CONTRACT = Contract.model_validate(
    {
        "name": "places",
        "key": ["id"],
        "columns": [
            {"name": "id", "type": "integer"},
            {"name": "code", "type": "string", "required": True, "pattern": CODE},
            {"name": "name", "type": "string", "max_length": 80},
            {"name": "city", "type": "string", "enum": CITIES},
            {"name": "lat", "type": "number", "minimum": -90, "maximum": 90},
            {"name": "lon", "type": "number", "minimum": -180, "maximum": 180},
            {"name": "elevation", "type": "integer", "minimum": -500},
            {"name": "active", "type": "boolean"},
            {"name": "opened", "type": "date", "minimum": "1950-01-01"},
            {"name": "updated", "type": "timestamp"},
        ],
    }
)
"""Besides the types: two columns required, one unique, a pattern, a length, a list, two ranges, two minima."""
SAME_RULES = (
    f"id IS NOT NULL AND code IS NOT NULL AND regexp_full_match(code, '{CODE}') "
    f"AND (length(name) <= 80 OR name IS NULL) AND (city IN {CITIES} OR city IS NULL) "
    "AND (lat BETWEEN -90 AND 90 OR lat IS NULL) AND (lon BETWEEN -180 AND 180 OR lon IS NULL) "
    "AND (elevation >= -500 OR elevation IS NULL) AND (opened >= DATE '1950-01-01' OR opened IS NULL)"
)
_REST = b"1,2,3,true,2026-01-01,2026-01-01 00:00:00"
BAD_LINES = (
    b'X,"open,Berlin,' + _REST,
    b"too,few",
    b"1,A0000001,n,Berlin," + _REST + b",one,more",
    b"1,A0000001,\xe9t\xe9,Berlin," + _REST,
    b"1.7,A0000001,n,Berlin," + _REST,
    b"1,A0000001,n,Berlin,1,2,1_000,true,2026-01-01,2026-01-01 00:00:00",
    b"1,A0000001,n,Berlin,NaN,2,3,true,2026-01-01,2026-01-01 00:00:00",
    b"1,A0000001,n,Berlin,99,2,3,true,2026-01-01,2026-01-01 00:00:00",
    b"1,,n,Berlin," + _REST,
    b"1,A0000001,n,Atlantis," + _REST,
)
"""Open quote, ragged twice, encoding, three casts that lose something, three broken rules."""


def bad_rows(rows: int) -> int:
    """How many lines beside so many good ones are bad."""
    return round(rows * BAD_SHARE)


def write_clean(
    rows: int, csv: Path | None = None, parquet: Path | None = None, *, rising: bool = True
) -> None:
    """Write rows that keep every rule, in the order of their keys or in no order."""
    with duckdb.connect() as connection:
        connection.execute("SET enable_progress_bar = false; SET threads = 2; SET memory_limit = '512MiB'")
        if csv is not None:
            connection.execute(f"COPY ({_rows(rows, rising=rising)}) TO '{csv}' (FORMAT csv, HEADER true)")
        if parquet is not None:
            connection.execute(f"COPY ({_rows(rows, rising=rising)}) TO '{parquet}' {PARQUET}")


def write_bad_csv(rows: int, clean: Path, target: Path) -> None:
    """Put bad lines between the lines of a clean file."""
    bad = random.Random(1).sample(range(1, rows), bad_rows(rows))
    lines = {place: BAD_LINES[number % len(BAD_LINES)] + b"\n" for number, place in enumerate(bad)}
    with clean.open("rb") as source, target.open("wb") as file:
        for number, line in enumerate(source):
            file.write(line)
            if number in lines:
                file.write(lines[number])


def write_bad_parquet(rows: int, clean: Path, target: Path) -> None:
    """Break a rule in a few rows of a clean file: a code is left out, a city is unknown, a latitude is no latitude."""
    every = rows // bad_rows(rows)
    broken = {
        "code": (0, "NULL"),
        "city": (1, "'Atlantis'"),
        "lat": (2, "99.0"),
    }
    columns = [
        f"CASE WHEN bad AND kind = {broken[name][0]} THEN {broken[name][1]} ELSE {name} END AS {name}"
        if name in broken
        else name
        for name in TYPES
    ]
    marked = (
        f"SELECT *, id % {every} = {every - 1} AS bad, id // {every} % {len(broken)} AS kind FROM '{clean}'"
    )
    with duckdb.connect() as connection:
        connection.execute("SET enable_progress_bar = false; SET threads = 2; SET memory_limit = '512MiB'")
        connection.execute(f"COPY (SELECT {', '.join(columns)} FROM ({marked})) TO '{target}' {PARQUET}")


def _rows(rows: int, *, rising: bool) -> str:
    key = "n" if rising else f"(n * {STEP}) % {rows}"
    return f"SELECT {', '.join(_columns())} FROM (SELECT {key} AS id FROM range({rows}) AS t (n))"


def _columns() -> Iterator[str]:
    cities = ", ".join(f"'{city}'" for city in CITIES)
    yield "id"
    yield "chr(65 + (id % 10)::INT) || lpad(id::VARCHAR, 7, '0') AS code"
    yield "CASE WHEN id % 50 > 0 THEN 'Place number ' || hash(id, 1) % 1000000 END AS name"
    yield f"[{cities}][1 + id % {len(CITIES)}] AS city"
    yield "round(hash(id, 2) % 180000000 / 1e6 - 90, 6) AS lat"
    yield "round(hash(id, 3) % 360000000 / 1e6 - 180, 6) AS lon"
    yield "(hash(id, 4) % 9000)::BIGINT - 100 AS elevation"
    yield "id % 2 = 1 AS active"
    yield "DATE '1950-01-01' + (id % 25000)::INT AS opened"
    yield "TIMESTAMP '2026-11-01' + to_seconds(id % 2000000) AS updated"
