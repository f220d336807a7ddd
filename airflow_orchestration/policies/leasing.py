"""Who is lent resources next? So that no more is lent than there is, and no tenant starves another one.

The queue goes by tenants: first comes the one that holds the smallest dominant share, which is the largest of
its shares of the CPU, the memory and the connections of everybody; among equals the one that has waited longest
since it was last lent anything. Of one tenant's requests the oldest is first. A tenant that was lent nothing for
longer than `PATIENCE` while it waited comes before all that, the one that has waited longest first: so everybody's
turn comes, however much it holds already.

The first request for which there is no room holds up all behind it, or small ones would for ever slip past a
large one. Only a tenant that waits for its own limit holds up nobody but itself; who has none of its own may have
`TENANT_PART` of what there is.
"""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from fractions import Fraction
from heapq import heapify, heappop, heappush
from typing import Any, TypeAlias

from airflow_orchestration.domain.agent import NO_TENANT, ResourceRequirements
from airflow_orchestration.domain.decision import Decision

DEFAULT_CAPACITY = ResourceRequirements(cpu_millicores=64_000, memory_mb=262_144, connections=1_000)
"""Ours: 64 CPUs, 256 GiB and 1000 connections, a middling cluster, where nobody said what there is."""
TENANT_PART = Fraction(1, 2)
"""Ours: what a tenant without a limit of its own may hold of what there is, so that no tenant alone has everything."""
PATIENCE = timedelta(minutes=5)
"""Ours: who was lent nothing for longer goes first; most batches take less, so it seldom disturbs the shares."""


class LeaseAction(StrEnum):
    """What becomes of a request."""

    GRANT = "grant"
    WAIT = "wait"
    REFUSE = "refuse"


class LeaseReason(StrEnum):
    """Why."""

    HELD_ALREADY = "held_already"
    ITS_TURN = "its_turn"
    NO_ROOM = "no_room"
    OTHERS_FIRST = "others_first"
    TENANT_AT_LIMIT = "tenant_at_limit"
    MORE_THAN_THERE_IS = "more_than_there_is"
    MORE_THAN_TENANT_MAY_HAVE = "more_than_tenant_may_have"


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseClaim:
    """What one holder holds, or waits for."""

    holder: str
    tenant: str
    """`NO_TENANT` has no limit of its own."""
    needed: ResourceRequirements
    asked_at: datetime
    unserved_since: datetime
    """When its tenant was last lent anything while this one waited; at first `asked_at`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseQueue:
    """What there is, who holds some of it, and who waits; only what has not expired by `now`."""

    now: datetime
    capacity: ResourceRequirements
    """Of all tenants together."""
    tenant_capacities: Mapping[str, ResourceRequirements]
    """For the tenants that have a limit of their own."""
    held: tuple[LeaseClaim, ...]
    waiting: tuple[LeaseClaim, ...]


def tenant_limit(
    tenant: str, capacity: ResourceRequirements, own: Mapping[str, ResourceRequirements]
) -> ResourceRequirements | None:
    """Return what one tenant may hold: its `own` limit, or its part of everybody's `capacity`; None for no tenant."""
    if tenant == NO_TENANT:
        return None
    return own[tenant] if tenant in own else _part_of(capacity)


def beyond(needed: ResourceRequirements, most: ResourceRequirements) -> tuple[str, ...]:
    """Return the names of what more is needed of than could ever be lent: waiting can't help.

    >>> needed = ResourceRequirements(cpu_millicores=500, memory_mb=256)
    >>> beyond(needed, ResourceRequirements(cpu_millicores=499, memory_mb=256))
    ('cpu_millicores',)
    """
    return _beyond(_amounts(needed), _amounts(most))


def raising(tenant: str, needed: ResourceRequirements, limit: ResourceRequirements) -> str:
    """Return the command that raises a limit, of a tenant or of all together, as far as is needed and no further.

    >>> few, some = (ResourceRequirements(cpu_millicores=cpu, memory_mb=256) for cpu in (250, 500))
    >>> raising("north", some, few)
    'airflow orchestration agents capacity north --cpu 0.5 --memory-mb 256 --connections 0'
    """
    cpu, memory_mb, connections = map(max, zip(_amounts(needed), _amounts(limit), strict=True))
    whose = f" {tenant}" if tenant else ""
    amounts = f"--cpu {cpu / 1000:g} --memory-mb {memory_mb} --connections {connections}"
    return f"airflow orchestration agents capacity{whose} {amounts}"


def _read(amounts: Any) -> ResourceRequirements:
    cpu_millicores, memory_mb, connections = amounts
    return ResourceRequirements(cpu_millicores=cpu_millicores, memory_mb=memory_mb, connections=connections)


def _beyond(needed: _Amounts, most: _Amounts) -> tuple[str, ...]:
    names = ("cpu_millicores", "memory_mb", "connections")
    return tuple(name for name, asked, there in zip(names, needed, most, strict=True) if asked > there)


