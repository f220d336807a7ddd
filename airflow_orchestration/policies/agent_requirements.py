"""Which agents does a queue of batches need (SEED 26)?"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum

from airflow_orchestration.domain.agent import (
    BATCH_SIZE,
    INGESTION_SOURCE,
    OVERALL,
    VALIDATION_RULES,
    AgentRequirement,
    BatchComplexity,
    Capability,
    QueuedBatch,
)
from airflow_orchestration.domain.batch import BatchType
from airflow_orchestration.domain.decision import Decision, Json
from airflow_orchestration.domain.defaults import COORDINATE_ABOVE

STREAMING, VALIDATION = "streaming", "validation"
"""SEED 26: the types of batch that may get an agent of their own."""
INGESTION_SLA_SECONDS = 600
"""SEED 26: how long an ingestion may take to respond when its batch has no deadline."""
VALIDATION_SLA_SECONDS = 400
"""SEED 26: the same for a validation."""
VALIDATION_QUALITY = 0.95
"""SEED 26: the quality that a validation asks for when its batch doesn't say."""


class AgentRequirementsAction(StrEnum):
    """What the queue leads to."""

    CREATE_AGENTS = "create_agents"
    CREATE_NONE = "create_none"


class AgentRequirementsReason(StrEnum):
    """Why it does."""

    QUEUE_EMPTY = "queue_empty"
    NO_BATCH_NEEDS_ONE = "no_batch_needs_one"
    FEW_SPECIALISTS = "few_specialists"
    MANY_SPECIALISTS = "many_specialists"


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentRequirementsFacts:
    """The batches that wait."""

    batches: tuple[QueuedBatch, ...]
    general: Capability | None = None
    """What an agent needs for a batch that demands nothing; None where such a batch is done without one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentRequirementsDecision(Decision):
    """The agents to create, in the order of the queue, a coordinator last."""

    action: AgentRequirementsAction
    reason: AgentRequirementsReason
    requirements: tuple[AgentRequirement, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentRequirements:
    """A specialist for each demanding batch, and somebody to coordinate them when they are many (SEED 26).

    A batch that names capabilities gets an agent with exactly these, whatever its type. The document leaves all
    other batches to the branches that are there anyway; where there are none, each of them gets an agent too.

    >>> stream = QueuedBatch(type="streaming", complexity=BatchComplexity.HIGH, deadline=60)
    >>> facts = AgentRequirementsFacts(batches=(stream, QueuedBatch(type="validation"), QueuedBatch()))
    >>> decision = AgentRequirements().evaluate(facts)
    >>> [(need.capabilities_needed[0].value, need.sla_seconds) for need in decision.requirements]
    [('data_ingestion', 60), ('data_validation', 400)]
    >>> alone = AgentRequirementsFacts(batches=facts.batches, general=Capability.DATA_AGGREGATION)
    >>> [need.capabilities_needed[0].value for need in AgentRequirements().evaluate(alone).requirements][2]
    'data_aggregation'
    """

    def evaluate(self, facts: AgentRequirementsFacts) -> AgentRequirementsDecision:
        """List the agents that the queue needs."""
        found = [(batch, _specialist(batch)) for batch in facts.batches]
        left = [batch for batch, need in found if need is None]
        general = facts.general
        if general is not None:
            found = [
                (batch, need or _named(batch, (_asked_by_type(batch) or general,))) for batch, need in found
            ]
        needed = tuple(
            need.model_copy(update={"batch": batch.id}) for batch, need in found if need is not None
        )
        action, reason = self._verdict(facts, needed)
        requirements = coordinated(needed)
        return AgentRequirementsDecision(
            policy="agent_requirements",
            action=action,
            reason=reason,
            requirements=requirements,
            evidence={
                "batches": len(facts.batches),
                "specialists": len(facts.batches) - len(left),
                "general": len(left) if general else 0,
                "coordinators": len(requirements) - len(needed),
                "coordinate_above": COORDINATE_ABOVE,
                "without_agent": {} if general else _sorted_counts(Counter(batch.type for batch in left)),
            },
        )

    def _verdict(
        self, facts: AgentRequirementsFacts, needed: tuple[AgentRequirement, ...]
    ) -> tuple[AgentRequirementsAction, AgentRequirementsReason]:
        if not facts.batches:
            return AgentRequirementsAction.CREATE_NONE, AgentRequirementsReason.QUEUE_EMPTY
        if not needed:
            return AgentRequirementsAction.CREATE_NONE, AgentRequirementsReason.NO_BATCH_NEEDS_ONE
        if len(needed) > COORDINATE_ABOVE:
            return AgentRequirementsAction.CREATE_AGENTS, AgentRequirementsReason.MANY_SPECIALISTS
        return AgentRequirementsAction.CREATE_AGENTS, AgentRequirementsReason.FEW_SPECIALISTS


def coordinated(requirements: tuple[AgentRequirement, ...]) -> tuple[AgentRequirement, ...]:
    """Return the requirements, and one more for a coordinator when they are many (SEED 26).

    >>> validation = AgentRequirement(capabilities_needed=(Capability.DATA_VALIDATION,))
    >>> [len(coordinated((validation,) * agents)) for agents in (1, 2, 3)]
    [1, 2, 4]
    """
    if len(requirements) <= COORDINATE_ABOVE:
        return requirements
    coordinator = AgentRequirement(
        task_description="Coordinate multiple specialized data processing agents",
        capabilities_needed=(Capability.PIPELINE_COORDINATION,),
        agent_count=len(requirements),
        coordination_complexity=BatchComplexity.HIGH,
    )
    return (*requirements, coordinator)


def _specialist(batch: QueuedBatch) -> AgentRequirement | None:
    if batch.capabilities is not None:
        return _named(batch, batch.capabilities)
    if batch.type == STREAMING and batch.complexity is BatchComplexity.HIGH:
        return AgentRequirement(
            task_description=batch.description,
            capabilities_needed=(Capability.DATA_INGESTION,),
            data_source=batch.source or INGESTION_SOURCE,
            batch_size=batch.size or BATCH_SIZE,
            sla_seconds=batch.deadline or INGESTION_SLA_SECONDS,
        )
    if batch.type == VALIDATION:
        return AgentRequirement(
            task_description=batch.description,
            capabilities_needed=(Capability.DATA_VALIDATION,),
            rules=batch.validation_type or VALIDATION_RULES,
            quality_required={OVERALL: VALIDATION_QUALITY if batch.quality is None else batch.quality},
            sla_seconds=batch.deadline or VALIDATION_SLA_SECONDS,
        )
    return None


def _asked_by_type(batch: QueuedBatch) -> Capability | None:
    """A type in the words of a pipeline says what is needed: `data_transformation`."""
    return Capability(batch.type) if batch.type in set(BatchType) else None


def _named(batch: QueuedBatch, capabilities: tuple[Capability, ...]) -> AgentRequirement:
    """What the batch leaves out, the specialization of its agent fills in (SEED 25)."""
    return AgentRequirement(
        task_description=batch.description,
        capabilities_needed=capabilities,
        data_source=batch.source,
        batch_size=batch.size,
        rules=batch.validation_type,
        quality_required=None if batch.quality is None else {OVERALL: batch.quality},
        sla_seconds=batch.deadline,
    )


def _sorted_counts(counts: Counter[str]) -> dict[str, Json]:
    return {name: counts[name] for name in sorted(counts)}
