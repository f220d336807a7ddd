"""Gathers the facts of a round's gate, and lets the quorum policy decide (SEED 13, 14)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta

from airflow_orchestration.domain.deadline import next_occurrence
from airflow_orchestration.domain.pipeline import ALL_FEEDS
from airflow_orchestration.domain.run_spec import RunSpec
from airflow_orchestration.policies.quorum_gate import GateDecision, together
from airflow_orchestration.storage.gate_facts import evaluate_sync_points
from airflow_orchestration.storage.store import GateSnapshot, GateTerms, RunKey, Store, StoredRound
from airflow_orchestration.workflow.round_tasks import AGENTS, States, dead_feeds


def decide_gate(
    store: Store, run: RunKey, spec: RunSpec, round_number: int, tasks: Mapping[str, str], states: States
) -> GateDecision:
    """Look once; a verdict is recorded, the moment at which a floor was reached is kept.

    `states` must be older than this call: what ended before it is then in the store. A round that is
    decided already stays so: the caller goes on with the verdict in the store, not with this answer.
    """
    snapshot = store.gate_snapshot(run, round_number)
    agents = store.agents.assigned(run, round_number) if AGENTS in tasks else ()
    return settle_gate(store, run, spec, snapshot, dead_feeds(snapshot.round.plan, tasks, states, agents))


def settle_gate(
    store: Store, run: RunKey, spec: RunSpec, snapshot: GateSnapshot, dead: Collection[str]
) -> GateDecision:
    """Decide over a snapshot and record what is new. `dead` are feeds whose task ended without an outcome."""
    points = evaluate_sync_points(spec, snapshot, dead)
    for name, decision in points.items():
        if decision.floor_reached and snapshot.round.points[name].floor_reached_at is None:
            store.mark_floor_reached(run, snapshot.round.round, name)
    decision = together(points.pop(ALL_FEEDS), points)
    if decision.is_settled:
        store.record_verdict(run, snapshot.round.round, decision)
    return decision


def gate_terms(spec: RunSpec, run_started_at: datetime) -> GateTerms:
    """When each sync point of a round must have decided."""
    sync = spec.pipeline.sync
    return GateTerms(
        deadline=_term(sync.deadline, run_started_at),
        points={
            name: _term(point.deadline or sync.deadline, run_started_at)
            for name, point in sync.points.items()
        },
    )


def time_is_over(spec: RunSpec, stored: StoredRound) -> bool:
    """Whether a round took all the time there is: no round can follow a deadline that is a time of day."""
    last = end_of_time(spec, stored)
    return last is not None and stored.decided_at is not None and stored.decided_at >= last


def end_of_time(spec: RunSpec, stored: StoredRound) -> datetime | None:
    """When a round after this one has no time any more; None where each round has a time of its own."""
    evidence = stored.verdict["evidence"] if stored.verdict else {}
    decided_by = evidence.get("decided_by", ALL_FEEDS)
    points = spec.pipeline.sync.points
    deadline = points[decided_by].deadline if decided_by in points else None
    timed = isinstance(deadline or spec.pipeline.sync.deadline, str)
    return stored.points[decided_by].deadline_at if timed else None


def rounds_allowed(spec: RunSpec, stored: StoredRound) -> int:
    """How many rounds the run may have, as it stands after this one."""
    return stored.round if time_is_over(spec, stored) else spec.pipeline.max_rounds


def _term(deadline: float | str, run_started_at: datetime) -> timedelta | datetime:
    if isinstance(deadline, str):
        return next_occurrence(deadline, run_started_at)
    return timedelta(seconds=deadline)
