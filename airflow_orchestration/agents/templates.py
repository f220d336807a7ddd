"""Which types of agent are there, and what was learned of each (SEED 21)?

Templates are registered by code. Data names a template and never a class: there is no way from a text to
something that is imported.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from airflow_orchestration.agents.agent import (
    Agent,
    DataIngestionSpecialist,
    DataTransformationSpecialist,
    DataValidationSpecialist,
)
from airflow_orchestration.domain.agent import AgentOutcome, Capability, ResourceRequirements
from airflow_orchestration.domain.strict import IDENTIFIER
from airflow_orchestration.exceptions import UnknownAgentTypeError
from airflow_orchestration.policies.agent_selection import AgentCandidate, resource_efficiency

PRIOR_SUCCESS_RATE = 1.0
"""SEED 21: what is believed of a template that nobody has used."""
PRIOR_OUTCOMES = 4
"""Ours: the prior counts as much as this many outcomes, so a first failure costs a fifth and not everything."""

SMALL = ResourceRequirements(cpu_millicores=500, memory_mb=256)
LARGE = ResourceRequirements(cpu_millicores=2500, memory_mb=1024)


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentTemplate:
    """A type of agent: its name, what it can do, the class that does it, and the task that it is made for."""

    name: str
    capabilities: frozenset[Capability]
    agent_class: type[Agent] = Agent
    footprint: ResourceRequirements = SMALL
    """What a task takes that suits this type best."""

    def __post_init__(self) -> None:
        if not re.fullmatch(IDENTIFIER, self.name):
            raise ValueError(f"agent type {self.name!r} is no name; use lower case letters, digits and _")
        if not self.capabilities:
            raise ValueError(f"agent type {self.name!r} has no capability; name at least one")
        given: object = self.agent_class
        if not isinstance(given, type) or not issubclass(given, Agent):
            raise TypeError(f"agent type {self.name!r} needs a subclass of Agent, not {given!r}")


@dataclass(slots=True, kw_only=True)
class TemplateRecord:
    """What is known of the use of one template."""

    creation_count: int = 0
    successes: int = 0
    failures: int = 0
    _measured: int = 0
    _sums: dict[str, float] = field(default_factory=dict)

    @property
    def success_rate(self) -> float:
        """The share of successes, the prior counted in."""
        believed = PRIOR_SUCCESS_RATE * PRIOR_OUTCOMES
        return (believed + self.successes) / (PRIOR_OUTCOMES + self.successes + self.failures)

    @property
    def avg_performance(self) -> Mapping[str, float]:
        """The mean of each measure over the outcomes that were measured; nothing at first."""
        return {name: total / self._measured for name, total in self._sums.items()}

    def add(self, outcome: AgentOutcome) -> None:
        """Learn from one outcome."""
        if outcome.succeeded:
            self.successes += 1
        else:
            self.failures += 1
        if outcome.performance is not None:
            self._measured += 1
            for name, value in outcome.performance.measures().items():
                self._sums[name] = self._sums.get(name, 0.0) + value


class AgentTemplates:
    """The registered types of agent, with what was learned of each."""

    def __init__(self, templates: Iterable[AgentTemplate] = ()) -> None:
        self._templates: dict[str, AgentTemplate] = {}
        self._records: dict[str, TemplateRecord] = {}
        for template in templates:
            self.register(template)

    def register(self, template: AgentTemplate) -> None:
        """Add a type; its name must be new."""
        if template.name in self._templates:
            raise ValueError(f"agent type {template.name!r} is registered already; choose another name")
        self._templates[template.name] = template
        self._records[template.name] = TemplateRecord()

    def get(self, agent_type: str) -> AgentTemplate:
        """Return the template of a type; raises `UnknownAgentTypeError`."""
        self._refuse_unknown(agent_type)
        return self._templates[agent_type]

    def statistics(self, agent_type: str) -> TemplateRecord:
        """Return what was learned of a type; raises `UnknownAgentTypeError`."""
        self._refuse_unknown(agent_type)
        return self._records[agent_type]

    def record(self, outcome: AgentOutcome) -> None:
        """Learn from how an agent's work ended: call it once per piece of work."""
        self.statistics(outcome.agent_type).add(outcome)

    def candidates(self, needed: ResourceRequirements) -> tuple[AgentCandidate, ...]:
        """Return all types as facts for the selection."""
        return tuple(
            AgentCandidate(
                name=name,
                capabilities=template.capabilities,
                success_rate=self._records[name].success_rate,
                resource_efficiency=resource_efficiency(needed, template.footprint),
            )
            for name, template in self._templates.items()
        )

    def _refuse_unknown(self, agent_type: str) -> None:
        if agent_type not in self._templates:
            known = ", ".join(sorted(self._templates)) or "none"
            raise UnknownAgentTypeError(f"agent type {agent_type!r} is not registered; there are: {known}")


BUILT_IN = (
    AgentTemplate(
        name="data_ingestion_specialist",
        capabilities=frozenset({Capability.DATA_INGESTION}),
        agent_class=DataIngestionSpecialist,
    ),
    AgentTemplate(
        name="data_validation_specialist",
        capabilities=frozenset({Capability.DATA_VALIDATION}),
        agent_class=DataValidationSpecialist,
    ),
    AgentTemplate(
        name="data_transformation_specialist",
        capabilities=frozenset({Capability.DATA_TRANSFORMATION}),
        agent_class=DataTransformationSpecialist,
    ),
    AgentTemplate(name="data_aggregation_specialist", capabilities=frozenset({Capability.DATA_AGGREGATION})),
    AgentTemplate(
        name="quality_monitoring_specialist", capabilities=frozenset({Capability.QUALITY_MONITORING})
    ),
    AgentTemplate(name="pipeline_coordinator", capabilities=frozenset({Capability.PIPELINE_COORDINATION})),
    AgentTemplate(
        name="data_generalist",
        capabilities=frozenset(Capability) - {Capability.PIPELINE_COORDINATION},
        footprint=LARGE,
    ),
)
"""SEED 25 names the first three. The last is for tasks that no specialist can do alone."""


def built_in_templates() -> AgentTemplates:
    """Return the built-in types, of which nothing was learned yet."""
    return AgentTemplates(BUILT_IN)
