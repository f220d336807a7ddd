"""What holds for everything that is lent, whoever asks, dies and comes back in whatever order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from airflow_orchestration.domain.agent import ResourceRequirements
from airflow_orchestration.policies.leasing import (
    PATIENCE,
    LeaseAction,
    LeaseClaim,
    LeaseQueue,
    LeaseReason,
    Leasing,
)
from airflow_orchestration.storage.leases import EVERYBODY, LEASE_TIME, Lease, LeaseRequest
from airflow_orchestration.storage.leases_memory import MemoryLeases

START = datetime(2026, 11, 22, tzinfo=UTC)
TENANTS = ("", "north", "south", "west")
CAPACITY = ResourceRequirements(cpu_millicores=10, memory_mb=10, connections=10)

amounts = st.builds(
    ResourceRequirements,
    cpu_millicores=st.integers(1, 4) | st.integers(1, 11),
    memory_mb=st.integers(1, 4),
    connections=st.integers(0, 4),
)
limits = st.dictionaries(
    st.sampled_from(TENANTS[1:]),
    st.builds(
        ResourceRequirements,
        cpu_millicores=st.integers(2, 6),
        memory_mb=st.integers(2, 9),
        connections=st.integers(2, 9),
    ),
    min_size=1,
)
asking = st.builds(
    LeaseRequest,
    holder=st.sampled_from("abcdefgh"),
    tenant=st.sampled_from(TENANTS),
    needed=amounts,
    epoch=st.just(1),
)
happenings = st.lists(
    asking
    | asking
    | asking
    | st.tuples(st.sampled_from(["renew", "release", "turns"]), st.sampled_from("abcdefgh"))
    | st.integers(1, 40).map(lambda seconds: timedelta(seconds=seconds)),
    min_size=4,
    max_size=40,
)


@dataclass
class World:
    """Leases, and a clock that stands still until it is moved on."""

    now: datetime = START
    lease_time: timedelta = LEASE_TIME
    leases: MemoryLeases = field(init=False)

    def __post_init__(self) -> None:
        self.leases = MemoryLeases(lambda: self.now, lease_time=self.lease_time)
        self.leases.set_capacity(EVERYBODY, CAPACITY)

    def ask(self, request: LeaseRequest) -> LeaseAction:
        self.now += timedelta(milliseconds=1)
        return self.leases.ask(request).action

    def happen(self, happening: LeaseRequest | tuple[str, str] | timedelta) -> None:
        match happening:
            case LeaseRequest():
                self.ask(happening)
            case timedelta():
                self.now += happening
            case "renew", holder:
                self.leases.renew(holder, 1)
            case "release", holder:
                self.leases.release(holder, 1)
            case _, holder:
                self.leases.turns([holder])


def within(held: Sequence[Lease], capacity: ResourceRequirements) -> bool:
    sums = [
        sum(column) for column in zip(*(one.claim.needed.model_dump().values() for one in held), strict=True)
    ]
    return all(used <= most for used, most in zip(sums, capacity.model_dump().values(), strict=False))


@given(limits=limits, happenings=happenings)
def test_no_more_is_lent_than_there_is(
    limits: Mapping[str, ResourceRequirements],
    happenings: list[LeaseRequest | tuple[str, str] | timedelta],
) -> None:
    """Whatever happens, all leases together stay within the capacity, and each tenant's within what it may have."""
    world = World()
    for tenant, limit in limits.items():
        world.leases.set_capacity(tenant, limit)
    for happening in happenings:
        world.happen(happening)
        held = [one for one in world.leases.leases() if one.granted_at]
        assert within(held, CAPACITY)
        for tenant in TENANTS:
            own = [one for one in held if one.claim.tenant == tenant]
            assert within(own, world.leases.limit_of(tenant))


