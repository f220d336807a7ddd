"""Resources that agents hold while they work, lent out in PostgreSQL.

Whatever lends or renews holds one lock, and reads the clock after it got the lock: so nobody renews what another
one has seen expired and lent again. The lock is no row of the capacities, which who borrows must not change.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime, timedelta
from typing import Any

import psycopg

from airflow_orchestration.domain.agent import ResourceRequirements
from airflow_orchestration.policies.leasing import (
    DEFAULT_CAPACITY,
    LeaseAction,
    LeaseClaim,
    LeaseDecision,
    LeaseQueue,
    LeaseReason,
    Leasing,
    LeasingFacts,
)
from airflow_orchestration.storage.leases import (
    EVERYBODY,
    FORGET_AFTER,
    LEASE_TIME,
    START_TIME,
    Lease,
    LeaseRequest,
    called,
    most_for,
    queue_of,
)
from airflow_orchestration.storage.sql_file import statements

_SQL = statements("leases.sql")
_UNLIMITED = {"cpu_millicores": None, "memory_mb": None, "connections": None}

Cursor = psycopg.Cursor[dict[str, Any]]


class PostgresLeases:
    """Lends resources."""

    def __init__(
        self,
        transaction: Callable[[], AbstractContextManager[Cursor]],
        *,
        lease_time: timedelta = LEASE_TIME,
    ) -> None:
        self._transaction = transaction
        self._lease_time = lease_time

    def ask(self, request: LeaseRequest) -> LeaseDecision:
        """Lend what is needed, or keep a place in the queue, or refuse what could never be lent."""
        who = {"holder": request.holder, "tenant": request.tenant, "epoch": request.epoch}
        with self._locked() as (cursor, now):
            cursor.execute(_SQL["forget_leases"], {"now": now, "forget_after": FORGET_AFTER})
            asked = {**who, **request.needed.model_dump(), "now": now, "lease_time": self._lease_time}
            cursor.execute(_SQL["end_other_lease"], asked)
            cursor.execute(_SQL["place_request"], asked)
            facts = LeasingFacts(queue=_queue(cursor, now), holder=request.holder)
            decision = Leasing().evaluate(facts)
            if decision.action is LeaseAction.REFUSE:
                cursor.execute(_SQL["release_lease"], who)
            elif decision.reason is LeaseReason.ITS_TURN:
                cursor.execute(_SQL["lend"], {**who, "now": now})
        return decision

    def turns(self, holders: Collection[str]) -> Mapping[str, LeaseDecision]:
        """What those who wait would be told if they asked now; their places are kept."""
        self._keep_places(holders, self._lease_time)
        with self._transaction() as cursor:
            queue = _queue(cursor, _now(cursor))
        standing = {claim.holder for claim in (*queue.held, *queue.waiting)}
        decisions = Leasing().evaluate_each(queue, standing.intersection(holders))
        if due := called(decisions):
            self._keep_places(due, START_TIME)
        return decisions

    def renew(self, holder: str, epoch: int) -> bool:
        """Keep a lease or a place in the queue; False when it is gone, or a newer execution's."""
        with self._locked() as (cursor, _):
            asked = {"holder": holder, "epoch": epoch, "lease_time": self._lease_time}
            return cursor.execute(_SQL["renew_lease"], asked).fetchone() is not None

    def release(self, holder: str, epoch: int) -> None:
        """Give back what is held, or leave the queue."""
        with self._transaction() as cursor:
            cursor.execute(_SQL["release_lease"], {"holder": holder, "epoch": epoch})

    def leases(self) -> Sequence[Lease]:
        """Everybody who holds something or waits for it, oldest first."""
        with self._transaction() as cursor:
            return _live(cursor, None)

    def capacities(self) -> Mapping[str, ResourceRequirements]:
        """What somebody has set."""
        with self._transaction() as cursor:
            return {EVERYBODY: DEFAULT_CAPACITY, **_capacities(cursor)}

    def limit_of(self, tenant: str) -> ResourceRequirements:
        """What a tenant could be lent at all."""
        with self._transaction() as cursor:
            return most_for(tenant, _capacities(cursor))

    def set_capacity(self, tenant: str, capacity: ResourceRequirements | None) -> None:
        """Say what may be lent to a tenant."""
        numbers = _UNLIMITED if capacity is None else capacity.model_dump()
        with self._locked() as (cursor, _):
            cursor.execute(_SQL["set_lease_capacity"], {"tenant": tenant, **numbers})

    @contextmanager
    def _locked(self) -> Iterator[tuple[Cursor, datetime]]:
        """Open a transaction beside which nothing else is lent; with the moment at which it began."""
        with self._transaction() as cursor:
            cursor.execute(_SQL["lock_leases"])
            yield cursor, _now(cursor)

    def _keep_places(self, holders: Collection[str], keep_for: timedelta) -> None:
        """Under the lock, as two who change many rows in different orders would wait for each other."""
        with self._locked() as (cursor, now):
            asked = {
                "holders": [*holders],
                "now": now,
                "keep_for": keep_for,
                "forget_after": FORGET_AFTER,
            }
            cursor.execute(_SQL["keep_places"], asked)


def _now(cursor: Cursor) -> datetime:
    row = cursor.execute(_SQL["clock"]).fetchone() or {}
    now: datetime = row["now"]
    return now


def _queue(cursor: Cursor, now: datetime) -> LeaseQueue:
    return queue_of(_live(cursor, now), _capacities(cursor), now)


def _live(cursor: Cursor, now: datetime | None) -> list[Lease]:
    found = cursor.execute(_SQL["live_leases"], {"now": now}).fetchall()
    return [
        Lease(
            claim=LeaseClaim(
                holder=row["holder"],
                tenant=row["tenant"],
                needed=_resources(row),
                asked_at=row["asked_at"],
                unserved_since=row["unserved_since"],
            ),
            epoch=row["epoch"],
            granted_at=row["granted_at"],
            expires_at=row["expires_at"],
        )
        for row in found
    ]


def _capacities(cursor: Cursor) -> dict[str, ResourceRequirements]:
    return {row["tenant"]: _resources(row) for row in cursor.execute(_SQL["lease_capacities"])}


def _resources(row: Mapping[str, Any]) -> ResourceRequirements:
    return ResourceRequirements(
        cpu_millicores=row["cpu_millicores"], memory_mb=row["memory_mb"], connections=row["connections"]
    )
