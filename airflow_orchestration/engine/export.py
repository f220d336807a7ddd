"""Streams rows of a Parquet file as CSV that PostgreSQL's COPY reads back without a change."""

# names and values become SQL through `sqltext` only
from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from airflow_orchestration.engine.sandbox import MEMORY_MB, THREADS, sandbox
from airflow_orchestration.engine.sqltext import identifiers, literal

CHUNK = 1024 * 1024


def csv_chunks(
    parquet: Path,
    columns: Sequence[str],
    *,
    scratch: Path,
    memory_mb: int = MEMORY_MB,
    threads: int = THREADS,
) -> Iterator[bytes]:
    r"""Yield the rows of these columns as bytes for `COPY ... FROM STDIN (FORMAT csv)`, about 1 MB at a time.

    That is CSV in UTF-8 without a header, with PostgreSQL's defaults: comma, double quotes, and NULL as
    an unquoted empty field. Every text is quoted, so an empty text stays an empty text and a line `\.`
    doesn't end the data. Rows keep their order. The CSV stands in `scratch` until the last chunk is taken.
    """
    parquet, scratch = parquet.resolve(), scratch.resolve()
    target = scratch / f"{parquet.stem}.copy.csv"
    try:
        _write_csv(parquet, columns, target, memory_mb, threads)
        with target.open("rb") as file:
            while chunk := file.read(CHUNK):
                yield chunk
    finally:
        target.unlink(missing_ok=True)


def _write_csv(parquet: Path, columns: Sequence[str], target: Path, memory_mb: int, threads: int) -> None:
    source = f"FROM read_parquet({literal(parquet)})"
    folder = target.parent
    with sandbox(readable=[parquet], scratch=folder, memory_mb=memory_mb, threads=threads) as connection:
        described = connection.execute(f"DESCRIBE SELECT {identifiers(columns)} {source}").fetchall()
        texts = [str(name) for name, kind, *_ in described if kind == "VARCHAR"]
        quoted = f", FORCE_QUOTE ({identifiers(texts)})" if texts else ""
        connection.execute(
            f"COPY (SELECT {identifiers(columns)} {source}) TO {literal(target)} "
            f"(FORMAT csv, HEADER false, NULLSTR ''{quoted})"
        )
