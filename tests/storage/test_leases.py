"""What agents hold while they work: promises that both stores keep."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from threading import Thread
from typing import Any

import psycopg
import pytest

from airflow_orchestration.domain.agent import NO_TENANT, ResourceRequirements
from airflow_orchestration.policies.leasing import DEFAULT_CAPACITY, LeaseDecision
from airflow_orchestration.storage.leases import (
    EVERYBODY,
    FORGET_AFTER,
    LEASE_TIME,
    START_TIME,
    Lease,
    LeaseRequest,
    Leases,
    waited,
)
from airflow_orchestration.storage.memory import MemoryStore
from airflow_orchestration.storage.postgres import PostgresStore
from airflow_orchestration.storage.sql_file import statements
from demo.processes import wait_until
from tests.storage.conftest import Connect, SteppingClock

SECOND = timedelta(seconds=1)
LOCK = statements("leases.sql")["lock_leases"]
SHIFT = """UPDATE orchestration.lease SET asked_at = asked_at - %(by)s, unserved_since = unserved_since - %(by)s,
           granted_at = granted_at - %(by)s, expires_at = expires_at - %(by)s"""


@dataclass
class LeasesUnderTest:
    """Ten CPUs to lend, and the way to let time pass."""

    leases: Leases
    passes: Callable[[timedelta], None]

    def ask(self, holder: str, cpus: int, tenant: str = NO_TENANT, *, epoch: int = 1) -> str:
        return self.asked(holder, cpus, tenant, epoch=epoch).action.value

    def asked(self, holder: str, cpus: int, tenant: str = NO_TENANT, *, epoch: int = 1) -> LeaseDecision:
        request = LeaseRequest(holder=holder, tenant=tenant, needed=cpu(cpus), epoch=epoch)
        return self.leases.ask(request)

    def may_have_all(self, *tenants: str) -> None:
        for tenant in tenants:
            self.leases.set_capacity(tenant, ALL)

    def one(self, holder: str) -> Lease:
        return next(one for one in self.leases.leases() if one.claim.holder == holder)

    def turns(self, *holders: str) -> dict[str, str]:
        return {
            holder: decision.action.value for holder, decision in sorted(self.leases.turns(holders).items())
        }

    def holders(self) -> dict[str, bool]:
        """Who stands there, oldest first, and whether anything is held."""
        return {one.claim.holder: one.granted_at is not None for one in self.leases.leases()}


def cpu(cpus: int) -> ResourceRequirements:
    return ResourceRequirements(cpu_millicores=cpus * 1000, memory_mb=1, connections=1)


ALL = cpu(10).model_copy(update={"memory_mb": 100, "connections": 9})


@pytest.fixture(params=["memory", "postgres"])
def lent(request: pytest.FixtureRequest) -> Iterator[LeasesUnderTest]:
    """The leases of each of the stores."""
    if request.param == "memory":
        clock = SteppingClock()

        def wait(by: timedelta) -> None:
            clock.now += by

        memory = MemoryStore(clock)
        memory.leases.set_capacity(EVERYBODY, ALL)
        yield LeasesUnderTest(memory.leases, wait)
        return
    connect: Connect = request.getfixturevalue("connect")

    def shift(by: timedelta) -> None:
        with connect() as connection:
            connection.execute(SHIFT, {"by": by})

    with PostgresStore(connect) as store:
        store.leases.set_capacity(EVERYBODY, ALL)
        yield LeasesUnderTest(store.leases, shift)


def test_what_fits_is_lent_and_what_does_not_waits(lent: LeasesUnderTest) -> None:
    """No more is lent than there is; what is given back is lent to who waits, when they ask again."""
    assert ["grant", "grant", "wait"] == [lent.ask("a", 6), lent.ask("b", 4), lent.ask("c", 1)]
    assert {"a": True, "b": True, "c": False} == lent.holders()
    lent.leases.release("b", 1)
    assert "grant" == lent.ask("c", 1)


def test_a_tenant_without_a_limit_of_its_own_may_have_half(lent: LeasesUnderTest) -> None:
    """It waits for what it holds itself, and for nobody else; more than half of an uneven number is rounded up."""
    assert cpu(5).model_copy(update={"memory_mb": 50, "connections": 5}) == lent.leases.limit_of("north")
    assert ["refuse", "grant"] == [lent.ask("a", 6, "north"), lent.ask("a", 5, "north")]
    assert ["wait", "grant"] == [lent.ask("b", 1, "north"), lent.ask("c", 4, "south")]
    assert "grant" == lent.ask("d", 1)


def test_what_could_be_lent_at_all_is_what_limits_leave(lent: LeasesUnderTest) -> None:
    """Of a tenant's own limit and what there is the smaller one, for work of no tenant everything."""
    assert ALL == lent.leases.limit_of(NO_TENANT)
    lent.leases.set_capacity("north", cpu(64).model_copy(update={"memory_mb": 7}))
    assert cpu(10).model_copy(update={"memory_mb": 7}) == lent.leases.limit_of("north")
    lent.leases.set_capacity(EVERYBODY, ResourceRequirements(cpu_millicores=1, memory_mb=1))
    assert ResourceRequirements(cpu_millicores=1, memory_mb=1) == lent.leases.limit_of("south")


