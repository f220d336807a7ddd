"""The modes of publishing: what each does to the rows that are there."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from airflow_orchestration.domain.publish import Publish, PublishMode
from airflow_orchestration.exceptions import InputRefusedError, LedgerMismatchError
from airflow_orchestration.storage.publishing import Published, Publisher
from tests.storage.conftest import Connect
from tests.storage.modes import (
    APPEND,
    NEW_MODES,
    PARTITION,
    REPLACE,
    Target,
    leftovers,
    names,
    physical,
    publish,
    read,
)
from tests.storage.publications import CONTRACT, TABLE, Content, content, row


@pytest.mark.parametrize("mode", NEW_MODES)
def test_a_table_is_made_and_counted(connect: Connect, target: Target, mode: PublishMode) -> None:
    """The first publication makes the table in every mode, and its ledger adds up."""
    published = publish(connect, content(5), mode)
    assert (9, 5, 2, 2) == (
        published.rows_in,
        published.rows_published,
        published.rows_superseded,
        published.rows_quarantined,
    )
    assert (5, 0, 0) == (published.rows_inserted, published.rows_updated, published.rows_unchanged)
    assert [(5, 5)] == read(target, f"SELECT count(*), count(_published_at) FROM {TABLE}")
    assert [("airports/manual__1",)] == read(target, f"SELECT DISTINCT _run_id FROM {TABLE}")
    assert [] == leftovers(target)


@pytest.mark.parametrize("mode", NEW_MODES)
def test_the_same_publication_writes_once(connect: Connect, target: Target, mode: PublishMode) -> None:
    """A publication that is tried again, by whomever, writes nothing."""
    first = publish(connect, content(), mode)
    before = physical(target)
    assert replace(first, already_published=True) == publish(connect, content(), mode, epoch=2)
    assert before == physical(target)


@pytest.mark.parametrize("mode", [REPLACE, PARTITION])
def test_equal_rows_of_another_run_are_not_written(
    connect: Connect, target: Target, mode: PublishMode
) -> None:
    """A run that brings what the table holds is booked, and leaves table and rows untouched."""
    publish(connect, content(), mode)
    before = physical(target)
    published = publish(connect, content(), mode, run="manual__2")
    assert (0, 0, 5) == (published.rows_inserted, published.rows_updated, published.rows_unchanged)
    assert (before, []) == (physical(target), leftovers(target))
    assert [(2,)] == read(target, "SELECT count(*) FROM orchestration.publish_ledger")


@pytest.mark.parametrize("mode", [REPLACE, PARTITION])
@pytest.mark.parametrize(
    "change",
    [f"UPDATE {TABLE} SET elevation = NULL WHERE code = 'c3'", f"DELETE FROM {TABLE} WHERE code = 'c3'"],
)
def test_what_others_changed_is_written_again(
    connect: Connect, target: Target, mode: PublishMode, change: str
) -> None:
    """Rows are compared with the table itself, not with what was once published."""
    publish(connect, content(), mode)
    target.execute(change)
    assert 5 == publish(connect, content(), mode, run="manual__2").rows_inserted
    assert [(3,)] == read(target, f"SELECT elevation FROM {TABLE} WHERE code = 'c3'")


@pytest.mark.parametrize("mode", NEW_MODES)
def test_figures_that_differ_leave_the_table(connect: Connect, target: Target, mode: PublishMode) -> None:
    """When the rows are not what was announced, table and ledger stay as they were."""
    publish(connect, content(), mode)
    before = physical(target)
    rows = content(7)
    announced = {**rows.feeds(), "light": content(5).feeds()["light"]}
    with pytest.raises(LedgerMismatchError):
        publish(connect, rows, mode, run="manual__2", feeds=announced)
    assert (before, []) == (physical(target), leftovers(target))


def test_append_keeps_the_rows_of_other_runs(connect: Connect, target: Target) -> None:
    """Every run's rows stand beside those of the others, with the same keys."""
    publish(connect, content(2, "One"), APPEND)
    before = physical(target)
    published = publish(connect, content(2, "Two"), APPEND, run="manual__2")
    assert (2, 0) == (published.rows_inserted, published.rows_updated)
    assert [("c0", "One"), ("c0", "Two"), ("c1", "One"), ("c1", "Two")] == names(target)
    assert before == physical(target)[:2]


def later(
    connect: Connect, rows: Content, mode: PublishMode, after: str, run: str = "manual__1"
) -> Published:
    key = f"airports/{run}@2"
    return publish(connect, rows, mode, run, version=2, after=after, publication_key=key)


def test_a_later_version_of_an_appending_run_changes_its_own_rows(connect: Connect, target: Target) -> None:
    """A late feed changes and adds rows of its own run, and no other's."""
    publish(connect, content(2, "One"), APPEND)
    publish(connect, content(2, "Two"), APPEND, run="manual__2")
    published = later(
        connect, Content([row("c1", "Late"), row("c9", "Late")]), APPEND, "airports/manual__2", "manual__2"
    )
    assert (1, 1) == (published.rows_inserted, published.rows_updated)
    assert [("c0", "One"), ("c0", "Two"), ("c1", "Late"), ("c1", "One"), ("c9", "Late")] == names(target)


