"""Waiting for a turn in the triggerer, on PostgreSQL."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from airflow_orchestration.domain.agent import ResourceRequirements
from airflow_orchestration.storage.leases import EVERYBODY, LeaseRequest
from airflow_orchestration.storage.leases_postgres import PostgresLeases
from airflow_orchestration.storage.postgres import PostgresStore
from airflow_orchestration.triggers import lease_wait, shared_store
from airflow_orchestration.triggers.lease_wait import LeaseWaitTrigger
from tests.airflow.fake_airflow import fired

LATER = datetime.now(UTC) + timedelta(hours=1)
ALL = ResourceRequirements(cpu_millicores=10, memory_mb=10)


@pytest.fixture
def store(migrated: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[PostgresStore]:
    """A store that triggers know as `leases`, with everything lent to `a`."""
    parts = conninfo_to_dict(migrated)
    address = {
        "conn_type": "postgres",
        "host": parts["host"],
        "login": parts["user"],
        "schema": parts["dbname"],
    }
    monkeypatch.setenv("AIRFLOW_CONN_LEASES", json.dumps(address))
    monkeypatch.setattr(shared_store, "_stores", {})
    monkeypatch.setattr(lease_wait, "FIRST_LOOK_SECONDS", 0.0)
    with PostgresStore(lambda: psycopg.connect(migrated)) as opened:
        opened.leases.set_capacity(EVERYBODY, ALL)
        ask(opened, "a", ALL)
        yield opened


def ask(store: PostgresStore, holder: str, needed: ResourceRequirements = ALL) -> str:
    return store.leases.ask(LeaseRequest(holder=holder, tenant="", needed=needed, epoch=1)).action.value


def waiting(holder: str, until: datetime = LATER) -> LeaseWaitTrigger:
    kwargs = LeaseWaitTrigger("leases", holder, until.isoformat()).serialize()[1]
    return LeaseWaitTrigger(**json.loads(json.dumps(kwargs)))


async def told(trigger: LeaseWaitTrigger) -> Any:
    return (await fired(trigger)).payload


def test_it_fires_when_the_turn_has_come_and_lends_nothing(store: PostgresStore) -> None:
    """While others hold what is needed it waits; afterwards the task has to ask for itself."""
    assert "wait" == ask(store, "b")

    async def play() -> tuple[bool, Any]:
        trigger = asyncio.create_task(told(waiting("b")))
        done, _ = await asyncio.wait({trigger}, timeout=0.2)
        store.leases.release("a", 1)
        return bool(done), await trigger

    assert (False, {"holder": "b", "action": "grant"}) == asyncio.run(play())
    assert [None] == [one.granted_at for one in store.leases.leases()]


def test_many_who_wait_are_looked_at_together(store: PostgresStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two hundred triggers ask the store once, and those whose turn has not come go on waiting."""
    names = [f"w{number:03}" for number in range(200)]
    for name in names:
        ask(store, name, ResourceRequirements(cpu_millicores=1, memory_mb=1))
    store.leases.release("a", 1)
    asked: list[int] = []
    look = PostgresLeases.turns

    def counted(self: PostgresLeases, holders: Collection[str]) -> Mapping[str, Any]:
        asked.append(len(holders))
        return look(self, holders)

    monkeypatch.setattr(PostgresLeases, "turns", counted)

    async def play() -> int:
        triggers = [asyncio.create_task(told(waiting(name))) for name in names]
        await asyncio.wait(triggers, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait(triggers, timeout=0.1)
        return sum(trigger.done() for trigger in triggers)

    assert 10 == asyncio.run(play())
    assert 200 == asked[0]


def test_waiting_ends(store: PostgresStore) -> None:
    """When its time is over, when the place is gone, and when it could never be lent any more."""
    for name in ("b", "c"):
        ask(store, name)
    over = datetime.now(UTC) - timedelta(seconds=1)
    assert {"holder": "b", "action": "wait"} == asyncio.run(told(waiting("b", over)))
    store.leases.release("c", 1)
    assert {"holder": "c", "action": "gone"} == asyncio.run(told(waiting("c")))
    store.leases.set_capacity(EVERYBODY, ALL.model_copy(update={"memory_mb": 5}))
    assert {"holder": "b", "action": "refuse"} == asyncio.run(told(waiting("b")))
