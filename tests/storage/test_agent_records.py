"""What is kept of agents: promises that both stores keep, and a look at the index behind them."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from airflow_orchestration.domain.agent import (
    AgentOutcome,
    AgentPerformance,
    AgentSpecification,
    Capability,
    PerformanceTargets,
    ResourceRequirements,
    WorkDay,
)
from airflow_orchestration.exceptions import FencedError
from airflow_orchestration.storage.agent_records import AssignedAgent
from airflow_orchestration.storage.postgres import PostgresStore
from airflow_orchestration.storage.sql_file import statements
from airflow_orchestration.storage.store import RunKey, Store
from tests.rewriting import REWRITING
from tests.storage.builders import RUN, claimed, decision
from tests.storage.conftest import StoreUnderTest

OTHER = RunKey(dag_id="north__load", run_id="manual__2")


def agent(agent_id: str = "a", position: int = 0, **work: Any) -> AssignedAgent:
    specification = AgentSpecification(
        agent_type="reader",
        capabilities=(Capability.DATA_INGESTION,),
        resource_requirements=ResourceRequirements(cpu_millicores=500, memory_mb=256),
        performance_targets=PerformanceTargets(response_time_seconds=60),
        specialization_parameters={"batch_size": 1000, "data_format": ["parquet", "json"]},
        quality_thresholds={"overall": 0.8},
    )
    return AssignedAgent(agent_id=agent_id, position=position, specification=specification, work=work)


def performance(**changes: Any) -> AgentPerformance:
    known = {"execution_time": timedelta(seconds=2), "data_quality_score": 0.5, "records": 100}
    return AgentPerformance(**known | changes)


def outcome(batch: str = "b1", **changes: Any) -> AgentOutcome:
    known = {"agent_id": "a", "agent_type": "reader", "kind": "csv", "batch": batch, "succeeded": True}
    return AgentOutcome(**known | changes)


def test_the_agents_of_a_round_are_kept_once(store: Store) -> None:
    """Whoever assigns second gets the first agents back, whole and by position; another round has none."""
    kept = [agent("boss", -1), agent("a", 0, feeds=["vega"]), agent("b", 1, batch={"size": None})]
    assert kept == list(store.agents.assign(claimed(store, "agents", 1), kept[::-1]))
    assert kept == list(store.agents.assign(claimed(store, "agents", 1, 2), [agent("late")]))
    assert [kept, [], []] == [
        list(store.agents.assigned(key, number)) for key, number in ((RUN, 1), (RUN, 2), (OTHER, 1))
    ]


def test_each_work_unit_keeps_agents_of_its_own(store: Store) -> None:
    """Who makes agents second in a round, in another task, gets its own, and the round has them all."""
    first, second = claimed(store, "agents:load", 1), claimed(store, "agents:check", 1)
    assert [agent("a")] == list(store.agents.assign(first, [agent("a")]))
    assert [agent("b")] == list(store.agents.assign(second, [agent("b")]))
    found = [
        [one.agent_id for one in store.agents.assigned(RUN, 1, unit)]
        for unit in (None, "agents:load", "agents:check", "agents:publish")
    ]
    assert [["a", "b"], ["a"], ["b"], []] == found


def test_one_agent_is_found_in_its_own_round_alone(store: Store) -> None:
    """It comes back whole, with its tenant; in another round or run, or under another name, there is none."""
    one = replace(agent("b", 1, batch={"size": 3}), tenant="north")
    store.agents.assign(claimed(store, "agents", 1), [agent("a"), one])
    assert one == store.agents.one(RUN, 1, "b")
    assert [None] * 3 == [store.agents.one(*at) for at in ((RUN, 2, "b"), (OTHER, 1, "b"), (RUN, 1, "c"))]


def test_the_choice_of_an_agent_is_found_by_its_id(store: Store) -> None:
    """Among all decisions of its run it is the one whose evidence names the agent."""
    fence = claimed(store, "agents", 1)
    for about in ({}, {"agent_id": "a"}, {"agent_id": "b"}, {"agents": ["c"]}):
        store.record_decision(fence, decision(**about))
    found = store.agents.choice(RUN, "b")
    assert found is not None
    assert {"agent_id": "b"} == found["evidence"]
    assert [None, None] == [store.agents.choice(OTHER, "b"), store.agents.choice(RUN, "c")]


def test_a_round_without_agents_stays_without(store: Store) -> None:
    """That nobody was needed is kept as well."""
    assert [] == list(store.agents.assign(claimed(store, "agents", 1), []))
    assert [] == list(store.agents.assign(claimed(store, "agents", 1), [agent("late")]))


def test_outcomes_come_back_as_they_were_told(store: Store) -> None:
    """What was measured is kept to the last digit, and what was not stays unknown."""
    told = [
        outcome("b2", performance=performance(peak_memory_mb=81.25)),
        outcome("b1", succeeded=False),
        outcome("b3", performance=performance(execution_time=timedelta(microseconds=1500), records=0)),
    ]
    for number, one in enumerate(told, 1):
        store.agents.record(claimed(store, f"agent:{number}", number), "north", one)
    store.agents.record(claimed(store, "agent:1", 1, run=OTHER), "north", outcome())
    assert [*enumerate(told, 1)] == list(store.agents.outcomes(RUN))


def test_the_newest_epoch_of_a_work_unit_wins(store: Store) -> None:
    """A retry replaces what the attempt before told of a batch, moves it to the end, and is counted once."""
    first = claimed(store, "agent:0", 1)
    store.agents.record(first, "north", outcome("b1", succeeded=False))
    store.agents.record(first, "north", outcome("b1"))
    store.agents.record(first, "north", outcome("b2"))
    assert [False, True] == [it.succeeded for _, it in store.agents.outcomes(RUN)]
    store.agents.record(claimed(store, "agent:0", 1, 2), "north", outcome("b1"))
    assert [("b2", True), ("b1", True)] == [(it.batch, it.succeeded) for _, it in store.agents.outcomes(RUN)]
    assert [(2, 0)] == [(it.successes, it.failures) for it in store.agents.history("north", days=1)]


def test_who_was_fenced_off_teaches_nothing(store: Store) -> None:
    """An execution that was taken over can neither assign nor record."""
    old = claimed(store, "agent:0", 1)
    claimed(store, "agent:0", 1, 2)
    with pytest.raises(FencedError):
        store.agents.record(old, "north", outcome())
    with pytest.raises(FencedError):
        store.agents.assign(old, [agent()])
    assert ([], []) == (list(store.agents.outcomes(RUN)), list(store.agents.history("north", days=9)))


def test_history_sums_by_type_kind_and_day(store: Store) -> None:
    """A day counts its outcomes, and sums what was measured; the highest peak of memory is the day's."""
    fence = claimed(store, "agent:0", 1)
    for one in (
        outcome("b1", performance=performance(peak_memory_mb=300.0)),
        outcome("b2", performance=performance(peak_memory_mb=200.0, data_quality_score=1.0)),
        outcome("b3", succeeded=False, performance=performance(records=50)),
        outcome("b4", succeeded=False),
        outcome("b5", kind="json"),
        outcome("b6", agent_type="checker"),
    ):
        store.agents.record(fence, "north", one)
    day = {"agent_type": "reader", "days_ago": 0}
    expected = [
        WorkDay(agent_type="checker", kind="csv", days_ago=0, successes=1, failures=0),
        WorkDay(
            **day, kind="csv", successes=2, failures=2,
            measured=3, seconds=6.0, records=250, quality=2.0, peak_memory_mb=300.0,
        ),
        WorkDay(**day, kind="json", successes=1, failures=0),
    ]  # fmt: skip
    assert expected == list(store.agents.history("north", days=30))


