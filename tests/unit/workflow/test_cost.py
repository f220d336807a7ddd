"""How long will a feed take? Its own history, else what the tenant's agents showed, else its cells."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from airflow_orchestration.domain.agent import AgentOutcome, AgentPerformance
from airflow_orchestration.domain.pipeline import Pipeline
from airflow_orchestration.domain.run_spec import RunSpec
from airflow_orchestration.engine.survey import UNKNOWN
from airflow_orchestration.storage.memory import MemoryStore
from airflow_orchestration.storage.store import RunState
from airflow_orchestration.workflow.cost import estimated_costs
from tests.storage.builders import RUN, claimed, delivered
from tests.unit.workflow.conftest import COLUMNS, CONTRACT

VOLUME = replace(UNKNOWN, rows=1000, columns=2)
GUESS = 0.101
"""Seconds by cells alone: the overhead, and a millisecond for 2,000 of them."""
LEARNED = 0.1 + 1000 * 4.9 / 500
"""By the pace of the agents, whose 500 records took 4.9 seconds beyond the overhead."""
SCALED = (7.0 + LEARNED) / (2 * GUESS) * GUESS


def spec(**pipeline: Any) -> RunSpec:
    feeds = [
        {"id": name, "uri": f"landing/{name}.csv", "format": "csv", "columns": COLUMNS, "type": kind}
        for name, kind in (("a", "data_ingestion"), ("b", "data_ingestion"), ("c", "data_validation"))
    ]
    declared = {
        "id": RUN.dag_id,
        "roots": {"landing": "/landing"},
        "staging": "/staging",
        "contract": "unused",
        "sync": {"deadline": 60},
        "publish": {"table": "public.thing"},
        "feeds": feeds,
        "tenant": "north",
        "agents": {},
    }
    return RunSpec(
        pipeline=Pipeline.model_validate(declared | pipeline),
        contracts=(CONTRACT,),
        run_date=date(2026, 11, 22),
    )


@pytest.fixture
def store() -> MemoryStore:
    """One in which feed `a` took 7 seconds, and the agents of `north` ingest 100 records a second."""
    store = MemoryStore(lambda: datetime(2026, 11, 22, tzinfo=UTC))
    fence = claimed(store, "branch:b1", 1)
    store.register(fence, delivered("a", 10, seconds=7.0))
    store.finish(fence, RunState.PUBLISHED, {})
    worked(store, seconds=5, records=500)
    return store


def worked(store: MemoryStore, *, seconds: float, records: int) -> None:
    performance = AgentPerformance(
        execution_time=timedelta(seconds=seconds), data_quality_score=1.0, records=records
    )
    for number in range(3):
        told = AgentOutcome(
            agent_id="x", agent_type="t", kind="data_ingestion", batch=f"b{number}", succeeded=True,
            performance=performance,
        )  # fmt: skip
        store.agents.record(claimed(store, f"agent:{number}", 1), "north", told)


@pytest.mark.parametrize(
    ("pipeline", "expected"),
    [
        pytest.param({}, {"a": 7.0, "b": LEARNED, "c": SCALED}, id="learned in this kind of work alone"),
        pytest.param({"agents": None}, {"a": 7.0, "b": 7.0, "c": 7.0}, id="no agents work here"),
        pytest.param({"tenant": "south"}, {"a": 7.0, "b": 7.0, "c": 7.0}, id="another tenant's"),
    ],
)
def test_a_feed_without_history_costs_what_such_work_takes(
    store: MemoryStore, pipeline: dict[str, Any], expected: dict[str, float]
) -> None:
    """A feed's own seconds come first, then the pace of its tenant's agents in such work, then a guess to their scale."""
    told = spec(**pipeline)

    assert pytest.approx(expected) == estimated_costs(
        store, RUN.dag_id, told, dict.fromkeys(told.feeds, VOLUME)
    )


def test_where_nothing_is_known_all_is_guessed(store: MemoryStore) -> None:
    """Without history the cells alone say what compares."""
    told = spec(tenant="south")
    found = estimated_costs(store, "another", told, dict.fromkeys(told.feeds, VOLUME))

    assert dict.fromkeys("abc", pytest.approx(GUESS)) == found


def test_small_batches_say_nothing_of_the_pace() -> None:
    """Ten records in 0.15 seconds are mostly overhead: a million are not thought to take four hours."""
    store = MemoryStore(lambda: datetime(2026, 11, 22, tzinfo=UTC))
    worked(store, seconds=0.15, records=10)
    told = spec()
    found = estimated_costs(store, RUN.dag_id, told, dict.fromkeys(told.feeds, replace(VOLUME, rows=10**6)))

    assert dict.fromkeys("abc", pytest.approx(1.1)) == found


def test_a_feed_of_unknown_size_sets_no_scale(store: MemoryStore) -> None:
    """Its seconds are known and its cells are not: others are not taken to be seventy times as slow for that."""
    told = spec(tenant="south")
    volumes = {"a": UNKNOWN, "b": VOLUME, "c": VOLUME}

    assert {"a": 7.0} | dict.fromkeys("bc", pytest.approx(GUESS)) == estimated_costs(
        store, RUN.dag_id, told, volumes
    )
