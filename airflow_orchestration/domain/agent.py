"""An agent is a worker template with a specification, not a language model: what can be said about one.

A batch of the queue (`QueuedBatch`) leads to a requirement (`AgentRequirement`), and that to the
specification of one agent (`AgentSpecification`). All of it is plain data: an agent type is a name, never
a class path, and rules, formats and sources are names, never expressions.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Annotated

from pydantic import Field, JsonValue, field_validator

from airflow_orchestration.domain.conf import validated
from airflow_orchestration.domain.defaults import MAX_CONCURRENT_BATCHES, RETRY_ATTEMPTS, TIMEOUT_SECONDS
from airflow_orchestration.domain.strict import IDENTIFIER, Share, Strict, WholeSeconds
from airflow_orchestration.exceptions import InputRefusedError, Problem, ProblemCode, RefusedValueError

NO_TENANT = ""
"""Whose work it is that belongs to no tenant."""
DEFAULT_BATCH_TYPE = "general"
"""SEED 26: what a batch is that doesn't say."""
INGESTION_SOURCE = "kafka"
"""SEED 25, 26: where an ingestion reads from that doesn't say."""
BATCH_SIZE = 1000
"""SEED 25, 26: records per batch; a number, not a text (ruling)."""
VALIDATION_RULES = "comprehensive"
"""SEED 25, 26: which rules a validation applies that doesn't say."""
MAX_QUEUED = 1000
"""Ours: each batch may lead to a decision of a kilobyte, and all of them are handed on together."""
OVERALL = "overall"
"""The name of a quality threshold that holds for the whole, not for one measure."""

Name = Annotated[str, Field(pattern=IDENTIFIER)]
Text = Annotated[str, Field(max_length=1000)]
RecordCount = Annotated[int, Field(ge=1, le=10**9)]
Thresholds = Annotated[dict[Name, Share], Field(max_length=100)]


class Capability(StrEnum):
    """What an agent can do (SEED 19)."""

    DATA_INGESTION = "data_ingestion"
    DATA_VALIDATION = "data_validation"
    DATA_TRANSFORMATION = "data_transformation"
    DATA_AGGREGATION = "data_aggregation"
    QUALITY_MONITORING = "quality_monitoring"
    PIPELINE_COORDINATION = "pipeline_coordination"


