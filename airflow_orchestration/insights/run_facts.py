"""What is each round of a run about, put together from what was read of it?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from airflow_orchestration.domain.outcome import FeedOutcome, OutcomeStatus
from airflow_orchestration.domain.pipeline import ALL_FEEDS
from airflow_orchestration.domain.run_spec import RunSpec
from airflow_orchestration.insights.reasons import meaning_of
from airflow_orchestration.policies.quorum_gate import together
from airflow_orchestration.storage.gate_facts import evaluate_sync_points, standing_in
from airflow_orchestration.storage.readings import Row, RunRead
from airflow_orchestration.storage.store import GateSnapshot, StoredRound

FIRST = 1
"""The version that the run itself publishes; later ones are repairs."""
KEPT_SPECS = 8
"""Ours: runs that are looked at in one process at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundFacts:
    """One round, with what counts in it."""

    read: RunRead
    spec: RunSpec
    opened: StoredRound
    evidence: Mapping[str, Any]
    """The verdict's, or that of a verdict by what is known now."""
    outcomes: Mapping[str, Row]
    """What this round made of its feeds."""
    standing: Mapping[str, Row]
    """What counts of every feed in this round, also what an earlier one made of it."""
    usual_rows: Mapping[str, int | None]

    @property
    def number(self) -> int:
        """The round's number, from 1."""
        return self.opened.round

    @property
    def ended_at(self) -> datetime | None:
        """When the round had decided, or the run was over before it did; None while it goes on."""
        return self.opened.decided_at or self.read.finished_at

    @property
    def is_over(self) -> bool:
        """Whether nothing is waited for any more."""
        return self.opened.verdict is not None or self.read.run["state"] is not None

    def in_since_version(self, feed_id: str) -> int | None:
        """The repair that brought in a feed which the run did without; None for one that no repair brought in."""
        found = [
            line["version"]
            for line in self.read.versions
            if line["version"] > FIRST and feed_id in line["feeds"]
        ]
        return min(found, default=None)

    def last_decision(self, policy: str, **evidence: str) -> dict[str, Any] | None:
        """The newest decision of a policy in this round, as it is shown; None when there is none."""
        for row in reversed(self.read.decisions):
            found = row["decision"]
            if (
                row["round"] == self.number
                and found["policy"] == policy
                and evidence.items() <= found["evidence"].items()
            ):
                return decision_shown(row)
        return None

    def unit(self, lane: str, branch_id: str) -> str:
        """The work unit that has the batches of a branch in a lane."""
        agent = self.agent(lane, branch_id)
        return f"branch:{lane}:{branch_id}" if agent is None else f"agent:{agent}"

    def agent(self, lane: str, branch_id: str) -> str | None:
        """The agent that has these batches; None where the lane has them."""
        return self.read.agents.get((self.number, branch_id, lane))


def rounds_of(read: RunRead, spec: RunSpec, usual_rows: Mapping[str, int | None]) -> list[RoundFacts]:
    """The rounds of a run in order."""
    newest: dict[str, Row] = {}
    found = []
    for opened in read.rounds:
        stands = standing_in(opened.plan)
        outcomes = {row["feed_id"]: row for row in read.feeds if row["round"] == opened.round}
        newest |= outcomes
        found.append(
            RoundFacts(
                read=read,
                spec=spec,
                opened=opened,
                evidence=_evidence(read, spec, opened),
                outcomes=outcomes,
                standing={name: row for name, row in newest.items() if stands(name, row["round"])},
                usual_rows=usual_rows,
            )
        )
    return found


@lru_cache(maxsize=KEPT_SPECS)
def spec_of(text: str) -> RunSpec:
    """What a run does, by what the store keeps as `run.spec`. A page asks often, and to check thousands of feeds is slow."""
    return RunSpec.model_validate_json(text)


def iso(moment: datetime | None) -> str | None:
    """A moment as the page gets it: ISO 8601, UTC."""
    return None if moment is None else moment.astimezone(UTC).isoformat()


def decision_shown(row: Row) -> dict[str, Any]:
    """A recorded decision as the page gets it."""
    shown = with_meaning(row["decision"])
    return {"id": row["id"], "round": row["round"], "at": iso(row["decided_at"]), **shown}


def with_meaning(decision: Mapping[str, Any]) -> dict[str, Any]:
    """A decision as it was recorded, with its reason in a sentence."""
    return {**decision, "meaning": meaning_of(decision)}


def _evidence(read: RunRead, spec: RunSpec, opened: StoredRound) -> Mapping[str, Any]:
    """The verdict's; before it, what the gate's policy says of the store as it is, or was at the end of the run.

    The gate itself learns from Airflow besides which tasks are over: a feed whose task Airflow gave up on is pending
    here, and counts as failed when the gate looks next.
    """
    if opened.verdict is not None:
        evidence: Mapping[str, Any] = opened.verdict["evidence"]
        return evidence
    snapshot = GateSnapshot(
        now=read.finished_at or read.now,
        run_started_at=read.run["started_at"],
        round=opened,
        outcomes=_newest(read.feeds),
        waiting=frozenset(),
    )
    points = evaluate_sync_points(spec, snapshot)
    return together(points.pop(ALL_FEEDS), points).evidence


def _newest(feeds: Sequence[Row]) -> dict[str, FeedOutcome]:
    """What the gate asks of an outcome, for the newest of each feed."""
    newest = {row["feed_id"]: row for row in feeds}
    return {
        feed_id: FeedOutcome(
            feed_id=feed_id,
            round=row["round"],
            branch_id=row["branch_id"],
            status=OutcomeStatus(row["status"]),
            elapsed=timedelta(seconds=row["elapsed_seconds"]),
        )
        for feed_id, row in newest.items()
    }
