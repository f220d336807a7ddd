"""How a batch gets its files, and whether it is there at all."""

from __future__ import annotations

from airflow_orchestration.domain.feed import Feed
from airflow_orchestration.domain.stream import StreamMarks
from airflow_orchestration.sources.fetch import fetch
from airflow_orchestration.sources.fetched import Fetched
from airflow_orchestration.sources.files import anything_at
from airflow_orchestration.workflow.step import Step
from airflow_orchestration.workflow.streams import read_stream


def is_there(step: Step, feed_id: str) -> bool:
    """Whether a feed can be read: a file is there; what is no file always is."""
    location = step.spec.location(feed_id)
    return location is None or anything_at(str(location), step.outside)


def fetched(step: Step, feed: Feed, marks: StreamMarks | None = None) -> Fetched:
    """Fetch the rows of a feed; raises `FeedError` when fetching would end the same way each time.

    `marks` say what to read of a stream.
    """
    if marks is not None:
        return read_stream(step, feed, marks)
    return fetch(feed, step.spec.location(feed.id), step.outside, step.folder(f"{feed.id}-source"))