def test_what_can_never_be_lent_is_refused(lent: LeasesUnderTest) -> None:
    """Who needs more than there is does not wait, and has left the queue with what it stood there for."""
    lent.ask("a", 10)
    assert ["wait", "refuse"] == [lent.ask("b", 2), lent.ask("b", 11)]
    assert {"a": True} == lent.holders()


def test_asking_again_changes_nothing(lent: LeasesUnderTest) -> None:
    """A holder that asks again holds the same once, and one that waits keeps its place."""
    lent.ask("a", 10)
    for holder in ("b", "c", "b"):
        lent.passes(SECOND)
        assert "wait" == lent.ask(holder, 10)
    assert "grant" == lent.ask("a", 10)
    assert {"a": True, "b": False, "c": False} == lent.holders()


def test_who_asks_for_something_else_gives_back_what_it_held(lent: LeasesUnderTest) -> None:
    """A holder never keeps a lease of another size than it last asked for."""
    assert "grant" == lent.ask("a", 4)
    assert "grant" == lent.ask("b", 4)
    assert "wait" == lent.ask("a", 8)
    assert {"a": False, "b": True} == lent.holders()
    assert 8000 == lent.one("a").claim.needed.cpu_millicores


def test_waiting_begins_when_a_lease_has_ended(lent: LeasesUnderTest) -> None:
    """Who was killed and comes back has not waited while it worked, and stands behind those that waited."""
    assert timedelta(0) == waited(lent.asked("a", 10))
    lent.passes(LEASE_TIME - SECOND)
    lent.ask("b", 10)
    lent.passes(LEASE_TIME - SECOND)
    assert ["wait", "grant"] == [lent.ask("a", 10), lent.ask("b", 10)]
    lent.passes(LEASE_TIME - SECOND)
    lent.leases.release("b", 1)
    decision = lent.asked("a", 10)
    assert LEASE_TIME - SECOND <= waited(decision) < LEASE_TIME
    assert timedelta(0) == waited(lent.asked("a", 10))


def test_a_newer_execution_takes_over_what_its_holder_holds(lent: LeasesUnderTest) -> None:
    """An older one neither renews nor gives back what it left behind, nor takes it again by asking late."""
    assert ["grant", "grant"] == [lent.ask("a", 10, epoch=1), lent.ask("a", 10, epoch=2)]
    lent.leases.release("a", 1)
    assert {"a": True} == lent.holders()
    assert [False, True] == [lent.leases.renew("a", epoch) for epoch in (1, 2)]
    lent.ask("a", 10, epoch=1)
    assert 2 == lent.one("a").epoch
    assert "refuse" == lent.ask("a", 11, epoch=1)
    assert ["a"] == list(lent.holders())
    lent.leases.release("a", 2)
    assert {} == lent.holders()


def test_a_lease_that_nobody_renews_is_lent_again(lent: LeasesUnderTest) -> None:
    """After its time a lease counts for nothing, and can't be renewed any more."""
    lent.ask("a", 10)
    lent.passes(LEASE_TIME - SECOND)
    assert "wait" == lent.ask("b", 1)
    lent.passes(SECOND)
    assert not lent.leases.renew("a", 1)
    assert "grant" == lent.ask("b", 1)
    assert "wait" == lent.ask("a", 10)


def test_a_lease_that_is_renewed_stays(lent: LeasesUnderTest) -> None:
    """Each renewal, and each asking again, lasts for another lease time."""
    lent.ask("a", 10)
    lent.passes(LEASE_TIME - SECOND)
    assert lent.leases.renew("a", 1)
    lent.passes(LEASE_TIME - SECOND)
    assert "grant" == lent.ask("a", 10)
    lent.passes(LEASE_TIME - SECOND)
    assert "wait" == lent.ask("b", 1)


def test_a_place_that_is_renewed_stays(lent: LeasesUnderTest) -> None:
    """Who waits and says so is not passed over; who is not heard of is."""
    lent.ask("a", 10)
    lent.ask("b", 10)
    lent.passes(LEASE_TIME - SECOND)
    assert lent.leases.renew("b", 1)
    lent.passes(SECOND)
    assert "wait" == lent.ask("c", 1)
    lent.passes(LEASE_TIME)
    assert "grant" == lent.ask("c", 1)


