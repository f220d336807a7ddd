"""Resources that agents hold while they work, lent out in memory."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from threading import Lock

from airflow_orchestration.domain.agent import ResourceRequirements
from airflow_orchestration.policies.leasing import (
    DEFAULT_CAPACITY,
    LeaseAction,
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
    Lease,
    LeaseRequest,
    queue_of,
)


class MemoryLeases:
    """Lends resources; `clock` is its idea of now."""

    def __init__(self, clock: Callable[[], datetime], *, lease_time: timedelta = LEASE_TIME) -> None:
        self._clock = clock
        self._lease_time = lease_time
        self._lock = Lock()
        self._kept: dict[str, Lease] = {}
        self._capacities: dict[str, ResourceRequirements] = {}

    def ask(self, request: LeaseRequest) -> LeaseDecision:
        """Lend what is needed, or keep a place in the queue, or refuse what could never be lent."""
        with self._lock:
            now = self._clock()
            self._kept = {
                name: one for name, one in self._kept.items() if one.expires_at > now - FORGET_AFTER
            }
            self._kept[request.holder] = self._placed(request, now)
            decision = Leasing().evaluate(LeasingFacts(queue=self._queue(now), holder=request.holder))
            if decision.action is LeaseAction.REFUSE:
                del self._kept[request.holder]
            elif decision.reason is LeaseReason.ITS_TURN:
                self._lend(request, now)
            return decision

    def turns(self, holders: Collection[str]) -> Mapping[str, LeaseDecision]:
        """What those who wait would be told if they asked now; their places are kept."""
        with self._lock:
            now = self._clock()
            for one in [self._kept[holder] for holder in holders if holder in self._kept]:
                if one.granted_at is None:
                    self._kept[one.holder] = replace(one, expires_at=now + self._lease_time)
            standing = {one.holder for one in self._live(now)}
            return Leasing().evaluate_each(self._queue(now), standing.intersection(holders))

    def renew(self, holder: str) -> bool:
        """Keep a lease or a place in the queue; False when it is gone."""
        with self._lock:
            now, one = self._clock(), self._kept.get(holder)
            if one is None or one.expires_at <= now:
                return False
            self._kept[holder] = replace(one, expires_at=now + self._lease_time)
            return True

    def release(self, holder: str) -> None:
        """Give back what is held, or leave the queue."""
        with self._lock:
            self._kept.pop(holder, None)

    def leases(self) -> Sequence[Lease]:
        """Everybody who holds something or waits for it, oldest first."""
        with self._lock:
            return self._live(self._clock())

    def capacities(self) -> Mapping[str, ResourceRequirements]:
        """What may be lent, by tenant."""
        return {EVERYBODY: DEFAULT_CAPACITY, **self._capacities}

    def set_capacity(self, tenant: str, capacity: ResourceRequirements | None) -> None:
        """Say what may be lent to a tenant."""
        with self._lock:
            self._capacities.pop(tenant, None)
            if capacity is not None:
                self._capacities[tenant] = capacity

    def _placed(self, request: LeaseRequest, now: datetime) -> Lease:
        known = self._kept.get(request.holder)
        expires_at = now + self._lease_time
        if known is None:
            return Lease(
                holder=request.holder,
                tenant=request.tenant,
                held=request.needed,
                asked_at=now,
                unserved_since=now,
                granted_at=None,
                expires_at=expires_at,
            )
        same = (known.tenant, known.held) == (request.tenant, request.needed)
        return replace(
            known,
            tenant=request.tenant,
            held=request.needed,
            granted_at=known.granted_at if same and known.expires_at > now else None,
            expires_at=expires_at,
        )

    def _lend(self, request: LeaseRequest, now: datetime) -> None:
        """Lend; the tenant's others have been served with it."""
        for name, one in self._kept.items():
            if one.tenant == request.tenant and one.granted_at is None:
                self._kept[name] = replace(one, unserved_since=now)
        self._kept[request.holder] = replace(self._kept[request.holder], granted_at=now)

    def _queue(self, now: datetime) -> LeaseQueue:
        return queue_of(self._live(now), self._capacities, now)

    def _live(self, now: datetime) -> list[Lease]:
        live = [one for one in self._kept.values() if one.expires_at > now]
        return sorted(live, key=lambda one: (one.asked_at, one.holder))
