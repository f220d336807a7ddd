"""A run of several datasets: each is merged, published and repaired for itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
import pytest

from airflow_orchestration.exceptions import InputRefusedError
from airflow_orchestration.storage.publishing import Publisher
from airflow_orchestration.workflow.close_out import close_out
from airflow_orchestration.workflow.publish import check_targets, publish
from tests.reconcile.conftest import Connect
from tests.reconcile.world import CONTRACT, World

PART = CONTRACT.model_copy(update={"name": "part"})
FILES = {
    (0, "things"): "code,size,name\na,1,x\nb,-1,bad\n",
    (0, "parts"): "code,size,name\na,10,p\nc,20,q\n",
    (0, "more_parts"): "code,size,name\nc,21,r\n",
}


@pytest.fixture
def world(connect: Connect, tmp_path: Path) -> World:
    """Two datasets: `thing` has one feed, `part` two."""
    feeds = {"things": "thing", "parts": "part", "more_parts": "part"}
    return World(
        folder=tmp_path,
        table="public.thing",
        feeds=dict.fromkeys(feeds, 1.0),
        files=FILES,
        connect=connect,
        contracts=(CONTRACT, PART),
        changes={
            "publish": None,
            "datasets": {name: {"publish": {"table": f"public.{name}"}} for name in ("thing", "part")},
            "feeds": [_feed(feed_id, dataset) for feed_id, dataset in feeds.items()],
        },
    )


def _feed(feed_id: str, dataset: str) -> dict[str, Any]:
    return {
        "id": feed_id,
        "dataset": dataset,
        "uri": f"landing/{{date}}-{feed_id}.csv",
        "format": "csv",
        "columns": {name: name for name in ("code", "size", "name")},
    }


def rows(connect: Connect, table: str) -> list[tuple[Any, ...]]:
    with connect() as connection:
        return connection.execute(f"SELECT code, size, _primary_source FROM {table} ORDER BY code").fetchall()


def test_each_dataset_has_a_table(world: World, connect: Connect) -> None:
    """Feeds are merged with feeds of their dataset only, though their keys are equal."""
    world.land(FILES)
    manifest = world.run(0)

    assert ("published", 1) == (manifest["state"], manifest["version"])
    assert [("a", 1.0, "things")] == rows(connect, "public.thing")
    parts = rows(connect, "public.part")
    assert ["a", "c"] == [row[0] for row in parts]
    assert [("thing", "public.thing", 1, 1), ("part", "public.part", 1, 2)] == [
        (line["dataset"], line["table"], line["version"], line["rows"]) for line in manifest["datasets"]
    ]


def test_rows_add_up_in_each_ledger(world: World, connect: Connect) -> None:
    """For each feed rows in = published + superseded + quarantined, in the ledger of its dataset's table."""
    world.land(FILES)
    world.run(0)

    with connect() as connection:
        booked = connection.execute(
            "SELECT target_table, feed_id, rows_in, rows_published + rows_superseded, rows_quarantined "
            "FROM orchestration.publish_ledger_feed ORDER BY 1, 2"
        ).fetchall()
    assert [
        ("public.part", "more_parts", 1, 1, 0),
        ("public.part", "parts", 2, 2, 0),
        ("public.thing", "things", 2, 1, 1),
    ] == booked


def test_a_dataset_whose_feeds_are_late_is_left_alone(world: World, connect: Connect) -> None:
    """Nothing of it is written, not even a table, and the run says what is missing."""
    world.land([(0, "things")])
    manifest = world.run(0)

    assert "published_degraded" == manifest["state"]
    assert ["parts", "more_parts"] == [line["feed"] for line in manifest["missing"]]
    with pytest.raises(psycopg.errors.UndefinedTable):
        rows(connect, "public.part")


def test_late_feeds_are_merged_into_their_dataset(world: World, connect: Connect) -> None:
    """A dataset of which nothing was there gets its rows as a later version; the other one stays at its first."""
    world.land([(0, "things")])
    world.run(0)
    world.land([(0, "parts"), (0, "more_parts")])
    manifest = world.reconcile(0)

    assert manifest is not None
    assert ("published", 2) == (manifest["state"], manifest["version"])
    assert [("thing", 1), ("part", 1), ("part", 2)] == [
        (line["dataset"], line["version"]) for line in manifest["versions"]
    ]
    assert ["parts", "more_parts"] == manifest["versions"][-1]["feeds"]
    assert 2 == len(rows(connect, "public.part"))
    assert world.reconcile(0) is None


