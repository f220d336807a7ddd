"""What came of coordinating the agents of a round: the coordinator watches them through the gate (SEED 26)."""

from __future__ import annotations

from airflow_orchestration.domain.agent import AgentOutcome, AgentPerformance, Capability
from airflow_orchestration.policies.quorum_gate import GateAction
from airflow_orchestration.storage.agent_records import NO_TASK
from airflow_orchestration.storage.gate_facts import arrived
from airflow_orchestration.storage.store import StoredRound
from airflow_orchestration.workflow.staffing import tenant_of
from airflow_orchestration.workflow.step import Step


def record_coordinators(step: Step) -> None:
    """Record how the work of the run's coordinators ended: well, unless their round has to be taken again."""
    for stored in step.store.rounds(step.run_key):
        for agent in step.store.agents.assigned(step.run_key, stored.round):
            if agent.position == NO_TASK and stored.verdict is not None:
                outcome = AgentOutcome(
                    agent_id=agent.agent_id,
                    agent_type=agent.specification.agent_type,
                    kind=Capability.PIPELINE_COORDINATION.value,
                    batch=f"round_{stored.round}",
                    succeeded=stored.verdict["action"] != GateAction.TIMEOUT_RECOVERY,
                    performance=_performance(step, stored),
                )
                step.store.agents.record(step.fence, tenant_of(step), outcome)


def _performance(step: Step, stored: StoredRound) -> AgentPerformance | None:
    if stored.verdict is None or stored.decided_at is None:
        return None
    came = [outcome for outcome in step.standing(stored.round).values() if arrived(outcome)]
    return AgentPerformance(
        execution_time=stored.decided_at - stored.opened_at,
        data_quality_score=float(stored.verdict["evidence"]["progress"]),
        records=sum(outcome.rows_in for outcome in came),
    )