@given(
    happenings=happenings,
    tenant=st.sampled_from(TENANTS),
    needed=amounts.map(lambda small: small.model_copy(update={"cpu_millicores": 10})),
)
def test_what_fits_an_empty_system_is_lent_at_last(
    happenings: list[LeaseRequest | tuple[str, str] | timedelta], tenant: str, needed: ResourceRequirements
) -> None:
    """Whoever else waits: when each that is lent something gives it back, everybody's turn comes."""
    world = World(lease_time=timedelta(days=1))
    for one in TENANTS[1:]:
        world.leases.set_capacity(one, CAPACITY)
    for happening in happenings:
        world.happen(happening)
    last = LeaseRequest(holder="last", tenant=tenant, needed=needed, epoch=1)
    world.ask(last)
    others = world.leases.leases()
    for _ in range(len(others) * 3):
        held = [one.claim.holder for one in world.leases.leases() if one.granted_at]
        if "last" in held:
            break
        for holder in held[:1]:
            world.leases.release(holder, 1)
        for claim in (one.claim for one in others):
            if claim.holder != "last":
                world.ask(
                    LeaseRequest(holder=claim.holder, tenant=claim.tenant, needed=claim.needed, epoch=1)
                )
        world.ask(last)
    assert world.ask(last) is LeaseAction.GRANT


claims = st.builds(
    LeaseClaim,
    holder=st.uuids().map(str),
    tenant=st.sampled_from(TENANTS),
    needed=amounts,
    asked_at=st.integers(0, 30).map(lambda minute: START + timedelta(minutes=minute)),
    unserved_since=st.integers(0, 60).map(lambda minute: START + timedelta(minutes=minute)),
)
queues = st.builds(
    LeaseQueue,
    now=st.just(START + timedelta(hours=1)),
    capacity=st.just(CAPACITY),
    tenant_capacities=limits,
    held=st.lists(claims, max_size=2).map(tuple),
    waiting=st.lists(claims, max_size=8).map(tuple),
)


def verdicts(queue: LeaseQueue) -> dict[str, LeaseReason]:
    decisions = Leasing().evaluate_each(queue, [one.holder for one in queue.waiting])
    return {holder: decision.reason for holder, decision in decisions.items()}


@given(queue=queues)
def test_within_a_tenant_the_oldest_is_first(queue: LeaseQueue) -> None:
    """Nobody's turn comes while an older request of the same tenant waits."""
    decisions = Leasing().evaluate_each(queue, [one.holder for one in queue.waiting])
    for tenant in TENANTS:
        line = sorted(
            (one for one in queue.waiting if one.tenant == tenant), key=lambda one: (one.asked_at, one.holder)
        )
        actions = [decisions[one.holder].action for one in line]
        standing = [action for action in actions if action is not LeaseAction.REFUSE]
        assert sorted(standing, key=lambda action: action is LeaseAction.WAIT) == standing


@given(queue=queues)
def test_a_tenant_at_its_limit_delays_nobody(queue: LeaseQueue) -> None:
    """Without those who wait for their tenant's own limit, or can't be served at all, all others get the same."""
    before = verdicts(queue)
    in_nobodys_way = {
        LeaseReason.TENANT_AT_LIMIT,
        LeaseReason.MORE_THAN_THERE_IS,
        LeaseReason.MORE_THAN_TENANT_MAY_HAVE,
    }
    others = tuple(one for one in queue.waiting if before[one.holder] not in in_nobodys_way)
    assert {one.holder: before[one.holder] for one in others} == verdicts(replace(queue, waiting=others))


@given(queue=queues, data=st.data())
def test_the_order_in_which_facts_are_told_does_not_matter(queue: LeaseQueue, data: st.DataObject) -> None:
    """The same leases and requests in another order give the same decisions."""
    told = replace(queue, waiting=tuple(data.draw(st.permutations(queue.waiting))), held=queue.held[::-1])
    assert verdicts(queue) == verdicts(told)


JOB = ResourceRequirements(cpu_millicores=1, memory_mb=1)


def jobs(tenant: str, how_many: int) -> list[LeaseClaim]:
    return [
        LeaseClaim(
            holder=f"{tenant} {number:03}", tenant=tenant, needed=JOB, asked_at=START, unserved_since=START
        )
        for number in range(how_many)
    ]


NOISY = jobs("noisy", 500)
QUIET = [
    job for five in zip(*(jobs(f"tenant_{number}", 5) for number in range(9)), strict=True) for job in five
]


