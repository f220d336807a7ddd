"""What runs have put aside, read from where their rows are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from airflow_orchestration.engine.staging import StagingArea
from airflow_orchestration.exceptions import InputRefusedError, Problem, ProblemCode
from airflow_orchestration.insights.quarantine import (
    FOR_A_PAGE,
    Limits,
    all_rows_of,
    quarantine_of,
)
from airflow_orchestration.storage.postgres import PostgresStore
from airflow_orchestration.storage.publishing import Publisher
from airflow_orchestration.storage.sql_file import statements
from tests.reconcile.world import World

BAD_SIZES = "".join(f"n{number},-1,bad\n" for number in range(8))
HEAVY = f"code,size,name\na,1,x\n{BAD_SIZES}"
LIGHT = "code,size,name\nb,9,y\n,1,nobody\nd,wide,w\n"
HALF, PLAYED, REPAIRED = range(3)
"""`light` came too late and waits in staging; nothing is published; both are."""


@pytest.fixture(scope="module")
def world(create_migrated: Callable[[str], str], outside: Path) -> Iterator[World]:
    """Three runs whose feeds bring bad rows; no test changes them."""
    dsn = create_migrated("quarantine")
    made = World(
        folder=outside / "quarantine",
        table="public.things",
        feeds={"heavy": 5.0, "light": 1.0},
        files={(run, feed): text for run in range(3) for feed, text in (("heavy", HEAVY), ("light", LIGHT))},
        connect=lambda: psycopg.connect(dsn),
    )
    with PostgresStore(made.connect) as store:
        made.store = store  # type: ignore[assignment]  # both keep the promises of a store
        made.land([(HALF, "heavy"), (PLAYED, "heavy"), (PLAYED, "light"), (REPAIRED, "heavy")])
        made.run(HALF)
        made.play(PLAYED)
        made.run(REPAIRED)
        made.land([(HALF, "light"), (REPAIRED, "light")])
        made.work(HALF)
        made.reconcile(REPAIRED)
        yield made


def read(world: World, number: int, **asked: Any) -> dict[str, Any]:
    """Read the quarantine of a run."""
    given = {"publisher_of": world.publishers, "staging_of": staging, "key": world.key(number), **asked}
    return quarantine_of(world.store, **given)


def rows(world: World, number: int, **asked: Any) -> list[Any]:
    return list(all_rows_of(world.store, world.publishers, staging, world.key(number), **asked))


def staging(root: str) -> StagingArea:
    return StagingArea(Path(root))


def refused(_: str) -> Any:
    """A place that must not be opened."""
    raise InputRefusedError(
        "connection gone", [Problem(code=ProblemCode.NOT_FOUND, path="", message="is not defined")]
    )


def counts(found: dict[str, Any]) -> dict[tuple[str, str], int]:
    return {(one["feed"], one["rule"]): one["rows"] for one in found["rules"]}


def raws(found: dict[str, Any]) -> dict[tuple[str, str], list[str]]:
    return {(one["feed"], one["rule"]): [row["raw"] for row in one["samples"]] for one in found["rules"]}


def test_published_rows_are_read_from_the_target(world: World) -> None:
    """All are counted, a few are shown with line, column and reason, and no staged file is needed."""
    found = read(world, REPAIRED, samples=3, staging_of=refused)
    assert {("heavy", "minimum"): 8, ("light", "required"): 1, ("light", "type"): 1} == counts(found)
    assert ("table", None) == (found["where"], found["note"])
    shown = found["rules"][0]["samples"]
    assert [3, 4, 5] == [one["position"] for one in shown]
    assert ("size", "n0,-1,bad") == (shown[0]["column"], shown[0]["raw"])
    assert {"origin", "position", "column", "reason", "raw"} == set(shown[0])


@pytest.mark.parametrize(("number", "where"), [(PLAYED, "staging"), (HALF, "table")])
def test_what_is_not_published_is_read_from_staging(world: World, number: int, where: str) -> None:
    """The same rows are told before and after a feed is published, alone and beside others that are."""
    found = read(world, number)
    assert where == found["where"]
    assert found["note"] is None
    assert raws(read(world, REPAIRED)) == raws(found)


def test_a_feed_and_a_rule_are_chosen(world: World) -> None:
    """Either alone or both; what nobody knows gives nothing, whatever characters it has."""
    light = {("light", "required"), ("light", "type")}
    assert light == set(counts(read(world, HALF, feed="light")))
    assert {("heavy", "minimum")} == set(counts(read(world, HALF, rule="minimum")))
    assert {("light", "type")} == set(counts(read(world, HALF, feed="light", rule="type")))
    assert [] == read(world, HALF, feed="'; DROP TABLE x; --")["rules"]
    assert [] == read(world, HALF, rule="\x00[bold]")["rules"]


@pytest.mark.parametrize("number", [HALF, PLAYED, REPAIRED])
def test_all_rows_are_those_that_were_counted(world: World, number: int) -> None:
    """From the table, from staging and from both, in full and of one feed and rule."""
    assert 10 == sum(counts(read(world, number)).values()) == len(rows(world, number))
    assert 8 == len(rows(world, number, feed="heavy", rule="minimum"))
    assert [("d,wide,w", 4)] == [(one.raw, one.position) for one in rows(world, number, rule="type")]
    assert [] == rows(world, number, feed="nobody")


def test_a_target_that_is_gone_leaves_the_counts(world: World) -> None:
    """What can't be read is named, without what the driver says of hosts; nothing fails."""

    def lost() -> Any:
        raise psycopg.OperationalError("connection to server at 10.1.2.3 failed")

    found = read(world, REPAIRED, publisher_of=lambda _: Publisher(lost))
    assert (10, "counts") == (sum(counts(found).values()), found["where"])
    assert "no samples of table public.things, which can't be read now: OperationalError" == found["note"]
    assert [[], [], []] == [one["samples"] for one in found["rules"]]


