"""What came of creating agents: those that live, and what went wrong with the others (SEED 27)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Self

from airflow_orchestration.agents.agent import Agent, MonitoredAgent
from airflow_orchestration.domain.agent import AgentRequirement
from airflow_orchestration.domain.decision import Json
from airflow_orchestration.domain.outcome import OutcomeStatus
from airflow_orchestration.exceptions import OrchestrationError
from airflow_orchestration.policies.agent_selection import AgentSelectionDecision

CREATION_EVENT = "dynamic_data_processing_agent_creation"
"""SEED 27: the timeline's name for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentFailure:
    """An agent that could not be had, and for what it was wanted."""

    error: str
    error_type: str
    requirement: AgentRequirement
    status: OutcomeStatus = OutcomeStatus.FAILED

    @classmethod
    def of(cls, error: OrchestrationError, requirement: AgentRequirement) -> AgentFailure:
        """Record an error."""
        return cls(error=str(error), error_type=type(error).__name__, requirement=requirement)

    def as_json(self) -> dict[str, Json]:
        """Return the record as plain data; of the requirement, what was asked for."""
        return {
            "status": self.status.value,
            "error": self.error,
            "error_type": self.error_type,
            "requirement": self.requirement.model_dump(mode="json", exclude_none=True),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatedAgents:
    """The agents of one queue, each with its lease. As a context manager it releases them all."""

    agents: tuple[Agent | MonitoredAgent, ...]
    failures: tuple[AgentFailure, ...]
    decisions: tuple[AgentSelectionDecision, ...]
    """One per requirement, in their order."""
    created_at: datetime

    @property
    def active_count(self) -> int:
        """How many were made."""
        return len(self.agents)

    def as_json(self) -> dict[str, Json]:
        """Return everything but the agents themselves as plain data."""
        return {
            "event": CREATION_EVENT,
            "timestamp": self.created_at.isoformat(),
            "active_count": self.active_count,
            "specifications": [agent.specification.model_dump(mode="json") for agent in self.agents],
            "failures": [failure.as_json() for failure in self.failures],
            "decisions": [decision.as_json() for decision in self.decisions],
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for agent in self.agents:
            agent.release()
