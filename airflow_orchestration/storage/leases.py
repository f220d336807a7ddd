"""Resources that agents hold while they work, lent out by the store so that no more is lent than there is.

A lease ends when it is released, or by itself when its holder does not renew it: whoever reads the leases
decides that by the store's clock, so nobody has to clean up after a worker that died.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from airflow_orchestration.domain.agent import ResourceRequirements
from airflow_orchestration.policies.leasing import DEFAULT_CAPACITY, LeaseClaim, LeaseDecision, LeaseQueue

LEASE_TIME = timedelta(seconds=30)
"""Ours: how long a lease, or a place in the queue, lasts after its holder was last heard of."""
FORGET_AFTER = timedelta(hours=1)
"""Ours: who comes back so long after its place has expired has it again, by the time at which it first asked."""
EVERYBODY = ""
"""The name under which the capacity of all tenants together is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseRequest:
    """Who asks for what. `holder` is unique; asking again under its name keeps its place in the queue."""

    holder: str
    tenant: str
    needed: ResourceRequirements


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """What one holder holds, or waits for."""

    holder: str
    tenant: str
    held: ResourceRequirements
    asked_at: datetime
    unserved_since: datetime
    """When its tenant was last lent anything while this one waited; at first `asked_at`."""
    granted_at: datetime | None
    expires_at: datetime


class Leases(Protocol):
    """Lends resources."""

    def ask(self, request: LeaseRequest) -> LeaseDecision:
        """Lend what is needed, or keep a place in the queue, or refuse what could never be lent.

        Who holds a lease already gets it again, renewed; who then asks for something else gives it back. Who is
        refused has left the queue.
        """
        ...

    def turns(self, holders: Collection[str]) -> Mapping[str, LeaseDecision]:
        """What those who wait would be told if they asked now, and another `LEASE_TIME` for their places.

        Nothing is lent, and a lease is not renewed. A place that expired less than `FORGET_AFTER` ago is kept
        again; who is unknown is left out.
        """
        ...

    def renew(self, holder: str) -> bool:
        """Keep a lease or a place in the queue for another `LEASE_TIME`; False when it is gone."""
        ...

    def release(self, holder: str) -> None:
        """Give back what is held, or leave the queue; for somebody unknown nothing happens."""
        ...

    def leases(self) -> Sequence[Lease]:
        """Everybody who holds something or waits for it, oldest first."""
        ...

    def capacities(self) -> Mapping[str, ResourceRequirements]:
        """What may be lent, by tenant; under `EVERYBODY` to all together."""
        ...

    def set_capacity(self, tenant: str, capacity: ResourceRequirements | None) -> None:
        """Say what may be lent to a tenant; None lifts its limit, and brings back the default of `EVERYBODY`.

        What is lent already stays with its holders.
        """
        ...


def queue_of(
    live: Sequence[Lease], capacities: Mapping[str, ResourceRequirements], now: datetime
) -> LeaseQueue:
    """Return what the policy is to know of all who have not expired."""
    tenants = {tenant: limit for tenant, limit in capacities.items() if tenant != EVERYBODY}
    return LeaseQueue(
        now=now,
        capacity=capacities.get(EVERYBODY, DEFAULT_CAPACITY),
        tenant_capacities=tenants,
        held=tuple(_claim(lease) for lease in live if lease.granted_at is not None),
        waiting=tuple(_claim(lease) for lease in live if lease.granted_at is None),
    )


def _claim(lease: Lease) -> LeaseClaim:
    return LeaseClaim(
        holder=lease.holder,
        tenant=lease.tenant,
        needed=lease.held,
        asked_at=lease.asked_at,
        unserved_since=lease.unserved_since,
    )
