"""The triggers that read the store, on PostgreSQL: many of them, one connection, one look."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection, Iterator
from datetime import date, timedelta
from threading import Event
from typing import Any

import psycopg
import pytest
from airflow.sdk.execution_time import task_runner
from airflow.triggers.base import TaskSuccessEvent
from psycopg.conninfo import conninfo_to_dict

from airflow_orchestration.domain.contract import Column, ColumnType, Contract
from airflow_orchestration.domain.pipeline import Pipeline
from airflow_orchestration.domain.run_spec import RunSpec
from airflow_orchestration.storage.postgres import PostgresStore
from airflow_orchestration.storage.store import GateTerms, RunKey
from airflow_orchestration.triggers import branch_wait, polling, round_gate, shared_store
from airflow_orchestration.triggers.branch_wait import BranchWaitTrigger
from airflow_orchestration.triggers.poller import LOOK_SECONDS
from airflow_orchestration.triggers.round_gate import RoundGateTrigger
from demo.processes import wait_until
from tests.airflow.fake_airflow import Airflow, fired, placed
from tests.rewriting import REWRITING
from tests.storage.builders import claimed, decision, outcome, plan

CONN_ID = "rounds"
LANE = "round_1.beta"
FEEDS = ("a", "b", "c", "d")
SOON_SECONDS = 60.0


@pytest.fixture
def airflow(monkeypatch: pytest.MonkeyPatch) -> Airflow:
    known = Airflow({})
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", known, raising=False)
    return known


@pytest.fixture
def store(migrated: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[PostgresStore]:
    """A store that triggers know as `rounds`, each test's own."""
    parts = conninfo_to_dict(migrated)
    address = {
        "conn_type": "postgres",
        "host": parts["host"],
        "login": parts["user"],
        "schema": parts["dbname"],
        "extra": json.dumps({"application_name": "triggers"}),
    }
    monkeypatch.setenv("AIRFLOW_CONN_ROUNDS", json.dumps(address))
    monkeypatch.setattr(shared_store, "_stores", {})
    with PostgresStore(lambda: psycopg.connect(migrated)) as opened:
        yield opened


def run_spec() -> RunSpec:
    feed: dict[str, Any] = {"format": "csv", "columns": {"code": "code"}}
    pipeline = {
        "id": "pipeline",
        "roots": {"landing": "/tmp"},
        "staging": "/tmp/staging",
        "contract": "unused",
        "sync": {"deadline": 3600},
        "publish": {"table": "public.thing"},
        "feeds": [{"id": name, "uri": f"landing/{name}.csv", **feed} for name in FEEDS],
    }
    columns = (Column(name="code", type=ColumnType.STRING),)
    return RunSpec(
        pipeline=Pipeline.model_validate(pipeline),
        contracts=(Contract(name="thing", key=("code",), columns=columns),),
        run_date=date(2026, 11, 22),
    )


def open_round(store: PostgresStore, run_id: str, deadline: float = 3600) -> RunKey:
    key = RunKey(dag_id="dag", run_id=run_id)
    fence = claimed(store, "plan", 1, run=key)
    store.save_run(fence, run_spec().as_json(), decision())
    store.open_round(fence, plan(1, FEEDS), GateTerms(deadline=timedelta(seconds=deadline)))
    return key


def arrive(store: PostgresStore, key: RunKey, feeds: Collection[str] = FEEDS) -> None:
    fence = claimed(store, "branch:beta:b1", 1, run=key)
    for feed_id in feeds:
        store.register(fence, outcome(feed_id))


def gate(key: RunKey) -> Any:
    trigger = RoundGateTrigger(orchestration_conn_id=CONN_ID, round_number=1, tasks={"beta": LANE})
    return placed(trigger, dag_id=key.dag_id, run_id=key.run_id)


def reason(store: PostgresStore, key: RunKey) -> str:
    verdict = store.rounds(key)[0].verdict
    assert verdict is not None
    return str(verdict["reason"])


