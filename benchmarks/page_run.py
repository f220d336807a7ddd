"""A run as large as the page is made for, in a database of its own: branches, agents, rounds, and a long timeline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import psycopg

from airflow_orchestration.domain.agent import (
    AgentSpecification,
    Capability,
    PerformanceTargets,
    ResourceRequirements,
)
from airflow_orchestration.domain.batch import BatchType, Lane, WorkflowMode
from airflow_orchestration.domain.contract import Column, ColumnType, Contract
from airflow_orchestration.domain.decision import Decision
from airflow_orchestration.domain.outcome import StagedFile
from airflow_orchestration.domain.pipeline import Pipeline
from airflow_orchestration.domain.plan import Branch, Plan, PlannedBatch
from airflow_orchestration.domain.run_spec import RunSpec
from airflow_orchestration.policies.agent_selection import (
    AgentCandidate,
    AgentSelection,
    AgentSelectionFacts,
)
from airflow_orchestration.policies.merging import MergeFacts, Merging, SourceFacts
from airflow_orchestration.policies.quality import FeedQuality, QualityFacts, QualityGate
from airflow_orchestration.policies.workflow_mode import ModeReason
from airflow_orchestration.storage.agent_records import AssignedAgent
from airflow_orchestration.storage.postgres import PostgresStore
from airflow_orchestration.storage.store import Attempt, Fence, MergeRecord, RunKey, WorkUnit
from airflow_orchestration.workflow.gate import decide_gate, gate_terms

KEY = RunKey(dag_id="large", run_id="manual__large")
ROUNDS = 3
CANDIDATES = 10
MODE = Decision(
    policy="workflow_mode", action=WorkflowMode.ADAPTIVE, reason=ModeReason.MODERATE_WORK, evidence={}
)
CONTRACT = Contract(
    name="thing", key=("code",), columns=(Column(name="code", type=ColumnType.STRING, required=True),)
)
SMALL = ResourceRequirements(cpu_millicores=500, memory_mb=512)
OUTCOMES = """
    INSERT INTO orchestration.feed_outcome
        (dag_id, run_id, round, feed_id, epoch, branch_id, status, elapsed_seconds, cluster_utilization, rows_in,
         rows_staged, rows_quarantined, rows_out_of_scope, completeness, validity, uniqueness, quality_score, rejects)
    SELECT %(dag_id)s, %(run_id)s, %(round)s, 'feed_' || n, 1, 'b' || n %% %(branches)s, 'success', 1 + n %% 7, 0,
           1000, 990, 10, 0, 0.99, 0.99, 1, 0.98, '{"maximum": 7, "required": 3}'
    FROM generate_series(0, %(feeds)s - 1) AS n WHERE n %% 10 < %(tenths)s"""
EARLIER = """
    INSERT INTO orchestration.run (dag_id, run_id, spec, mode, started_at, state, manifest, finished_at)
    SELECT %(dag_id)s, %(run_id)s, '{}', '{}', now() - interval '1 day', 'published',
           jsonb_build_object('state', 'published', 'version', 1, 'missing', '[]'::jsonb, 'feeds',
                              jsonb_agg(jsonb_build_object('feed', 'feed_' || n, 'state', 'in', 'usual_rows', 990))),
           now() - interval '1 day'
    FROM generate_series(0, %(feeds)s - 1) AS n"""
TIMELINE = """
    INSERT INTO orchestration.timeline (dag_id, run_id, round, unit, epoch, event, detail)
    SELECT %(dag_id)s, %(run_id)s, 1 + n / %(each)s, 'agent:agent_' || 1 + n / %(each)s || '_' || n %% %(branches)s, 1,
           CASE WHEN n %% 5 = 0 THEN 'feed_registered' ELSE 'agent_progress' END,
           CASE WHEN n %% 5 = 0
                THEN jsonb_build_object('feed', 'feed_' || n %% 2000, 'branch', 'b1', 'status', 'success', 'rows_in', n,
                                        'rows_staged', n, 'rows_quarantined', 0, 'error', null)
                ELSE jsonb_build_object('agent', 'agent_' || 1 + n / %(each)s || '_' || n %% %(branches)s, 'agent_type',
                                        'data_generalist', 'done', n %% 10, 'of', 10) END
    FROM generate_series(0, %(events)s - 1) AS n"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How large the run is."""

    branches: int = 200
    feeds: int = 2_000
    again: int = 200
    """Feeds that each round after the first runs again."""
    events: int = 1_000_000
    earlier_runs: int = 30


