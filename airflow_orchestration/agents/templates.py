"""Which types of agent are there (SEED 21)?

Templates are registered by code. Data names a template and never a class: there is no way from a text to
something that is imported.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points

from airflow_orchestration.agents.agent import (
    Agent,
    DataAggregationSpecialist,
    DataGeneralist,
    DataIngestionSpecialist,
    DataTransformationSpecialist,
    DataValidationSpecialist,
    PipelineCoordinator,
    QualityMonitoringSpecialist,
)
from airflow_orchestration.domain.agent import Capability, ResourceRequirements
from airflow_orchestration.domain.strict import IDENTIFIER
from airflow_orchestration.exceptions import AgentCreationError, UnknownAgentTypeError

GROUP = "airflow_orchestration.agents"
"""The entry point group: each entry point names an `AgentTemplate` of an installed package."""

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

    @property
    def works_alone(self) -> bool:
        """Whether its class does the work itself: one that leaves `run` as it is needs a lane behind it."""
        return self.agent_class.run is not Agent.run

    def __post_init__(self) -> None:
        if not re.fullmatch(IDENTIFIER, self.name):
            raise ValueError(f"agent type {self.name!r} is no name; use lower case letters, digits and _")
        if not self.capabilities:
            raise ValueError(f"agent type {self.name!r} has no capability; name at least one")
        given: object = self.agent_class
        if not isinstance(given, type) or not issubclass(given, Agent):
            raise TypeError(f"agent type {self.name!r} needs a subclass of Agent, not {given!r}")


class AgentTemplates:
    """The registered types of agent."""

    def __init__(self, templates: Iterable[AgentTemplate] = ()) -> None:
        self._templates: dict[str, AgentTemplate] = {}
        for template in templates:
            self.register(template)

    def register(self, template: AgentTemplate) -> None:
        """Add a type; its name must be new. A class that is loaded anew takes the place of its older self."""
        known = self._templates.get(template.name)
        if known is not None and _origin(known) != _origin(template):
            raise ValueError(f"agent type {template.name!r} is registered already; choose another name")
        self._templates[template.name] = template

    def get(self, agent_type: str) -> AgentTemplate:
        """Return the template of a type; raises `UnknownAgentTypeError`."""
        if agent_type not in self._templates:
            known = ", ".join(sorted(self._templates)) or "none"
            raise UnknownAgentTypeError(f"agent type {agent_type!r} is not registered; there are: {known}")
        return self._templates[agent_type]

    def all(self) -> tuple[AgentTemplate, ...]:
        """Every type, by name."""
        return tuple(self._templates[name] for name in sorted(self._templates))


def _origin(template: AgentTemplate) -> tuple[str, str]:
    return template.agent_class.__module__, template.agent_class.__qualname__


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
    AgentTemplate(
        name="data_aggregation_specialist",
        capabilities=frozenset({Capability.DATA_AGGREGATION}),
        agent_class=DataAggregationSpecialist,
    ),
    AgentTemplate(
        name="quality_monitoring_specialist",
        capabilities=frozenset({Capability.QUALITY_MONITORING}),
        agent_class=QualityMonitoringSpecialist,
    ),
    AgentTemplate(
        name="pipeline_coordinator",
        capabilities=frozenset({Capability.PIPELINE_COORDINATION}),
        agent_class=PipelineCoordinator,
    ),
    AgentTemplate(
        name="data_generalist",
        capabilities=frozenset(Capability) - {Capability.PIPELINE_COORDINATION},
        agent_class=DataGeneralist,
        footprint=LARGE,
    ),
)
"""SEED 25 names the first three. The last is for tasks that no specialist can do alone."""


def built_in_templates() -> AgentTemplates:
    """Return the built-in types alone."""
    return AgentTemplates(BUILT_IN)


def register_template(template: AgentTemplate) -> None:
    """Add a type of the author's own, in the Dag file whose agents may be of it."""
    registered_templates().register(template)


@cache
def registered_templates() -> AgentTemplates:
    """Return the types of this process: the built-in ones, those of installed packages, those of its Dag files.

    Raises `AgentCreationError` for an entry point that names no template.
    """
    templates = built_in_templates()
    for entry_point in sorted(entry_points(group=GROUP), key=lambda found: found.name):
        templates.register(_template_of(entry_point))
    return templates


def _template_of(entry_point: EntryPoint) -> AgentTemplate:
    found = entry_point.load()
    if not isinstance(found, AgentTemplate):
        raise AgentCreationError(
            f"entry point {entry_point.name!r} of {GROUP} is {entry_point.value}, which is no AgentTemplate; mend "
            "the package that has it"
        )
    return found
