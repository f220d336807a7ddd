"""Publishing: exactly once, adding up, and never over a newer execution."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from threading import Event, Thread
from traceback import format_exception
from typing import Any

import psycopg
import pytest
from psycopg import errors

from airflow_orchestration.exceptions import (
    FencedError,
    InputRefusedError,
    LedgerMismatchError,
    PublishConflictError,
    StoreNotReadyError,
)
from airflow_orchestration.storage import attempt
from airflow_orchestration.storage.attempt import time_limit
from airflow_orchestration.storage.publishing import Published, Publisher
from tests.storage.conftest import Connect
from tests.storage.proxy import CuttingProxy
from tests.storage.publications import KEY, TABLE, Content, content, csv, publication, row

Target = psycopg.Connection[Any]


def publish(connect: Connect, rows: Content, **changes: Any) -> Published:
    return Publisher(connect).publish(publication(rows, **changes), *rows.chunks())


def one(target: Target, query: str) -> Any:
    found = target.execute(query).fetchone()
    return None if found is None else found[0]


def table_exists(target: Target) -> bool:
    return one(target, f"SELECT to_regclass('{TABLE}') IS NOT NULL") is True


def scratch_tables(target: Target) -> list[str]:
    return [
        name for (name,) in target.execute("SELECT relname FROM pg_class WHERE relname ~ '^[pq]_[0-9]+_'")
    ]


def figures(target: Target) -> dict[str, int]:
    """What a wrong or repeated publication would change."""
    names = ("quarantined_row", "publish_ledger", "publish_ledger_feed")
    counts = {name: one(target, f"SELECT count(*) FROM orchestration.{name}") for name in names}
    rows = one(target, f"SELECT count(*) FROM {TABLE}") if table_exists(target) else 0
    return {**counts, "rows": rows}


NOTHING = {"quarantined_row": 0, "publish_ledger": 0, "publish_ledger_feed": 0, "rows": 0}


def test_a_publication_is_counted(connect: Connect, target: Target) -> None:
    """The first publication makes the table, and says what became of every row."""
    published = publish(connect, content(5))
    assert published == Published(
        already_published=False,
        rows_in=9,
        rows_published=5,
        rows_superseded=2,
        rows_quarantined=2,
        rows_inserted=5,
        rows_updated=0,
        rows_unchanged=0,
    )
    assert {"quarantined_row": 2, "publish_ledger": 1, "publish_ledger_feed": 2, "rows": 5} == figures(target)
    assert [] == scratch_tables(target)


def test_values_arrive_as_they_were(connect: Connect, target: Target) -> None:
    """Empty texts, nulls, quotes, line ends and every type of the contract survive."""
    odd = 'a "quoted", Zürich\nline'
    rows = Content([row("x", odd, None, ("heavy",)), row("y", "", 1, ("light",))])
    publish(connect, rows)
    found = target.execute(f"SELECT * FROM {TABLE} ORDER BY code").fetchall()
    values = [47.5, True, date(1999, 12, 31), datetime(2026, 11, 22, 10, tzinfo=UTC)]
    assert ("x", odd, None, *values) == found[0][:7]
    assert ("heavy", ["heavy"], {"name": "heavy"}, {"name": 1}, [], KEY) == found[0][7:13]
    assert ("y", "") == found[1][:2]


def test_quarantined_rows_are_kept_with_their_reason(connect: Connect, target: Target) -> None:
    """A quarantined row stands beside the ledger under the publication's key."""
    publish(connect, content())
    found = target.execute("SELECT * FROM orchestration.quarantined_row ORDER BY feed_id").fetchone()
    assert (TABLE, KEY, "heavy", 3, "required", "name", "is empty", 'raw, "quoted"', "heavy.csv") == found


def test_the_table_is_made_as_the_contract_says(connect: Connect, target: Target) -> None:
    """Key and required columns may not be empty, the key is the primary key, and the table says what it is."""
    publish(connect, content())
    with pytest.raises(errors.NotNullViolation):
        target.execute(f"UPDATE {TABLE} SET name = NULL")
    with pytest.raises(errors.UniqueViolation):
        target.execute(f"INSERT INTO {TABLE} SELECT * FROM {TABLE}")
    assert "airports" in one(target, f"SELECT obj_description('{TABLE}'::regclass)")


