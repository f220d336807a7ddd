"""Migrated databases, and both stores behind one fixture."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from airflow_orchestration.storage.memory import MemoryStore
from airflow_orchestration.storage.postgres import PostgresStore
from airflow_orchestration.storage.store import Store
from tests.storage.furniture import FURNITURE, ROLES

Connect = Callable[[], psycopg.Connection[Any]]


@pytest.fixture
def connect(migrated: str) -> Connect:
    """Opens connections to a fresh database that has the schema."""
    return lambda: psycopg.connect(migrated)


@pytest.fixture
def target(connect: Connect) -> Iterator[psycopg.Connection[Any]]:
    """A connection to look at that database with."""
    with connect() as connection:
        connection.autocommit = True
        yield connection


@dataclass
class SteppingClock:
    """Moves on by a millisecond with every look, and by hand."""

    now: datetime = datetime(2026, 11, 22, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.now += timedelta(milliseconds=1)
        return self.now


@dataclass
class StoreUnderTest:
    """A store, and the way to let its leases run out."""

    store: Store
    expire_leases: Callable[[], None]


@pytest.fixture(params=["memory", "postgres"])
def kept(request: pytest.FixtureRequest) -> Iterator[StoreUnderTest]:
    """Each of the stores."""
    if request.param == "memory":
        clock = SteppingClock()

        def wait() -> None:
            clock.now += timedelta(hours=1)

        yield StoreUnderTest(MemoryStore(clock), wait)
        return
    connect: Connect = request.getfixturevalue("connect")

    def expire() -> None:
        with connect() as connection:
            connection.execute(
                "UPDATE orchestration.claim SET lease_until = clock_timestamp() - interval '1s'"
            )

    with PostgresStore(connect) as store:
        yield StoreUnderTest(store, expire)


@pytest.fixture
def store(kept: StoreUnderTest) -> Store:
    """Each of the stores, alone."""
    return kept.store


@pytest.fixture
def furnished(target: psycopg.Connection[Any]) -> Iterator[psycopg.Connection[Any]]:
    """A database whose table has everything that a table can have and keep."""
    for role in ROLES:
        target.execute(f"DROP ROLE IF EXISTS {role}")
        target.execute(f"CREATE ROLE {role}")
    target.execute(f"GRANT CREATE ON SCHEMA public TO mode_owner; {FURNITURE}")
    yield target
    for role in ROLES:
        target.execute(f"DROP OWNED BY {role} CASCADE; DROP ROLE {role}")
