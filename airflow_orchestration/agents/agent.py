"""An agent is a worker made from a template, not a language model: what it holds, and how it ends."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import ClassVar, Self

from airflow_orchestration.agents.resources import Lease
from airflow_orchestration.agents.specialization import (
    AgentParameters,
    IngestionParameters,
    TransformationParameters,
    ValidationParameters,
)
from airflow_orchestration.domain.agent import AgentOutcome, AgentPerformance, AgentSpecification


class Agent:
    """A worker: its specification, its checked parameters, and the resources that it holds.

    Use it as a context manager: however the work ends, its lease is released.
    """

    parameters_model: ClassVar[type[AgentParameters]] = AgentParameters
    """What the specialization parameters of this type are checked against."""

    def __init__(
        self, specification: AgentSpecification, *, parameters: AgentParameters, lease: Lease
    ) -> None:
        self.specification = specification
        self.parameters = parameters
        self.lease = lease
        self.performance: AgentPerformance | None = None
        """Set by whoever does the work, when it is done."""

    def release(self) -> None:
        """Give back what it holds."""
        self.lease.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()


class DataIngestionSpecialist(Agent):
    """Takes in batches from one source."""

    parameters_model = IngestionParameters


class DataValidationSpecialist(Agent):
    """Checks batches against rules and thresholds."""

    parameters_model = ValidationParameters


class DataTransformationSpecialist(Agent):
    """Brings batches into another form."""

    parameters_model = TransformationParameters


class MonitoredAgent:
    """Wraps an agent, and reports how its work ended: well, or with an exception, which goes on its way.

    An agent that is released without having worked is not reported.
    """

    def __init__(self, agent: Agent, record: Callable[[AgentOutcome], None]) -> None:
        self.agent = agent
        self.specification = agent.specification
        self.parameters = agent.parameters
        self._record = record

    def release(self) -> None:
        """Give back what the agent holds."""
        self.agent.release()

    def __enter__(self) -> Agent:
        return self.agent.__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.agent.__exit__(kind, error, traceback)
        self._record(
            AgentOutcome(
                agent_type=self.specification.agent_type,
                succeeded=kind is None,
                performance=self.agent.performance,
            )
        )