def test_runs_of_two_dags_with_one_name_stand_apart(connect: Connect, target: Target) -> None:
    """Two Dags that append to one table and whose runs have one run id never touch each other's rows."""
    publish(connect, content(2, "One"), APPEND)
    publish(connect, content(2, "Two"), APPEND, dag="other")
    late: dict[str, Any] = {"publication_key": "other/manual__1@2", "version": 2, "after": "other/manual__1"}
    published = publish(connect, content(1, "Late"), APPEND, dag="other", **late)
    assert (0, 1) == (published.rows_inserted, published.rows_updated)
    assert [("c0", "Late"), ("c0", "One"), ("c1", "One"), ("c1", "Two")] == names(target)


@pytest.mark.parametrize("mode", [REPLACE, PARTITION])
def test_a_later_version_keeps_the_other_rows(connect: Connect, target: Target, mode: PublishMode) -> None:
    """A late feed brings the touched rows alone: the others stay."""
    publish(connect, content(3, "One"), mode)
    published = later(connect, Content([row("c1", "Late"), row("c9", "Late")]), mode, "airports/manual__1")
    assert (1, 1) == (published.rows_inserted, published.rows_updated)
    assert [("c0", "One"), ("c1", "Late"), ("c2", "One"), ("c9", "Late")] == names(target)


def test_replace_leaves_no_old_row(connect: Connect, target: Target) -> None:
    """The table holds the rows of the last run and no others."""
    publish(connect, content(5, "One"), REPLACE)
    publish(connect, content(2, "Two"), REPLACE, run="manual__2")
    assert [("c0", "Two"), ("c1", "Two")] == names(target)


@pytest.mark.parametrize("mode", PublishMode)
@pytest.mark.parametrize("told", [{}, {"feeds": {}}], ids=["feeds without rows", "no feed"])
def test_a_publication_without_rows_is_booked_and_writes_nothing(
    connect: Connect, target: Target, mode: PublishMode, told: dict[str, Any]
) -> None:
    """No rows are no news: the ledger has the run, and the table is neither emptied nor exchanged."""
    publish(connect, content(5, "One"), mode)
    before = physical(target)
    published = publish(connect, Content([]), mode, run="manual__2", **told)
    assert (0, 0, 0) == (published.rows_inserted, published.rows_updated, published.rows_unchanged)
    assert (before, []) == (physical(target), leftovers(target))
    assert [(2,)] == read(target, "SELECT count(*) FROM orchestration.publish_ledger")


def keep_out(target: Target, events: str) -> None:
    """Let a trigger drop the rows with the key c1, without an error."""
    target.execute(
        "CREATE FUNCTION keep_out() RETURNS trigger LANGUAGE plpgsql AS "
        "$$BEGIN RETURN CASE WHEN NEW.code <> 'c1' THEN NEW END; END$$"
    )
    target.execute(
        f"CREATE TRIGGER keep_out BEFORE {events} ON {TABLE} FOR EACH ROW EXECUTE FUNCTION keep_out()"
    )


@pytest.mark.parametrize(
    ("mode", "first", "events"),
    [
        (APPEND, 3, "INSERT"),
        (PublishMode.UPSERT, 1, "INSERT"),
        (PublishMode.UPSERT, 3, "UPDATE"),
    ],
)
def test_a_row_that_a_trigger_keeps_out_is_missed(
    connect: Connect, target: Target, mode: PublishMode, first: int, events: str
) -> None:
    """When the table drops a row without an error, nothing is published, and nothing is booked as unchanged."""
    publish(connect, content(first, "One"), mode)
    keep_out(target, events)
    before = physical(target)
    with pytest.raises(LedgerMismatchError, match=r"kept out 1 of 3 rows; .*: look for triggers"):
        publish(connect, content(3, "Two"), mode, run="manual__2")
    assert (before, []) == (physical(target), leftovers(target))
    assert [(1,)] == read(target, "SELECT count(*) FROM orchestration.publish_ledger")


def test_append_asks_for_a_key_with_the_run(connect: Connect, target: Target) -> None:
    """A table whose key admits each key once can't be appended to."""
    publish(connect, content(), REPLACE)
    with pytest.raises(InputRefusedError, match=r"has no unique key on \(code, _run_id\)"):
        Publisher(connect).preflight(Publish(table=TABLE, mode=APPEND), CONTRACT)
    target.execute(f"DROP TABLE {TABLE}")
    publish(connect, content(), APPEND)
    Publisher(connect).preflight(Publish(table=TABLE, mode=APPEND), CONTRACT)


def test_descriptions_become_comments(connect: Connect, target: Target) -> None:
    """What the contract says of the dataset and of its columns stands at the table that is made from it."""
    name = CONTRACT.columns[1].model_copy(update={"description": "It's 100 % official"})
    described = CONTRACT.model_copy(
        update={"description": "All airports", "columns": (CONTRACT.columns[0], name, *CONTRACT.columns[2:])}
    )
    for mode in (APPEND, REPLACE):
        target.execute(f"DROP TABLE IF EXISTS {TABLE}")
        publish(connect, content(), mode, run=mode, contract=described)
        [[table, column]] = read(
            target, f"SELECT obj_description('{TABLE}'::regclass), col_description('{TABLE}'::regclass, 2)"
        )
        assert (True, "It's 100 % official") == (table.startswith("All airports\n"), column)