def fill(store: PostgresStore, connection: psycopg.Connection[Any], size: Size) -> None:
    """Record a run of three rounds, the last of which waits for a tenth of its feeds, and other runs around it."""
    feeds = [f"feed_{number}" for number in range(size.feeds)]
    spec = _spec(feeds)
    store.save_run(_fence(store, 0, "analyze"), spec.as_json(), MODE)
    for number in range(1, ROUNDS + 1):
        _round(store, connection, spec, size, number)
    for number in range(size.earlier_runs):
        _earlier(connection, size, f"earlier_{number}")
    each = {"each": max(1, -(-size.events // ROUNDS)), "branches": size.branches}
    named = {"dag_id": KEY.dag_id, "run_id": KEY.run_id}
    connection.execute(TIMELINE, {**named, **each, "events": size.events})
    connection.execute(TIMELINE, {**named, **each, "run_id": "manual__later", "events": size.events // 4})
    connection.execute("ANALYZE")


def _round(
    store: PostgresStore, connection: psycopg.Connection[Any], spec: RunSpec, size: Size, number: int
) -> None:
    is_last = number == ROUNDS
    plan = _plan(size, number)
    terms = gate_terms(spec, store.run(KEY).started_at)
    store.open_round(_fence(store, number, "plan"), plan, terms)
    _staff(store, plan)
    named = {
        "dag_id": KEY.dag_id,
        "run_id": KEY.run_id,
        "round": number,
        "branches": size.branches,
        "feeds": len(plan.feed_ids),
        "tenths": 9 if is_last else 10,
    }
    connection.execute(OUTCOMES, named)
    if is_last:
        for branch in plan.branches[:: max(1, size.branches // 20)]:
            waiting = _fence(store, number, f"agent:agent_{number}_{branch.branch_id[1:]}")
            store.set_waiting(waiting, [batch.feed_id for batch in branch.batches])
        return
    decide_gate(store, KEY, spec, number, {}, {})
    _merge(store, spec, number)


def _merge(store: PostgresStore, spec: RunSpec, number: int) -> None:
    fence = _fence(store, number, "merge")
    sources = tuple(
        SourceFacts(feed_id=feed_id, type=BatchType.DATA_INGESTION, quality=0.98, seconds=1.0)
        for feed_id in spec.feeds
    )
    decision = Merging().evaluate(MergeFacts(sources=sources, expected_weight=float(len(sources))))
    store.record_decision(
        fence,
        Decision(
            policy=decision.policy,
            action=decision.action,
            reason=decision.reason,
            evidence={**decision.evidence, "dataset": "thing"},
        ),
    )
    counts = dict.fromkeys(spec.feeds, 990)
    store.save_merge(
        fence,
        MergeRecord(
            round=number,
            dataset="thing",
            staged=StagedFile(uri="x", sha256="x", bytes=1, rows=990 * len(counts)),
            content_sha256="x",
            decision=decision.as_json(),
            published=counts,
            superseded=dict.fromkeys(counts, 0),
            disagreements={"size": 7},
            compared={"size": 70},
            examples={"size": [{"key": {"code": "a"}, "values": {"feed_1": "1"}, "chosen": "feed_1"}]},
            completeness=0.99,
        ),
    )
    _judge(store, spec, number)


def _judge(store: PostgresStore, spec: RunSpec, number: int) -> None:
    quality = QualityGate().evaluate(
        QualityFacts(
            feeds=tuple(FeedQuality(feed_id=name, score=0.98) for name in spec.feeds),
            overall=0.98,
            rows=1,
            round=number,
            max_rounds=ROUNDS,
        )
    )
    store.record_decision(_fence(store, number, "quality"), quality)


def _staff(store: PostgresStore, plan: Plan) -> None:
    """Have an agent for each branch, each chosen among some."""
    fence = _fence(store, plan.round, "agents")
    candidates = tuple(
        AgentCandidate(
            name=f"type_{number}",
            capabilities=frozenset(Capability),
            success_rate=0.9,
            outcomes=3,
            footprint=SMALL,
        )
        for number in range(CANDIDATES)
    )
    facts = AgentSelectionFacts(
        required=frozenset({Capability.DATA_INGESTION}), needed=SMALL, candidates=candidates
    )
    decision = AgentSelection().evaluate(facts)
    agents = []
    for place, branch in enumerate(plan.branches):
        agent_id = f"agent_{plan.round}_{branch.branch_id[1:]}"
        store.record_decision(fence, decision.leading_to(agent_id, {}))
        work = {
            "branch_id": branch.branch_id,
            "lane": Lane.BETA.value,
            "feeds": [batch.feed_id for batch in branch.batches],
        }
        agents.append(
            AssignedAgent(agent_id=agent_id, position=place, specification=_specification(), work=work)
        )
    store.agents.assign(fence, agents)


def _specification() -> AgentSpecification:
    return AgentSpecification(
        agent_type="data_generalist",
        capabilities=tuple(Capability),
        resource_requirements=SMALL,
        performance_targets=PerformanceTargets(response_time_seconds=10, throughput_per_second=100.0),
        specialization_parameters={},
    )


def _earlier(connection: psycopg.Connection[Any], size: Size, run_id: str) -> None:
    connection.execute(
        OUTCOMES,
        {
            "dag_id": KEY.dag_id,
            "run_id": run_id,
            "round": 1,
            "branches": size.branches,
            "feeds": size.feeds,
            "tenths": 10,
        },
    )
    connection.execute(EARLIER, {"dag_id": KEY.dag_id, "run_id": run_id, "feeds": size.feeds})


def _plan(size: Size, number: int) -> Plan:
    feeds = size.feeds if number == 1 else size.again
    return Plan(
        round=number,
        branches=tuple(
            Branch(
                branch_id=f"b{place}",
                batches=tuple(
                    PlannedBatch(feed_id=f"feed_{feed}", lane=Lane.BETA, cost=1.0)
                    for feed in range(place, feeds, size.branches)
                ),
            )
            for place in range(min(feeds, size.branches))
        ),
    )


def _spec(feeds: Sequence[str]) -> RunSpec:
    pipeline = {
        "id": KEY.dag_id,
        "roots": {"in": "/in"},
        "staging": "/staging",
        "contract": "unused",
        "agents": {},
        "publish": {"table": "public.thing"},
        "feeds": [
            {"id": name, "uri": f"in/{name}.csv", "format": "csv", "columns": {"code": "code"}}
            for name in feeds
        ],
        "sync": {"deadline": 3600},
    }
    return RunSpec(
        pipeline=Pipeline.model_validate(pipeline), contracts=(CONTRACT,), run_date=date(2026, 11, 22)
    )


def _fence(store: PostgresStore, number: int, unit: str) -> Fence:
    attempt = Attempt(try_number=1, ti_id=unit, process="p")
    return store.claim(WorkUnit(run=KEY, round=number, unit=unit), attempt)