class StrangeError(Exception):
    """What some driver raises, with places in its words."""


def strange(_: str) -> Any:
    raise StrangeError("s3://hidden/place")


@pytest.mark.parametrize("place", ["staging_of", "publisher_of"])
def test_whatever_a_driver_raises_leaves_the_counts(
    world: World, place: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is told by its kind; its words, which may name places, go to the log."""
    found = read(world, PLAYED, **{place: strange})
    assert (10, "counts") == (sum(counts(found).values()), found["where"])
    assert found["note"].endswith("which can't be read now: StrangeError")
    assert "s3://hidden/place" in caplog.text


def test_a_file_that_is_gone_takes_no_other_with_it(world: World) -> None:
    """The other feed's rows are shown all the same."""
    staged = next(
        one.quarantine
        for one in world.store.outcomes(world.key(PLAYED))
        if one.feed_id == "light" and one.quarantine
    )
    file = Path(staged.uri)
    away = file.rename(file.with_name("away"))
    found = read(world, PLAYED)
    away.rename(file)
    assert {"heavy"} == {feed for (feed, _), rows in raws(found).items() if rows}
    assert ("counts", True) == (found["where"], "staged file of light" in found["note"])
    assert str(file) not in found["note"]


@pytest.mark.parametrize("place", ["staging_of", "publisher_of"])
def test_what_is_refused_leaves_the_counts(world: World, place: str) -> None:
    """A staging area or a connection that is refused is told with its remedy."""
    found = read(world, PLAYED, **{place: refused})
    assert (10, "counts") == (sum(counts(found).values()), found["where"])
    assert "is not defined" in found["note"]


def test_a_staged_file_that_was_changed_is_not_shown(world: World) -> None:
    """Other bytes than those that were registered are no samples."""
    staged = next(one.quarantine for one in world.store.outcomes(world.key(PLAYED)) if one.quarantine)
    file = Path(staged.uri)
    kept = file.read_bytes()
    file.write_bytes(kept[:-1])
    found = read(world, PLAYED, feed="heavy")
    file.write_bytes(kept)
    assert ("counts", []) == (found["where"], found["rules"][0]["samples"])
    assert "no samples of the staged file of heavy, which can't be read now: StagedFileError" == found["note"]


def test_a_page_is_bounded(world: World) -> None:
    """Most rows first, samples of the first alone, no staged file beyond the limit; each is told."""
    found = read(world, PLAYED, limits=Limits(rules=2, sampled=1, staged_bytes=None))
    assert [(8, True), (1, False)] == [(one["rows"], bool(one["samples"])) for one in found["rules"]]
    other = "the other 1 rules have samples when they are asked for alone"
    assert f"{other}; 1 more rules have fewer rows" == found["note"]
    every = read(world, PLAYED, limits=Limits(rules=None, sampled=3, staged_bytes=None))
    assert every["note"] is None
    small = read(world, PLAYED, limits=Limits(rules=None, sampled=None, staged_bytes=1))
    large = "no samples of heavy, light: the staged files are large; see the command line"
    assert ("counts", large) == (small["where"], small["note"])
    assert None not in {FOR_A_PAGE.rules, FOR_A_PAGE.sampled, FOR_A_PAGE.staged_bytes}


def test_without_samples_nothing_but_the_store_is_read(world: World) -> None:
    """Counts alone stand in the store."""
    found = read(world, HALF, samples=0, publisher_of=refused, staging_of=refused)
    assert (10, "counts", None) == (sum(counts(found).values()), found["where"], found["note"])


def test_an_unknown_run_is_no_empty_quarantine(world: World) -> None:
    """Who asks for a run that is not there is told."""
    with pytest.raises(KeyError):
        read(world, 9)


def test_a_rare_rule_is_found_by_the_index(world: World) -> None:
    """A sample of one rule does not look at the other rows of its feed."""
    with world.connect() as connection:
        connection.execute(
            "INSERT INTO orchestration.quarantined_row (target_table, publication_key, feed_id, rule, position) "
            "SELECT target_table, publication_key, feed_id, 'pattern', n FROM orchestration.quarantined_row, "
            "generate_series(1, 5000) AS n"
        )
        connection.execute("ANALYZE orchestration.quarantined_row")
        statement = statements("quarantine.sql")["quarantine_samples"]
        asked = {"target_table": world.table, "dag_id": "things", "run_id": world.key(REPAIRED).run_id}
        wanted = {"feeds": ["heavy"], "rules": ["minimum"], "each": 5}
        plan = connection.execute(f"EXPLAIN (FORMAT JSON) {statement}", {**asked, **wanted}).fetchone()
        connection.rollback()
    assert "'Index Name': 'quarantined_row_publication'" in str(plan)
    assert "(feed_id = wanted.feed_id) AND (rule = wanted.rule)" in str(plan)
