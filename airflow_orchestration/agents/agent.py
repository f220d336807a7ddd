"""An agent is a worker made from a template, not a language model: what it is told, and how it works."""

from __future__ import annotations

from typing import ClassVar

from airflow_orchestration.agents.specialization import (
    AgentParameters,
    IngestionParameters,
    TransformationParameters,
    ValidationParameters,
)
from airflow_orchestration.agents.work import Work, WorkResult
from airflow_orchestration.domain.agent import AgentSpecification


class Agent:
    """A worker: its specification, its checked parameters, and what it does to a batch.

    A template of your own is a subclass with a `run` of its own:

        class Decrypting(Agent):
            def run(self, work: Work) -> WorkResult:
                decrypt(...)
                return work.process()
    """

    parameters_model: ClassVar[type[AgentParameters]] = AgentParameters
    """What the specialization parameters of this type are checked against."""

    def __init__(self, specification: AgentSpecification, parameters: AgentParameters) -> None:
        self.specification = specification
        self.parameters = parameters

    def run(self, work: Work) -> WorkResult:
        """Work on one batch, and return what came of it. Whatever it raises is the failure of this batch."""
        return work.process()


class DataIngestionSpecialist(Agent):
    """Takes in batches from one source."""

    parameters_model = IngestionParameters


class DataValidationSpecialist(Agent):
    """Checks batches against rules and thresholds."""

    parameters_model = ValidationParameters


class DataTransformationSpecialist(Agent):
    """Brings batches into another form."""

    parameters_model = TransformationParameters


class DataAggregationSpecialist(Agent):
    """Groups and measures what other batches brought."""


class QualityMonitoringSpecialist(Agent):
    """Measures how good other batches are."""


class PipelineCoordinator(Agent):
    """Orders the other agents by their needs, and watches them through the gate; it processes no batch."""


class DataGeneralist(Agent):
    """Does all kinds of work on batches, none of them best."""
