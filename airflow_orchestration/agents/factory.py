"""From what a task needs to an agent that does it: select, specialize, specify, create (SEED 22, 23)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from airflow_orchestration.agents.agent import Agent
from airflow_orchestration.agents.created import AgentFailure, CreatedAgents
from airflow_orchestration.agents.estimation import (
    PLACE,
    estimate_resources,
    estimation_basis,
    performance_targets,
    quality_thresholds,
)
from airflow_orchestration.agents.specialization import specialize
from airflow_orchestration.agents.templates import AgentTemplate, AgentTemplates
from airflow_orchestration.domain.agent import (
    NO_TENANT,
    AgentRequirement,
    AgentSpecification,
    Capability,
    ResourceRequirements,
    TaskContext,
    each_once,
)
from airflow_orchestration.domain.conf import validated
from airflow_orchestration.domain.decision import Json
from airflow_orchestration.exceptions import (
    AgentCreationError,
    NoSuitableAgentError,
    OrchestrationError,
    ResourceUnavailableError,
)
from airflow_orchestration.policies.agent_selection import (
    AgentCandidate,
    AgentSelection,
    AgentSelectionDecision,
    AgentSelectionFacts,
)
from airflow_orchestration.policies.agent_success import NEWCOMER, Experience
from airflow_orchestration.policies.leasing import beyond, raising

NO_CONTEXT = TaskContext()
Experiences = Callable[[str, Collection[Capability]], Experience]
"""What is believed of a type of agent in some kinds of work."""
Refine = Callable[[AgentRequirement, AgentSpecification], AgentSpecification]
Task = tuple[frozenset[Capability], int, int, int]
"""What a choice hangs on: the capabilities, and CPU, memory and connections; hashing models would cost more."""


def no_experience(_: str, __: Collection[Capability]) -> Experience:
    """Nobody has worked yet."""
    return NEWCOMER


@dataclass(frozen=True, kw_only=True)
class AgentFactory:
    """Makes agents out of the templates that are registered, and of what is known of them, when it first chooses."""

    templates: AgentTemplates
    new_id: Callable[[], str]
    """Returns another text each time; an agent's id is its type and this."""
    experiences: Experiences = no_experience
    capacities: Sequence[ResourceRequirements] = ()
    """What could be lent to an agent at all, when nobody else works: it has to fit into each of these."""
    tenant: str = NO_TENANT
    """Whose capacities these are."""
    alone: bool = False
    """Whether its agents have no lane behind them: then only a type with a `run` of its own is chosen."""
    refine: Refine = lambda _, made: made
    """The last word on a specification, for who knows more of the place of work."""
    _known: dict[frozenset[Capability], tuple[AgentCandidate, ...]] = field(
        default_factory=dict, init=False, repr=False
    )
    """To learn from the history of a thousand candidates takes a tenth of a second."""
    _decided: dict[Task, AgentSelectionDecision] = field(default_factory=dict, init=False, repr=False)
    """Tasks of a queue are often alike, and the whole table of a thousand candidates takes milliseconds."""

    def select(self, requirement: AgentRequirement) -> AgentSelectionDecision:
        """Choose the type of agent for a task (SEED 24)."""
        required, needed = frozenset(requirement.capabilities_needed), estimate_resources(requirement)
        task = required, needed.cpu_millicores, needed.memory_mb, needed.connections
        if task not in self._decided:
            self._decided[task] = AgentSelection().evaluate(
                AgentSelectionFacts(required=required, needed=needed, candidates=self._candidates(required))
            )
        return self._decided[task]

    def generate(
        self, requirement: AgentRequirement, *, now: datetime, context: TaskContext = NO_CONTEXT
    ) -> AgentSpecification:
        """Specify the best agent for a task (SEED 22).

        Raises `NoSuitableAgentError`, and `ResourceUnavailableError` when it could never be lent what it needs.
        """
        return self._specify(requirement, self.select(requirement), now, context)

    def generate_all(
        self,
        requirements: Iterable[AgentRequirement],
        *,
        now: datetime,
        context: TaskContext = NO_CONTEXT,
    ) -> CreatedAgents:
        """Specify every agent that can be had; a failure is recorded and stops nothing (SEED 27)."""
        decisions: list[AgentSelectionDecision] = []
        made: list[AgentSpecification | AgentFailure] = []
        for requirement in requirements:
            decision = self.select(requirement)
            try:
                specification = self._specify(requirement, decision, now, context)
            except OrchestrationError as error:
                decisions.append(decision)
                made.append(AgentFailure.of(error, requirement))
            else:
                decisions.append(
                    decision.leading_to(specification.agent_id, self._basis(requirement, specification))
                )
                made.append(specification)
        return CreatedAgents(by_requirement=tuple(made), decisions=tuple(decisions), created_at=now)

    def create(self, specification: AgentSpecification) -> Agent:
        """Make an agent (SEED 23); what it needs is the caller's to acquire before, and to release if this fails.

        Raises `UnknownAgentTypeError`, `NoSuitableAgentError`, `InputRefusedError` for parameters that
        its type does not take, and `AgentCreationError`.
        """
        template = self.templates.get(specification.agent_type)
        _refuse_incapable(template, specification.capabilities)
        parameters = validated(
            template.agent_class.parameters_model,
            specification.specialization_parameters,
            subject=f"specialization_parameters of {template.name}",
        )
        try:
            return template.agent_class(specification, parameters)
        except Exception as error:
            raise AgentCreationError(f"{parameters.agent_id} could not be made: {error}") from error

    def _basis(self, requirement: AgentRequirement, specification: AgentSpecification) -> Mapping[str, Json]:
        """Whether the task named each estimate, or it was learned, or a formula gave it, or the place of work."""
        experience = self.experiences(specification.agent_type, requirement.capabilities_needed)
        basis = estimation_basis(requirement, experience)
        refined = specification.resource_requirements != estimate_resources(requirement, experience)
        return {**basis, "memory_mb": PLACE} if refined else basis

    def _candidates(self, required: frozenset[Capability]) -> tuple[AgentCandidate, ...]:
        if required not in self._known:
            offered = [it for it in self.templates.all() if it.works_alone or not self.alone]
            self._known[required] = tuple(self._candidate(it, required) for it in offered)
        return self._known[required]

    def _candidate(self, template: AgentTemplate, needed: frozenset[Capability]) -> AgentCandidate:
        experience = self.experiences(template.name, needed)
        return AgentCandidate(
            name=template.name,
            capabilities=template.capabilities,
            success_rate=experience.success_rate,
            outcomes=experience.outcomes,
            footprint=template.footprint,
        )

    def _specify(
        self,
        requirement: AgentRequirement,
        decision: AgentSelectionDecision,
        now: datetime,
        context: TaskContext,
    ) -> AgentSpecification:
        if decision.agent_type is None:
            raise NoSuitableAgentError(_nobody_suits(decision, alone=self.alone))
        experience = self.experiences(decision.agent_type, requirement.capabilities_needed)
        parameters = specialize(
            self.templates.get(decision.agent_type).agent_class.parameters_model,
            requirement,
            agent_id=f"{decision.agent_type}_{self.new_id()}",
            now=now,
            context=context,
        )
        specification = self.refine(
            requirement,
            AgentSpecification(
                agent_type=decision.agent_type,
                capabilities=requirement.capabilities_needed,
                resource_requirements=estimate_resources(requirement, experience),
                performance_targets=performance_targets(requirement, experience),
                specialization_parameters=parameters.model_dump(mode="json"),
                quality_thresholds=quality_thresholds(requirement, experience),
                monitoring_enabled=context.monitoring_required,
            ),
        )
        for capacity in self.capacities:
            _refuse_too_large(parameters.agent_id, specification.resource_requirements, capacity, self.tenant)
        return specification


