"""The closed choices of a batch: its type, its source, its priority, and the lanes that process it."""

from __future__ import annotations

from enum import StrEnum


class BatchType(StrEnum):
    """What kind of work a batch is (SEED 9, 10, 19)."""

    DATA_INGESTION = "data_ingestion"
    DATA_VALIDATION = "data_validation"
    DATA_TRANSFORMATION = "data_transformation"
    DATA_AGGREGATION = "data_aggregation"
    QUALITY_MONITORING = "quality_monitoring"


class SourceType(StrEnum):
    """How a batch reaches us (SEED 9)."""

    STREAMING = "streaming"
    BATCH = "batch"
    REAL_TIME = "real_time"


class Priority(StrEnum):
    """How urgent a batch is; only `high` gets the primary aggregation lane (SEED 10)."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


class Lane(StrEnum):
    """The five kinds of processing branch of the source document."""

    ALPHA = "alpha"
    BETA = "beta"
    GAMMA = "gamma"
    PRIMARY = "primary"
    SECONDARY = "secondary"


class ModeChoice(StrEnum):
    """What a person may ask for: a workflow mode, or that the analysis chooses one."""

    AUTO = "auto"
    PARALLEL = "parallel"
    SEQUENTIAL = "sequential"
    ADAPTIVE = "adaptive"


class WorkflowMode(StrEnum):
    """How many branches share the work (SEED 7)."""

    PARALLEL = "parallel"
    SEQUENTIAL = "sequential"
    ADAPTIVE = "adaptive"
