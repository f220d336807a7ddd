"""How long will each feed take, compared with the others?"""

from __future__ import annotations

from collections.abc import Mapping

from airflow_orchestration.domain.run_spec import RunSpec
from airflow_orchestration.engine.survey import FeedVolume, survey
from airflow_orchestration.storage.store import Store

CELLS_PER_SECOND = 2_000_000
"""Cells that a branch reads, checks and stages in a second; only ratios of costs matter."""
OVERHEAD_SECONDS = 0.1


def surveyed(spec: RunSpec) -> dict[str, FeedVolume]:
    """Look at the size of every feed that is there, without leaving its root."""
    volumes: dict[str, FeedVolume] = {}
    for feed_id, feed in spec.feeds.items():
        root, path = spec.location(feed_id)
        volumes[feed_id] = survey(feed, path, root=root)
    return volumes


def estimated_costs(
    store: Store, dag_id: str, spec: RunSpec, volumes: Mapping[str, FeedVolume]
) -> dict[str, float]:
    """Return seconds per feed: the median of earlier runs, or an estimate from rows and columns."""
    observed = store.observed_seconds(dag_id, list(spec.feeds))
    return {
        feed_id: observed.get(feed_id) or _estimate(volumes[feed_id], feed.usual_rows, len(feed.columns))
        for feed_id, feed in spec.feeds.items()
    }


def _estimate(volume: FeedVolume, usual_rows: int | None, columns: int) -> float:
    rows = volume.rows or usual_rows or 0
    return OVERHEAD_SECONDS + rows * max(columns, volume.columns) / CELLS_PER_SECOND
