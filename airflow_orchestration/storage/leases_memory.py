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
                self._drop(request.holder, request.epoch)
            elif decision.reason is LeaseReason.ITS_TURN:
                self._lend(self._kept[request.holder], now)
            return decision

    def turns(self, holders: Collection[str]) -> Mapping[str, LeaseDecision]:
        """What those who wait would be told if they asked now; their places are kept."""
        with self._lock:
            now = self._clock()
            self._keep_places(holders, now, self._lease_time)
            standing = {one.claim.holder for one in self._live(now)}
            decisions = Leasing().evaluate_each(self._queue(now), standing.intersection(holders))
            self._keep_places(called(decisions), now, START_TIME)
            return decisions

    def renew(self, holder: str, epoch: int) -> bool:
        """Keep a lease or a place in the queue; False when it is gone, or a newer execution's."""
        with self._lock:
            now, one = self._clock(), self._kept.get(holder)
            if one is None or one.expires_at <= now or one.epoch > epoch:
                return False
            self._kept[holder] = replace(one, expires_at=now + self._lease_time)
            return True

    def release(self, holder: str, epoch: int) -> None:
        """Give back what is held, or leave the queue."""
        with self._lock:
            self._drop(holder, epoch)

    def leases(self) -> Sequence[Lease]:
        """Everybody who holds something or waits for it, oldest first."""
        with self._lock:
            return self._live(self._clock())

    def capacities(self) -> Mapping[str, ResourceRequirements]:
        """What somebody has set."""
        return {EVERYBODY: DEFAULT_CAPACITY, **self._capacities}

    def limit_of(self, tenant: str) -> ResourceRequirements:
        """What a tenant could be lent at all."""
        return most_for(tenant, self._capacities)

    def set_capacity(self, tenant: str, capacity: ResourceRequirements | None) -> None:
        """Say what may be lent to a tenant."""
        with self._lock:
            self._capacities.pop(tenant, None)
            if capacity is not None:
                self._capacities[tenant] = capacity

    def _drop(self, holder: str, epoch: int) -> None:
        if holder in self._kept and self._kept[holder].epoch <= epoch:
            del self._kept[holder]

    def _placed(self, request: LeaseRequest, now: datetime) -> Lease:
        known = self._kept.get(request.holder)
        claim = LeaseClaim(
            holder=request.holder,
            tenant=request.tenant,
            needed=request.needed,
            asked_at=now,
            unserved_since=now,
        )
        expires_at = now + self._lease_time
        if known is None:
            return Lease(claim=claim, epoch=request.epoch, granted_at=None, expires_at=expires_at)
        before, granted_at = known.claim, known.granted_at
        same = (before.tenant, before.needed) == (request.tenant, request.needed)
        if granted_at is not None and not (same and known.expires_at > now):
            granted_at = None
        else:
            claim = replace(claim, asked_at=before.asked_at, unserved_since=before.unserved_since)
        epoch = max(known.epoch, request.epoch)
        return Lease(claim=claim, epoch=epoch, granted_at=granted_at, expires_at=expires_at)

    def _lend(self, lent: Lease, now: datetime) -> None:
        """Lend; the tenant's others have been served with it."""
        for name, one in self._kept.items():
            if one.claim.tenant == lent.claim.tenant and one.granted_at is None:
                self._kept[name] = replace(one, claim=replace(one.claim, unserved_since=now))
        holder = lent.claim.holder
        self._kept[holder] = replace(self._kept[holder], granted_at=now)

    def _keep_places(self, holders: Collection[str], now: datetime, keep_for: timedelta) -> None:
        for one in [self._kept[holder] for holder in holders if holder in self._kept]:
            if one.granted_at is None and now - FORGET_AFTER < one.expires_at < now + keep_for / 2:
                self._kept[one.claim.holder] = replace(one, expires_at=now + keep_for)

    def _queue(self, now: datetime) -> LeaseQueue:
        return queue_of(self._live(now), self._capacities, now)

    def _live(self, now: datetime) -> list[Lease]:
        live = [one for one in self._kept.values() if one.expires_at > now]
        return sorted(live, key=lambda one: (one.claim.asked_at, one.claim.holder))
