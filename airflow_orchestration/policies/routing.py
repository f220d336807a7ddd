"""Which lane processes a batch? A total table of type, source type and priority (SEED 9, 10 and ruling)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import assert_never

from airflow_orchestration.domain.batch import BatchType, Lane, Priority, SourceType
from airflow_orchestration.domain.decision import Json

INGESTION_LANES: Mapping[SourceType, Lane] = {
    SourceType.STREAMING: Lane.ALPHA,
    SourceType.BATCH: Lane.BETA,
    SourceType.REAL_TIME: Lane.GAMMA,
}
"""SEED 9: ingestion goes by how its rows reach us."""
AGGREGATION_LANES: Mapping[Priority, Lane] = {
    Priority.HIGH: Lane.PRIMARY,
    Priority.MEDIUM: Lane.SECONDARY,
    Priority.LOW: Lane.SECONDARY,
}
"""SEED 10: aggregation goes by how urgent it is; the primary lane has more resources."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteFacts:
    """One batch on its way to a lane, and what that lane has to be told."""

    branch_id: str
    type: BatchType
    source_type: SourceType
    priority: Priority
    allocated_resources: Mapping[str, float]
    """What the branch may use, for example `{"cpu": 2, "memory_mb": 1024}`."""
    data_sources: tuple[str, ...]
    aggregation_type: str | None = None


def route(batch_type: BatchType, source_type: SourceType, priority: Priority) -> Lane:
    """Return the one lane for a batch. Priority does not move an ingestion, nor the source an aggregation.

    >>> route(BatchType.DATA_INGESTION, SourceType.STREAMING, Priority.LOW).value
    'alpha'
    >>> route(BatchType.DATA_AGGREGATION, SourceType.STREAMING, Priority.MEDIUM).value
    'secondary'
    """
    match batch_type:
        case BatchType.DATA_INGESTION:
            return INGESTION_LANES[source_type]
        case BatchType.DATA_AGGREGATION:
            return AGGREGATION_LANES[priority]
        case BatchType.DATA_VALIDATION:
            return Lane.BETA
        case BatchType.DATA_TRANSFORMATION:
            return Lane.GAMMA
        case BatchType.QUALITY_MONITORING:
            return Lane.SECONDARY
        case _:
            assert_never(batch_type)


def payload(facts: RouteFacts) -> dict[str, Json]:
    """Return what the lane of a batch is told: of its source (SEED 9), or of its aggregation (SEED 10)."""
    shared: dict[str, Json] = {"branch_id": facts.branch_id, "priority": facts.priority.value}
    lane = route(facts.type, facts.source_type, facts.priority)
    match lane:
        case Lane.ALPHA | Lane.BETA | Lane.GAMMA:
            return shared | {
                "source_type": facts.source_type.value,
                "allocated_resources": dict(facts.allocated_resources),
            }
        case Lane.PRIMARY | Lane.SECONDARY:
            return shared | {
                "aggregation_type": facts.aggregation_type,
                "data_sources": list(facts.data_sources),
            }
        case _:
            assert_never(lane)