def _part_of(capacity: ResourceRequirements) -> ResourceRequirements:
    return ResourceRequirements(
        **{name: math.ceil(there * TENANT_PART) for name, there in capacity.model_dump().items()}
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LeasingFacts:
    """The queue, and who in it asks: somebody who waits, or holds a lease already."""

    queue: LeaseQueue
    holder: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseDecision(Decision):
    """What becomes of one request; amounts in the evidence are `[millicores, MB, connections]`."""

    action: LeaseAction
    reason: LeaseReason

    def explanation(self) -> str:
        """Who needs what and why it has it or not, with what to do about it, for an error message."""
        said = self.evidence
        told = [
            f"{said['holder']} needs {_shown(said['needed'])}",
            f"{_shown(said['held'])} of {_shown(said['capacity'])} are held by all",
        ]
        if said["tenant_capacity"] is not None:
            limit = _shown(said["tenant_capacity"])
            told.append(f"{_shown(said['tenant_held'])} of {limit} by tenant {said['tenant']}")
        if self.action is LeaseAction.REFUSE:
            told.append(f"waiting can't help: ask for less, or raise the capacity with `{self._command()}`")
        return f"{self.reason}: {'; '.join(told)}"

    def _command(self) -> str:
        """What gives the limit that is too small enough room."""
        needed, most = _read(self.evidence["needed"]), _read(self.evidence["capacity"])
        if beyond(needed, most):
            return raising(NO_TENANT, needed, most)
        return raising(str(self.evidence["tenant"]), needed, _read(self.evidence["tenant_capacity"]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Leasing:
    """Lends to the tenant that holds least, its oldest request first.

    `north` holds a quarter of everything, so `south` is first, though it asked later; there is room for one:

    >>> quarter = ResourceRequirements(cpu_millicores=250, memory_mb=1)
    >>> def claim(holder: str, tenant: str, minute: int) -> LeaseClaim:
    ...     asked = datetime(2026, 11, 22, 0, minute)
    ...     return LeaseClaim(holder=holder, tenant=tenant, needed=quarter, asked_at=asked, unserved_since=asked)
    >>> queue = LeaseQueue(
    ...     now=datetime(2026, 11, 22, 0, 3),
    ...     capacity=ResourceRequirements(cpu_millicores=1000, memory_mb=1000),
    ...     tenant_capacities={},
    ...     held=(claim("n1", "north", 0), claim("w1", "west", 0), claim("w2", "west", 0)),
    ...     waiting=(claim("n2", "north", 1), claim("s1", "south", 2)),
    ... )
    >>> [it.reason.value for it in Leasing().evaluate_each(queue, ["n2", "s1"]).values()]
    ['no_room', 'its_turn']
    """

    def evaluate(self, facts: LeasingFacts) -> LeaseDecision:
        """Decide about one request; the same facts always get the same decision."""
        return self.evaluate_each(facts.queue, [facts.holder])[facts.holder]

    def evaluate_each(self, queue: LeaseQueue, holders: Collection[str]) -> Mapping[str, LeaseDecision]:
        """Decide about many who stand in one queue, as if each had come at its turn."""
        claims = {claim.holder: claim for claim in (*queue.held, *queue.waiting)}
        verdicts, held = _verdicts(queue), _Ledger(queue)
        return {holder: _decision(held, claims[holder], *verdicts[holder]) for holder in holders}


_Verdict: TypeAlias = tuple[LeaseAction, LeaseReason]
_Amounts: TypeAlias = tuple[int, int, int]
_NOTHING: _Amounts = (0, 0, 0)


class _Ledger:
    """What is lent out, and what comes to be while the queue is gone through."""

    def __init__(self, queue: LeaseQueue) -> None:
        self.queue = queue
        self.capacity = _amounts(queue.capacity)
        self.limits = _limits(queue)
        self.lent = _NOTHING
        self.lent_to: defaultdict[str, _Amounts] = defaultdict(lambda: _NOTHING)
        self.turns: defaultdict[str, int] = defaultdict(int)
        for claim in queue.held:
            self._add(claim)

    def lend(self, claim: LeaseClaim) -> None:
        self._add(claim)
        self.turns[claim.tenant] += 1

    def has_room(self, claim: LeaseClaim) -> bool:
        return _fits(_amounts(claim.needed), self.lent, self.capacity)

    def tenant_has_room(self, claim: LeaseClaim) -> bool:
        limit = self.limits.get(claim.tenant)
        return limit is None or _fits(_amounts(claim.needed), self.lent_to[claim.tenant], limit)

    def share(self, tenant: str) -> float:
        """The dominant share of what there is."""
        return max(map(_share, self.lent_to[tenant], self.capacity))

    def place(self, first: LeaseClaim) -> tuple[bool, float, int, datetime, datetime, str]:
        """Where a tenant stands with the first of its requests."""
        tenant = first.tenant
        since = first.unserved_since
        if not self.turns[tenant] and self.queue.now - since > PATIENCE:
            return False, 0.0, 0, since, first.asked_at, first.holder
        return True, self.share(tenant), self.turns[tenant], since, first.asked_at, first.holder

    def _add(self, claim: LeaseClaim) -> None:
        needed = _amounts(claim.needed)
        self.lent = _sum(self.lent, needed)
        self.lent_to[claim.tenant] = _sum(self.lent_to[claim.tenant], needed)


def _limits(queue: LeaseQueue) -> Mapping[str, _Amounts]:
    found = {
        tenant: tenant_limit(tenant, queue.capacity, queue.tenant_capacities)
        for tenant in {claim.tenant for claim in (*queue.held, *queue.waiting)}
    }
    return {tenant: _amounts(limit) for tenant, limit in found.items() if limit is not None}


def _verdicts(queue: LeaseQueue) -> Mapping[str, _Verdict]:
    ledger = _Ledger(queue)
    verdicts: dict[str, _Verdict] = {
        claim.holder: (LeaseAction.GRANT, LeaseReason.HELD_ALREADY) for claim in queue.held
    }
    refusals = {claim.holder: _refusal(ledger, claim) for claim in queue.waiting}
    verdicts |= {holder: refusal for holder, refusal in refusals.items() if refusal}
    return verdicts | _in_turn(ledger, [claim for claim in queue.waiting if not refusals[claim.holder]])


def _refusal(ledger: _Ledger, claim: LeaseClaim) -> _Verdict | None:
    """Why waiting can't help; who asks for too much holds up nobody."""
    needed, limit = _amounts(claim.needed), ledger.limits.get(claim.tenant)
    if _beyond(needed, ledger.capacity):
        return LeaseAction.REFUSE, LeaseReason.MORE_THAN_THERE_IS
    if limit is not None and _beyond(needed, limit):
        return LeaseAction.REFUSE, LeaseReason.MORE_THAN_TENANT_MAY_HAVE
    return None


def _in_turn(ledger: _Ledger, waiting: Collection[LeaseClaim]) -> dict[str, _Verdict]:
    """Go through the queue and lend to each at its turn, until there is no room for the next."""
    verdicts: dict[str, _Verdict] = {
        claim.holder: (LeaseAction.WAIT, LeaseReason.OTHERS_FIRST) for claim in waiting
    }
    lines = _lines(waiting)
    places = [(*ledger.place(line[0]), tenant) for tenant, line in lines.items()]
    heapify(places)
    while places:
        line = lines[heappop(places)[-1]]
        first = line[0]
        if not ledger.tenant_has_room(first):
            own_limit = (LeaseAction.WAIT, LeaseReason.TENANT_AT_LIMIT)
            verdicts |= dict.fromkeys((claim.holder for claim in line), own_limit)
            continue
        if not ledger.has_room(first):
            verdicts[first.holder] = LeaseAction.WAIT, LeaseReason.NO_ROOM
            break
        verdicts[first.holder] = LeaseAction.GRANT, LeaseReason.ITS_TURN
        ledger.lend(line.popleft())
        if line:
            heappush(places, (*ledger.place(line[0]), first.tenant))
    return verdicts


def _lines(waiting: Iterable[LeaseClaim]) -> Mapping[str, deque[LeaseClaim]]:
    lines: defaultdict[str, deque[LeaseClaim]] = defaultdict(deque)
    for claim in sorted(waiting, key=lambda one: (one.asked_at, one.holder)):
        lines[claim.tenant].append(claim)
    return lines


def _decision(ledger: _Ledger, claim: LeaseClaim, action: LeaseAction, reason: LeaseReason) -> LeaseDecision:
    queue, tenant = ledger.queue, claim.tenant
    limit = ledger.limits.get(tenant)
    share = ledger.share(tenant)
    return LeaseDecision(
        policy="leasing",
        action=action,
        reason=reason,
        evidence={
            "holder": claim.holder,
            "tenant": tenant,
            "needed": [*_amounts(claim.needed)],
            "held": [*ledger.lent],
            "capacity": [*ledger.capacity],
            "tenant_held": [*ledger.lent_to[tenant]],
            "tenant_capacity": None if limit is None else [*limit],
            "tenant_share": share if math.isfinite(share) else None,
            "waiting": len(queue.waiting),
            "since_asked_seconds": (queue.now - claim.asked_at).total_seconds(),
        },
    )


def _amounts(resources: ResourceRequirements) -> _Amounts:
    return resources.cpu_millicores, resources.memory_mb, resources.connections


def _sum(held: _Amounts, more: _Amounts) -> _Amounts:
    return held[0] + more[0], held[1] + more[1], held[2] + more[2]


def _fits(needed: _Amounts, held: _Amounts, capacity: _Amounts) -> bool:
    """Who needs none of something does not wait for it, even when more is held than there is now."""
    return all(
        more == 0 or more + used <= most for more, used, most in zip(needed, held, capacity, strict=True)
    )


def _share(held: int, capacity: int) -> float:
    if held == 0:
        return 0.0
    return held / capacity if capacity else math.inf


def _shown(amounts: Any) -> str:
    cpu_millicores, memory_mb, connections = amounts
    return f"{cpu_millicores} millicores, {memory_mb} MB and {connections} connections"