def test_who_comes_back_late_has_its_place_again(lent: LeasesUnderTest) -> None:
    """A worker may be long in coming: a place that expired is found again, before those that asked since."""
    lent.ask("a", 10)
    lent.ask("b", 6)
    lent.passes(LEASE_TIME)
    lent.ask("c", 10)
    lent.ask("d", 6)
    lent.ask("b", 6)
    lent.leases.release("c", 1)
    assert {"b": "grant", "d": "wait"} == lent.turns("b", "d")


def test_who_comes_back_much_later_begins_anew(lent: LeasesUnderTest) -> None:
    """A place that expired long ago is forgotten."""
    lent.ask("a", 10)
    lent.ask("b", 6)
    lent.passes(FORGET_AFTER + LEASE_TIME)
    lent.ask("c", 10)
    lent.ask("d", 6)
    lent.ask("b", 6)
    lent.leases.release("c", 1)
    assert {"b": "wait", "d": "grant"} == lent.turns("b", "d")


def test_turns_lend_nothing_and_keep_places(lent: LeasesUnderTest) -> None:
    """A look says whose turn it is, keeps the places, renews no lease, and leaves out who is unknown."""
    lent.ask("a", 10)
    lent.ask("b", 4)
    lent.passes(LEASE_TIME - SECOND)
    assert {"a": "grant", "b": "wait"} == lent.turns("a", "b", "unknown")
    lent.passes(SECOND)
    assert {"b": "grant"} == lent.turns("a", "b")
    assert {"b": False} == lent.holders()


def test_a_look_finds_a_place_again_that_has_expired(lent: LeasesUnderTest) -> None:
    """After a triggerer was away for a while, who waited still stands where it stood."""
    lent.ask("a", 10)
    lent.ask("b", 4)
    lent.passes(LEASE_TIME)
    assert {} == lent.holders()
    assert {"b": "grant"} == lent.turns("b")


def test_a_look_does_not_find_a_place_that_is_forgotten(lent: LeasesUnderTest) -> None:
    """After so long a time nobody has a place again by looking alone."""
    lent.ask("a", 10)
    lent.ask("b", 4)
    lent.passes(FORGET_AFTER + LEASE_TIME)
    assert {} == lent.turns("b")
    assert {} == lent.holders()


def test_a_look_writes_down_a_place_at_half_time(lent: LeasesUnderTest) -> None:
    """Looking often is cheap: a place that is still kept for long enough is left as it is."""
    lent.ask("a", 10)
    lent.ask("b", 4)
    kept_until = lent.one("b").expires_at
    lent.turns("b")
    assert kept_until == lent.one("b").expires_at
    lent.passes(LEASE_TIME * 0.6)
    lent.turns("b")
    assert kept_until < lent.one("b").expires_at


def test_a_worker_may_start_late_after_its_turn_was_told(lent: LeasesUnderTest) -> None:
    """What it was told that it can have is not lent to one that came later, until it has asked or given up."""
    lent.ask("small_1", 6)
    lent.ask("large", 10)
    lent.leases.release("small_1", 1)
    assert {"large": "grant"} == lent.turns("large")
    lent.passes(START_TIME - SECOND)
    assert "wait" == lent.ask("small_2", 6)
    assert "grant" == lent.ask("large", 10)
    lent.leases.release("large", 1)
    assert "grant" == lent.ask("small_2", 6)


def test_who_never_comes_to_its_turn_is_passed_over(lent: LeasesUnderTest) -> None:
    """A place is kept for a worker to start, not for ever; leaving the queue ends it at once."""
    for holder in ("first", "second", "third"):
        lent.ask(holder, 10)
    lent.leases.release("first", 1)
    assert {"second": "grant"} == lent.turns("second")
    lent.leases.release("second", 1)
    assert {"third": "grant"} == lent.turns("third")
    lent.passes(START_TIME)
    assert "grant" == lent.ask("fourth", 10)


def test_the_tenant_that_holds_less_is_first(lent: LeasesUnderTest) -> None:
    """What is given back goes to the tenant that holds least, though another one asked first."""
    lent.may_have_all("north", "south")
    for number, (holder, tenant, cpus) in enumerate(
        [("n1", "north", 6), ("s1", "south", 4), ("n2", "north", 4), ("s2", "south", 4)]
    ):
        assert ("grant" if number < 2 else "wait") == lent.ask(holder, cpus, tenant)
    lent.leases.release("s1", 1)
    assert {"n2": "wait", "s2": "grant"} == lent.turns("n2", "s2")


