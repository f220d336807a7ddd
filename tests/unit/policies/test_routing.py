"""Routing: SEED 9, 10 and the ruling that no type vanishes."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from airflow_orchestration.domain.batch import BatchType, Lane, Priority, SourceType
from airflow_orchestration.policies.routing import RouteFacts, payload, route
from tests.unit.policies.vectors import cases, every_row

EVERYTHING = list(product(BatchType, SourceType, Priority))


def applies(row: dict[str, Any], batch: tuple[BatchType, SourceType, Priority]) -> bool:
    given = dict(zip(("type", "source_type", "priority"), batch, strict=True))
    return all(row.get(name, value) == value for name, value in given.items())


def check(row: dict[str, Any]) -> None:
    assert {row["expected"]} == {route(*batch).value for batch in EVERYTHING if applies(row, batch)}


@cases("routing", "seed_09")
def test_seed_09_ingestion(row: dict[str, Any]) -> None:
    """Ingestion goes by source type, whatever its priority."""
    check(row)


@cases("routing", "seed_10")
def test_seed_10_aggregation(row: dict[str, Any]) -> None:
    """Aggregation goes by priority, whatever its source type."""
    check(row)


@cases("routing", "ruling_table_is_total")
def test_ruling_no_type_vanishes(row: dict[str, Any]) -> None:
    """The types for which the document has no row have a lane of their own."""
    check(row)


@pytest.mark.parametrize("batch", EVERYTHING, ids="-".join)
def test_ruling_table_is_total(batch: tuple[BatchType, SourceType, Priority]) -> None:
    """Every type, source type and priority has exactly one lane, by exactly one row of the table."""
    rows = [row for row in every_row("routing") if applies(row, batch)]

    assert [route(*batch).value] == [row["expected"] for row in rows]


def test_every_lane_is_used() -> None:
    """All five lanes of the document have work."""
    assert set(Lane) == {route(*batch) for batch in EVERYTHING}


def facts(batch_type: BatchType, priority: Priority) -> RouteFacts:
    return RouteFacts(
        branch_id="b2",
        type=batch_type,
        source_type=SourceType.BATCH,
        priority=priority,
        allocated_resources={"cpu": 2.0},
        data_sources=("flights", "planes"),
        aggregation_type="sum",
    )


def test_seed_09_payload() -> None:
    """An ingestion lane is told branch, source type, priority and resources."""
    expected = {
        "branch_id": "b2",
        "source_type": "batch",
        "priority": "low",
        "allocated_resources": {"cpu": 2.0},
    }

    assert expected == payload(facts(BatchType.DATA_INGESTION, Priority.LOW))


@pytest.mark.parametrize("priority", Priority)
def test_seed_10_payload(priority: Priority) -> None:
    """An aggregation lane is told branch, aggregation, priority and sources."""
    expected = {
        "branch_id": "b2",
        "aggregation_type": "sum",
        "priority": priority.value,
        "data_sources": ["flights", "planes"],
    }

    assert expected == payload(facts(BatchType.DATA_AGGREGATION, priority))
