"""What may a feed cost at most? Looked at before its files are read, and counted while they are."""

# ruff: noqa: S608  # names and values become SQL through `sqltext` only
from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb

from airflow_orchestration.domain.feed import Feed, FeedFormat
from airflow_orchestration.engine.sqltext import identifier, literal
from airflow_orchestration.exceptions import FeedCode, FeedError

PARQUET_FREE_BYTES = 1024**3
"""A Parquet file may always unpack to so many bytes..."""
PARQUET_RATIO = 200
"""...and to so many times its size. A file of 1.5 kB can hold 5 GB: a dictionary of one text, and a run length."""
CELL_BYTES = 8
"""What any cell takes that is no text."""


@dataclass(slots=True, kw_only=True)
class Meter:
    """Counts what a feed has cost so far, over all its files; raises `FeedError` beyond its limits."""

    feed: Feed
    rows: int = 0
    bytes: int = 0

    def before(self, connection: duckdb.DuckDBPyConnection, file: Path, layout: FeedFormat) -> None:
        """Count the bytes of an unpacked file, and for Parquet its rows too, before it is read."""
        if layout is FeedFormat.PARQUET:
            rows, size = _promised(connection, file)
            if size > max(PARQUET_FREE_BYTES, PARQUET_RATIO * file.stat().st_size):
                raise FeedError(
                    f"{self.feed.id}: its Parquet file of {file.stat().st_size:,} bytes unpacks to {size:,}, more "
                    f"than {PARQUET_RATIO} times its size; deliver it as CSV, or with values that differ more.",
                    code=FeedCode.BOMB,
                )
            self._check_rows(self.rows + rows)
        else:
            size = file.stat().st_size
        self.bytes += size
        if self.bytes > self.feed.limits.bytes:
            raise FeedError(
                f"{self.feed.id}: it unpacks to {self.bytes:,} bytes or more, and its limits.bytes is "
                f"{self.feed.limits.bytes:,}; deliver less, or raise the limit.",
                code=FeedCode.TOO_LARGE,
            )

    def after(self, rows: int) -> None:
        """Count the rows that were read."""
        self.rows += rows
        self._check_rows(self.rows)

    def _check_rows(self, rows: int) -> None:
        if rows > self.feed.limits.rows:
            raise FeedError(
                f"{self.feed.id}: it has {rows:,} rows or more, and its limits.rows is {self.feed.limits.rows:,}; "
                "deliver less, or raise the limit.",
                code=FeedCode.TOO_LARGE,
            )


@contextmanager
def bounded_memory(feed_id: str, memory_mb: int) -> Iterator[None]:
    """Say of a feed that needs more memory than there is what may be done; raises `FeedError`."""
    try:
        yield
    except (MemoryError, duckdb.OutOfMemoryException):
        raise FeedError(
            f"{feed_id}: the engine needs more than the {memory_mb} MiB that its branch has, although it spills to "
            "disk; deliver it in several files, or raise the pipeline's capacity.memory_mb.",
            code=FeedCode.MEMORY,
        ) from None


def _promised(connection: duckdb.DuckDBPyConnection, file: Path) -> tuple[int, int]:
    """The rows of a Parquet file by its footer, and the bytes of all its cells.

    The footer tells the size of a column as it is encoded. Texts are measured: a dictionary is measured once, so
    that is a matter of milliseconds even for a million rows.
    """
    try:
        rows, cells = _footer(connection, file)
        lengths = " + ".join(_text_lengths(connection, file)) or "0"
        found = connection.execute(f"SELECT {lengths} FROM read_parquet({literal(file)})").fetchone()
    except duckdb.OutOfMemoryException:
        raise
    except (duckdb.Error, UnicodeDecodeError):
        return 0, 0  # damaged: reading it says where
    return rows, cells * CELL_BYTES + (int(found[0] or 0) if found else 0)


def _footer(connection: duckdb.DuckDBPyConnection, file: Path) -> tuple[int, int]:
    """Its rows, and the cells of all its columns."""
    found = connection.execute(
        f"SELECT (SELECT sum(num_rows) FROM parquet_file_metadata({literal(file)})), "
        f"(SELECT sum(num_values) FROM parquet_metadata({literal(file)}))"
    ).fetchone()
    rows, cells = found or (0, 0)
    return int(rows or 0), int(cells or 0)


def _text_lengths(connection: duckdb.DuckDBPyConnection, file: Path) -> Iterator[str]:
    for name, sql_type, *_ in connection.execute(f"DESCRIBE FROM read_parquet({literal(file)})").fetchall():
        if sql_type in {"VARCHAR", "BLOB"}:
            length = "strlen" if sql_type == "VARCHAR" else "octet_length"
            yield f"coalesce(sum({length}({identifier(name)})), 0)"
