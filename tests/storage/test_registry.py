"""The job registry: promises that both stores keep, and what only a database can promise."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Barrier
from typing import Any

import psycopg
import pytest
from psycopg import errors

from airflow_orchestration.exceptions import InputRefusedError
from airflow_orchestration.storage.postgres import PostgresStore
from airflow_orchestration.storage.registry import JobChange, JobRevision, Registry
from airflow_orchestration.storage.store import Store
from tests.storage.conftest import Connect

SALES = (("sales.yaml", "staging: s"), ("sales.odcs.yaml", "kind: DataContract"))
WRITERS, CHANGES_EACH = 4, 10


@pytest.fixture
def registry(store: Store) -> Registry:
    """The registry of each of the stores."""
    return store.registry


def named(jobs: Any) -> list[tuple[int, str, str]]:
    return [(change.revision, change.tenant, change.job) for change in (job.change for job in jobs)]


def test_an_empty_registry_is_revision_0(registry: Registry) -> None:
    """Before the first change there is nothing, and its number is 0."""
    assert (0, [], []) == (registry.revision(), list(registry.jobs()), list(registry.changes()))


def test_every_change_is_a_revision(registry: Registry) -> None:
    """Changes are numbered over all tenants, and tell who made them and when."""
    first = registry.put("north", "sales", SALES, changed_by="a")
    second = registry.put("east", "stock", SALES, changed_by="b")
    third = registry.remove("north", "sales", changed_by="c")

    assert (1, 2, 3) == (first.revision, second.revision, third.revision)
    assert ("a", "b", "c") == (first.changed_by, second.changed_by, third.changed_by)
    assert first.changed_at <= second.changed_at <= third.changed_at
    assert [first, second, third] == list(registry.changes())
    assert (first, third) == (registry.change(1), registry.change(3))
    for never in (0, 4):
        with pytest.raises(KeyError, match=f"no revision {never}"):
            registry.change(never)
    for asked in (registry.jobs, registry.listed, lambda number: registry.job("east", "stock", number)):
        with pytest.raises(KeyError, match="no revision 999"):
            asked(999)
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
    for number in range(5):
        assert [job.change for job in registry.jobs(number)] == list(registry.listed(number))
    assert [registry.change(3)] == list(registry.listed(tenant="north_b")) == list(registry.listed())


def test_one_job_can_be_read(registry: Registry) -> None:
    """As it is, and as it was at every revision of the registry, whoever's revision that is."""
    assert registry.job("north", "sales") is None
    first = registry.put("north", "sales", SALES, changed_by="a")
    registry.put("east", "sales", SALES[:1], changed_by="a")
    second = registry.put("north", "sales", SALES[:1], changed_by="a")
    registry.remove("north", "sales", changed_by="a")

    assert [None, JobRevision(change=first, files=SALES), JobRevision(change=first, files=SALES)] == [
        registry.job("north", "sales", number) for number in range(3)
    ]
    assert JobRevision(change=second, files=SALES[:1]) == registry.job("north", "sales", 3)
    assert registry.job("north", "sales", 4) is registry.job("north", "sales") is None


