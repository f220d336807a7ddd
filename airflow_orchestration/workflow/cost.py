"""How long will each feed take, compared with the others?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from airflow_orchestration.domain.agent import NO_TENANT
from airflow_orchestration.domain.feed import Feed
from airflow_orchestration.domain.location import Location
from airflow_orchestration.domain.run_spec import RunSpec
from airflow_orchestration.engine.survey import ABSENT, UNKNOWN, FeedVolume, scaled, survey, together
from airflow_orchestration.exceptions import FeedError
from airflow_orchestration.policies.agent_success import HISTORY_DAYS, AgentSuccess, Experience
from airflow_orchestration.sources.files import local_files, remote_bytes
from airflow_orchestration.sources.outside import Outside
from airflow_orchestration.storage.store import Store

CELLS_PER_SECOND = 2_000_000
"""Cells that a branch reads, checks and stages in a second; only ratios of costs matter."""
OVERHEAD_SECONDS = 0.1
"""What any batch takes, however small."""
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
    What is guessed is on the scale of what is known: only then do costs of one plan compare.
    """
    observed = store.observed_seconds(dag_id, list(spec.feeds))
    known = {feed_id: seconds for feed_id, seconds in observed.items() if seconds}
    paces = _paces(store, spec) if len(known) < len(spec.feeds) else {}
    rows = {feed_id: volumes[feed_id].rows or feed.usual_rows or 0 for feed_id, feed in spec.feeds.items()}
    for feed_id, feed in spec.feeds.items():
        pace = paces.get(feed.type.value)
        if pace and rows[feed_id] and feed_id not in known:
            known[feed_id] = OVERHEAD_SECONDS + rows[feed_id] / pace
    guessed = {
        feed_id: _guess(rows[feed_id], max(len(feed.columns), volumes[feed_id].columns))
        for feed_id, feed in spec.feeds.items()
    }
    scale = _scale(known, {feed_id: guess for feed_id, guess in guessed.items() if rows[feed_id]})
    return {feed_id: known.get(feed_id, scale * guess) for feed_id, guess in guessed.items()}


def _guess(rows: int, columns: int) -> float:
    return OVERHEAD_SECONDS + rows * columns / CELLS_PER_SECOND


def _scale(known: Mapping[str, float], guessed: Mapping[str, float]) -> float:
    """How many times as long as guessed the feeds take of which both is there; 1 where there are none."""
    both = known.keys() & guessed.keys()
    guesses = math.fsum(guessed[feed_id] for feed_id in both)
    return math.fsum(known[feed_id] for feed_id in both) / guesses if guesses else 1.0


def _paces(store: Store, spec: RunSpec) -> dict[str, float]:
    """Records per second by kind of work, as far as the tenant's agents have shown."""
    if spec.pipeline.agents is None:
        return {}
    learned = AgentSuccess().learn(store.agents.history(spec.pipeline.tenant or NO_TENANT, days=HISTORY_DAYS))
    kinds = {feed.type.value for feed in spec.feeds.values()}
    return {kind: pace for kind in kinds if (pace := _pace(learned.of_kind(kind)))}


def _pace(known: Experience) -> float | None:
    """Records per second without what any batch takes; None where that was most of it, which says nothing of pace."""
    if not (known.is_enough and known.throughput and known.execution_time):
        return None
    seconds = known.execution_time.total_seconds()
    beyond = seconds - OVERHEAD_SECONDS
    return known.throughput * seconds / beyond if beyond > OVERHEAD_SECONDS else None
