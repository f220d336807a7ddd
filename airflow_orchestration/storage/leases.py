"""Resources that agents hold while they work, lent out by the store so that no more is lent than there is.

A lease ends when it is released, or by itself when its holder does not renew it: whoever reads the leases
decides that by the store's clock, so nobody has to clean up after a worker that died.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from airflow_orchestration.domain.agent import ResourceRequirements
from airflow_orchestration.policies.leasing import LeaseDecision

LEASE_TIME = timedelta(seconds=30)
"""How long a lease, or a place in the queue, lasts after its holder was last heard of."""
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
    granted_at: datetime | None
    expires_at: datetime


class Leases(Protocol):
    """Lends resources."""

    def ask(self, request: LeaseRequest) -> LeaseDecision:
        """Lend what is needed, or keep a place in the queue, or refuse what could never be lent.

        Who holds a lease already, or was granted one in the queue, gets it again, renewed.
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
        """Say what may be lent to a tenant; None lifts its limit, and brings back the default of `EVERYBODY`."""
        ...
