"""Who does what in the next round? (SEED 8; the load balancer for every round after the first)"""

from __future__ import annotations

from collections import Counter

from airflow_orchestration.domain.batch import Lane
from airflow_orchestration.domain.decision import Json
from airflow_orchestration.domain.outcome import FeedOutcome
from airflow_orchestration.domain.plan import Plan
from airflow_orchestration.domain.run_spec import RunSpec
from airflow_orchestration.policies.allocation import Allocation, AllocationFacts, BatchWork
from airflow_orchestration.policies.rebalancing import (
    FeedState,
    FeedStatus,
    RebalanceDecision,
    RebalanceFacts,
    Rebalancing,
)
from airflow_orchestration.policies.routing import RouteFacts, payload, route
from airflow_orchestration.storage.gate_facts import arrived
from airflow_orchestration.storage.store import StoredRound
from airflow_orchestration.workflow.cost import estimated_costs, surveyed
from airflow_orchestration.workflow.gate import gate_terms, time_is_over
from airflow_orchestration.workflow.step import Step


def plan_round(step: Step) -> StoredRound:
    """Allocate the round's batches to branches and open its gate, once."""
    feeds = set(step.spec.feeds)
    if step.round > 1:
        again = rebalance(step, after_round=step.round - 1)
        step.store.record_decision(step.fence, again)
        feeds = set(again.rerun)
    known = step.run.mode["evidence"]
    allocation = Allocation(max_branches=int(known["max_branches"]), memory_mb=known.get("memory_mb"))
    decision = allocation.evaluate(AllocationFacts(batches=_work(step, feeds), round=step.round))
    step.store.record_decision(step.fence, decision)
    return step.store.open_round(step.fence, decision.plan, gate_terms(step.spec, step.run.started_at))


def lane_payloads(spec: RunSpec, plan: Plan, lane: Lane) -> list[dict[str, Json]]:
    """Return what a lane is told of each of its batches (SEED 9, 10)."""
    total = sum(branch.cost for branch in plan.branches) or 1.0
    return [
        payload(
            RouteFacts(
                branch_id=branch.branch_id,
                type=spec.feeds[feed_id].type,
                source_type=spec.feeds[feed_id].source_type,
                priority=spec.feeds[feed_id].priority,
                allocated_resources={"cost_share": branch.cost / total},
                data_sources=(feed_id, *spec.feeds[feed_id].depends_on),
            )
        )
        for branch in plan.branches
        for feed_id in branch.feeds_in(lane)
    ]


def rebalance(step: Step, *, after_round: int) -> RebalanceDecision:
    """Say which feeds run again after a round, or that nothing is left to try."""
    rounds = [stored for stored in step.store.rounds(step.run_key) if stored.round <= after_round]
    attempts = Counter(feed_id for stored in rounds for feed_id in stored.plan.feed_ids)
    standing = step.standing(after_round)
    feeds = tuple(
        FeedState(
            feed_id=feed_id,
            status=_status(standing.get(feed_id), step.spec),
            attempts=attempts[feed_id],
            made_of=() if feed.aggregate is None else feed.aggregate.feeds,
        )
        for feed_id, feed in step.spec.feeds.items()
    )
    return Rebalancing(max_rounds=step.spec.pipeline.max_rounds).evaluate(
        RebalanceFacts(round=after_round, feeds=feeds, time_is_over=time_is_over(step.spec, rounds[-1]))
    )


def _status(outcome: FeedOutcome | None, spec: RunSpec) -> FeedStatus:
    if outcome is None:
        return FeedStatus.MISSING
    if not arrived(outcome):
        return FeedStatus.FAILED
    if outcome.quality_score < spec.pipeline.quality.approve_at:
        return FeedStatus.BELOW_STANDARD
    return FeedStatus.ARRIVED


def _work(step: Step, feeds: set[str]) -> tuple[BatchWork, ...]:
    spec = step.spec
    chosen = [feed for feed in spec.feeds.values() if feed.id in feeds]
    costs = estimated_costs(step.store, step.run_key.dag_id, spec, surveyed(spec, step.outside))
    return tuple(
        BatchWork(
            feed_id=feed.id,
            lane=route(feed.type, feed.source_type, feed.priority),
            cost=costs[feed.id],
            depends_on=tuple(needed for needed in feed.depends_on if needed in feeds),
        )
        for feed in chosen
    )