@pytest.mark.usefixtures("airflow")
def test_many_rounds_are_read_with_one_statement_over_one_connection(
    store: PostgresStore, migrated: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two hundred gates decide with few statements, and hold one connection between them."""
    keys = [open_round(store, f"run_{number}") for number in range(200)]
    for key in keys:
        arrive(store, key)
    asked: list[int] = []
    read = PostgresStore.gate_snapshots

    def counted(self: PostgresStore, rounds: Any) -> Any:
        asked.append(len(rounds))
        return read(self, rounds)

    monkeypatch.setattr(PostgresStore, "gate_snapshots", counted)

    async def play() -> tuple[list[Any], int]:
        events = await asyncio.gather(*(fired(gate(key)) for key in keys))
        with psycopg.connect(migrated) as connection:
            query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'triggers'"
            row = connection.execute(query).fetchone()
        return events, row[0] if row else 0

    events, connections = asyncio.run(play())
    assert [TaskSuccessEvent] * 200 == [type(event) for event in events]
    assert [200] == asked
    assert 1 == connections
    assert {"all_arrived"} == {reason(store, key) for key in keys}


def test_a_task_that_died_before_it_could_tell_is_noticed(airflow: Airflow, store: PostgresStore) -> None:
    """A gate gives up on feeds whose task has ended without an outcome, long before the deadline."""
    key = open_round(store, "run")
    airflow.states = {"run": {LANE: {0: "failed"}}}

    event = asyncio.run(fired(gate(key)))

    assert isinstance(event, TaskSuccessEvent)
    assert "floor_unreachable" == reason(store, key)


def test_a_task_that_died_is_noticed_though_airflow_was_away_for_long(
    airflow: Airflow, store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long Airflow has not answered, a gate goes on asking for the states of its tasks."""
    monkeypatch.setattr(polling, "GIVE_UP_SECONDS", -1.0)
    monkeypatch.setattr(round_gate, "TASK_STATES_EVERY_SECONDS", 0.1)
    key = open_round(store, "run")
    airflow.faults = [ConnectionError("down")] * 3
    airflow.states = {"run": {LANE: {0: "failed"}}}

    event = asyncio.run(asyncio.wait_for(fired(gate(key)), SOON_SECONDS))

    assert isinstance(event, TaskSuccessEvent)
    assert "floor_unreachable" == reason(store, key)


def test_a_gate_decides_at_its_deadline_though_airflow_says_nothing(
    airflow: Airflow, store: PostgresStore
) -> None:
    """Task states only shorten the wait: without them the store's clock alone ends it."""
    key = open_round(store, "run", deadline=0.5)
    arrive(store, key, FEEDS[:3])
    airflow.answers.clear()

    async def play() -> Any:
        waiting = asyncio.create_task(fired(gate(key)))
        await asyncio.to_thread(until_decided, store, key)
        airflow.answers.set()
        return await waiting

    assert isinstance(asyncio.run(play()), TaskSuccessEvent)
    assert "deadline_at_floor" == reason(store, key)


def until_decided(store: PostgresStore, key: RunKey) -> None:
    assert wait_until(lambda: store.rounds(key)[0].verdict is not None, SOON_SECONDS)


@pytest.mark.usefixtures("airflow")
def test_a_lost_connection_is_opened_again(store: PostgresStore, migrated: str) -> None:
    """When the server ends the connection of all gates, they go on over a new one."""
    keys = [open_round(store, f"run_{number}") for number in range(3)]

    async def play() -> list[Any]:
        waiting = [asyncio.create_task(fired(gate(key))) for key in keys]
        await asyncio.to_thread(until_connected, migrated)
        with psycopg.connect(migrated) as connection:
            query = (
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'triggers'"
            )
            connection.execute(query)
        for key in keys:
            arrive(store, key)
        return await asyncio.gather(*waiting)

    assert [TaskSuccessEvent] * 3 == [type(event) for event in asyncio.run(play())]


def until_connected(database: str) -> None:
    query = "SELECT FROM pg_stat_activity WHERE application_name = 'triggers'"
    with psycopg.connect(database, autocommit=True) as connection:
        assert wait_until(lambda: connection.execute(query).fetchone() is not None, SOON_SECONDS)


@pytest.mark.usefixtures("airflow")
def test_a_look_that_hangs_does_not_block_the_next(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look that never returns fails after its time, and the next one has a thread and a connection of its own."""
    key = open_round(store, "run")
    arrive(store, key)
    assert shared_store.CALL_SECONDS < LOOK_SECONDS
    monkeypatch.setattr(shared_store, "CALL_SECONDS", 0.5)
    never, read, first = Event(), PostgresStore.gate_snapshots, iter([True])

    def hanging(self: PostgresStore, rounds: Any) -> Any:
        if next(first, False):
            never.wait()
        return read(self, rounds)

    monkeypatch.setattr(PostgresStore, "gate_snapshots", hanging)
    try:
        assert isinstance(asyncio.run(fired(gate(key))), TaskSuccessEvent)
    finally:
        never.set()


@pytest.mark.usefixtures("airflow")
def test_a_round_that_is_locked_holds_up_no_other(
    store: PostgresStore, migrated: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While somebody holds the row of one round, the other gates of the connection decide; then that one does too."""
    monkeypatch.setattr(shared_store, "LOCK_SECONDS", 0.2)
    keys = [open_round(store, f"run_{number}") for number in range(5)]
    for key in keys:
        arrive(store, key)

    async def play() -> tuple[int, list[Any]]:
        with psycopg.connect(migrated) as holder:
            holder.execute("SELECT FROM orchestration.round WHERE run_id = 'run_0' FOR UPDATE")
            waiting = [asyncio.create_task(fired(gate(key))) for key in keys]
            await asyncio.wait(waiting[1:], timeout=shared_store.STATEMENT_SECONDS)
            decided = sum(one.done() for one in waiting)
        return decided, await asyncio.wait_for(asyncio.gather(*waiting), SOON_SECONDS)

    decided, events = asyncio.run(play())
    assert 4 == decided
    assert [TaskSuccessEvent] * 5 == [type(event) for event in events]


@pytest.mark.usefixtures("airflow")
def test_a_round_that_is_broken_fails_alone(
    store: PostgresStore, migrated: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A record that can't be read fails the gate of its own round, and the others decide."""
    monkeypatch.setattr(polling, "GIVE_UP_SECONDS", 1.0)
    keys = [open_round(store, f"run_{number}") for number in range(3)]
    with psycopg.connect(migrated) as connection:
        connection.execute(REWRITING)
        connection.execute("UPDATE orchestration.run SET spec = '{}' WHERE run_id = 'run_0'")

    async def play() -> list[Any]:
        waiting = [asyncio.create_task(fired(gate(key))) for key in keys]
        await asyncio.wait(waiting[:1], timeout=SOON_SECONDS)
        for key in keys:
            await asyncio.to_thread(arrive, store, key)
        return await asyncio.gather(*waiting, return_exceptions=True)

    broken, *others = asyncio.run(play())
    assert isinstance(broken, Exception)
    assert [TaskSuccessEvent] * 2 == [type(event) for event in others]


@pytest.mark.usefixtures("store")
def test_the_server_ends_a_statement_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A statement ends before its call does, so that neither a thread nor a connection is left behind."""
    assert shared_store.STATEMENT_SECONDS + shared_store.ANSWERING_SECONDS < shared_store.CALL_SECONDS
    assert shared_store.LOCK_SECONDS < shared_store.STATEMENT_SECONDS
    monkeypatch.setattr(shared_store, "STATEMENT_SECONDS", 0.2)

    def hanging(asked: PostgresStore) -> None:
        with asked._transaction() as cursor:
            cursor.execute("SELECT pg_sleep(600)")

    with pytest.raises(psycopg.errors.QueryCanceled):
        asyncio.run(shared_store.shared_store(CONN_ID).call(hanging))


@pytest.mark.usefixtures("store")
def test_a_thread_that_comes_back_closes_its_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was left behind is not kept for ever: its connection ends with the work that hung."""
    monkeypatch.setattr(shared_store, "CALL_SECONDS", 0.5)
    goes_on, opened = Event(), []

    def hanging(asked: PostgresStore) -> None:
        opened.append(asked._working_connection())
        goes_on.wait(SOON_SECONDS)

    with pytest.raises(TimeoutError):
        asyncio.run(shared_store.shared_store(CONN_ID).call(hanging))
    goes_on.set()

    assert wait_until(lambda: opened[0].closed, SOON_SECONDS)


@pytest.mark.usefixtures("airflow")
def test_a_disk_that_hangs_holds_one_thread_of_a_branch(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A branch is late in time though its file can't be looked at, and its looks do not pile up in threads."""
    monkeypatch.setattr(branch_wait, "FIRST_LOOK_SECONDS", 0.0)
    monkeypatch.setattr(branch_wait, "FILES_SECONDS", 0.1)
    goes_on, looks = Event(), []

    def hanging(place: str, _: object) -> bool:
        looks.append(place)
        return goes_on.wait(SOON_SECONDS)

    monkeypatch.setattr(branch_wait, "anything_at", hanging)
    key = open_round(store, "run", deadline=2)
    waits = [["b", "file", "/hung/b.csv"]]
    trigger = BranchWaitTrigger(orchestration_conn_id=CONN_ID, round_number=1, waiting=waits)

    async def play() -> list[Any]:
        branch = fired(placed(trigger, dag_id=key.dag_id, run_id=key.run_id))
        return await asyncio.wait_for(asyncio.gather(branch, fired(gate(key))), SOON_SECONDS)

    try:
        late, _ = asyncio.run(play())
    finally:
        goes_on.set()
    assert {"late": "b"} == late.payload
    assert ["/hung/b.csv"] == looks


@pytest.mark.usefixtures("airflow")
def test_branches_that_wait_share_the_look_of_the_gates(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A branch hears of what it waits for, and is late once the gate has decided, from the same statements."""
    monkeypatch.setattr(branch_wait, "FIRST_LOOK_SECONDS", 0.0)
    key, other = open_round(store, "run"), open_round(store, "other")
    arrive(store, key, ["a"])
    arrive(store, other)
    waits = [["b", "feed", "a"]]

    async def play() -> tuple[Any, Any, Any]:
        def branch(run: RunKey) -> Any:
            trigger = BranchWaitTrigger(orchestration_conn_id=CONN_ID, round_number=1, waiting=waits)
            return placed(trigger, dag_id=run.dag_id, run_id=run.run_id)

        there = await fired(branch(key))
        over = await fired(gate(other))
        return there, over, await fired(branch(other))

    there, _, late = asyncio.run(play())
    assert {"feed_id": "b", "kind": "feed"} == there.payload
    assert {"late": "b"} == late.payload


@pytest.mark.usefixtures("airflow", "store")
def test_a_round_that_is_not_open_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gate of a round which the store does not know says so when it gives up."""
    monkeypatch.setattr(polling, "GIVE_UP_SECONDS", -1.0)

    with pytest.raises(LookupError, match="run_id='nowhere'"):
        asyncio.run(fired(gate(RunKey(dag_id="dag", run_id="nowhere"))))
