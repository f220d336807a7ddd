"""How far is each feed and each branch of a round?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from airflow_orchestration.domain.batch import Lane
from airflow_orchestration.domain.deadline import has_passed
from airflow_orchestration.domain.feed import Feed
from airflow_orchestration.domain.outcome import OutcomeStatus
from airflow_orchestration.domain.plan import Branch
from airflow_orchestration.insights.run_facts import RoundFacts, iso
from airflow_orchestration.storage.readings import Row

TOLERANCE = 1e-9
"""A score that is a sum of floats must not miss the standard by the last bit."""
MEASURES = ("quality_score", "completeness", "validity", "uniqueness")


class FeedState(StrEnum):
    """How far a feed is in a round."""

    PENDING = "pending"
    WAITING = "waiting"
    """Its branch said that it can't be processed yet."""
    IN = "in"
    BELOW_STANDARD = "below_standard"
    """It arrived, and its quality is not what is approved."""
    FAILED = "failed"
    LATE = "late"
    """The gate decided without it, or its own deadline is over."""


class BranchState(StrEnum):
    """How far the batches of a branch are in one lane."""

    PENDING = "pending"
    RUNNING = "running"
    WAITING = "waiting"
    DONE = "done"
    FAILED = "failed"
    LATE = "late"


OPEN = frozenset({FeedState.PENDING, FeedState.WAITING})


def branches_of(facts: RoundFacts) -> list[dict[str, Any]]:
    """The batches of each branch in each lane, in the order of the plan."""
    seen = _Seen(facts)
    return [
        _branch(seen, branch, lane)
        for branch in facts.opened.plan.branches
        for lane in Lane
        if branch.feeds_in(lane)
    ]


def began_at(outcome: Row) -> datetime:
    """When a feed's processing began."""
    moment: datetime = outcome["registered_at"] - timedelta(seconds=outcome["elapsed_seconds"])
    return moment


class _Seen:
    """What the gate has seen of a round, ready to be asked for many feeds."""

    def __init__(self, facts: RoundFacts) -> None:
        self.facts = facts
        self.arrived = frozenset(facts.evidence.get("arrived_ids", ()))
        self.failed = frozenset(facts.evidence.get("failed_ids", ()))
        self.approve_at = facts.spec.pipeline.quality.approve_at - TOLERANCE

    def state(self, feed_id: str, waiting: Sequence[str]) -> FeedState:
        """How far a feed is; `waiting` is what its branch waits for."""
        outcome = self.facts.outcomes.get(feed_id)
        if outcome is None:
            return self._absent(self.facts.spec.feeds[feed_id], waiting)
        if outcome["status"] == OutcomeStatus.FAILED:
            return FeedState.FAILED
        if self.facts.opened.verdict is not None and feed_id not in self.arrived:
            return FeedState.LATE
        return FeedState.IN if outcome["quality_score"] >= self.approve_at else FeedState.BELOW_STANDARD

    def _absent(self, feed: Feed, waiting: Sequence[str]) -> FeedState:
        if feed.id in self.failed:
            return FeedState.LATE if self._missed_its_deadline(feed) else FeedState.FAILED
        if self.facts.is_over:
            return FeedState.LATE
        return FeedState.WAITING if feed.id in waiting else FeedState.PENDING

    def _missed_its_deadline(self, feed: Feed) -> bool:
        facts, started_at = self.facts, self.facts.read.run["started_at"]
        now = facts.ended_at or facts.read.now
        return has_passed(feed.deadline, now, started=facts.opened.opened_at, run_started=started_at)


def _branch(seen: _Seen, branch: Branch, lane: Lane) -> dict[str, Any]:
    facts = seen.facts
    at = (facts.number, facts.unit(lane.value, branch.branch_id))
    waiting = facts.read.waiting.get(at, ())
    states = {feed_id: seen.state(feed_id, waiting) for feed_id in branch.feeds_in(lane)}
    done = [facts.outcomes[feed_id] for feed_id in states if feed_id in facts.outcomes]
    began = [*map(began_at, done), *([facts.read.begun[at]] if at in facts.read.begun else [])]
    return {
        "branch_id": branch.branch_id,
        "lane": lane.value,
        "agent": facts.agent(lane.value, branch.branch_id),
        "state": _state(states, is_begun=bool(began)).value,
        "rows": sum(row["rows_staged"] for row in done),
        "seconds": math.fsum(row["elapsed_seconds"] for row in done) if done else None,
        "weight": math.fsum(facts.spec.feeds[feed_id].weight for feed_id in states),
        "started_at": iso(min(began, default=None)),
        "waiting_for": [feed_id for feed_id, state in states.items() if state is FeedState.WAITING],
        "feeds": [_feed(facts, feed_id, state) for feed_id, state in states.items()],
    }


def _state(feeds: Mapping[str, FeedState], *, is_begun: bool) -> BranchState:
    states = set(feeds.values())
    if FeedState.WAITING in states:
        return BranchState.WAITING
    if FeedState.PENDING in states:
        return BranchState.RUNNING if is_begun else BranchState.PENDING
    if FeedState.FAILED in states:
        return BranchState.FAILED
    return BranchState.LATE if FeedState.LATE in states else BranchState.DONE


def _feed(facts: RoundFacts, feed_id: str, state: FeedState) -> dict[str, Any]:
    feed, outcome = facts.spec.feeds[feed_id], facts.outcomes.get(feed_id)
    known = {
        "feed": feed_id,
        "state": state.value,
        "in_since_version": None if state is FeedState.IN else facts.in_since_version(feed_id),
        "weight": feed.weight,
        "required": feed.required,
        "usual_rows": facts.usual_rows.get(feed_id),
    }
    return {**known, **(_UNKNOWN if outcome is None else _figures(outcome))}


def _figures(outcome: Row) -> dict[str, Any]:
    is_in = outcome["status"] == OutcomeStatus.SUCCESS
    return {
        "rows_in": outcome["rows_in"],
        "rows_staged": outcome["rows_staged"],
        "rows_quarantined": outcome["rows_quarantined"],
        "seconds": outcome["elapsed_seconds"],
        **{name: outcome[name] if is_in else None for name in MEASURES},
        "error": outcome["error"],
        "registered_at": iso(outcome["registered_at"]),
    }


_UNKNOWN: Mapping[str, None] = dict.fromkeys(
    (
        "rows_in",
        "rows_staged",
        "rows_quarantined",
        "seconds",
        *MEASURES,
        "error",
        "registered_at",
    )
)
