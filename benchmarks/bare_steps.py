"""What the tasks of a bare Dag do with the feeds of a pipeline file.

Reading, checking and writing are the statements that its author would write, in DuckDB; merging is that of this package,
because another merge makes another table (what it takes is measured by `python -m benchmarks fusion`).
"""

from __future__ import annotations

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

EXTRAS = ("_primary_source", "_sources", "_attribution", "_confidence", "_conflicts")
MEMORY_MB = 1000
READ = """
    CREATE TABLE arrived AS SELECT row_number() OVER () AS line, nullif(code, '') AS code, name, {size} AS size
    FROM read_csv('{file}', header = true, all_varchar = true)"""
GOOD = """code IS NOT NULL AND size IS NOT NULL
    QUALIFY row_number() OVER (PARTITION BY code ORDER BY line) = 1"""
WRITE = f"COPY (SELECT code, name, size FROM arrived WHERE {GOOD}) TO '{{folder}}/rows.parquet'"
PUT_ASIDE = f"""
    COPY (SELECT * FROM arrived ANTI JOIN (SELECT line FROM arrived WHERE {GOOD}) USING (line))
    TO '{{folder}}/bad.parquet'"""
TABLE = """
    CREATE TABLE IF NOT EXISTS bare_work (code text PRIMARY KEY, name text, size float, _primary_source text,
        _sources jsonb, _attribution jsonb, _confidence jsonb, _conflicts jsonb)"""
UPSERT = """
    INSERT INTO bare_work SELECT * FROM arrived ON CONFLICT (code) DO UPDATE
    SET name = excluded.name, size = excluded.size, _primary_source = excluded._primary_source,
        _sources = excluded._sources, _attribution = excluded._attribution, _confidence = excluded._confidence,
        _conflicts = excluded._conflicts"""


def feeds_of(pipeline_file: Path) -> dict[str, dict[str, Any]]:
    """The feeds of a pipeline file, by their ids."""
    return {feed["id"]: feed for feed in yaml.safe_load(pipeline_file.read_text())["feeds"]}


def staged(pipeline_file: Path, feed_id: str, staging: Path) -> str:
    """Read a feed, check its rows, and write the good and the bad ones."""
    import duckdb

    feed = feeds_of(pipeline_file)[feed_id]
    folder = staging / feed_id
    folder.mkdir(parents=True, exist_ok=True)
    with duckdb.connect() as connection:
        connection.execute(
            READ.format(
                file=pipeline_file.parent.parent / feed["uri"], size=feed["columns"]["size"]["expression"]
            )
        )
        for statement in (WRITE, PUT_ASIDE):
            connection.execute(statement.format(folder=folder))
    return str(folder / "rows.parquet")


def merged(pipeline_file: Path, files: list[Path], staging: Path) -> str:
    """Merge staged files."""
    from airflow_orchestration.domain.pipeline_file import read_pipeline_file
    from airflow_orchestration.engine.fusing import FusionSource, fuse

    read = read_pipeline_file(pipeline_file)
    contract = read.read_contracts()[0]
    with TemporaryDirectory() as scratch:
        sources = [FusionSource(feed_id=file.parent.name, path=file, weight=1.0) for file in files]
        fused = fuse(
            sources, contract=contract, merge=read.pipeline.merge, scratch=Path(scratch), memory_mb=MEMORY_MB
        )
        return str(shutil.copy(fused.path, staging / "merged.parquet"))


def published(connection: Any, file: Path) -> None:
    """Bring the merged rows to a table, by key."""
    from airflow_orchestration.engine.export import csv_chunks

    with connection.cursor() as cursor, TemporaryDirectory() as scratch:
        cursor.execute(TABLE)
        cursor.execute("CREATE TEMP TABLE arrived (LIKE bare_work)")
        with cursor.copy("COPY arrived FROM STDIN (FORMAT csv, NULL '')") as copy:
            for chunk in csv_chunks(file, ["code", "name", "size", *EXTRAS], scratch=Path(scratch)):
                copy.write(chunk)
        cursor.execute(UPSERT)
