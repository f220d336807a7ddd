"""Gathers the facts of a round's gate, and lets the quorum policy decide (SEED 13, 14)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import timedelta

from airflow_orchestration.domain.outcome import FeedOutcome
from airflow_orchestration.domain.pipeline import Feed
from airflow_orchestration.domain.run_spec import RunSpec
from airflow_orchestration.policies.quorum_gate import (
    GateDecision,
    GateFacts,
    Member,
    MemberState,
    QuorumGate,
)
from airflow_orchestration.storage.store import GateSnapshot, RunKey, Store
from airflow_orchestration.workflow.members import arrived, standing_outcomes
from airflow_orchestration.workflow.round_tasks import States, dead_feeds


def evaluate_gate(spec: RunSpec, snapshot: GateSnapshot, dead: Collection[str] = ()) -> GateDecision:
    """Decide with the facts of one moment. `dead` are feeds whose task ended without an outcome."""
    return gate_policy(spec).evaluate(gate_facts(spec, snapshot, dead))


def decide_gate(
    store: Store, run: RunKey, spec: RunSpec, round_number: int, lanes: Mapping[str, str], states: States
) -> GateDecision:
    """Look once; a verdict is recorded, the moment at which the floor was reached is kept.

    `states` must be older than this call: what ended before it is then in the store. A round that is
    decided already stays so: the caller goes on with the verdict in the store, not with this answer.
    """
    snapshot = store.gate_snapshot(run, round_number)
    decision = evaluate_gate(spec, snapshot, dead_feeds(snapshot.round.plan, lanes, states))
    if decision.floor_reached and snapshot.round.floor_reached_at is None:
        store.mark_floor_reached(run, round_number)
    if decision.is_settled:
        store.record_verdict(run, round_number, decision)
    return decision


def gate_policy(spec: RunSpec) -> QuorumGate:
    """Build the policy that the run's specification asks for."""
    sync = spec.pipeline.sync
    return QuorumGate(
        floor=sync.floor,
        deadline=timedelta(seconds=sync.deadline),
        grace_period=None if sync.grace_period is None else timedelta(seconds=sync.grace_period),
    )


def gate_facts(spec: RunSpec, snapshot: GateSnapshot, dead: Collection[str] = ()) -> GateFacts:
    """Turn a snapshot of the store into the gate's facts."""
    elapsed = snapshot.now - snapshot.round.opened_at
    standing = standing_outcomes(snapshot.round.plan, snapshot.outcomes)
    reached = snapshot.round.floor_reached_at
    return GateFacts(
        members=tuple(
            Member(
                id=feed.id,
                weight=feed.weight,
                required=feed.required,
                state=_state(feed, standing.get(feed.id), elapsed, dead),
            )
            for feed in spec.feeds.values()
        ),
        elapsed=elapsed,
        since_floor=None if reached is None else snapshot.now - reached,
    )


def _state(feed: Feed, outcome: FeedOutcome | None, elapsed: timedelta, dead: Collection[str]) -> MemberState:
    if outcome is not None:
        return MemberState.ARRIVED if arrived(outcome) else MemberState.FAILED
    too_late = feed.deadline is not None and elapsed.total_seconds() >= feed.deadline
    return MemberState.FAILED if too_late or feed.id in dead else MemberState.PENDING
