"""What does an agent of a given type need to know for its task (SEED 25)?

Each type has a model of its parameters. A parameter's alias is the key under which a task asks for it; what
the task leaves out has the default that stands here. The document asks for one key, `schema_mapping`, by
the name of the parameter itself.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import AwareDatetime, ConfigDict, Field, ValidationError

from airflow_orchestration.domain.agent import (
    BATCH_SIZE,
    INGESTION_SOURCE,
    VALIDATION_RULES,
    AgentRequirement,
    Name,
    RecordCount,
    TaskContext,
    Thresholds,
)
from airflow_orchestration.domain.defaults import APPROVE_AT, CONFIDENCE_LEVEL, MAX_ROUNDS
from airflow_orchestration.domain.problems import pydantic_problems
from airflow_orchestration.domain.strict import Share, Strict, WholeSeconds
from airflow_orchestration.exceptions import InputRefusedError

RESPONSE_TIME_TARGET = 300
"""SEED 25: seconds that an agent may take to respond when its task doesn't say."""
INGESTION_FORMATS = ("parquet", "json")
"""SEED 25: the formats that an ingestion expects."""
OUTPUT_FORMAT = "parquet"
"""SEED 25: what a transformation writes."""
PARTITION_STRATEGY = "date"
"""SEED 25: how a transformation partitions."""


class AgentParameters(Strict):
    """What an agent of any type is told."""

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=False)

    agent_id: Annotated[str, Field(min_length=1, max_length=200)]
    """Unique: no two agents that live at a time share one (ruling)."""
    creation_timestamp: AwareDatetime
    task_context: TaskContext
    quality_threshold: Annotated[Share, Field(validation_alias="quality_requirement")] = APPROVE_AT
    response_time_target: Annotated[WholeSeconds, Field(validation_alias="sla_seconds")] = (
        RESPONSE_TIME_TARGET
    )
    iteration_limit: Annotated[int, Field(ge=1, le=10, validation_alias="max_iterations")] = MAX_ROUNDS


class IngestionParameters(AgentParameters):
    """What a data ingestion specialist is told besides."""

    ingestion_source: Annotated[Name, Field(validation_alias="data_source")] = INGESTION_SOURCE
    batch_size: RecordCount = BATCH_SIZE
    data_format: Annotated[tuple[Name, ...], Field(min_length=1, validation_alias="format")] = (
        INGESTION_FORMATS
    )
    schema_validation: Annotated[bool, Field(validation_alias="validate_schema")] = True


class ValidationParameters(AgentParameters):
    """What a data validation specialist is told besides."""

    validation_rules: Annotated[Name, Field(validation_alias="rules")] = VALIDATION_RULES
    quality_thresholds: Annotated[
        Thresholds, Field(default_factory=dict, validation_alias="quality_required")
    ]
    anomaly_detection: Annotated[bool, Field(validation_alias="detect_anomalies")] = True
    confidence_intervals: Annotated[float, Field(gt=0, lt=1, validation_alias="confidence_level")] = (
        CONFIDENCE_LEVEL
    )


class TransformationParameters(AgentParameters):
    """What a data transformation specialist is told besides."""

    transformation_type: Annotated[Name, Field(validation_alias="output_format")] = OUTPUT_FORMAT
    schema_mapping: Annotated[dict[Name, Name], Field(default_factory=dict, max_length=1000)]
    aggregation_rules: Annotated[
        tuple[Name, ...], Field(max_length=100, validation_alias="aggregations")
    ] = ()
    partition_strategy: Annotated[Name, Field(validation_alias="partitioning")] = PARTITION_STRATEGY


def specialize(
    parameters: type[AgentParameters],
    requirement: AgentRequirement,
    *,
    agent_id: str,
    now: datetime,
    context: TaskContext,
) -> AgentParameters:
    """Return the parameters of one agent: what its task asks for, and the defaults of its type.

    Raises `InputRefusedError` when its type needs something that no task can ask for.
    """
    keys = {field.validation_alias or name for name, field in parameters.model_fields.items()}
    asked = {key: value for key, value in requirement if key in keys and value is not None}
    told = {
        "agent_id": agent_id,
        "creation_timestamp": now,
        "task_context": context.model_copy(update={"task_description": requirement.task_description}),
    }
    try:
        return parameters.model_validate(asked | told, by_alias=True, by_name=True)
    except ValidationError as error:
        raise InputRefusedError(f"parameters of {agent_id}", pydantic_problems(error)) from None