def test_only_what_changed_is_written(connect: Connect, target: Target) -> None:
    """A second run's rows are inserted, updated, or left with their old stamp."""
    publish(connect, Content([row("same"), row("other", "Old")]))
    published = publish(
        connect,
        Content([row("same"), row("other", "New"), row("fresh")]),
        epoch=2,
        publication_key="second",
        run=replace(publication(content()).run, run_id="second"),
    )
    assert (1, 1, 1) == (published.rows_inserted, published.rows_updated, published.rows_unchanged)
    stamped = dict(target.execute(f"SELECT code, _run_id FROM {TABLE}").fetchall())
    assert {"same": KEY, "other": "airports/second", "fresh": "airports/second"} == stamped


@pytest.mark.parametrize("epoch", [1, 2])
def test_the_same_content_is_published_once(connect: Connect, target: Target, epoch: int) -> None:
    """The same key with the same content changes nothing, whoever comes with it."""
    first = publish(connect, content())
    before = (figures(target), one(target, f"SELECT array_agg(xmin ORDER BY code) FROM {TABLE}"))
    assert replace(first, already_published=True) == publish(connect, content(), epoch=epoch)
    assert before == (figures(target), one(target, f"SELECT array_agg(xmin ORDER BY code) FROM {TABLE}"))
    assert replace(first, already_published=True) == Publisher(connect).ledger(TABLE, KEY)


def test_a_key_is_not_used_for_other_content(connect: Connect, target: Target) -> None:
    """The same key with other content is a conflict, and nothing changes."""
    publish(connect, content())
    before = figures(target)
    with pytest.raises(PublishConflictError, match="publish under another key"):
        publish(connect, content(7), epoch=2, content_sha256="two")
    assert before == figures(target)


def test_an_unknown_key_has_no_ledger_row(connect: Connect) -> None:
    """A key that was never published has no figures."""
    assert Publisher(connect).ledger(TABLE, KEY) is None


def test_a_superseded_execution_does_not_begin(connect: Connect, target: Target) -> None:
    """An execution with an older epoch than the last one is fenced before it copies anything."""
    target.execute(f"INSERT INTO orchestration.publish_claim VALUES ('{TABLE}', '{KEY}', 5)")
    with pytest.raises(FencedError, match="epoch 4"):
        publish(connect, content(), epoch=4)
    assert NOTHING == figures(target)


def test_an_execution_that_is_overtaken_changes_nothing(connect: Connect, target: Target) -> None:
    """A newer execution ends the older one in the middle of its copy, and publishes alone."""
    rows = content()
    merged, quarantine = rows.chunks()

    def slowly() -> Iterator[bytes]:
        yield from merged
        publish(connect, content(), epoch=2)

    with pytest.raises(FencedError) as fenced:
        Publisher(connect).publish(publication(rows, epoch=1), slowly(), quarantine)
    assert "A name" not in "".join(format_exception(fenced.value))
    assert {"quarantined_row": 2, "publish_ledger": 1, "publish_ledger_feed": 2, "rows": 5} == figures(target)
    assert [2] == [epoch for (epoch,) in target.execute("SELECT epoch FROM orchestration.publish_ledger")]


def test_a_fence_between_copy_and_publish_holds(connect: Connect, target: Target) -> None:
    """An execution that lost its right after the copy writes nothing and tidies up."""
    rows = content()
    merged, quarantine = rows.chunks()

    def with_a_rival() -> Iterator[bytes]:
        yield from quarantine
        target.execute("UPDATE orchestration.publish_claim SET epoch = 9")

    with pytest.raises(FencedError):
        Publisher(connect).publish(publication(rows), merged, with_a_rival())
    assert (NOTHING, []) == (figures(target), scratch_tables(target))


def test_two_at_once_publish_once(connect: Connect, target: Target) -> None:
    """Of many simultaneous executions exactly one writes; the others learn so or are fenced."""
    results: list[object] = []
    start = Event()

    def work(epoch: int) -> None:
        start.wait()
        try:
            results.append(publish(connect, content(200), epoch=epoch).already_published)
        except FencedError as error:
            results.append(type(error))

    threads = [Thread(target=work, args=(epoch,)) for epoch in range(1, 7)]
    for thread in threads:
        thread.start()
    start.set()
    for thread in threads:
        thread.join()
    assert 6 == len(results)
    assert results.count(False) <= 1
    assert (200, 1) == (figures(target)["rows"], figures(target)["publish_ledger"])
    assert [] == scratch_tables(target)


