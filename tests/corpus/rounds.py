"""Small rounds, played through the real gate on any store, whatever its clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from airflow_orchestration.domain.batch import Lane, WorkflowMode
from airflow_orchestration.domain.decision import Decision
from airflow_orchestration.domain.pipeline import Pipeline
from airflow_orchestration.domain.plan import Branch, Plan, PlannedBatch
from airflow_orchestration.domain.run_spec import RunSpec
from airflow_orchestration.policies.quorum_gate import GateDecision
from airflow_orchestration.policies.workflow_mode import ModeReason
from airflow_orchestration.storage.store import Attempt, RunKey, Store, WorkUnit
from airflow_orchestration.workflow.gate import decide_gate, gate_terms
from tests.corpus.record import CONTRACT, LANES, outcome_of

ROWS = 100
MODE = Decision(
    policy="workflow_mode", action=WorkflowMode.ADAPTIVE, reason=ModeReason.MODERATE_WORK, evidence={}
)


def spec_of(feeds: Mapping[str, Mapping[str, Any]], **sync: Any) -> RunSpec:
    """A pipeline of these feeds, with these terms of its gates."""
    declared = [
        {"id": name, "uri": f"in/{name}.csv", "format": "csv", "columns": {"code": "code"}, **feed}
        for name, feed in feeds.items()
    ]
    pipeline = {
        "id": "night",
        "roots": {"in": "/in"},
        "staging": "/staging",
        "contract": "unused",
        "publish": {"table": "public.thing"},
        "feeds": declared,
        "sync": {"deadline": 600, **sync},
    }
    return RunSpec(
        pipeline=Pipeline.model_validate(pipeline), contracts=(CONTRACT,), run_date=date(2026, 11, 22)
    )


def play_round(
    store: Store,
    run: RunKey,
    spec: RunSpec,
    number: int = 1,
    *,
    feeds: Sequence[str] | None = None,
    ended: Mapping[str, str],
    late: Mapping[str, str] | None = None,
) -> GateDecision:
    """Open a round, let feeds end, look once, and let others end afterwards."""
    store.save_run(store.claim(WorkUnit(run=run, round=0, unit="analyze"), _attempt()), spec.as_json(), MODE)
    planned = (PlannedBatch(feed_id=name, lane=Lane.BETA, cost=1.0) for name in feeds or spec.feeds)
    branches = tuple(Branch(branch_id=batch.feed_id, batches=(batch,)) for batch in planned)
    terms = gate_terms(spec, store.run(run).started_at)
    fence = store.claim(WorkUnit(run=run, round=number, unit="plan"), _attempt())
    store.open_round(fence, Plan(round=number, branches=branches), terms)
    for name, how in ended.items():
        _end(store, run, number, name, how)
    decision = decide_gate(store, run, spec, number, LANES, {})
    for name, how in (late or {}).items():
        _end(store, run, number, name, how)
    return decision


def _end(store: Store, run: RunKey, number: int, name: str, how: str) -> None:
    rows = ROWS if how == "success" else 0
    fence = store.claim(WorkUnit(run=run, round=number, unit=f"branch:beta:{name}"), _attempt())
    store.register(fence, outcome_of(name, number, how, rows))


def _attempt() -> Attempt:
    return Attempt(try_number=1, ti_id="1", process="1")