def started(asked: Sequence[LeaseClaim]) -> Mapping[str, int]:
    """Let all ask in this order while the first ten run; return in which turn of jobs each one starts.

    A job takes one turn, whosever it is.
    """
    waiting = [replace(job, asked_at=START + timedelta(microseconds=at)) for at, job in enumerate(asked)]
    running, waiting = waiting[:10], waiting[10:]
    starts = {job.holder: 0 for job in running}
    while waiting:
        turn = max(starts.values()) + 1
        now = START + turn * timedelta(seconds=1)
        served = {job.tenant for job in running}
        queue = LeaseQueue(
            now=now,
            capacity=CAPACITY,
            tenant_capacities=dict.fromkeys({job.tenant for job in waiting}, CAPACITY),
            held=(),
            waiting=tuple(
                replace(job, unserved_since=now) if job.tenant in served else job for job in waiting
            ),
        )
        decisions = Leasing().evaluate_each(queue, [job.holder for job in waiting])
        running = [job for job in queue.waiting if decisions[job.holder].action is LeaseAction.GRANT]
        waiting = [job for job in queue.waiting if decisions[job.holder].action is not LeaseAction.GRANT]
        starts |= {job.holder: turn for job in running}
    return starts


def test_a_noisy_tenant_does_not_starve_the_others() -> None:
    """Nine tenants with five jobs each come after one with 500, with room for ten at once.

    Of each tenant one job runs at a time, so each of the 45 starts within the time of five jobs, and none of the
    500 has to wait longer for it in the end. By age alone, as within one tenant, the first of the 45 would start
    after 50.
    """
    fair = started([*NOISY, *QUIET])
    by_age = started([replace(job, tenant="one") for job in (*NOISY, *QUIET)])

    assert 10 == CAPACITY.cpu_millicores
    assert [turn for turn in range(1, 6) for _ in range(9)] == [fair[job.holder] for job in QUIET]
    assert {50, 51, 52, 53, 54} == {by_age[job.holder] for job in QUIET}
    assert 54 == max(fair.values()) == max(by_age.values())


def test_one_who_needs_everything_does_not_wait_for_all_who_came_before() -> None:
    """Behind 500 small jobs of another tenant, one that needs all there is starts when those that run have ended."""
    (large,) = jobs("tenant_0", 1)

    assert 2 >= started([*NOISY, replace(large, needed=CAPACITY)])[large.holder]


MINUTE = timedelta(minutes=1)
sizes = st.integers(1, 5)


@given(
    others=st.lists(
        st.lists(st.tuples(sizes, st.integers(1, 3)), min_size=1, max_size=3), min_size=1, max_size=3
    ),
    holds=st.integers(0, 4),
    needs=sizes,
)
def test_everybody_s_wait_is_bounded(others: list[list[tuple[int, int]]], holds: int, needs: int) -> None:
    """Though a tenant holds something for ever, and others always have more to do, its turn comes.

    Each other tenant asks for the sizes in turn, each for so many minutes, and for the next one before it gives
    back. Once the patient one has waited for `PATIENCE`, each tenant is served once more before it at most.
    """
    world = World(lease_time=timedelta(days=1))
    works = [Work(tenant=f"tenant_{number}", jobs=jobs) for number, jobs in enumerate(others)]
    if holds:
        world.ask(request("patient", "holds", holds))
    for work in works:
        work.go_on(world)
    needed = request("patient", "waits", min(needs, 5 - holds) or 1)
    asked_at, longest = world.now, max(minutes for jobs in others for _, minutes in jobs)
    while world.ask(needed) is not LeaseAction.GRANT:
        world.now += MINUTE
        for work in works:
            work.go_on(world)
        assert world.now - asked_at <= PATIENCE + (len(works) + 1) * (longest + 1) * MINUTE


def request(tenant: str, holder: str, cpus: int) -> LeaseRequest:
    needed = ResourceRequirements(cpu_millicores=cpus, memory_mb=1)
    return LeaseRequest(holder=f"{tenant} {holder}", tenant=tenant, needed=needed, epoch=1)


@dataclass
class Work:
    """The steady demand of one tenant: something of it always waits."""

    tenant: str
    jobs: Sequence[tuple[int, int]]
    begun: int = 0
    ends: dict[str, datetime] = field(default_factory=dict)

    def go_on(self, world: World) -> None:
        """Give back what is done, and ask for the next job until one has to wait."""
        for holder in [name for name, end in self.ends.items() if end <= world.now]:
            world.leases.release(holder, 1)
            del self.ends[holder]
        while True:
            cpus, minutes = self.jobs[self.begun % len(self.jobs)]
            asked = request(self.tenant, str(self.begun), cpus)
            if world.ask(asked) is not LeaseAction.GRANT:
                return
            self.begun += 1
            self.ends[asked.holder] = world.now + minutes * MINUTE
