"""How long will each feed take, compared with the others?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from airflow_orchestration.domain.feed import Feed
from airflow_orchestration.domain.location import Location
from airflow_orchestration.domain.run_spec import RunSpec
from airflow_orchestration.engine.survey import ABSENT, UNKNOWN, FeedVolume, scaled, survey, together
from airflow_orchestration.exceptions import FeedError
from airflow_orchestration.policies.agent_success import HISTORY_DAYS, AgentSuccess
from airflow_orchestration.sources.files import local_files, remote_bytes
from airflow_orchestration.sources.outside import Outside
from airflow_orchestration.storage.store import Store

CELLS_PER_SECOND = 2_000_000
"""Cells that a branch reads, checks and stages in a second; only ratios of costs matter."""
OVERHEAD_SECONDS = 0.1
MAX_SURVEYED = 20
"""Of a feed with more files the others are taken to be like these."""


def surveyed(spec: RunSpec, outside: Outside) -> dict[str, FeedVolume]:
    """Look at the size of every feed that is there, without leaving its root."""
    return {feed_id: _volume(feed, spec.location(feed_id), outside) for feed_id, feed in spec.feeds.items()}


def _volume(feed: Feed, location: Location | None, outside: Outside) -> FeedVolume:
    """Of objects the bytes are known, of databases, streams and aggregates nothing before they are read."""
    if location is None:
        return UNKNOWN
    if location.is_remote:
        return replace(UNKNOWN, bytes=remote_bytes(location, outside))
    try:
        files = local_files(feed, location)
    except (FeedError, OSError):
        return ABSENT
    share = min(1.0, MAX_SURVEYED / len(files))
    return scaled(together(survey(feed, file) for file in files[:MAX_SURVEYED]), 1 / share)


def estimated_costs(
    store: Store, dag_id: str, spec: RunSpec, volumes: Mapping[str, FeedVolume]
) -> dict[str, float]:
    """Return seconds per feed: the median of earlier runs, or an estimate from rows and columns.

    Where agents work, the pace that the tenant's agents showed in such work comes before what is guessed of cells.
    """
    observed = store.observed_seconds(dag_id, list(spec.feeds))
    paces = _paces(store, spec) if len(observed) < len(spec.feeds) else {}
    return {
        feed_id: observed.get(feed_id) or _estimate(volumes[feed_id], feed, paces.get(feed.type.value))
        for feed_id, feed in spec.feeds.items()
    }


def _paces(store: Store, spec: RunSpec) -> dict[str, float]:
    """Records per second by kind of work, as far as the tenant's agents have shown."""
    if spec.pipeline.agents is None:
        return {}
    learned = AgentSuccess().learn(store.agents.history(spec.pipeline.tenant or "", days=HISTORY_DAYS))
    kinds = {kind: learned.of_kind(kind) for kind in {feed.type.value for feed in spec.feeds.values()}}
    return {kind: known.throughput for kind, known in kinds.items() if known.is_enough and known.throughput}


def _estimate(volume: FeedVolume, feed: Feed, pace: float | None) -> float:
    rows = volume.rows or feed.usual_rows or 0
    if pace:
        return OVERHEAD_SECONDS + rows / pace
    return OVERHEAD_SECONDS + rows * max(len(feed.columns), volume.columns) / CELLS_PER_SECOND