def test_a_run_that_died_between_two_tables_goes_on(world: World, connect: Connect) -> None:
    """What is published already is left as it is; the other table gets its rows."""
    world.land(FILES)
    world.publisher = DyingAt(connect, "public.part")
    with pytest.raises(ConnectionError):
        world.run(0)
    with connect() as connection:
        [first] = connection.execute("SELECT xmin FROM public.thing").fetchall()

    world.publisher = Publisher(connect)
    manifest = world.publish(0)
    with connect() as connection:
        assert [first] == connection.execute("SELECT xmin FROM public.thing").fetchall()
    assert ("published", 3) == (manifest["state"], manifest["rows"])


def test_a_table_that_refuses_its_rows_is_told(world: World, connect: Connect) -> None:
    """The run is not published, says which table is to be mended, and is published once that is done."""
    with connect() as connection:
        connection.execute(
            "CREATE TABLE public.part (code text PRIMARY KEY, size double precision CHECK (size < 15), name text, "
            "_primary_source text, _sources jsonb, _attribution jsonb, _confidence jsonb, _conflicts jsonb, "
            "_run_id text, _published_at timestamptz)"
        )
    world.land(FILES)
    world.play(0)
    with pytest.raises(InputRefusedError), world.step(0, 0, "publish") as step:
        publish(step, world.publishers)
    with world.step(0, 0, "close_out") as step:
        refused = close_out(step, world.publishers)

    assert "not_published" == refused["state"]
    assert refused["why"].startswith("public.part was not written; mend what the log of task publish says")
    assert {"parts", "more_parts"} == {
        line["feed"] for line in refused["missing"] if "public.part was not written" in line["why"]
    }
    with connect() as connection:
        connection.execute("ALTER TABLE public.part DROP CONSTRAINT part_size_check")
    mended = world.publish(0)
    assert ("published", []) == (mended["state"], mended["missing"])
    assert 2 == len(rows(connect, "public.part"))


def test_all_tables_are_checked_at_once(world: World, connect: Connect) -> None:
    """What keeps rows from either table is told in one message, before any work."""
    with connect() as connection:
        connection.execute("CREATE TABLE public.part (code text); CREATE TABLE public.thing (code bigint)")
    with pytest.raises(InputRefusedError, match=r"target tables: .*problems") as refused:
        check_targets(world.spec(0), world.publishers)

    found = [str(problem) for problem in refused.value.problems]
    assert "public.thing: public.thing.code: is bigint; it must be text or character varying" in found
    assert any(problem.startswith("public.part: public.part.size: is missing") for problem in found)


def test_an_empty_dataset_is_not_published(world: World) -> None:
    """A file without rows beside good ones is nothing to publish: its table must not be emptied."""
    world.files = {**FILES, (0, "things"): "code,size,name\n"}
    world.land(world.files)
    world.play(0)

    last = world.store.decisions(world.key(0))[-1][1]
    assert ("quality_gate", "critical_failure", "nothing_to_publish") == (
        last["policy"],
        last["action"],
        last["reason"],
    )


class DyingAt(Publisher):
    """Loses its connection when it comes to one table."""

    def __init__(self, connect: Connect, table: str) -> None:
        super().__init__(connect)
        self.table = table

    def publish(self, publication: Any, *rows: Any) -> Any:
        if publication.table == self.table:
            raise ConnectionError
        return super().publish(publication, *rows)


def test_the_worst_table_is_the_runs_quality(world: World) -> None:
    """One bad dataset that the run can't do without keeps the good one from being published."""
    feeds = [{**feed, "required": True} for feed in world.changes["feeds"]]
    world.changes = {**world.changes, "feeds": feeds, "quality": {"approve_at": 0.9, "fail_below": 0.8}}
    world.files = {**FILES, (0, "things"): "code,size,name\na,1,x\nb,-1,bad\nc,-1,bad\nd,-1,bad\n"}
    world.land(world.files)
    world.play(0)

    decisions = [decision for _, decision in world.store.decisions(world.key(0))]
    tables = {
        decision["evidence"]["dataset"]: decision["evidence"]["overall_quality"]
        for decision in decisions
        if decision["policy"] == "merging"
    }
    assert ("quality_gate", "critical_failure") == (decisions[-1]["policy"], decisions[-1]["action"])
    assert tables["thing"] == min(tables.values()) == decisions[-1]["evidence"]["overall"]
    assert tables["part"] > 0.9
