"""The registry of jobs: promises that both stores keep, and what only a database can promise."""

from __future__ import annotations

from threading import Barrier, Thread
from typing import Any

import psycopg
import pytest
from psycopg import errors

from airflow_orchestration.storage.postgres import PostgresStore
from airflow_orchestration.storage.registry import JobRevision, Registry
from airflow_orchestration.storage.store import Store
from tests.storage.conftest import Connect

SALES = (("sales.yaml", "staging: s"), ("sales.odcs.yaml", "kind: DataContract"))
WRITERS, CHANGES_EACH = 4, 10


@pytest.fixture
def registry(store: Store) -> Registry:
    """The registry of each of the stores."""
    return store.registry


def named(jobs: Any) -> list[tuple[int, str, str]]:
    return [(job.revision, job.tenant, job.job) for job in jobs]


def test_an_empty_registry_is_revision_0(registry: Registry) -> None:
    """Before the first change there is nothing, and its number is 0."""
    assert (0, [], []) == (registry.revision(), list(registry.jobs()), list(registry.changes()))


def test_every_change_is_a_revision(registry: Registry) -> None:
    """Changes are numbered over all tenants, and tell who made them and when."""
    first = registry.put("north", "sales", SALES, changed_by="a")
    second = registry.put("east", "stock", SALES, changed_by="b")
    third = registry.remove("north", "sales", changed_by="c")

    assert (1, 2, 3) == (first.revision, second.revision, third.revision)
    assert SALES == first.files
    assert ("a", "b", "c") == (first.changed_by, second.changed_by, third.changed_by)
    assert first.changed_at <= second.changed_at <= third.changed_at
    assert [first, second, third] == list(registry.changes())
    assert (first, third) == (registry.change(1), registry.change(3))
    for never in (0, 4):
        with pytest.raises(KeyError, match=f"no revision {never}"):
            registry.change(never)
    assert 3 == registry.revision()


def test_what_is_already_so_changes_nothing(registry: Registry) -> None:
    """Putting the newest files again gives the revision that has them."""
    first = registry.put("north", "sales", SALES, changed_by="a")
    assert first == registry.put("north", "sales", list(SALES), changed_by="b")
    assert 1 == registry.revision()


def test_going_back_is_a_change(registry: Registry) -> None:
    """Files that were there before, but are not the newest, are a new revision."""
    registry.put("north", "sales", SALES, changed_by="a")
    registry.put("north", "sales", SALES[:1], changed_by="a")
    assert 3 == registry.put("north", "sales", SALES, changed_by="a").revision


def test_a_removed_job_can_come_back(registry: Registry) -> None:
    """The same files after a removal are a new revision, for the newest one has none."""
    registry.put("north", "sales", SALES, changed_by="a")
    assert registry.remove("north", "sales", changed_by="a").is_removed
    assert (3, False) == (
        (back := registry.put("north", "sales", SALES, changed_by="a")).revision,
        back.is_removed,
    )


@pytest.mark.parametrize("before", [0, 1])
def test_only_a_job_that_is_there_can_be_removed(registry: Registry, before: int) -> None:
    """Removing a job that never was, or is not any more, is an error and no revision."""
    for _ in range(before):
        registry.put("north", "sales", SALES, changed_by="a")
        registry.remove("north", "sales", changed_by="a")
    with pytest.raises(KeyError, match="tenant north has no job sales"):
        registry.remove("north", "sales", changed_by="a")
    assert 2 * before == registry.revision()


def test_each_revision_can_be_read_again(registry: Registry) -> None:
    """The jobs of a revision are those of its moment, by tenant and job, whatever came later."""
    registry.put("north_b", "sales", SALES, changed_by="a")
    registry.put("north", "sales", SALES, changed_by="a")
    registry.put("north_b", "sales", SALES[:1], changed_by="a")
    registry.remove("north", "sales", changed_by="a")

    assert [] == list(registry.jobs(0))
    assert [(2, "north", "sales"), (1, "north_b", "sales")] == named(registry.jobs(2))
    assert [(2, "north", "sales"), (3, "north_b", "sales")] == named(registry.jobs(3))
    assert [(3, "north_b", "sales")] == named(registry.jobs(4)) == named(registry.jobs())


def test_changes_can_be_asked_by_tenant_and_job(registry: Registry) -> None:
    """A tenant's history is its own, and so is a job's."""
    for tenant, job in (("north", "sales"), ("north", "stock"), ("east", "sales")):
        registry.put(tenant, job, SALES, changed_by="a")
    assert [1, 2] == [change.revision for change in registry.changes("north")]
    assert [2] == [change.revision for change in registry.changes("north", "stock")]
    assert [] == list(registry.changes("east", "stock"))


@pytest.mark.parametrize("change", ["DELETE FROM {}", "UPDATE {} SET changed_by = 'x'", "TRUNCATE {}"])
def test_the_registry_is_append_only(connect: Connect, target: psycopg.Connection[Any], change: str) -> None:
    """Nobody changes what a revision was."""
    with PostgresStore(connect) as store:
        store.registry.put("north", "sales", SALES, changed_by="a")
        with pytest.raises(errors.InsufficientPrivilege, match="append-only"):
            target.execute(change.format("orchestration.job_revision"))
        assert 1 == store.registry.revision()


def test_a_reader_of_a_revision_has_read_all_up_to_it(connect: Connect) -> None:
    """With writers at once, no change appears under a number that somebody has already read past."""
    start, done, seen = Barrier(WRITERS + 1), [], []

    def write(number: int) -> None:
        with PostgresStore(connect) as store:
            start.wait()
            for change in range(CHANGES_EACH):
                files = [("sales.yaml", f"{number} {change}")]
                store.registry.put(f"tenant{number}", "sales", files, changed_by="a")
        done.append(number)

    def read() -> None:
        with PostgresStore(connect) as store:
            start.wait()
            while len(done) < WRITERS:
                seen.append(tuple(change.revision for change in store.registry.changes()))

    threads = [Thread(target=write, args=[number]) for number in range(WRITERS)] + [Thread(target=read)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with PostgresStore(connect) as store:
        kept: list[JobRevision] = list(store.registry.changes())
    assert list(range(1, WRITERS * CHANGES_EACH + 1)) == [change.revision for change in kept]
    assert all(tuple(range(1, len(numbers) + 1)) == numbers for numbers in seen)
    assert sorted(kept, key=lambda change: change.changed_at) == kept