def test_a_job_changes_so_often_a_day(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job at the limit is refused, whatever its tenant's other jobs do; what changes nothing is not counted."""
    monkeypatch.setattr("airflow_orchestration.storage.registry.MAX_CHANGES_A_DAY", 3)
    registry.put("north", "sales", SALES, changed_by="a")
    registry.remove("north", "sales", changed_by="a")
    registry.put("north", "sales", SALES, changed_by="a")
    assert 3 == registry.put("north", "sales", SALES, changed_by="a").revision
    with pytest.raises(InputRefusedError, match="job: was changed 3 times in 24 hours, at most 3"):
        registry.put("north", "sales", SALES[:1], changed_by="a")
    assert 4 == registry.put("north", "stock", SALES, changed_by="a").revision
    assert registry.remove("north", "sales", changed_by="a").is_removed


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


def in_threads(*works: Callable[[], object]) -> None:
    """Do all of this at once; what one raises, the test raises."""
    with ThreadPoolExecutor(len(works)) as pool:
        for done in [pool.submit(work) for work in works]:
            done.result(timeout=60)


def test_a_reader_of_a_revision_has_read_all_up_to_it(connect: Connect) -> None:
    """With writers at once, no change appears under a number that somebody has already read past."""
    start, done, seen = Barrier(WRITERS + 1, timeout=30), [], []

    def write(number: int) -> None:
        try:
            with PostgresStore(connect) as store:
                start.wait()
                for change in range(CHANGES_EACH):
                    files = [("sales.yaml", f"{number} {change}")]
                    store.registry.put(f"tenant{number}", "sales", files, changed_by="a")
        finally:
            done.append(number)

    def read() -> None:
        with PostgresStore(connect) as store:
            start.wait()
            while len(done) < WRITERS:
                seen.append(tuple(change.revision for change in store.registry.changes()))

    in_threads(*(partial(write, number) for number in range(WRITERS)), read)
    with PostgresStore(connect) as store:
        kept: list[JobChange] = list(store.registry.changes())
    assert list(range(1, WRITERS * CHANGES_EACH + 1)) == [change.revision for change in kept]
    assert all(tuple(range(1, len(numbers) + 1)) == numbers for numbers in seen)
    assert sorted(kept, key=lambda change: change.changed_at) == kept


def test_many_new_jobs_at_once_are_not_too_many(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks for the last place while others do gets it, or is refused."""
    monkeypatch.setattr("airflow_orchestration.storage.registry.MAX_JOBS_OF_TENANT", 2)
    start, refused = Barrier(WRITERS, timeout=30), []

    def write(number: int) -> None:
        with PostgresStore(connect) as store:
            start.wait()
            try:
                store.registry.put("north", f"sales{number}", SALES, changed_by="a")
            except InputRefusedError:
                refused.append(number)

    in_threads(*(partial(write, number) for number in range(WRITERS)))
    with PostgresStore(connect) as store:
        assert (2, WRITERS - 2) == (len(store.registry.listed()), len(refused))


def test_whoever_may_read_and_insert_can_change_jobs(
    connect: Connect, target: psycopg.Connection[Any]
) -> None:
    """Changes need no right to lock the table, and wait for nobody who has locked it to read."""
    target.execute("CREATE ROLE registrar; GRANT USAGE ON SCHEMA orchestration TO registrar")
    target.execute("GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA orchestration TO registrar")

    def as_registrar() -> psycopg.Connection[Any]:
        connection = connect()
        connection.execute("SET ROLE registrar")
        connection.commit()
        return connection

    try:
        with PostgresStore(as_registrar) as store:
            assert 1 == store.registry.put("north", "sales", SALES, changed_by="a").revision
    finally:
        target.execute("DROP OWNED BY registrar; DROP ROLE registrar")


ROW = "INSERT INTO orchestration.job_revision VALUES (%s, 'north', 'bad', %s, 'a', %s)"
"""A row that somebody writes past the package."""


@pytest.mark.parametrize(
    "files", ["1", "[1]", '["ab"]', '[["a", 1]]', '[["a"]]', '[["a", null]]', '[{"a": "b"}]']
)
def test_a_row_without_files_is_refused_or_left_out(
    connect: Connect, target: psycopg.Connection[Any], files: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The table takes none; one that is there all the same stops no other tenant, nor a change of this job."""
    with pytest.raises(errors.CheckViolation):
        target.execute(ROW, [1, files, "2026-11-23"])
    target.execute("ALTER TABLE orchestration.job_revision DROP CONSTRAINT job_revision_files_check")
    target.execute(ROW, [1, files, "2026-11-23"])
    with PostgresStore(connect) as store:
        store.registry.put("south", "sales", SALES, changed_by="a")
        assert [(2, "south", "sales")] == named(store.registry.jobs())
        assert store.registry.job("north", "bad") is None
        assert "Revision 1 of the job registry holds no files" in caplog.text
        assert 3 == store.registry.put("north", "bad", SALES, changed_by="a").revision


@pytest.mark.parametrize(
    ("revision", "moment"),
    [(0, "2026-11-23"), (10**18, "2026-11-23"), (1, "infinity"), (1, "-infinity"), (1, "0044-01-01 BC")],
)
def test_a_row_that_can_not_be_read_is_refused(
    target: psycopg.Connection[Any], revision: int, moment: str
) -> None:
    """Numbers that leave no room for the next, and times that no program can hold, never get into the table."""
    with pytest.raises(errors.CheckViolation):
        target.execute(ROW, [revision, "[]", moment])
