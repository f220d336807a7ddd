"""Writes checked rows as Hive-partitioned Parquet: `<folder>/run=<run>/column=value/part-0.parquet`.

A run's rows are written beside their place, in a folder that readers skip for its leading point, and get their
name when they are complete. DuckDB escapes the values, so that none of them leads anywhere else.
"""

# ruff: noqa: S608  # names and values become SQL through `sqltext` only
from __future__ import annotations

import errno
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import duckdb

from airflow_orchestration.domain.contract import Contract
from airflow_orchestration.domain.feed import Feed, Output
from airflow_orchestration.engine.sandbox import MEMORY_MB, kind_of, sandbox
from airflow_orchestration.engine.sqltext import identifiers, literal
from airflow_orchestration.exceptions import FeedCode, FeedError

MAX_PARTITIONS = 1000
"""More make files so small that reading them takes longer than reading all rows."""
THREADS = 1
"""Each thread would write a file of its own into each partition."""


_REASONS = tuple(os.strerror(number) for number in errno.errorcode)
"""What an operating system says of files, without their names: a folder's name is a value of a row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where one run's rows of a feed go: `folder` lies below `root`, `run` names the run in a file system."""

    root: Path
    folder: Path
    run: str

    @property
    def final(self) -> Path:
        """What readers read."""
        return self.folder / f"run={self.run}"

    @property
    def withdrawn(self) -> Path:
        """Where its rows are hidden when the run gives their records back."""
        return self.folder / f".run={self.run}-withdrawn.partial"

    def draft(self, epoch: int) -> Path:
        """What one execution writes first, in a hidden folder of its own."""
        return self.folder / f".run={self.run}-e{epoch}.partial" / "rows"


def write_partitions(
    feed: Feed,
    rows: Path,
    place: Place,
    epoch: int,
    *,
    contract: Contract,
    scratch: Path,
    memory_mb: int = MEMORY_MB,
) -> Path:
    """Write the rows into the draft of this execution, and return it.

    Raises `FeedError` when the place is outside its root, or there are too many partitions.
    """
    if feed.output is None:
        raise FeedError(f"{feed.id} has no output", code=FeedCode.REFUSED)
    draft = _empty_draft(feed, place, epoch)
    with sandbox(
        readable=[rows, draft.parent], scratch=scratch, memory_mb=memory_mb, threads=THREADS
    ) as connection:
        _check_partitions(connection, feed, feed.output, rows)
        try:
            connection.execute(_statement(feed.output, rows, draft, contract))
        except duckdb.IOException as error:
            raise FeedError(
                f"{feed.id}: output can't be written: {_reason(error)}; look at the values of "
                f"{', '.join(feed.output.partition_by) or 'no column'} and at the folder's rights.",
                code=FeedCode.OUTPUT,
            ) from None
    return draft


def give_name(place: Place, epoch: int) -> int:
    """Let readers see what an execution has written, instead of what the run wrote before; count the files."""
    draft, old = place.draft(epoch), place.folder / f".run={place.run}-old.partial"
    shutil.rmtree(old, ignore_errors=True)
    if place.final.exists():
        place.final.rename(old)
    draft.rename(place.final)
    _drop_drafts(place)
    return sum(1 for _ in place.final.rglob("*.parquet"))


def _drop_drafts(place: Place) -> None:
    for left in place.folder.glob(f".run={place.run}-*.partial"):
        shutil.rmtree(left, ignore_errors=True)


def _empty_draft(feed: Feed, place: Place, epoch: int) -> Path:
    if not place.folder.resolve().is_relative_to(place.root.resolve()):
        raise FeedError(
            f"{feed.id}: output leads out of its root through a link; write below {place.root}.",
            code=FeedCode.OUTPUT,
        )
    place.folder.mkdir(parents=True, exist_ok=True)
    draft = place.draft(epoch)
    shutil.rmtree(draft.parent, ignore_errors=True)
    draft.mkdir(parents=True)
    return draft.resolve()


def _check_partitions(connection: duckdb.DuckDBPyConnection, feed: Feed, output: Output, rows: Path) -> None:
    if not output.partition_by:
        return
    columns = identifiers(output.partition_by)
    query = f"SELECT count(*) FROM (SELECT DISTINCT {columns} FROM read_parquet({literal(rows.resolve())}))"
    row = connection.execute(query).fetchone()
    if row is not None and int(row[0]) > MAX_PARTITIONS:
        raise FeedError(
            f"{feed.id}: output would have {row[0]:,} partitions, {MAX_PARTITIONS:,} are allowed; "
            "partition by columns with fewer values.",
            code=FeedCode.OUTPUT,
        )


def _reason(error: duckdb.IOException) -> str:
    said = str(error).splitlines()[0]
    return next((reason for reason in _REASONS if said.endswith(f": {reason}")), kind_of(error))


def _statement(output: Output, rows: Path, draft: Path, contract: Contract) -> str:
    query = f"SELECT {identifiers(contract.by_name)} FROM read_parquet({literal(rows.resolve())})"
    if not output.partition_by:
        return f"COPY ({query}) TO {literal(draft / 'part-0.parquet')} (FORMAT parquet, COMPRESSION zstd)"
    return (
        f"COPY ({query}) TO {literal(draft)} (FORMAT parquet, COMPRESSION zstd, PARTITION_BY "
        f"({identifiers(output.partition_by)}), WRITE_PARTITION_COLUMNS false, FILENAME_PATTERN 'part-{{i}}', OVERWRITE_OR_IGNORE)"
    )