PLANTED = {
    "a published row too many": lambda feed: replace(
        feed, published=feed.published + 1, superseded=feed.superseded - 1
    ),
    "a row in too many": lambda feed: replace(
        feed, rows_in=feed.rows_in + 1, rows_quarantined=feed.rows_quarantined + 1
    ),
    "a staged row too few": lambda feed: replace(
        feed, rows_in=feed.rows_in - 1, rows_staged=feed.rows_staged - 1, superseded=feed.superseded - 1
    ),
    "figures that contradict each other": lambda feed: replace(feed, rows_in=feed.rows_in + 1),
}


@pytest.mark.parametrize("planted", PLANTED.values(), ids=PLANTED.keys())
def test_figures_that_differ_publish_nothing(connect: Connect, target: Target, planted: Any) -> None:
    """When the rows are not what was announced of a feed, the table and the ledger stay as they were."""
    publish(connect, content())
    before = figures(target)
    rows = content(8)
    announced = rows.feeds()
    announced["light"] = planted(announced["light"])
    with pytest.raises(LedgerMismatchError, match="nothing was published"):
        publish(connect, rows, epoch=2, publication_key="second", feeds=announced)
    assert (before, []) == (figures(target), scratch_tables(target))


def test_swapped_feeds_are_noticed(connect: Connect, target: Target) -> None:
    """Totals that agree are not enough: every feed must add up by itself."""
    rows = content()
    announced = rows.feeds()
    announced = {"heavy": announced["light"], "light": announced["heavy"]}
    with pytest.raises(LedgerMismatchError, match=r"heavy: counted 5 \+ 0 \+ 1"):
        publish(connect, rows, feeds=announced)
    assert NOTHING == figures(target)


def test_a_row_of_an_unknown_feed_is_noticed(connect: Connect, target: Target) -> None:
    """A row that no announced feed brought publishes nothing."""
    rows = Content([row("a"), row("b", sources=("stranger",))])
    announced = rows.feeds()
    announced["heavy"] = replace(announced["heavy"], rows_in=2, rows_staged=2, published=2)
    with pytest.raises(LedgerMismatchError, match="stranger"):
        publish(connect, rows, feeds=announced)
    assert NOTHING == figures(target)


REFUSED = {
    "a value that does not fit": (
        Content([row("a"), row("b", elevation="SECRET")]),  # type: ignore[arg-type]
        "row 2, column elevation",
    ),
    "a missing value": (Content([row("a", None)]), "name"),  # type: ignore[arg-type]
    "a key that comes twice": (Content([row("SECRET"), row("SECRET")]), "key: stands in two"),
}


@pytest.mark.parametrize(("rows", "place"), REFUSED.values(), ids=REFUSED.keys())
def test_a_refused_row_is_not_quoted(connect: Connect, target: Target, rows: Content, place: str) -> None:
    """The message says where the row is that PostgreSQL refuses, and not what it holds."""
    with pytest.raises(InputRefusedError, match=place) as refused:
        publish(connect, rows)
    assert "SECRET" not in str(refused.value)
    assert refused.value.__cause__ is None
    assert (NOTHING, []) == (figures(target), scratch_tables(target))


@pytest.mark.parametrize(
    ("change", "path", "remedy"),
    [
        ("DROP COLUMN _confidence", f"{TABLE}._confidence", "is missing; add it as jsonb"),
        ("ALTER COLUMN _sources TYPE text", f"{TABLE}._sources", "is text; it must be jsonb"),
        ("DROP CONSTRAINT airport_pkey", TABLE, "has no unique key on (code); add a primary key on it"),
    ],
)
def test_a_table_that_differs_by_now_is_told_with_the_remedy(
    connect: Connect, target: Target, change: str, path: str, remedy: str
) -> None:
    """A run that began before its table was changed, or this package, publishes nothing and fails for good."""
    publish(connect, content(1))
    before = figures(target)
    target.execute(f"ALTER TABLE {TABLE} {change}")
    with pytest.raises(InputRefusedError) as refused:
        publish(connect, content(2), epoch=2, publication_key="later")
    assert (f"target table {TABLE}", [(path, remedy)]) == (
        refused.value.subject,
        [(problem.path, problem.message) for problem in refused.value.problems],
    )
    assert (before, []) == (figures(target), scratch_tables(target))


