"""Parquet brings its own types; they are used where they fit and checked where they don't."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import duckdb
import pytest

from airflow_orchestration.exceptions import FeedError
from tests.engine.builders import Bench, balanced, contract, rejected, rows_of


def parquet(folder: Path, select: str) -> bytes:
    path = folder / "made.parquet"
    with duckdb.connect() as connection:
        connection.execute(f"SET TimeZone = 'America/New_York'; COPY ({select}) TO '{path}'")
    return path.read_bytes()


PLAIN = "SELECT * FROM (VALUES ('A', 'a', 1), ('B', '', 2), ('A', 'c', 3), (NULL, 'd', 4), ('C', 'e', -1)) t(id, name, size)"


@pytest.mark.parametrize("packed", [False, True], ids=["", "gzip"])
def test_every_row_is_staged_or_put_aside_at_its_place(bench: Bench, tmp_path: Path, packed: bool) -> None:
    """The position is the row's place in the file, from 1; the raw text is the row as JSON."""
    data = parquet(tmp_path, PLAIN)
    done = bench.ingest(gzip.compress(data) if packed else data, format="parquet")
    assert [("A", "a", 1, 1), ("B", None, 2, 2)] == rows_of(done.staged)
    assert [(3, "duplicate_key"), (4, "required"), (5, "minimum")] == rejected(done)
    assert {"id": "C", "name": "e", "size": -1} == json.loads(rows_of(done.quarantine, "raw")[-1][0])
    assert balanced(done)


# Name: SQL of a good and of a bad value in the file, type in the contract, the good value as staged text.
TYPES: dict[str, tuple[str, str | None, str, str]] = {
    "tinyint": ("5::TINYINT", None, "integer", "5"),
    "ubigint": ("5::UBIGINT", "18446744073709551615::UBIGINT", "integer", "5"),
    "hugeint": ("5::HUGEINT", "170141183460469231731687303715884105727::HUGEINT", "integer", "5"),
    "double as integer": ("5.0::DOUBLE", "5.5::DOUBLE", "integer", "5"),
    "decimal as integer": ("5.00::DECIMAL(5,2)", "5.25::DECIMAL(5,2)", "integer", "5"),
    "text as integer": ("'5'", "'5x'", "integer", "5"),
    "double": ("1.5::DOUBLE", "'NaN'::DOUBLE", "number", "1.5"),
    "float": ("1.5::FLOAT", "'-inf'::FLOAT", "number", "1.5"),
    "integer as number": ("5::INTEGER", None, "number", "5.0"),
    "decimal as number": ("1.25::DECIMAL(5,2)", None, "number", "1.25"),
    "boolean": ("true", None, "boolean", "true"),
    "integer as boolean": ("1", "2", "boolean", "true"),
    "date": ("DATE '2026-11-22'", "DATE '12026-11-22'", "date", "2026-11-22"),
    "infinite date": ("DATE '2026-11-22'", "DATE 'infinity'", "date", "2026-11-22"),
    "midnight as date": ("TIMESTAMP '2026-11-22'", "TIMESTAMP '2026-11-22 10:00:00'", "date", "2026-11-22"),
    "timestamp": ("TIMESTAMP '2026-11-22 10:00:00'", "TIMESTAMP '-infinity'", "timestamp", "2026-11-22 10:00:00"),
    "nanoseconds": (
        "'2026-11-22 10:00:00.123456'::TIMESTAMP_NS",
        "'2026-11-22 10:00:00.123456789'::TIMESTAMP_NS",
        "timestamp",
        "2026-11-22 10:00:00.123456",
    ),
    "time zone": ("TIMESTAMPTZ '2026-11-22 10:00:00+02'", None, "timestamp", "2026-11-22 08:00:00"),
    "date as timestamp": ("DATE '2026-11-22'", None, "timestamp", "2026-11-22 00:00:00"),
    "integer as text": ("5", None, "string", "5"),
    "uuid as text": ("'6d3d4e2c-1f0a-4a7e-9a52-0123456789ab'::UUID", None, "string", "6d3d4e2c-1f0a-4a7e-9a52-0123456789ab"),
    "list as text": ("[1, 2]", None, "string", "[1, 2]"),
    "NUL in a text": ("'x'", "'a' || chr(0)", "string", "x"),
}  # fmt: skip


@pytest.mark.parametrize(("good", "bad", "kind", "text"), TYPES.values(), ids=TYPES)
def test_types_fit_or_are_checked(
    bench: Bench, tmp_path: Path, good: str, bad: str | None, kind: str, text: str
) -> None:
    """A good value, a null, and for some types a value that can't be kept as it is."""
    lossy = f" UNION ALL SELECT 'C', {bad}" if bad else ""
    data = parquet(tmp_path, f"SELECT 'A' AS id, {good} AS x UNION ALL SELECT 'B', NULL{lossy}")
    rules = contract({"name": "x", "type": kind})
    done = bench.ingest(data, rules=rules, columns={"id": "id", "x": "x"}, format="parquet")
    assert [("A", text), ("B", None)] == rows_of(done.staged, "id, x::VARCHAR")
    expected = "malformed" if kind == "string" else "type"
    assert ([(3, expected)] if bad else []) == rejected(done)


