"""What an agent is told: SEED 25 and its rulings."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from airflow_orchestration.agents.specialization import (
    AgentParameters,
    IngestionParameters,
    TransformationParameters,
    ValidationParameters,
    specialize,
)
from airflow_orchestration.domain.agent import TaskContext
from airflow_orchestration.exceptions import InputRefusedError
from tests.unit.agents.builders import NOW, need

CONTEXT = TaskContext(workflow_id="airports/manual")
BASE = {
    "agent_id": "a_1",
    "creation_timestamp": "2026-11-22T00:00:00Z",
    "task_context": {
        "workflow_id": "airports/manual",
        "task_description": "load",
        "monitoring_required": True,
    },
    "quality_threshold": 0.8,
    "response_time_target": 300,
    "iteration_limit": 3,
}


class NeedsMore(AgentParameters):
    """Parameters with one that no task can ask for."""

    licence: str


def told(parameters: type[AgentParameters], **asked: Any) -> dict[str, Any]:
    requirement = need(task_description="load", **asked)
    found = specialize(parameters, requirement, agent_id="a_1", now=NOW, context=CONTEXT)
    return found.model_dump(mode="json")


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        pytest.param(AgentParameters, {}, id="any type"),
        pytest.param(
            IngestionParameters,
            {
                "ingestion_source": "kafka",
                "batch_size": 1000,
                "data_format": ["parquet", "json"],
                "schema_validation": True,
            },
            id="data_ingestion_specialist",
        ),
        pytest.param(
            ValidationParameters,
            {
                "validation_rules": "comprehensive",
                "quality_thresholds": {},
                "anomaly_detection": True,
                "confidence_intervals": 0.95,
            },
            id="data_validation_specialist",
        ),
        pytest.param(
            TransformationParameters,
            {
                "transformation_type": "parquet",
                "schema_mapping": {},
                "aggregation_rules": [],
                "partition_strategy": "date",
            },
            id="data_transformation_specialist",
        ),
    ],
)
def test_seed_25_defaults(parameters: type[AgentParameters], expected: dict[str, Any]) -> None:
    """A task that asks for nothing gets the defaults of the document, and nothing else."""
    assert BASE | expected == told(parameters)


@pytest.mark.parametrize(
    ("parameters", "key", "value", "name"),
    [
        (AgentParameters, "quality_requirement", 0.0, "quality_threshold"),
        (AgentParameters, "sla_seconds", 60, "response_time_target"),
        (AgentParameters, "max_iterations", 1, "iteration_limit"),
        (IngestionParameters, "data_source", "kinesis", "ingestion_source"),
        (IngestionParameters, "batch_size", 5, "batch_size"),
        (IngestionParameters, "format", ["csv"], "data_format"),
        (IngestionParameters, "validate_schema", False, "schema_validation"),
        (ValidationParameters, "rules", "keys", "validation_rules"),
        (ValidationParameters, "quality_required", {"overall": 0.9}, "quality_thresholds"),
        (ValidationParameters, "detect_anomalies", False, "anomaly_detection"),
        (ValidationParameters, "confidence_level", 0.5, "confidence_intervals"),
        (TransformationParameters, "output_format", "csv", "transformation_type"),
        (TransformationParameters, "schema_mapping", {"a": "b"}, "schema_mapping"),
        (TransformationParameters, "aggregations", ["daily"], "aggregation_rules"),
        (TransformationParameters, "partitioning", "region", "partition_strategy"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_seed_25_keys(parameters: type[AgentParameters], key: str, value: object, name: str) -> None:
    """What a task asks for by the document's key is in the document's parameter, and changes no other."""
    assert told(parameters) | {name: value} == told(parameters, **{key: value})


def test_seed_25_keys_of_other_types_are_left_out() -> None:
    """An agent is not told what only another type can use."""
    assert BASE == told(AgentParameters, data_source="kinesis", rules="keys", output_format="csv")


def test_ruling_batch_size_is_an_integer() -> None:
    """The batch size is a number, whether it was asked for or not."""
    assert int is type(told(IngestionParameters)["batch_size"])
    assert int is type(told(IngestionParameters, batch_size=5)["batch_size"])


def test_parameters_that_nobody_supplies_are_named() -> None:
    """A type that needs more than a task can ask for is refused with the name of what is missing."""
    with pytest.raises(InputRefusedError, match="licence: is required"):
        told(NeedsMore)


def test_a_time_without_a_zone_is_refused() -> None:
    """A creation time means one moment everywhere."""
    naive = datetime(2026, 11, 22)  # noqa: DTZ001  # that is the point

    with pytest.raises(InputRefusedError, match="creation_timestamp"):
        specialize(AgentParameters, need(), agent_id="a_1", now=naive, context=CONTEXT)
