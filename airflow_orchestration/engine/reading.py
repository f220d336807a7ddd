"""Reads a file in its format: SQL that yields its rows, with the position of each in the file.

Every reading yields `_position` and, for each mapped column, `t{i}` and `v{i}` (see `checking`). Text is read
as text, so that nothing is cast before `checking` looks at it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

import duckdb

from airflow_orchestration.domain.contract import Contract
from airflow_orchestration.domain.feed import Feed, FeedFormat
from airflow_orchestration.engine.checking import Checks
from airflow_orchestration.engine.csv_reading import csv_readings
from airflow_orchestration.engine.json_reading import json_readings
from airflow_orchestration.engine.layout import Layout
from airflow_orchestration.engine.parquet_reading import parquet_reading
from airflow_orchestration.engine.prescan import Prescan
from airflow_orchestration.engine.source import Source


class Reading(Protocol):
    """One way to read a feed; a new one is made when the first didn't come out even."""

    @property
    def checks(self) -> Checks:
        """The feed's mapped columns and rules."""

    @property
    def typed_rows(self) -> str:
        """SQL of all rows: `_position`, `t{i}`, `v{i}`."""

    def rows_in(self, connection: duckdb.DuckDBPyConnection, read: int) -> int | None:
        """The rows of the feed when the scan of `typed_rows` read `read`; None when that can't be all."""

    def prescan(self) -> Prescan | None:
        """What is known about the lines, for formats that have lines."""

    def suspects(self, positions: Iterable[int]) -> str:
        """SQL of the rows at these positions, with `_raw` and `_malformed` beside the usual columns.

        A format without lines takes the positions from table `suspects` instead.
        """


def readings(
    feed: Feed,
    contract: Contract,
    layout: Layout,
    source: Source,
    connection: duckdb.DuckDBPyConnection,
    scratch: Path,
) -> Iterator[Reading]:
    """Yield ways to read a file, the fast one first, a careful one for when that doesn't come out even."""
    match layout.format:
        case FeedFormat.CSV:
            yield from csv_readings(feed, contract, layout, source, connection, scratch)
        case FeedFormat.JSON | FeedFormat.NDJSON:
            yield from json_readings(feed, contract, layout, source, connection, scratch)
        case FeedFormat.PARQUET:
            yield parquet_reading(feed, contract, layout, source, connection)