def test_a_source_that_breaks_leaves_nothing(connect: Connect, target: Target) -> None:
    """An error of the row source comes through, and no table is left."""

    def broken() -> Iterator[bytes]:
        yield csv([row("a")])
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        Publisher(connect).publish(publication(content()), broken(), iter(()))
    assert (NOTHING, []) == (figures(target), scratch_tables(target))


@pytest.mark.parametrize(("lost", "committed"), [("answer", True), ("request", False)])
def test_a_lost_commit_is_looked_up(
    migrated: str, connect: Connect, target: Target, lost: str, committed: bool
) -> None:
    """When the connection breaks at the commit, the ledger tells whether the rows are published."""
    with CuttingProxy(migrated, lost=lost, armed_by=b"SET rows_inserted") as proxy:
        if committed:
            published = publish(lambda: psycopg.connect(proxy.conninfo), content())
            assert (False, 5) == (published.already_published, published.rows_inserted)
        else:
            with pytest.raises(psycopg.OperationalError):
                publish(lambda: psycopg.connect(proxy.conninfo), content())
            assert NOTHING == figures(target)
    assert 1 == proxy.cuts
    assert committed == publish(connect, content(), epoch=2).already_published
    assert ([], 5) == (scratch_tables(target), figures(target)["rows"])


def test_a_failure_in_a_copy_does_not_quote_the_row(connect: Connect, target: Target) -> None:
    """When the server fails in the middle of the rows, the error says what happened and holds no row."""

    def cut_off() -> Iterator[bytes]:
        yield csv([row("SECRET")] * 2000)
        target.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name ~ '^orchestration'"
        )
        yield csv([row("SECRET")] * 2000)

    with pytest.raises(psycopg.OperationalError, match=KEY) as failed:
        Publisher(connect).publish(publication(content()), cut_off(), iter(()))
    assert "SECRET" not in "".join(format_exception(failed.value))
    assert NOTHING == figures(target)


def test_the_publishing_transaction_is_bounded(connect: Connect, target: Target) -> None:
    """Inside the publishing transaction every wait has an end, and names are looked up in pg_catalog only."""
    shown = ("transaction_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "search_path")
    values = ", ".join(f"current_setting('{name}')" for name in shown)
    target.execute("CREATE TABLE public.seen (a text, b text, c text, d text)")
    target.execute(
        "CREATE FUNCTION public.look() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$BEGIN INSERT INTO public.seen SELECT {values}; RETURN NULL; END$$"
    )
    target.execute(
        "CREATE TRIGGER look AFTER INSERT ON orchestration.publish_ledger EXECUTE FUNCTION public.look()"
    )
    publish(connect, content())
    assert ("2min", "10s", "8s", "pg_catalog") == target.execute("SELECT * FROM public.seen").fetchone()


def test_the_limits_grow_with_the_rows() -> None:
    """A publication of twenty million rows may take a quarter of an hour more than a small one."""
    heavy = replace(content().feeds()["heavy"], published=20_000_000)
    large = publication(content(), feeds={"heavy": heavy})
    assert "1120000ms" == time_limit(large, attempt.SETTLING_LIMIT)


@pytest.mark.parametrize(
    ("limit", "table", "told"),
    [
        ("SETTLING_LIMIT", "publish_ledger", "transaction timeout"),
        ("STAGING_LIMIT", "publish_claim", "statement timeout"),
    ],
)
def test_a_publication_that_takes_too_long_says_what_to_do(
    connect: Connect, target: Target, monkeypatch: pytest.MonkeyPatch, limit: str, table: str, told: str
) -> None:
    """The message names the publication, the limit and the remedies, and the table stays as it was."""
    monkeypatch.setattr(attempt, limit, timedelta(seconds=0.3))
    target.execute(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS "
        "$$BEGIN PERFORM pg_catalog.pg_sleep(2); RETURN NULL; END$$"
    )
    target.execute(f"CREATE TRIGGER slow AFTER INSERT ON orchestration.{table} EXECUTE FUNCTION slow()")
    with pytest.raises(psycopg.DatabaseError, match=told) as stopped:
        publish(connect, content())
    assert str(stopped.value).startswith(f"publication {KEY!r} to {TABLE}: ")
    assert "publish fewer rows at a time, then try again" in str(stopped.value)
    assert NOTHING == figures(target)


def test_a_store_without_the_schema_says_so(database: str) -> None:
    """Without the schema in the target database nothing begins, and the message names the remedy."""
    with pytest.raises(StoreNotReadyError, match="run: airflow orchestration migrate"):
        publish(lambda: psycopg.connect(database), content())
