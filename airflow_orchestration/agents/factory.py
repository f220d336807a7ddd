"""From what a task needs to an agent that does it: select, specialize, specify, create (SEED 22, 23)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from datetime import datetime

from airflow_orchestration.agents.agent import Agent, MonitoredAgent
from airflow_orchestration.agents.created import AgentFailure, CreatedAgents
from airflow_orchestration.agents.estimation import (
    estimate_resources,
    performance_targets,
    quality_thresholds,
)
from airflow_orchestration.agents.resources import Lease, ResourcePool
from airflow_orchestration.agents.specialization import AgentParameters, specialize
from airflow_orchestration.agents.templates import AgentTemplate, AgentTemplates
from airflow_orchestration.domain.agent import (
    AgentRequirement,
    AgentSpecification,
    Capability,
    TaskContext,
    each_once,
)
from airflow_orchestration.domain.conf import validated
from airflow_orchestration.exceptions import AgentCreationError, NoSuitableAgentError, OrchestrationError
from airflow_orchestration.policies.agent_selection import (
    AgentSelection,
    AgentSelectionDecision,
    AgentSelectionFacts,
)

NO_CONTEXT = TaskContext()


class AgentFactory:
    """Makes agents out of registered templates, as far as the resources go.

    :param new_id: returns another text each time; an agent's id is its type and this.
    """

    def __init__(
        self, templates: AgentTemplates, resources: ResourcePool, *, new_id: Callable[[], str]
    ) -> None:
        self.templates = templates
        self.resources = resources
        self.new_id = new_id

    def select(self, requirement: AgentRequirement) -> AgentSelectionDecision:
        """Choose the type of agent for a task (SEED 24)."""
        facts = AgentSelectionFacts(
            required=frozenset(requirement.capabilities_needed),
            candidates=self.templates.candidates(estimate_resources(requirement)),
        )
        return AgentSelection().evaluate(facts)

    def generate(
        self, requirement: AgentRequirement, *, now: datetime, context: TaskContext = NO_CONTEXT
    ) -> AgentSpecification:
        """Specify the best agent for a task (SEED 22); raises `NoSuitableAgentError`."""
        return self._specify(requirement, self.select(requirement), now, context)

    def create(self, specification: AgentSpecification) -> Agent | MonitoredAgent:
        """Make an agent that holds its resources until it is released (SEED 23).

        Raises `UnknownAgentTypeError`, `NoSuitableAgentError`, `InputRefusedError` for parameters that
        its type does not take, `ResourceUnavailableError` and `AgentCreationError`.
        """
        template = self.templates.get(specification.agent_type)
        _refuse_incapable(template, specification.capabilities)
        parameters = validated(
            template.agent_class.parameters_model,
            specification.specialization_parameters,
            subject=f"specialization_parameters of {template.name}",
        )
        lease = self.resources.lease(parameters.agent_id, specification.resource_requirements)
        agent = self._made(template, specification, parameters, lease)
        self.templates.statistics(template.name).creation_count += 1
        return agent

    def create_all(
        self,
        requirements: Iterable[AgentRequirement],
        *,
        now: datetime,
        context: TaskContext = NO_CONTEXT,
    ) -> CreatedAgents:
        """Make every agent that can be made; a failure is recorded and stops nothing (SEED 27)."""
        decisions: list[AgentSelectionDecision] = []
        agents: list[Agent | MonitoredAgent] = []
        failures: list[AgentFailure] = []
        with ExitStack() as undo:
            for requirement in requirements:
                decision = self.select(requirement)
                decisions.append(decision)
                try:
                    agent = self.create(self._specify(requirement, decision, now, context))
                except OrchestrationError as error:
                    failures.append(AgentFailure.of(error, requirement))
                else:
                    undo.callback(agent.release)
                    agents.append(agent)
            undo.pop_all()
        return CreatedAgents(
            agents=tuple(agents), failures=tuple(failures), decisions=tuple(decisions), created_at=now
        )

    def _specify(
        self,
        requirement: AgentRequirement,
        decision: AgentSelectionDecision,
        now: datetime,
        context: TaskContext,
    ) -> AgentSpecification:
        if decision.agent_type is None:
            raise NoSuitableAgentError(_nobody_suits(decision))
        parameters = specialize(
            self.templates.get(decision.agent_type).agent_class.parameters_model,
            requirement,
            agent_id=f"{decision.agent_type}_{self.new_id()}",
            now=now,
            context=context,
        )
        return AgentSpecification(
            agent_type=decision.agent_type,
            capabilities=requirement.capabilities_needed,
            resource_requirements=estimate_resources(requirement),
            performance_targets=performance_targets(requirement),
            specialization_parameters=parameters.model_dump(mode="json"),
            quality_thresholds=quality_thresholds(requirement),
            monitoring_enabled=context.monitoring_required,
        )

    def _made(
        self,
        template: AgentTemplate,
        specification: AgentSpecification,
        parameters: AgentParameters,
        lease: Lease,
    ) -> Agent | MonitoredAgent:
        with ExitStack() as undo:
            undo.callback(lease.release)
            try:
                agent = template.agent_class(specification, parameters=parameters, lease=lease)
            except Exception as error:
                raise AgentCreationError(f"{lease.holder} could not be made: {error}") from error
            undo.pop_all()
        return MonitoredAgent(agent, self.templates.record) if specification.monitoring_enabled else agent


def _refuse_incapable(template: AgentTemplate, capabilities: tuple[Capability, ...]) -> None:
    missing = each_once(set(capabilities) - template.capabilities)
    if missing:
        raise NoSuitableAgentError(f"agent type {template.name!r} lacks {', '.join(missing)}")


def _nobody_suits(decision: AgentSelectionDecision) -> str:
    lacking = [f"{name} lacks {', '.join(missing)}" for name, missing in decision.missing.items()]
    return "\n  ".join(["no type of agent has all the capabilities", *(lacking or ["none is registered"])])