def _refuse_too_large(
    agent_id: str, needed: ResourceRequirements, capacity: ResourceRequirements, tenant: str
) -> None:
    too_much = [
        f"{getattr(needed, name)} of {getattr(capacity, name)} {name}" for name in beyond(needed, capacity)
    ]
    if too_much:
        whose = f" that tenant {tenant} may have" if tenant else ""
        raise ResourceUnavailableError(
            f"{agent_id} needs {', '.join(too_much)}{whose}: waiting can't help; raise the capacity with "
            f"`{raising(tenant, needed, capacity)}`, or give it smaller batches"
        )


def _refuse_incapable(template: AgentTemplate, capabilities: tuple[Capability, ...]) -> None:
    missing = each_once(set(capabilities) - template.capabilities)
    if missing:
        raise NoSuitableAgentError(f"agent type {template.name!r} lacks {', '.join(missing)}")


def _nobody_suits(decision: AgentSelectionDecision, *, alone: bool) -> str:
    lacking = [f"{name} lacks {', '.join(missing)}" for name, missing in decision.missing.items()]
    return "\n  ".join([_NOBODY_ALONE if alone else _NOBODY, *(lacking or ["none is registered"])])


_NOBODY = "no type of agent has all the capabilities"
_NOBODY_ALONE = (
    "no type of agent with a run() of its own has all the capabilities; a queue has no lane that would do the work: "
    "register a template whose class has one, in the Dag file or as an entry point"
)
