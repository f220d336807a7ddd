"""The border between sources and engine: whatever a feed's source is, its rows are fetched as local files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from airflow_orchestration.domain.feed import FeedFormat
from airflow_orchestration.domain.stream import StreamRange


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """A local file with rows of a feed."""

    path: Path
    root: Path
    """The folder that it must lie in when it is opened, links followed."""
    origin: str
    """What its quarantined rows say they come from, for example `landing/2026-11-22/part-1.csv`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """What a source gave: files in the order in which their rows count, all of one format.

    Of rows with the same key the first one stays. No file at all means that there were no rows.
    """

    files: tuple[SourceFile, ...]
    format: FeedFormat
    ranges: tuple[StreamRange, ...] = ()
    """Which records of a stream these files hold."""
    columns: tuple[str, ...] = ()
    """CSV from a database, quoted as PostgreSQL does, without a header: the names of its columns. Otherwise empty,
    and the feed says how its files are written."""
    multiline: bool = False
    """Of CSV from a database: some text holds a line end."""
    rows: int | None = None
    """How many rows the source says it gave, when it counts them itself."""
