"""Were runs in time, complete and good, week after week? And which feeds come late, or can't be trusted?"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from airflow_orchestration.domain.outcome import OutcomeStatus
from airflow_orchestration.policies.quorum_gate import deadline_met
from airflow_orchestration.storage.overview import FeedInRun, PastRun
from airflow_orchestration.storage.postgres import PostgresStore
from airflow_orchestration.storage.store import RunState

MOST_RUNS = 500
"""Ours: more than a person looks at, and few enough for one page."""
RUNS_OF_FEEDS, MOST_RUNS_OF_FEEDS = 20, 30
MOST_FEEDS = 200
"""Ours: with 30 runs each still a page that a browser shows at once, and 1 MB."""
_STATES = {OutcomeStatus.SUCCESS.value: "in", OutcomeStatus.FAILED.value: "failed", None: "pending"}
"""What a feed is in a run that goes on, by its outcome."""
_NOTHING = dict.fromkeys(("arrived_after_seconds", "late_by_seconds", "rows", "quality_score"))


def runs_over_time(
    store: PostgresStore, dag_ids: Collection[str], *, since: datetime, limit: int = MOST_RUNS
) -> dict[str, Any]:
    """Return the runs of these Dags since a moment as plain data, newest first, at most `MOST_RUNS`.

    `more` says that there are others. `deadline_met`: the gate of the last round let the run go on by its
    deadline, and the run published; None while that is open, and for a run that never came to a gate. A run that
    was refused starts where it ends.
    """
    limit = min(limit, MOST_RUNS)
    found = store.overview.runs(dag_ids, since=since, limit=limit + 1)
    return {
        "since": _time(since),
        "runs": [_run(one) for one in found[:limit]],
        "more": len(found) > limit,
    }


def feeds_over_time(store: PostgresStore, dag_id: str, *, runs: int = RUNS_OF_FEEDS) -> dict[str, Any]:
    """Return how the feeds of a Dag did in its newest runs as plain data, each with its runs oldest first.

    At most `MOST_FEEDS` feeds, those that were missing most often first, then by id; `more` says that there are
    others. At most `MOST_RUNS_OF_FEEDS` runs.
    """
    found = store.overview.feeds(dag_id, runs=min(runs, MOST_RUNS_OF_FEEDS), feeds=MOST_FEEDS + 1)
    feeds = [(feed_id, list(of_feed)) for feed_id, of_feed in groupby(found, key=lambda one: one.feed_id)]
    return {
        "dag_id": dag_id,
        "feeds": [{"feed": feed_id, "runs": _runs(of_feed)} for feed_id, of_feed in feeds[:MOST_FEEDS]],
        "more": len(feeds) > MOST_FEEDS,
    }


def _run(run: PastRun) -> dict[str, Any]:
    return {
        "dag_id": run.dag_id,
        "run_id": run.run_id,
        "state": run.state or "running",
        "started_at": _time(run.began),
        "finished_at": run.finished_at and _time(run.finished_at),
        "deadline_met": _deadline_met(run),
        "weight_share": run.weight_share,
        "feeds_in": run.feeds_in,
        "feeds_expected": run.feeds_expected,
        "quality": run.quality,
        "rounds": run.rounds,
        "version": run.version,
    }


def _deadline_met(run: PastRun) -> bool | None:
    if run.state is None or run.deadline_at is None:
        return None
    return deadline_met(
        run.action,
        decided_at=run.decided_at,
        deadline_at=run.deadline_at,
        is_published=run.state != RunState.NOT_PUBLISHED,
    )


def _runs(of_feed: Sequence[FeedInRun]) -> list[dict[str, Any]]:
    return [
        {
            "run_id": one.run_id,
            "started_at": _time(one.began),
            "state": one.state or _STATES[one.status],
            **(_arrival(one) if one.status == OutcomeStatus.SUCCESS else _NOTHING),
            "trust": one.trust,
        }
        for one in of_feed
    ]


def _arrival(one: FeedInRun) -> dict[str, Any]:
    """A feed that failed has no arrival."""
    return {
        "arrived_after_seconds": _seconds(one.opened_at, one.registered_at),
        "late_by_seconds": _seconds(one.decided_at, one.registered_at),
        "rows": one.rows_staged,
        "quality_score": one.quality_score,
    }


def _seconds(since: datetime | None, until: datetime | None) -> float | None:
    return None if since is None or until is None else round((until - since).total_seconds(), 3)


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat()
