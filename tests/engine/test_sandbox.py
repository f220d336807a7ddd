"""The sandbox opens what it was given and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from airflow_orchestration.engine.sandbox import sandbox


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tree with a readable folder, a scratch folder, and a secret beside them."""
    for name in ("given", "scratch", "other"):
        (tmp_path / name).mkdir()
    (tmp_path / "given" / "rows.csv").write_text("a\n1\n")
    (tmp_path / "other" / "secret.csv").write_text("a\n2\n")
    (tmp_path / "given" / "link.csv").symlink_to(tmp_path / "other" / "secret.csv")
    return tmp_path


@pytest.fixture
def connection(folder: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A sandbox that may read `given`."""
    with sandbox(readable=[folder / "given"], scratch=folder / "scratch") as opened:
        yield opened


FORBIDDEN = {
    "a file outside": "SELECT * FROM read_csv('{0}/other/secret.csv')",
    "a file outside by its bare name": "FROM '{0}/other/secret.csv'",
    "two dots": "SELECT * FROM read_csv('{0}/given/../other/secret.csv')",
    "a link that leads out": "SELECT * FROM read_csv('{0}/given/link.csv')",
    "the bytes of a file": "SELECT * FROM read_blob('/etc/passwd')",
    "the names of files": "SELECT * FROM glob('{0}/other/*')",
    "writing outside": "COPY (SELECT 1) TO '{0}/other/new.csv'",
    "writing where only reading is allowed by a path out of it": "COPY (SELECT 1) TO '{0}/given/../new.csv'",
    "attaching a database outside": "ATTACH '{0}/other/new.db'",
    "exporting": "EXPORT DATABASE '{0}/other/dump'",
    "the network": "SELECT * FROM read_csv('http://127.0.0.1:9/x.csv')",
    "an object store": "SELECT * FROM read_parquet('s3://bucket/x.parquet')",
    "installing": "INSTALL httpfs",
    "loading": "LOAD httpfs",
    "opening the door": "SET enable_external_access = true",
    "more folders": "SET allowed_directories = ['/']",
    "more memory": "SET memory_limit = '64GB'",
    "unlocking": "SET lock_configuration = false",
    "resetting": "RESET memory_limit",
}


@pytest.mark.parametrize("statement", FORBIDDEN.values(), ids=FORBIDDEN)
def test_everything_else_is_refused(
    connection: duckdb.DuckDBPyConnection, folder: Path, statement: str
) -> None:
    """No statement reads, writes, loads or unlocks anything that wasn't given."""
    with pytest.raises((duckdb.PermissionException, duckdb.InvalidInputException, duckdb.BinderException)):
        connection.execute(statement.format(folder)).fetchall()
    assert ["secret.csv"] == [path.name for path in (folder / "other").iterdir()]


def test_what_was_given_can_be_read_and_scratch_written(
    connection: duckdb.DuckDBPyConnection, folder: Path
) -> None:
    """Files in a readable folder are read, files below scratch are written and read."""
    target = folder / "scratch" / "out.csv"
    connection.execute(f"COPY (FROM read_csv('{folder}/given/rows.csv')) TO '{target}' (HEADER)")
    assert [(1,)] == connection.execute(f"FROM read_csv('{target}')").fetchall()


def test_a_single_file_can_be_given(folder: Path) -> None:
    """A readable file opens itself, not its neighbours."""
    with sandbox(
        readable=[folder / "other" / "secret.csv"], scratch=folder / "scratch", memory_mb=200, threads=1
    ) as opened:
        assert [(2,)] == opened.execute(f"FROM read_csv('{folder}/other/secret.csv')").fetchall()
        with pytest.raises(duckdb.PermissionException):
            opened.execute(f"FROM read_csv('{folder}/given/rows.csv')")


def test_the_limits_are_the_ones_that_were_asked_for(folder: Path) -> None:
    """Memory in MiB, threads, and a temp folder of its own below scratch."""
    with sandbox(readable=[], scratch=folder / "scratch", memory_mb=256, threads=1) as opened:
        settings = "SELECT current_setting('memory_limit'), current_setting('threads')"
        assert ("256.0 MiB", 1) == opened.execute(settings).fetchone()
        (spill,) = (folder / "scratch").iterdir()
        assert (str(spill),) == opened.execute("SELECT current_setting('temp_directory')").fetchone()
    assert [] == list((folder / "scratch").iterdir())


def test_a_large_sort_spills_into_scratch(folder: Path) -> None:
    """More rows than the memory limit holds are sorted all the same."""
    with sandbox(readable=[], scratch=folder / "scratch", memory_mb=100, threads=1) as opened:
        row = opened.execute(
            "SELECT count(*), bool_and(a >= b) FROM (SELECT x AS a, lag(x, 1, x) OVER (ORDER BY x) AS b "
            "FROM (SELECT hash(range)::VARCHAR || repeat('x', 40) AS x FROM range(2000000)))"
        ).fetchone()
    assert (2_000_000, True) == row
