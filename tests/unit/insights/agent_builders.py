"""Agents, what they did, and a store that they tell it to."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow_orchestration.domain.agent import (
    AgentOutcome,
    AgentPerformance,
    AgentSpecification,
    Capability,
    PerformanceTargets,
    ResourceRequirements,
)
from airflow_orchestration.domain.decision import Decision, Json
from airflow_orchestration.policies.leasing import LeaseAction, LeaseReason
from airflow_orchestration.storage.agent_records import AssignedAgent
from airflow_orchestration.storage.memory import MemoryStore
from airflow_orchestration.storage.store import Attempt, Fence, RunKey, Store, WorkUnit

RUN = RunKey(dag_id="north__planes", run_id="monday")
NOW = datetime(2026, 11, 23, 6, tzinfo=UTC)
VALIDATOR = "data_validation_specialist"


def memory_store() -> MemoryStore:
    return MemoryStore(lambda: NOW)


def fence(store: Store, unit: str = "agent:1", round_number: int = 1) -> Fence:
    attempt = Attempt(try_number=1, ti_id=unit, process="p")
    return store.claim(WorkUnit(run=RUN, round=round_number, unit=unit), attempt)


def specification(**changes: Any) -> AgentSpecification:
    told = {
        "agent_type": VALIDATOR,
        "capabilities": (Capability.DATA_VALIDATION,),
        "resource_requirements": ResourceRequirements(cpu_millicores=500, memory_mb=2048, connections=1),
        "performance_targets": PerformanceTargets(response_time_seconds=10, throughput_per_second=100.0),
        "specialization_parameters": {},
        "quality_thresholds": {"overall": 0.9},
        **changes,
    }
    return AgentSpecification(**told)


def assigned(agent_id: str = f"{VALIDATOR}_1", position: int = 0, **changes: Any) -> AssignedAgent:
    work = changes.pop("work", {"branch_id": "b1", "lane": "beta", "feeds": ["planes"]})
    tenant = changes.pop("tenant", "north")
    return AssignedAgent(
        agent_id=agent_id, position=position, specification=specification(**changes), work=work, tenant=tenant
    )


def outcome(  # all of an outcome can matter
    batch: str = "planes",
    *,
    agent_id: str = f"{VALIDATOR}_1",
    agent_type: str = VALIDATOR,
    kind: str = "data_validation",
    seconds: float = 2.0,
    records: int = 1000,
    quality: float = 0.95,
) -> AgentOutcome:
    performance = AgentPerformance(
        execution_time=timedelta(seconds=seconds), data_quality_score=quality, records=records
    )
    return AgentOutcome(
        agent_id=agent_id,
        agent_type=agent_type,
        kind=kind,
        batch=batch,
        succeeded=True,
        performance=performance,
    )


def failed(batch: str, *, agent_id: str = f"{VALIDATOR}_1") -> AgentOutcome:
    return AgentOutcome(
        agent_id=agent_id, agent_type=VALIDATOR, kind="data_validation", batch=batch, succeeded=False
    )


def lease(reason: str) -> Decision:
    """A decision as the leases make it: 8 GiB for all, 3 GiB for the tenant."""
    evidence: dict[str, Json] = {
        "needed": [500, 2048, 1],
        "held": [2000, 6656, 3],
        "capacity": [64_000, 8192, 1000],
        "tenant": "north",
        "tenant_held": [500, 2048, 1],
        "tenant_capacity": [64_000, 3072, 1000],
        "waiting": 2,
    }
    return Decision(policy="leasing", action=LeaseAction.WAIT, reason=LeaseReason(reason), evidence=evidence)
