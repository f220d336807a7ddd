"""Streams in a run: what is read, and what becomes of it when the run ends without publishing it.

The records of a range belong to the run that registered it. A run that does not publish them gives them back,
and the next one reads them.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from airflow_orchestration.domain.feed import Feed
from airflow_orchestration.domain.outcome import FeedOutcome
from airflow_orchestration.domain.pipeline import Late
from airflow_orchestration.domain.run_spec import Dataset
from airflow_orchestration.domain.stream import StreamMarks
from airflow_orchestration.exceptions import FeedCode, FeedError, StreamTakenError
from airflow_orchestration.sources.fetched import Fetched
from airflow_orchestration.sources.kafka import read_kafka
from airflow_orchestration.sources.outbox import read_outbox
from airflow_orchestration.storage.gate_facts import arrived
from airflow_orchestration.storage.publishing import History
from airflow_orchestration.workflow.output import restore_output, withdraw_output
from airflow_orchestration.workflow.step import Step

if TYPE_CHECKING:
    from airflow_orchestration.workflow.publish import Publishers

log = logging.getLogger(__name__)

TRIES = 3
"""How often a stream is read when others register the same records meanwhile."""


def stream_marks(step: Step, feed_id: str) -> StreamMarks | None:
    """What the run is to read of a stream; None of any other feed.

    It is asked before the work goes to a process of its own, which must leave the store alone.
    """
    if not step.spec.feeds[feed_id].is_stream:
        return None
    return step.store.streams.marks(step.run_key, feed_id)


def read_stream(step: Step, feed: Feed, marks: StreamMarks) -> Fetched:
    """Read the next batch of a stream, or the run's own again; raises `FeedError`."""
    scratch, outbox, kafka = step.folder(f"{feed.id}-source"), feed.outbox, feed.kafka
    if outbox is not None:
        return read_outbox(
            feed.id, outbox, marks, connect=lambda: step.outside.postgres(outbox.conn_id), scratch=scratch
        )
    if kafka is not None:
        config = step.outside.kafka(kafka.conn_id)
        return read_kafka(feed.id, kafka, marks, config=config, scratch=scratch)
    raise FeedError(f"{feed.id}: is no stream.", code=FeedCode.REFUSED)


def streams_of(step: Step, feeds: Collection[str]) -> list[str]:
    """Those of the feeds that are streams."""
    return [feed_id for feed_id in feeds if step.spec.feeds[feed_id].is_stream]


def hold_again(step: Step, published: Mapping[str, FeedOutcome]) -> None:
    """Hold what these outcomes read of streams, if it was given back; raises `StreamTakenError` when others have it."""
    read = {feed_id: published[feed_id].ranges or () for feed_id in streams_of(step, published)}
    step.store.streams.take_again(step.fence, read)
    for feed_id in read:
        restore_output(step, feed_id)


def still_held(step: Step, feeds: Sequence[str], standing: Mapping[str, FeedOutcome]) -> list[str]:
    """Those of the feeds whose rows are this run's to publish: what it gave back may be another run's by now."""
    kept = []
    for feed_id in feeds:
        try:
            hold_again(step, {feed_id: standing[feed_id]})
        except StreamTakenError as taken:
            log.warning("%s", taken)
        else:
            kept.append(feed_id)
    return kept


def shut_out_publishers(publishers: Publishers, key: str, datasets: Iterable[Dataset], epoch: int) -> None:
    """See to it that no older execution publishes these datasets any more: it may be stopped, and go on after us."""
    for dataset in datasets:
        publishers(dataset.publish.conn_id).shut_out(dataset.publish.table, key, epoch)


def with_streams(step: Step) -> list[Dataset]:
    """The datasets of a run whose rows come from streams, at least some of them."""
    return [dataset for dataset in step.spec.datasets.values() if streams_of(step, dataset.feeds)]


def settle_streams(step: Step, known: Mapping[str, History]) -> None:
    """Give back what the run has read of streams, has not published, and will not merge later."""
    unpublished = [
        feed_id
        for dataset in step.spec.datasets.values()
        for feed_id in streams_of(step, dataset.feeds)
        if feed_id not in known[dataset.name].feeds and not _comes_later(step, feed_id, known[dataset.name])
    ]
    _give_back(step, step, unpublished)


def give_back_left(step: Step, left: Step, known: Mapping[str, History]) -> None:
    """Give back what another run has `left`: what it has read of streams and not published."""
    unpublished = [
        feed_id
        for dataset in left.spec.datasets.values()
        for feed_id in streams_of(left, dataset.feeds)
        if feed_id not in known[dataset.name].feeds
    ]
    _give_back(step, left, unpublished)


def _give_back(step: Step, left: Step, feeds: Sequence[str]) -> None:
    if feeds:
        step.store.streams.give_back(step.fence, feeds, of=left.run_key)
    for feed_id in feeds:
        withdraw_output(left, feed_id)


def _comes_later(step: Step, feed_id: str, history: History) -> bool:
    """Whether the feed is in work still, or good enough, and merged into what is published once that is done."""
    if not history.versions or step.spec.pipeline.sync.late is Late.DISCARD:
        return False
    rounds = step.store.rounds(step.run_key)
    standing = step.standing(rounds[-1].round).get(feed_id) if rounds else None
    if standing is None:  # a run that another one followed is not read any more
        return not history.later
    return arrived(standing) and standing.quality_score >= step.spec.pipeline.quality.approve_at
