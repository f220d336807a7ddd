"""A factory whose ids are counted and whose clock stands still."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import count
from typing import Any

from airflow_orchestration.agents.agent import Agent
from airflow_orchestration.agents.factory import AgentFactory, Experiences, no_experience
from airflow_orchestration.agents.templates import AgentTemplate, AgentTemplates, built_in_templates
from airflow_orchestration.domain.agent import (
    AgentRequirement,
    AgentSpecification,
    Capability,
    ResourceRequirements,
)

NOW = datetime(2026, 11, 22, tzinfo=UTC)


class BrokenAgent(Agent):
    """An agent that can't be made."""

    def __init__(self, *given: object, **named: object) -> None:
        raise RuntimeError("no licence")


BROKEN = AgentTemplate(
    name="broken", capabilities=frozenset({Capability.PIPELINE_COORDINATION}), agent_class=BrokenAgent
)


def need(*capabilities: Capability, **asked: Any) -> AgentRequirement:
    """A requirement; for ingestion when nothing else is said."""
    return AgentRequirement(capabilities_needed=capabilities or (Capability.DATA_INGESTION,), **asked)


def factory(
    templates: AgentTemplates | None = None,
    *,
    experiences: Experiences = no_experience,
    capacities: Sequence[ResourceRequirements] = (),
) -> AgentFactory:
    """A factory over the built-in templates."""
    numbers = count(1)
    return AgentFactory(
        templates=built_in_templates() if templates is None else templates,
        new_id=lambda: str(next(numbers)),
        experiences=experiences,
        capacities=capacities,
    )


def specification(made_by: AgentFactory, **changes: Any) -> AgentSpecification:
    """The specification of an ingestion agent, with changes."""
    return made_by.generate(need(), now=NOW).model_copy(update=changes)
