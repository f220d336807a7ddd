"""Resources that agents hold while they work, lent out by the store so that no more is lent than there is.

A lease ends when it is released, or by itself when its holder does not renew it: whoever reads the leases
decides that by the store's clock, so nobody has to clean up after a worker that died.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from airflow_orchestration.domain.agent import ResourceRequirements
from airflow_orchestration.policies.leasing import (
    DEFAULT_CAPACITY,
    LeaseClaim,
    LeaseDecision,
    LeaseQueue,
    LeaseReason,
    tenant_limit,
)

LEASE_TIME = timedelta(seconds=30)
"""Ours: how long a lease, or a place in the queue, lasts after its holder was last heard of."""
START_TIME = timedelta(minutes=5)
"""Ours: how long a place is kept after its holder was told that it is its turn; a worker may be long in starting."""
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
    epoch: int
    """That of the execution's fence: a newer execution takes over what an older one of the same holder holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """What one holder holds, or waits for."""

    claim: LeaseClaim
    epoch: int
    """Of the newest execution that asked."""
    granted_at: datetime | None
    """None while it waits."""
    expires_at: datetime


class Leases(Protocol):
    """Lends resources."""

    def ask(self, request: LeaseRequest) -> LeaseDecision:
        """Lend what is needed, or keep a place in the queue, or refuse what could never be lent.

        Who holds a lease already gets it again, renewed; who asks for something else gives it back, and waits
        from now on, as does one whose lease has expired. Who is refused has left the queue.
        """
        ...

    def turns(self, holders: Collection[str]) -> Mapping[str, LeaseDecision]:
        """What those who wait would be told if they asked now; their places are kept.

        They are kept for another `LEASE_TIME`, and for `START_TIME` where it is the holder's turn, so that what
        it needs is not lent to somebody behind it before it can ask. Nothing is lent, and a lease is not renewed.
        A place that expired less than `FORGET_AFTER` ago is kept again; who is unknown is left out.
        """
        ...

    def renew(self, holder: str, epoch: int) -> bool:
        """Keep a lease or a place for another `LEASE_TIME`; False when it is gone, or a newer execution's."""
        ...

    def release(self, holder: str, epoch: int) -> None:
        """Give back what is held, or leave the queue; what is unknown, or a newer execution's, stays as it is."""
        ...

    def leases(self) -> Sequence[Lease]:
        """Everybody who holds something or waits for it, oldest first."""
        ...

    def capacities(self) -> Mapping[str, ResourceRequirements]:
        """What somebody has set: for tenants a limit of their own, for `EVERYBODY` also the default."""
        ...

    def limit_of(self, tenant: str) -> ResourceRequirements:
        """What a tenant could be lent at all, while nobody holds anything."""
        ...

    def set_capacity(self, tenant: str, capacity: ResourceRequirements | None) -> None:
        """Say what may be lent to a tenant, or to `EVERYBODY`; None brings back the default.

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
        held=tuple(lease.claim for lease in live if lease.granted_at is not None),
        waiting=tuple(lease.claim for lease in live if lease.granted_at is None),
    )


def called(decisions: Mapping[str, LeaseDecision]) -> list[str]:
    """Return those whose turn it is."""
    return [holder for holder, decision in decisions.items() if decision.reason is LeaseReason.ITS_TURN]


def waited(decision: LeaseDecision) -> timedelta:
    """Return how long it has taken until a turn; who holds its lease already did not have to come to it."""
    said: Mapping[str, Any] = decision.evidence
    seconds = said["since_asked_seconds"] if decision.reason is LeaseReason.ITS_TURN else 0
    return timedelta(seconds=seconds)


def most_for(tenant: str, capacities: Mapping[str, ResourceRequirements]) -> ResourceRequirements:
    """Return what a tenant could be lent at all: the smaller one of its limit and what there is."""
    there = capacities.get(EVERYBODY, DEFAULT_CAPACITY)
    limit = tenant_limit(tenant, there, capacities)
    if limit is None:
        return there
    return ResourceRequirements(
        **{name: min(most, getattr(limit, name)) for name, most in there.model_dump().items()}
    )
