"""What others see and do while a table or a partition is exchanged."""

from __future__ import annotations

from threading import Event, Thread

import psycopg
import pytest
from psycopg.rows import tuple_row

from airflow_orchestration.domain.publish import PublishMode
from airflow_orchestration.exceptions import PublicationOvertakenError
from airflow_orchestration.storage.attempt import Attempt
from airflow_orchestration.storage.publishing import Published
from tests.storage.conftest import Connect
from tests.storage.modes import (
    APPEND,
    NEW_MODES,
    PARTITION,
    REPLACE,
    Target,
    leftovers,
    names,
    publish,
    read,
)
from tests.storage.publications import TABLE, content


@pytest.mark.parametrize("mode", [REPLACE, PARTITION])
def test_a_reader_with_an_older_snapshot_sees_rows(connect: Connect, mode: PublishMode) -> None:
    """A reader whose snapshot is older than the exchange finds the new rows, never an empty table."""
    publish(connect, content(3, "One"), mode)
    with connect() as reader:
        reader.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        reader.execute("SELECT count(*) FROM orchestration.publish_ledger")
        publish(connect, content(4, "Two"), mode, run="manual__2")
        assert (4,) == reader.execute(f"SELECT count(*) FROM {TABLE}").fetchone()


@pytest.mark.parametrize("mode", [REPLACE, PARTITION])
def test_readers_never_see_a_half_table(connect: Connect, mode: PublishMode) -> None:
    """Readers of the table and of a view see one publication's rows, whole, and are never refused."""
    publish(connect, content(300, "Run 0"), mode)
    with connect() as maker:
        maker.execute(f"CREATE VIEW seen AS SELECT name FROM {TABLE}")
    seen: list[list[tuple[str, int]]] = []
    done = Event()

    def look(relation: str) -> None:
        with connect() as reader, reader.cursor(row_factory=tuple_row) as cursor:
            reader.autocommit = True
            while not done.is_set():
                seen.append(cursor.execute(f"SELECT name, count(*) FROM {relation} GROUP BY name").fetchall())

    readers = [Thread(target=look, args=(relation,)) for relation in (TABLE, "seen")]
    for thread in readers:
        thread.start()
    for number in range(1, 5):
        publish(connect, content(300, f"Run {number}"), mode, run=f"manual__{number}")
    done.set()
    for thread in readers:
        thread.join()
    assert len(seen) > 10
    assert {1} == {len(found) for found in seen}
    assert {300} == {found[0][1] for found in seen}


@pytest.mark.parametrize("mode", NEW_MODES)
def test_runs_at_once_do_not_mix(connect: Connect, target: Target, mode: PublishMode) -> None:
    """Publications of several runs at once each count, and the table is that of the last in the ledger."""
    publish(connect, content(50, "Run 0"), mode)
    failures: list[Exception] = []

    def work(number: int) -> None:
        try:
            publish(connect, content(50, f"Run {number}"), mode, run=f"manual__{number}")
        except Exception as error:  # noqa: BLE001  # shown by the assertion
            failures.append(error)

    threads = [Thread(target=work, args=(number,)) for number in range(2, 6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [] == failures
    [[last]] = read(
        target, "SELECT publication_key FROM orchestration.publish_ledger ORDER BY number DESC LIMIT 1"
    )
    runs = read(target, f"SELECT _run_id, count(*) FROM {TABLE} GROUP BY 1 ORDER BY 1")
    assert (
        [(last, 50)] if mode is not APPEND else [(f"airports/manual__{n}", 50) for n in range(1, 6)]
    ) == runs
    assert [] == leftovers(target)


def test_a_table_that_was_altered_meanwhile_is_left(
    connect: Connect, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table to which a column is added while its successor is built keeps its place and its column."""
    publish(connect, content(2, "One"), REPLACE)
    settle = Attempt._settle  # the moment between building and exchanging

    def altered(attempt: Attempt) -> Published:
        target.execute(f"ALTER TABLE {TABLE} ADD COLUMN note text")
        return settle(attempt)

    monkeypatch.setattr(Attempt, "_settle", altered)
    with pytest.raises(PublicationOvertakenError, match="definition was changed meanwhile"):
        publish(connect, content(3, "Two"), REPLACE, run="manual__2")
    assert [("c0", "One"), ("c1", "One")] == names(target)
    assert [] == leftovers(target)


@pytest.mark.parametrize("mode", [REPLACE, PARTITION])
@pytest.mark.parametrize("between", ["One", "Two"])
def test_rows_that_were_the_same_are_looked_at_again(
    connect: Connect, target: Target, monkeypatch: pytest.MonkeyPatch, mode: PublishMode, between: str
) -> None:
    """When somebody publishes after the comparison, nothing is believed: the rows are compared once more."""
    publish(connect, content(3, "One"), mode)
    settle = Attempt._settle

    def overtaken(attempt: Attempt) -> Published:
        monkeypatch.undo()
        publish(connect, content(3, between), mode, run="manual__3")
        return settle(attempt)

    monkeypatch.setattr(Attempt, "_settle", overtaken)
    if between == "One":
        assert 3 == publish(connect, content(3, "One"), mode, run="manual__2").rows_unchanged
    else:
        with pytest.raises(PublicationOvertakenError):
            publish(connect, content(3, "One"), mode, run="manual__2")
    assert [(f"c{number}", between) for number in range(3)] == names(target)


@pytest.mark.parametrize("mode", [REPLACE, PARTITION])
def test_a_long_report_delays_the_exchange_and_nobody_else(connect: Connect, mode: PublishMode) -> None:
    """While a report holds the table, other readers wait for less than a second at a time; then it is exchanged."""
    publish(connect, content(3, "One"), mode)
    failures: list[Exception] = []

    def replace_it() -> None:
        try:
            publish(connect, content(3, "Two"), mode, run="manual__2")
        except psycopg.Error as error:
            failures.append(error)

    with connect() as report, connect() as reader:
        reader.autocommit = True
        reader.execute("SET lock_timeout = '3s'")
        report.execute(f"SELECT * FROM {TABLE}")
        thread = Thread(target=replace_it)
        thread.start()
        waiting = "SELECT FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND NOT granted"
        while not reader.execute(waiting).fetchall():
            pass
        looked = reader.execute(f"SELECT DISTINCT name FROM {TABLE}").fetchall()
        report.rollback()
        thread.join()
        assert ([("One",)], []) == (looked, failures)
        assert [("Two",)] == reader.execute(f"SELECT DISTINCT name FROM {TABLE}").fetchall()