def test_no_tenant_learns_from_another(store: Store) -> None:
    """History is a tenant's own; work of no tenant has one of its own too."""
    fence = claimed(store, "agent:0", 1)
    for tenant, batches in (("north", 1), ("south", 2), ("", 3)):
        for number in range(batches):
            store.agents.record(fence, tenant, outcome(f"{tenant}{number}"))
    found = {tenant: store.agents.history(tenant, days=1) for tenant in ("north", "south", "", "north_south")}
    assert {"north": [1], "south": [2], "": [3], "north_south": []} == {
        tenant: [it.successes for it in days] for tenant, days in found.items()
    }


def test_history_of_some_dags_leaves_out_the_others(store: Store) -> None:
    """Who may see one Dag learns what was done in it; of no Dag there is nothing to learn."""
    store.agents.record(claimed(store, "agent:0", 1), "north", outcome())
    store.agents.record(claimed(store, "agent:0", 1, run=OTHER), "north", outcome(succeeded=False))
    elsewhere = replace(RUN, dag_id="elsewhere")
    store.agents.record(claimed(store, "agent:0", 1, run=elsewhere), "north", outcome())
    found = [
        sum(it.successes for it in store.agents.history("north", days=1, dag_ids=dags))
        for dags in (None, [RUN.dag_id], ["elsewhere", RUN.dag_id], ["unknown"], [])
    ]
    assert [2, 1, 2, 0, 0] == found


