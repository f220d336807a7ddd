"""Where does each feed stand in a round, and what does the round's gate say of that? By what is stored; nothing is written.

The gate decides by this, a branch waits by it, and a page shows it: there is one answer.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from datetime import timedelta
from functools import cache

from airflow_orchestration.domain.deadline import has_passed
from airflow_orchestration.domain.feed import Feed
from airflow_orchestration.domain.outcome import FeedOutcome, OutcomeStatus
from airflow_orchestration.domain.pipeline import ALL_FEEDS
from airflow_orchestration.domain.plan import Branch, Plan
from airflow_orchestration.domain.run_spec import RunSpec
from airflow_orchestration.policies.quorum_gate import (
    GateDecision,
    GateFacts,
    Member,
    MemberState,
    QuorumGate,
    deadline_met,
)
from airflow_orchestration.storage.store import GateSnapshot, RunKey, RunState, Store, StoredRound

GATE_OVERDUE = timedelta(minutes=1)
"""A gate that has not decided so long after its deadline is taken for dead: nobody waits for it any more."""


def evaluate_sync_points(
    spec: RunSpec, snapshot: GateSnapshot, dead: Collection[str] = ()
) -> dict[str, GateDecision]:
    """Decide each sync point of a round with the facts of one moment."""
    standing = standing_outcomes(snapshot.round.plan, snapshot.outcomes)
    states = {feed.id: _state(feed, standing.get(feed.id), snapshot, dead) for feed in spec.feeds.values()}
    return {
        name: _policy(spec, name, snapshot.round).evaluate(_facts(spec, name, snapshot, states))
        for name in snapshot.round.points
    }


def standing_outcomes(plan: Plan, newest: Mapping[str, FeedOutcome]) -> dict[str, FeedOutcome]:
    """Return the outcomes that count in a round.

    A feed that the round runs again counts only with what this round made of it; any other
    feed keeps what an earlier round made of it.
    """
    stands = standing_in(plan)
    return {feed_id: outcome for feed_id, outcome in newest.items() if stands(feed_id, outcome.round)}


def look_again(
    store: Store,
    key: RunKey,
    spec: RunSpec,
    stored: StoredRound,
    branch: Branch,
    known: Mapping[str, FeedOutcome],
) -> GateSnapshot:
    """Read what concerns a branch: its batches without an outcome that counts, and what these depend on.

    What was `known` of the others is taken over: with thousands of batches it is dear to read it before each.
    """
    stands = standing_outcomes(stored.plan, known)
    left = [batch.feed_id for batch in branch.batches if batch.feed_id not in stands]
    needed = (needed for feed_id in left for needed in spec.feeds[feed_id].depends_on)
    found = store.branch_snapshot(key, stored, {*left, *needed})
    return replace(found, outcomes={**stands, **found.outcomes})


def standing_in(plan: Plan) -> Callable[[str, int], bool]:
    """Return what tells of a feed, and the round of its newest outcome, whether it counts in the plan's round."""
    again = cache(lambda: frozenset(plan.feed_ids))  # of thousands, and in round 1 nobody asks
    return lambda feed_id, made_in: made_in == plan.round or feed_id not in again()


def newest_outcomes(outcomes: Iterable[FeedOutcome]) -> dict[str, FeedOutcome]:
    """Return each feed's outcome of its latest round."""
    newest: dict[str, FeedOutcome] = {}
    for outcome in sorted(outcomes, key=lambda outcome: outcome.round):
        newest[outcome.feed_id] = outcome
    return newest


def arrived(outcome: FeedOutcome | None) -> bool:
    """Whether a feed is there: failures are counted apart (rulings of SEED 13)."""
    return outcome is not None and outcome.status is OutcomeStatus.SUCCESS


def is_over(snapshot: GateSnapshot) -> bool:
    """Whether a round takes in nothing more: its gate has decided, or should have long ago."""
    return snapshot.round.verdict is not None or snapshot.now > snapshot.round.deadline_at + GATE_OVERDUE


def met_its_deadline(last: StoredRound, state: str) -> bool:
    """Whether a run that ended met the deadline of its last round."""
    return deadline_met(
        None if last.verdict is None else last.verdict["action"],
        decided_at=last.decided_at,
        deadline_at=last.deadline_at,
        is_published=state != RunState.NOT_PUBLISHED,
    )


def _policy(spec: RunSpec, name: str, stored: StoredRound) -> QuorumGate:
    sync = spec.pipeline.sync
    terms = sync if name == ALL_FEEDS else sync.points[name]
    return QuorumGate(
        floor=terms.floor,
        deadline=stored.points[name].deadline_at - stored.opened_at,
        grace_period=None if terms.grace_period is None else timedelta(seconds=terms.grace_period),
    )


def _facts(spec: RunSpec, name: str, snapshot: GateSnapshot, states: Mapping[str, MemberState]) -> GateFacts:
    members = spec.feeds if name == ALL_FEEDS else spec.pipeline.sync.points[name].feeds
    reached = snapshot.round.points[name].floor_reached_at
    return GateFacts(
        members=tuple(
            Member(
                id=feed_id,
                weight=spec.feeds[feed_id].weight,
                required=spec.feeds[feed_id].required,
                state=states[feed_id],
            )
            for feed_id in members
        ),
        elapsed=snapshot.now - snapshot.round.opened_at,
        since_floor=None if reached is None else snapshot.now - reached,
    )


def _state(
    feed: Feed, outcome: FeedOutcome | None, snapshot: GateSnapshot, dead: Collection[str]
) -> MemberState:
    if outcome is not None:
        return MemberState.ARRIVED if arrived(outcome) else MemberState.FAILED
    return MemberState.FAILED if feed.id in dead or _is_too_late(feed, snapshot) else MemberState.PENDING


def _is_too_late(feed: Feed, snapshot: GateSnapshot) -> bool:
    started = snapshot.round.opened_at
    return has_passed(feed.deadline, snapshot.now, started=started, run_started=snapshot.run_started_at)
