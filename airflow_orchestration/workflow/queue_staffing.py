"""Agents for a queue of batches that stands in a Dag file, outside any pipeline (SEED 26, 27)."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from airflow_orchestration.agents.created import CreatedAgents
from airflow_orchestration.agents.estimation import relied_on
from airflow_orchestration.agents.factory import AgentFactory, Experiences
from airflow_orchestration.domain.agent import (
    BATCH_SIZE,
    AgentOutcome,
    AgentRequirement,
    AgentSpecification,
    BatchQueue,
    Capability,
    QueuedBatch,
    TaskContext,
)
from airflow_orchestration.domain.batch import BatchType
from airflow_orchestration.exceptions import NobodyHiredError
from airflow_orchestration.policies.agent_order import (
    AgentOrder,
    AgentOrderAction,
    AgentOrderFacts,
    AssignedBatch,
    Assignment,
)
from airflow_orchestration.policies.agent_requirements import AgentRequirements, AgentRequirementsFacts
from airflow_orchestration.storage.agent_records import NO_TASK, AssignedAgent
from airflow_orchestration.workflow.staffing import (
    Hiring,
    factory_of,
    keep_crew,
    record_decisions,
    workflow_id,
)
from airflow_orchestration.workflow.step import Step

log = logging.getLogger(__name__)


def staff_queue(step: Step, hiring: Hiring, queue: BatchQueue, tenant: str) -> tuple[AssignedAgent, ...]:
    """Choose the agents that a queue needs, once, and return them in the order in which they begin.

    That is the queue's, or the coordinator's where there is one: to find it is all that a coordinator does here.
    Raises `NobodyHiredError` when it needs agents and none of them could be had.
    """
    known = step.store.agents.assigned(step.run_key, step.round, step.fence.unit.unit)
    if known:
        return tuple(known)
    facts = AgentRequirementsFacts(batches=queue.batches, general=_general(hiring))
    needed = AgentRequirements().evaluate(facts)
    record_decisions(step, [needed])
    factory = factory_of(step.store, tenant, hiring)
    created = _created(step, hiring, factory, needed.requirements)
    record_decisions(step, created.decisions)
    crew = _Crew.of(queue, needed.requirements, created)
    order = AgentOrder().evaluate(AgentOrderFacts(agents=tuple(crew.assignments(factory.experiences))))
    if order.action is AgentOrderAction.ORDER_AGENTS:
        record_decisions(step, [order])
        for coordinator in crew.coordinators:
            _record_coordination(step, coordinator, tenant)
    kept = keep_crew(step, crew.assigned(order.order, tenant), created)
    _tell_undone(created)
    if needed.requirements and not kept:
        raise NobodyHiredError(_nobody(created))
    return kept


def _general(hiring: Hiring) -> Capability:
    """What any batch of a queue asks for that demands nothing: nobody but an agent would do it.

    That is the first capability that a type with a `run` of its own has, so that there is somebody.
    """
    offered = {
        can.value
        for template in hiring.templates.all()
        if template.works_alone
        for can in template.capabilities
    }
    return next((Capability(kind) for kind in BatchType if kind.value in offered), Capability.DATA_INGESTION)


def _tell_undone(created: CreatedAgents) -> None:
    for failure in created.failures:
        if failure.requirement.batch is not None:
            log.warning(
                "Nobody works on batch %s: %s: %s",
                failure.requirement.batch,
                failure.error_type,
                failure.error,
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Crew:
    """Who was made for a queue: for a batch each, and to coordinate."""

    workers: Mapping[str, tuple[AgentSpecification, QueuedBatch]]
    """By agent, in the order of the queue."""
    coordinators: tuple[AgentSpecification, ...]

    @classmethod
    def of(cls, queue: BatchQueue, requirements: Sequence[AgentRequirement], created: CreatedAgents) -> _Crew:
        batches = {batch.id: batch for batch in queue.batches}
        made = [
            (requirement.batch, specification)
            for requirement, specification in zip(requirements, created.by_requirement, strict=True)
            if isinstance(specification, AgentSpecification)
        ]
        return cls(
            workers={it.agent_id: (it, batches[name]) for name, it in made if name is not None},
            coordinators=tuple(it for name, it in made if name is None),
        )

    def assignments(self, experiences: Experiences) -> Iterator[Assignment]:
        """How long each will take, at the pace that its type has shown; at the usual pace where it has not."""
        paces = {
            agent_id: relied_on(experiences(it.agent_type, it.capabilities)).throughput
            for agent_id, (it, _) in self.workers.items()
        }
        usual = median([pace for pace in paces.values() if pace] or [1.0])
        for place, (agent_id, (_, batch)) in enumerate(self.workers.items()):
            seconds = (batch.size or BATCH_SIZE) / (paces[agent_id] or usual)
            batches = (AssignedBatch(batch=str(batch.id), seconds=seconds),)
            yield Assignment(agent_id=agent_id, place=place, batches=batches)

    def assigned(self, order: Sequence[str], tenant: str) -> list[AssignedAgent]:
        """Give everybody a position."""

        def one(position: int, it: AgentSpecification, **work: Any) -> AssignedAgent:
            return AssignedAgent(
                agent_id=it.agent_id, position=position, specification=it, work=work, tenant=tenant
            )

        workers = [self.workers[agent_id] for agent_id in order]
        return [one(NO_TASK, it) for it in self.coordinators] + [
            one(place, it, batch=batch.model_dump(mode="json")) for place, (it, batch) in enumerate(workers)
        ]


def _record_coordination(step: Step, coordinator: AgentSpecification, tenant: str) -> None:
    """Its work is done with the order. Whoever chooses anew, because this task died, records it anew."""
    outcome = AgentOutcome(
        agent_id=coordinator.agent_id,
        agent_type=coordinator.agent_type,
        kind=Capability.PIPELINE_COORDINATION.value,
        batch="queue",
        succeeded=True,
    )
    step.store.agents.record(step.fence, tenant, outcome)


def _created(
    step: Step, hiring: Hiring, factory: AgentFactory, requirements: Sequence[AgentRequirement]
) -> CreatedAgents:
    """Choose among those that work without a lane; a coordinator works on no batch, and may be anybody."""
    context = TaskContext(workflow_id=workflow_id(step))
    workers, others = (
        made_by.generate_all(
            [one for one in requirements if (one.batch is None) is coordinates],
            now=hiring.now,
            context=context,
        )
        for made_by, coordinates in ((replace(factory, alone=True), False), (factory, True))
    )
    return CreatedAgents(
        by_requirement=workers.by_requirement + others.by_requirement,
        decisions=workers.decisions + others.decisions,
        created_at=hiring.now,
    )


def _nobody(created: CreatedAgents) -> str:
    """Every reason, with the batches that it concerns."""
    batches: dict[str, list[str]] = {}
    for failure in created.failures:
        reason = f"{failure.error_type}: {failure.error}"
        batches.setdefault(reason, []).append(failure.requirement.batch or "coordination")
    reasons = [f"{', '.join(names)}: {reason}" for reason, names in batches.items()]
    return "\n".join(["nobody could be had for any batch of the queue", *reasons])


def assigned_agent(step: Step, agent_id: str) -> AssignedAgent:
    """Return an agent of this run and round; raises `KeyError` for an id that nobody has made here."""
    agent = step.store.agents.one(step.run_key, step.round, agent_id)
    if agent is None:
        raise KeyError(f"agent {agent_id}: no CreateAgentsOperator of this run has made it")
    return agent