def test_history_goes_back_as_many_days_as_asked_and_forgets_nothing(
    kept: StoreUnderTest, request: pytest.FixtureRequest
) -> None:
    """Yesterday's work is a day ago, stands outside a single day, and is still an outcome of its run."""
    store = kept.store
    store.agents.record(claimed(store, "agent:0", 1), "north", outcome())
    if isinstance(store, PostgresStore):
        target: psycopg.Connection[Any] = request.getfixturevalue("target")
        with target.transaction():
            target.execute(REWRITING)
            target.execute(
                "UPDATE orchestration.agent_outcome SET recorded_at = recorded_at - interval '24 hours'"
            )
    else:
        for _ in range(24):
            kept.expire_leases()
    assert [[1], [1], []] == [
        [it.days_ago for it in store.agents.history("north", days=days)] for days in (30, 2, 1)
    ]
    assert [(1, outcome())] == list(store.agents.outcomes(RUN))


@pytest.mark.parametrize(
    "name", ["agent_history", "agent_outcomes", "agents_of_round", "agent_of_round", "choice_of_agent"]
)
def test_reading_agents_reads_no_whole_table(name: str, target: psycopg.Connection[Any]) -> None:
    """With 60 days of 50 tenants, one tenant's last week and one run are found by an index."""
    target.execute("""
        INSERT INTO orchestration.agent_outcome
            (dag_id, run_id, round, unit, batch, epoch, tenant, agent_id, agent_type, kind, succeeded, recorded_at)
        SELECT 'dag_' || n % 50, 'run_' || n, 1, 'u', 'b', 1, 'tenant_' || n % 50, 'a', 'reader', 'csv', true,
               now() - n / 250 * interval '1 day'
        FROM generate_series(1, 15000) AS n;
        INSERT INTO orchestration.agents_of_round (dag_id, run_id, round, unit, agents)
        SELECT 'dag_' || n % 50, 'run_' || n, 1, 'agents', '[]' FROM generate_series(1, 15000) AS n;
        INSERT INTO orchestration.decision (dag_id, run_id, round, decision)
        SELECT 'dag_' || n % 50, 'run_' || n, 1, '{}' FROM generate_series(1, 15000) AS n;
        ANALYZE orchestration.agent_outcome, orchestration.agents_of_round, orchestration.decision""")
    at = {"dag_id": "dag_7", "run_id": "run_7", "round": 1, "unit": None, "agent_id": "a"}
    asked = {"tenant": "tenant_7", "days": 7, "dag_ids": None, **at}
    lines = target.execute(f"EXPLAIN {statements('agents.sql')[name]}", asked).fetchall()
    told = "\n".join(line for (line,) in lines)
    assert "Seq Scan" not in told, told
    assert "Index" in told
