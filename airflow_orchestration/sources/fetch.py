"""Turns a feed's source into local files, whatever kind of source it is."""

from __future__ import annotations

from pathlib import Path

from airflow_orchestration.domain.feed import Feed
from airflow_orchestration.domain.location import Location
from airflow_orchestration.exceptions import FeedCode, FeedError
from airflow_orchestration.sources.database import fetch_rows
from airflow_orchestration.sources.fetched import Fetched
from airflow_orchestration.sources.files import fetch_files
from airflow_orchestration.sources.outside import Outside


def fetch(feed: Feed, location: Location | None, outside: Outside, scratch: Path) -> Fetched:
    """Fetch the rows of a feed as files; `scratch` is an empty folder of its own.

    Streams and aggregates need what earlier work has left, and are fetched elsewhere. Raises `FeedError` when
    fetching would end the same way each time.
    """
    if location is not None:
        return fetch_files(feed, location, outside, scratch)
    if feed.database is not None:
        return fetch_rows(feed, feed.database, outside, scratch)
    raise FeedError(
        f"{feed.id}: no files and no table are named; add uri or database.", code=FeedCode.REFUSED
    )
