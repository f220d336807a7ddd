"""What came of creating agents: those that were specified, and what went wrong with the others (SEED 27)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from airflow_orchestration.domain.agent import AgentRequirement, AgentSpecification
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
    """The agents for a list of requirements."""

    by_requirement: tuple[AgentSpecification | AgentFailure, ...]
    """One per requirement, in their order."""
    decisions: tuple[AgentSelectionDecision, ...]
    """The same."""
    created_at: datetime

    @property
    def specifications(self) -> tuple[AgentSpecification, ...]:
        """Those that can be made."""
        return tuple(made for made in self.by_requirement if isinstance(made, AgentSpecification))

    @property
    def failures(self) -> tuple[AgentFailure, ...]:
        """Those that can't."""
        return tuple(made for made in self.by_requirement if isinstance(made, AgentFailure))

    def as_json(self) -> dict[str, Json]:
        """Return what the document's node returns, as plain data."""
        return {
            "event": CREATION_EVENT,
            "timestamp": self.created_at.isoformat(),
            "active_count": len(self.specifications),
            "specifications": [
                specification.model_dump(mode="json") for specification in self.specifications
            ],
            "failures": [failure.as_json() for failure in self.failures],
            "decisions": [decision.as_json() for decision in self.decisions],
        }
