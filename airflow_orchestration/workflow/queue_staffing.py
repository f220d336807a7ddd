"""Agents for a queue of batches that stands in a Dag file, outside any pipeline (SEED 26, 27)."""

from __future__ import annotations

from airflow_orchestration.agents.created import CREATION_EVENT, AgentFailure
from airflow_orchestration.domain.agent import BatchQueue, TaskContext
from airflow_orchestration.policies.agent_requirements import AgentRequirements, AgentRequirementsFacts
from airflow_orchestration.storage.agent_records import AssignedAgent
from airflow_orchestration.workflow.staffing import (
    NO_TASK,
    Hiring,
    created_as_told,
    factory_of,
    workflow_id,
)
from airflow_orchestration.workflow.step import Step


def staff_queue(step: Step, hiring: Hiring, queue: BatchQueue, tenant: str) -> tuple[AssignedAgent, ...]:
    """Choose the agents that a queue needs, once, and return them in the order of the queue."""
    known = step.store.agents.assigned(step.run_key, step.round, step.fence.unit.unit)
    if known:
        return tuple(known)
    needed = AgentRequirements().evaluate(AgentRequirementsFacts(batches=queue.batches))
    step.store.record_decision(step.fence, needed)
    context = TaskContext(workflow_id=workflow_id(step))
    created = factory_of(step.store, tenant, hiring).generate_all(
        needed.requirements, now=hiring.now, context=context
    )
    for decision in created.decisions:
        step.store.record_decision(step.fence, decision)
    batches = {str(batch.id): batch for batch in queue.batches}
    agents: list[AssignedAgent] = []
    for requirement, made in zip(needed.requirements, created.by_requirement, strict=True):
        if isinstance(made, AgentFailure):
            continue
        work = (
            {} if requirement.batch is None else {"batch": batches[requirement.batch].model_dump(mode="json")}
        )
        position = sum(agent.position != NO_TASK for agent in agents) if work else NO_TASK
        agents.append(AssignedAgent(agent_id=made.agent_id, position=position, specification=made, work=work))
    assigned = step.store.agents.assign(step.fence, agents)
    step.store.add_event(step.fence, CREATION_EVENT, created_as_told(assigned, created))
    return tuple(assigned)


def assigned_agent(step: Step, agent_id: str) -> AssignedAgent:
    """Return an agent of this run and round; raises `KeyError` for an id that nobody has made here."""
    for agent in step.store.agents.assigned(step.run_key, step.round):
        if agent.agent_id == agent_id:
            return agent
    raise KeyError(f"agent {agent_id}: no CreateAgentsOperator of this run has made it")