def test_a_tenant_that_was_served_while_it_waited_stands_behind_one_that_was_not(
    lent: LeasesUnderTest,
) -> None:
    """One who needs everything does not wait for all small requests that were there before it."""
    lent.may_have_all("north", "south")
    for holder in ("n1", "n2", "n3"):
        lent.ask(holder, 10, "north")
    lent.ask("s1", 10, "south")
    lent.leases.release("n1", 1)
    assert "grant" == lent.ask("n2", 10, "north")
    lent.leases.release("n2", 1)
    assert {"n3": "wait", "s1": "grant"} == lent.turns("n3", "s1")


def test_tenants_have_limits_of_their_own(lent: LeasesUnderTest) -> None:
    """A tenant's limit holds for it alone, and is lifted again."""
    lent.leases.set_capacity("north", cpu(2))
    assert ["refuse", "grant"] == [lent.ask("a", 3, "north"), lent.ask("b", 2, "north")]
    assert ["wait", "grant"] == [lent.ask("c", 1, "north"), lent.ask("d", 3, "south")]
    assert cpu(2) == lent.leases.capacities()["north"]
    lent.leases.set_capacity("north", None)
    assert "grant" == lent.ask("c", 1, "north")
    assert {EVERYBODY} == set(lent.leases.capacities())


def test_the_capacity_of_everybody_has_a_default(lent: LeasesUnderTest) -> None:
    """Without a capacity of its own a store lends what a middling cluster has."""
    assert 10_000 == lent.leases.capacities()[EVERYBODY].cpu_millicores
    lent.leases.set_capacity(EVERYBODY, None)
    assert {EVERYBODY: DEFAULT_CAPACITY} == lent.leases.capacities()
    assert ["grant", "refuse"] == [lent.ask("a", 64), lent.ask("b", 65)]


def test_less_capacity_takes_nothing_away(lent: LeasesUnderTest) -> None:
    """Who holds more than there is by now keeps it; who can't be lent anything any more is told so."""
    lent.ask("a", 9)
    lent.ask("b", 4)
    lent.leases.set_capacity(EVERYBODY, cpu(3))
    assert ["grant", "refuse"] == [lent.ask("a", 9), lent.ask("b", 4)]


def test_giving_back_what_nobody_holds_does_nothing(lent: LeasesUnderTest) -> None:
    """Released twice or never lent: all the same."""
    lent.leases.release("nobody", 1)
    assert not lent.leases.renew("nobody", 1)
    assert {} == lent.turns("nobody")


def test_who_waits_for_the_lock_sees_what_was_lent_meanwhile(
    connect: Connect, migrated: str, target: psycopg.Connection[Any]
) -> None:
    """Whatever isolation a database has for its transactions: two that ask at once are not both lent the same."""
    name = target.info.dbname
    target.execute(f"ALTER DATABASE {name} SET default_transaction_isolation = 'repeatable read'".encode())
    told: list[str] = []

    def ask() -> None:
        with PostgresStore(connect) as store:
            told.append(LeasesUnderTest(store.leases, lambda _: None).ask("b", 64))

    with psycopg.connect(migrated) as first:
        first.execute(LOCK)
        second = Thread(target=ask)
        second.start()
        waits_for_lock(target)
        now = datetime.now(UTC)
        first.execute(
            "INSERT INTO orchestration.lease VALUES ('a', '', 1000, 1, 0, 1, %(now)s, %(now)s, %(now)s, %(until)s)",
            {"now": now, "until": now + LEASE_TIME},
        )
    second.join()
    assert ["wait"] == told


def test_who_waits_for_the_lock_does_not_renew_what_has_expired_meanwhile(
    connect: Connect, migrated: str, target: psycopg.Connection[Any]
) -> None:
    """What one has seen expired and lent again is not brought back by a renewal that began before."""
    told: list[bool] = []

    def renew() -> None:
        with PostgresStore(connect) as store:
            told.append(store.leases.renew("a", 1))

    with PostgresStore(connect) as store:
        LeasesUnderTest(store.leases, lambda _: None).ask("a", 64)
    with psycopg.connect(migrated) as first:
        first.execute(LOCK)
        second = Thread(target=renew)
        second.start()
        waits_for_lock(target)
        first.execute("UPDATE orchestration.lease SET expires_at = clock_timestamp()")
    second.join()
    assert [False] == told


def waits_for_lock(target: psycopg.Connection[Any]) -> None:
    query = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    assert wait_until(lambda: target.execute(query).fetchone() is not None, 10, every=0.01)