def test_a_large_file_keeps_its_order(bench: Bench, tmp_path: Path) -> None:
    """Positions are those of the file over several row groups, with rejects among them."""
    select = "SELECT 'K' || range AS id, 'n' AS name, CASE WHEN range % 1000 = 7 THEN -1 ELSE 5 END AS size FROM range(300000)"
    done = bench.ingest(parquet(tmp_path, select), format="parquet")
    assert (300_000, 299_700) == (done.rows_in, done.rows_staged)
    assert [(n * 1000 + 8, "minimum") for n in range(300)] == rejected(done)
    assert [(True,)] == rows_of(done.staged, "bool_and('K' || (_position - 1) = id)")


def test_no_rows(bench: Bench, tmp_path: Path) -> None:
    """A file with columns and no rows is valid."""
    done = bench.ingest(parquet(tmp_path, f"{PLAIN} WHERE false"), format="parquet")
    assert (0, 0, None) == (done.rows_in, done.rows_staged, done.quarantine)


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def text(_: bytes) -> bytes:
    return b"text"


def only_magic(_: bytes) -> bytes:
    return b"PAR1" * 3


def overwritten(data: bytes) -> bytes:
    return data[:4] + b"\xff" * (len(data) // 2) + data[4 + len(data) // 2 :]


@pytest.mark.parametrize("damage", [cut, overwritten, text, only_magic])
def test_a_corrupt_file_is_refused(bench: Bench, tmp_path: Path, damage: Any) -> None:
    """Half a file, zeros where pages were, no Parquet at all."""
    data = parquet(tmp_path, "SELECT 'K' || range AS id, 'n' || range AS name, 5 AS size FROM range(10000)")
    with pytest.raises(FeedError, match="deliver it again"):
        bench.ingest(damage(data), format="parquet")


def with_footer_of(folder: Path, rows: str, other: str) -> bytes:
    """The pages of one file, and all that another says about its own: both are plain, and of the same size."""
    made = []
    for values in (rows, other):
        path = folder / "made.parquet"
        with duckdb.connect() as connection:
            connection.execute(
                f"COPY (SELECT * FROM (VALUES {values}) t(id, name, size)) TO '{path}' (COMPRESSION uncompressed)"
            )
        data = path.read_bytes()
        footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
        made.append((data[:footer], data[footer:]))
    return made[0][0] + made[1][1]


GOOD, BAD = "('A', 'a', 10), ('B', 'b', 20)", "('A', 'a', -10), ('B', 'b', 2000)"


def test_statistics_that_call_bad_values_good_let_none_of_them_pass(bench: Bench, tmp_path: Path) -> None:
    """The engine leaves out a condition that statistics say always holds: who writes the file writes them too."""
    done = bench.ingest(with_footer_of(tmp_path, BAD, GOOD), format="parquet")
    assert [] == rows_of(done.staged)
    assert [(1, "minimum"), (2, "maximum")] == rejected(done)


def test_statistics_that_call_good_values_bad_put_nothing_aside(bench: Bench, tmp_path: Path) -> None:
    """Nor does it skip rows of which statistics say that none can be meant."""
    done = bench.ingest(with_footer_of(tmp_path, GOOD, "('A', 'a', -10), ('B', 'b', -20)"), format="parquet")
    assert [("A", "a", 10, 1), ("B", "b", 20, 2)] == rows_of(done.staged)
    assert balanced(done)


@pytest.mark.parametrize("seed", range(40))
def test_a_damaged_byte_is_refused_or_harmless(bench: Bench, tmp_path: Path, seed: int) -> None:
    """No damage ends in anything but a `FeedError` or rows that add up."""
    data = bytearray(
        parquet(tmp_path, "SELECT 'K' || range AS id, 'n' || range AS name, 5 AS size FROM range(3000)")
    )
    for offset in range(seed * 37, len(data), 997):
        data[offset] ^= 0xFF
    try:
        done = bench.ingest(bytes(data), format="parquet")
    except FeedError:
        return
    assert balanced(done)


def test_a_missing_column_is_refused(bench: Bench, tmp_path: Path) -> None:
    """Named, with what there is."""
    with pytest.raises(
        FeedError, match=r"no column 'size'\. Expected 'id', 'name', 'size', got 'id', 'name'"
    ):
        bench.ingest(parquet(tmp_path, "SELECT 'A' AS id, 'a' AS name"), format="parquet")


def test_null_words_and_extract_work_on_parquet(bench: Bench, tmp_path: Path) -> None:
    """As in any other format."""
    data = parquet(tmp_path, "SELECT * FROM (VALUES ('A', 'NA', 'n=5'), ('B', 'b', 'x')) t(id, name, size)")
    done = bench.ingest(
        data,
        format="parquet",
        null_words=["NA"],
        columns={"id": "id", "name": "name", "size": {"column": "size", "extract": "n=([0-9]+)"}},
    )
    assert [("A", None, 5), ("B", "b", None)] == rows_of(done.staged, "id, name, size")
