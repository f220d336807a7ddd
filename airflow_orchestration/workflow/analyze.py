"""Which workflow mode suits the batches of a run? (SEED 6 to 8)"""

from __future__ import annotations

from airflow_orchestration.domain.batch import ModeChoice, WorkflowMode
from airflow_orchestration.domain.feed import Feed
from airflow_orchestration.domain.run_spec import RunSpec
from airflow_orchestration.engine.expression_problems import expression_problems
from airflow_orchestration.engine.survey import FeedVolume
from airflow_orchestration.exceptions import InputRefusedError
from airflow_orchestration.policies.workflow_mode import (
    BatchFacts,
    ModeDecision,
    ModeFacts,
    WorkflowModePolicy,
)
from airflow_orchestration.sources.outside import NOWHERE, Outside
from airflow_orchestration.storage.store import Fence, Store
from airflow_orchestration.workflow.capacity import measure_capacity
from airflow_orchestration.workflow.cost import estimated_costs, surveyed


def analyze_batches(store: Store, fence: Fence, spec: RunSpec, outside: Outside = NOWHERE) -> ModeDecision:
    """Survey the feeds, choose the workflow mode, and record the run with it.

    Raises `InputRefusedError` when an expression of the pipeline can't be used, before anything is recorded.
    """
    problems = expression_problems(spec)
    if problems:
        raise InputRefusedError("pipeline file", problems)
    volumes = surveyed(spec, outside)
    costs = estimated_costs(store, fence.unit.run.dag_id, spec, volumes)
    facts = ModeFacts(
        batches=tuple(_batch(feed, spec, volumes[feed.id], costs[feed.id]) for feed in spec.feeds.values()),
        capacity=measure_capacity(spec.pipeline.capacity),
        forced=_forced(spec),
    )
    decision = WorkflowModePolicy().evaluate(facts)
    store.save_run(fence, spec.as_json(), decision)
    return decision


def _batch(feed: Feed, spec: RunSpec, volume: FeedVolume, cost: float) -> BatchFacts:
    contract = spec.dataset_of(feed.id).contract
    mapped = [rule for column, rule in contract.rules() if column.name in feed.columns]
    return BatchFacts(
        feed_id=feed.id,
        bytes=volume.bytes,
        rows=volume.rows or feed.usual_rows or 0,
        columns=volume.columns or len(feed.columns),
        nesting=volume.nesting,
        rules=len(mapped),
        cost=cost,
        depends_on=feed.depends_on,
    )


def _forced(spec: RunSpec) -> WorkflowMode | None:
    choice = spec.pipeline.workflow_mode
    return None if choice is ModeChoice.AUTO else WorkflowMode(choice.value)
