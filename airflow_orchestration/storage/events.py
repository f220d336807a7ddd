"""What does the timeline say about a change? One event for each kind of write; both stores write the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from airflow_orchestration.domain.decision import Decision, Json
from airflow_orchestration.domain.outcome import FeedOutcome
from airflow_orchestration.domain.pipeline import ALL_FEEDS
from airflow_orchestration.domain.plan import Plan
from airflow_orchestration.domain.stream import Position, StreamRange
from airflow_orchestration.storage.store import MergeRecord, RunState, StoredPoint

GATE_UNIT = "gate"


class Happening(NamedTuple):
    """An event and its detail, before it gets its time."""

    event: str
    detail: dict[str, Json]


def batches_analyzed(mode: Decision) -> Happening:
    """How the run will be worked: the mode with its evidence (SEED 8)."""
    return Happening(
        "data_batch_analysis_completed", {**mode.evidence, "mode": mode.action, "reason": mode.reason}
    )


def round_opened(plan: Plan, points: Mapping[str, StoredPoint], opened_at: datetime) -> Happening:
    """A round began, and the clocks of its sync points."""
    seconds = {name: (point.deadline_at - opened_at).total_seconds() for name, point in points.items()}
    return Happening(
        "round_opened",
        {
            "branches": len(plan.branches),
            "feeds": len(plan.feed_ids),
            "deadline_seconds": seconds.pop(ALL_FEEDS),
            "sync_points": dict(seconds),
        },
    )


def branch_waiting(unit: str, feeds: Sequence[str]) -> Happening:
    """A branch has nothing to do until these feeds arrive."""
    return Happening("branch_waiting", {"unit": unit, "feeds": [*sorted(set(feeds))]})


def feed_registered(outcome: FeedOutcome) -> Happening:
    """A feed ended, well or badly."""
    return Happening(
        "feed_registered",
        {
            "feed": outcome.feed_id,
            "branch": outcome.branch_id,
            "status": outcome.status,
            "rows_in": outcome.rows_in,
            "rows_staged": outcome.rows_staged,
            "rows_quarantined": outcome.rows_quarantined,
            "error": outcome.error,
            **({"code": outcome.error_code} if outcome.error_code else {}),
        },
    )


def stream_returned(feed_id: str, ranges: Sequence[StreamRange]) -> Happening:
    """The run ends without these records; the next run reads them."""
    return Happening("stream_returned", {"feed": feed_id, "ranges": as_text(ranges)})


def as_text(ranges: Sequence[StreamRange]) -> list[Json]:
    """Ranges of a stream for a person: `departures[0] from 17 before 42`."""
    return [f"{one.partition} from {position(one.start)} before {position(one.stop)}" for one in ranges]


def position(place: Position) -> str:
    """A position for a person: `17`, or `748/9` in an outbox."""
    return "/".join(map(str, place))


def checkpoint(verdict: Decision) -> Happening:
    """The gate decided, and on what (SEED 14)."""
    evidence = verdict.evidence
    return Happening(
        "synchronization_checkpoint",
        {
            **evidence,
            "sync_point": evidence.get("decided_by", ALL_FEEDS),
            "action": verdict.action,
            "reason": verdict.reason,
        },
    )


def merge_completed(record: MergeRecord) -> Happening:
    """The feeds of a dataset became one table (SEED 18)."""
    return Happening(
        "intelligent_data_merge_completed",
        {
            "dataset": record.dataset,
            "rows": record.staged.rows,
            "published": dict(record.published),
            "superseded": dict(record.superseded),
            "completeness": record.completeness,
        },
    )


def run_finished(state: RunState) -> Happening:
    """The run ended."""
    return Happening("run_finished", {"state": state})
