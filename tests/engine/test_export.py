"""The CSV that leaves for PostgreSQL says exactly what the Parquet file says."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import duckdb
import pytest

from airflow_orchestration.engine.export import csv_chunks


def parquet(folder: Path, select: str) -> Path:
    path = folder / "rows.parquet"
    with duckdb.connect() as connection:
        connection.execute(f"COPY ({select}) TO '{path}'")
    return path


def test_null_and_empty_text_differ(tmp_path: Path) -> None:
    """NULL is an unquoted empty field, every text is quoted, numbers are not."""
    path = parquet(
        tmp_path,
        "SELECT * FROM (VALUES ('a', 1, 1.5::DOUBLE, true, DATE '2026-11-22', TIMESTAMP '2026-11-22 10:00:00.5'),"
        "('', NULL, NULL, NULL, NULL, NULL), (NULL, 2, 1e300, false, NULL, NULL),"
        "('say \"x\",' || chr(10) || 'é', 3, -0.1, NULL, NULL, NULL), ('\\.', 4, 0, NULL, NULL, NULL)) t(t, i, d, b, day, ts)",
    )
    expected = (
        '"a",1,1.5,true,2026-11-22,2026-11-22 10:00:00.5\n'
        '"",,,,,\n'
        ",2,1e+300,false,,\n"
        '"say ""x"",\né",3,-0.1,,,\n'
        '"\\.",4,0.0,,,\n'
    )
    assert (
        expected == b"".join(csv_chunks(path, ["t", "i", "d", "b", "day", "ts"], scratch=tmp_path)).decode()
    )


def test_columns_come_in_the_order_that_was_asked_for(tmp_path: Path) -> None:
    """Also with names that need quotes."""
    path = parquet(tmp_path, 'SELECT 1 AS a, 2 AS "select", 3 AS c')
    assert [b"3,2\n"] == list(csv_chunks(path, ["c", "select"], scratch=tmp_path))


def test_no_rows_are_no_chunks(tmp_path: Path) -> None:
    """Nothing to send."""
    assert [] == list(csv_chunks(parquet(tmp_path, "SELECT 1 AS a WHERE false"), ["a"], scratch=tmp_path))


def test_many_rows_stream_in_order_and_bounded_memory(tmp_path: Path) -> None:
    """About 1 MB at a time, and nothing is left in scratch."""
    path = parquet(tmp_path, "SELECT range AS a, 'text ' || range AS b FROM range(500000)")
    tracemalloc.start()
    lines, size = 0, 0
    for chunk in csv_chunks(path, ["a", "b"], scratch=tmp_path):
        lines += chunk.count(b"\n")
        size = max(size, len(chunk))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert 500_000 == lines
    assert size <= 1024 * 1024
    assert peak < 5_000_000
    assert [path] == list(tmp_path.iterdir())


def test_order_is_kept(tmp_path: Path) -> None:
    """Rows leave in the order of the file."""
    path = parquet(tmp_path, "SELECT range AS a FROM range(400000)")
    sent = b"".join(csv_chunks(path, ["a"], scratch=tmp_path)).split()
    assert [b"%d" % n for n in range(400_000)] == sent


def test_a_consumer_that_stops_leaves_nothing_behind(tmp_path: Path) -> None:
    """The file in scratch goes with the generator."""
    path = parquet(tmp_path, "SELECT range AS a FROM range(400000)")
    chunks = csv_chunks(path, ["a"], scratch=tmp_path)
    next(chunks)
    chunks.close()
    assert [path] == list(tmp_path.iterdir())


def test_a_column_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    """A program error, not a bad feed."""
    with pytest.raises(duckdb.BinderException):
        list(csv_chunks(parquet(tmp_path, "SELECT 1 AS a"), ["b"], scratch=tmp_path))