class BatchComplexity(StrEnum):
    """How much thought a batch takes; only `high` streaming gets an ingestion agent (SEED 26)."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class QueuedBatch(Strict):
    """A batch as it stands in the queue (SEED 26)."""

    id: Name | None = None
    """Unique in its queue; left out, its place there: `batch_1` for the first."""
    type: Name = DEFAULT_BATCH_TYPE
    """`streaming` of high complexity and `validation` say what their agent must be able to do; others do not."""
    capabilities: Annotated[tuple[Capability, ...], Field(min_length=1)] | None = None
    """What its agent must be able to do; left out, its type says it."""
    complexity: BatchComplexity = BatchComplexity.MEDIUM
    description: Text = ""
    source: Name | None = None
    size: RecordCount | None = None
    """Records."""
    deadline: WholeSeconds | None = None
    """Seconds that its agent may take to respond."""
    validation_type: Name | None = None
    quality: Share | None = None

    @field_validator("capabilities")
    @classmethod
    def _each_once(cls, capabilities: tuple[Capability, ...] | None) -> tuple[Capability, ...] | None:
        return None if capabilities is None else each_once(capabilities)


class BatchQueue(Strict):
    """The batches that wait for agents, each with an id."""

    batches: Annotated[tuple[QueuedBatch, ...], Field(max_length=MAX_QUEUED)]

    @field_validator("batches")
    @classmethod
    def _ids_of_their_own(cls, batches: tuple[QueuedBatch, ...]) -> tuple[QueuedBatch, ...]:
        names = _names([batch.id for batch in batches])
        if shared := _shared(names):
            raise RefusedValueError(shared, code=ProblemCode.DUPLICATE)
        return tuple(
            batch.model_copy(update={"id": name}) for batch, name in zip(batches, names, strict=True)
        )


def read_queue(batches: Sequence[object], *, subject: str) -> BatchQueue:
    """Check a queue as it came; raises `InputRefusedError` with every problem, shared ids beside what else is wrong."""
    try:
        return validated(BatchQueue, {"batches": batches}, subject=subject)
    except InputRefusedError as error:
        shared = _shared(
            _names([batch.get("id") if isinstance(batch, Mapping) else None for batch in batches])
        )
        told = [
            *error.problems,
            *([Problem(code=ProblemCode.DUPLICATE, path="batches", message=shared)] if shared else []),
        ]
        raise InputRefusedError(subject, list(dict.fromkeys(told))) from None


def _names(given: Sequence[object]) -> list[str]:
    return [name if isinstance(name, str) else f"batch_{place + 1}" for place, name in enumerate(given)]


def _shared(names: Sequence[str]) -> str:
    """Which of the names stand twice, and what to do about it; nothing where none does."""
    places: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        places.setdefault(name, []).append(place)
    shared = [
        f"{' and '.join(f'batches[{place}]' for place in found)} share the id {name!r}"
        for name, found in places.items()
        if len(found) > 1
    ]
    return f"{'; '.join(shared)}; give each batch an id of its own" if shared else ""


class ResourceRequirements(Strict):
    """What an agent holds while it lives, in whole units, so that sums are exact."""

    cpu_millicores: Annotated[int, Field(ge=1, le=10**6)]
    """Thousandths of a CPU: 500 is half a core."""
    memory_mb: Annotated[int, Field(ge=1, le=10**7)]
    connections: Annotated[int, Field(ge=0, le=10**5)] = 0
    """Connections to databases and brokers that are not ours."""


class PerformanceTargets(Strict):
    """What counts as success in time."""

    response_time_seconds: WholeSeconds
    throughput_per_second: Annotated[float, Field(gt=0, le=10**9)] | None = None
    """Records; None where the task names no volume."""


class AgentRequirement(Strict):
    """What a task asks of an agent; what it leaves out, the specialization fills in (SEED 25, 26)."""

    batch: Name | None = None
    """The batch of the queue that it is for; None for a coordinator, and where there is no queue."""
    task_description: Text = ""
    capabilities_needed: Annotated[tuple[Capability, ...], Field(min_length=1)]
    data_source: Name | None = None
    batch_size: RecordCount | None = None
    format: Annotated[tuple[Name, ...], Field(min_length=1, max_length=20)] | None = None
    validate_schema: bool | None = None
    rules: Name | None = None
    quality_required: Thresholds | None = None
    """By measure; a single number is the threshold of the whole."""
    detect_anomalies: bool | None = None
    confidence_level: Annotated[float, Field(gt=0, lt=1)] | None = None
    output_format: Name | None = None
    schema_mapping: Annotated[dict[Name, Name], Field(max_length=1000)] | None = None
    aggregations: Annotated[tuple[Name, ...], Field(max_length=100)] | None = None
    partitioning: Name | None = None
    quality_requirement: Share | None = None
    sla_seconds: WholeSeconds | None = None
    max_iterations: Annotated[int, Field(ge=1, le=10)] | None = None
    connections: Annotated[int, Field(ge=0, le=MAX_QUEUED)] | None = None
    """To databases and brokers, at a time."""
    agent_count: Annotated[int, Field(ge=1, le=MAX_QUEUED)] | None = None
    coordination_complexity: BatchComplexity | None = None

    @field_validator("capabilities_needed")
    @classmethod
    def _each_once(cls, capabilities: tuple[Capability, ...]) -> tuple[Capability, ...]:
        return each_once(capabilities)

    @field_validator("format", mode="before")
    @classmethod
    def _one_format(cls, formats: object) -> object:
        if isinstance(formats, list):
            return tuple(formats)
        return (formats,) if isinstance(formats, str) else formats

    @field_validator("quality_required", mode="before")
    @classmethod
    def _one_threshold(cls, required: object) -> object:
        return {OVERALL: required} if isinstance(required, int | float) else required


class TaskContext(Strict):
    """Where an agent works, and what for."""

    workflow_id: Annotated[str, Field(max_length=600)] | None = None
    task_description: Text = ""
    monitoring_required: bool = True


class AgentSpecification(Strict):
    """One agent as data: what it is, what it holds and how it works (SEED 20)."""

    agent_type: Name
    """The name of a registered template."""
    capabilities: Annotated[tuple[Capability, ...], Field(min_length=1)]
    resource_requirements: ResourceRequirements
    performance_targets: PerformanceTargets
    specialization_parameters: Annotated[dict[Name, JsonValue], Field(max_length=50)]
    """Checked against the parameters of the agent type when the agent is created."""
    max_concurrent_batches: Annotated[int, Field(ge=1, le=1000)] = MAX_CONCURRENT_BATCHES
    timeout_seconds: WholeSeconds = TIMEOUT_SECONDS
    retry_attempts: Annotated[int, Field(ge=0, le=10)] = RETRY_ATTEMPTS
    quality_thresholds: Thresholds = Field(default_factory=dict)
    monitoring_enabled: bool = True

    @property
    def agent_id(self) -> str:
        """The name of this one agent (SEED 25)."""
        return str(self.specialization_parameters["agent_id"])

    @field_validator("capabilities")
    @classmethod
    def _each_once(cls, capabilities: tuple[Capability, ...]) -> tuple[Capability, ...]:
        return each_once(capabilities)


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentPerformance:
    """What was measured of the work on one batch (SEED 11)."""

    execution_time: timedelta
    data_quality_score: float
    records: int
    peak_memory_mb: float | None = None

    def measures(self) -> Mapping[str, float]:
        """Return the measures by name; the throughput is 0 when no time was measured."""
        seconds = self.execution_time.total_seconds()
        measured = {
            "execution_time": seconds,
            "data_quality_score": self.data_quality_score,
            "throughput": self.records / seconds if seconds > 0 else 0.0,
        }
        return measured if self.peak_memory_mb is None else measured | {"peak_memory_mb": self.peak_memory_mb}


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentOutcome:
    """How the work of an agent on one batch ended; choices learn from it (SEED 21 and ruling)."""

    agent_id: str
    agent_type: str
    kind: str
    """The kind of work: the type of the batch."""
    batch: str
    """The id of the batch, once per agent."""
    succeeded: bool
    performance: AgentPerformance | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkDay:
    """What the agents of one type did in one kind of work on one day, for one tenant."""

    agent_type: str
    kind: str
    days_ago: int
    """0 for today, by the store's clock in UTC."""
    successes: int
    failures: int
    measured: int = 0
    """Outcomes that have a performance; the sums go over these."""
    seconds: float = 0.0
    records: int = 0
    quality: float = 0.0
    peak_memory_mb: float = 0.0
    """The highest of the day; 0 when it was not measured."""


def each_once(capabilities: Collection[Capability]) -> tuple[Capability, ...]:
    """Return the capabilities in the order of their declaration, none twice.

    >>> [it.value for it in each_once((Capability.DATA_VALIDATION, *[Capability.DATA_INGESTION] * 2))]
    ['data_ingestion', 'data_validation']
    """
    return tuple(capability for capability in Capability if capability in capabilities)


def kinds_of(capabilities: Collection[Capability]) -> tuple[str, ...]:
    """Return the kinds of work that need these capabilities: each of them, and the last one all of them together.

    >>> kinds_of((Capability.DATA_VALIDATION, Capability.DATA_INGESTION))
    ('data_ingestion', 'data_validation', 'data_ingestion+data_validation')
    """
    each = tuple(capability.value for capability in each_once(capabilities))
    return each if len(each) == 1 else (*each, "+".join(each))
