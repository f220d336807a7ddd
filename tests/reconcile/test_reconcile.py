"""What becomes of one late feed: which rows it touches, what is booked, and what it must not undo."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from airflow_orchestration.exceptions import PublicationOvertakenError
from airflow_orchestration.storage.publishing import Publication, Publisher
from airflow_orchestration.workflow.reconcile import read_late_files, reconcile
from tests.reconcile.conftest import Connect, MakeWorld
from tests.reconcile.world import RUNNING, World
from tests.rewriting import REWRITING

HEAVY = "code,size,name\na,1,x\nb,2,\n"
LIGHT = "code,size,name\nb,9,y\nc,3,z\nd,-1,bad\n"
FILES = {
    (0, "heavy"): HEAVY,
    (0, "light"): LIGHT,
    (1, "heavy"): "code,size,name\nc,7,n\n",
    (1, "light"): LIGHT,
}
FEEDS = {"heavy": 5.0, "light": 1.0}


def values(world: World) -> dict[str, tuple[Any, ...]]:
    return {row[0]: row[1:4] for row in world.rows()}


def test_a_late_feed_adds_rows_and_fills_gaps(make_world: MakeWorld) -> None:
    """Only rows with keys of the late feed are merged again; the heavier feed keeps its values."""
    world = make_world("gaps", FEEDS, FILES)
    world.land([(0, "heavy")])
    before = world.run(0)
    world.land([(0, "light")])
    after = world.reconcile(0)

    assert after is not None
    assert ("published_degraded", 1) == (before["state"], before["version"])
    assert ("published", 2) == (after["state"], after["version"])
    assert {
        "a": (1.0, "x", "heavy"),
        "b": (2.0, "y", "heavy"),
        "c": (3.0, "z", "light"),
    } == values(world)
    diff = after["versions"][1]
    assert (["light"], 1, 1, 0) == (
        diff["feeds"],
        diff["rows_added"],
        diff["rows_changed"],
        diff["rows_withdrawn"],
    )


def test_rows_add_up_after_it(make_world: MakeWorld, connect: Connect) -> None:
    """For each feed rows in = published + superseded + quarantined, in the manifest and in the ledger's version."""
    world = make_world("sums", FEEDS, FILES)
    world.land([(0, "light")])
    world.run(0)
    world.land([(0, "heavy")])
    manifest = world.reconcile(0)

    assert manifest is not None
    assert {"heavy": (2, 2, 0, 0), "light": (3, 1, 1, 1)} == {
        line["feed"]: (
            line["rows_in"],
            line["rows_published"],
            line["rows_superseded"],
            line["rows_quarantined"],
        )
        for line in manifest["feeds"]
    }
    assert 3 == manifest["rows"] == len(world.rows())
    with connect() as connection:
        booked = connection.execute(
            "SELECT feed_id, feed.rows_in, feed.rows_published, feed.rows_superseded, feed.rows_quarantined, "
            "rows_replaced FROM orchestration.publish_ledger_feed AS feed "
            "JOIN orchestration.publish_ledger USING (target_table, publication_key) "
            "WHERE version = 2 ORDER BY feed_id"
        ).fetchall()
    assert [("heavy", 2, 2, 0, 0, 0), ("light", 1, 0, 1, 0, 1)] == booked


def test_what_a_later_run_published_stays(make_world: MakeWorld) -> None:
    """Yesterday's late feed changes nothing that today's run has published."""
    world = make_world("later", FEEDS, FILES)
    world.land([(0, "heavy"), (1, "heavy")])
    world.run(0)
    world.run(1)
    world.land([(0, "light")])
    manifest = world.reconcile(0)

    assert manifest is not None
    assert {"a": (1.0, "x", "heavy"), "b": (2.0, "y", "heavy"), "c": (7.0, "n", "heavy")} == values(world)
    light = next(line for line in manifest["feeds"] if line["feed"] == "light")
    assert (3, 0, 2, 1) == (
        light["rows_in"],
        light["rows_published"],
        light["rows_superseded"],
        light["rows_quarantined"],
    )


class Dying(Publisher):
    """Publishes, and is killed before it can tell anybody."""

    def publish(self, *everything: Any) -> Any:
        super().publish(*everything)
        raise KeyboardInterrupt


def test_a_version_that_nobody_heard_of_is_found(make_world: MakeWorld) -> None:
    """An execution dies between its publication and the record of it; the next one records it."""
    world = make_world("dying", FEEDS, FILES)
    world.land([(0, "heavy")])
    world.run(0)
    world.land([(0, "light")])
    world.publisher = Dying(world.connect)
    with pytest.raises(KeyboardInterrupt):
        world.reconcile(0)
    rows = world.rows()
    world.publisher = Publisher(world.connect)
    manifest = world.reconcile(0)

    assert manifest is not None
    assert ("published", 2) == (manifest["state"], manifest["version"])
    assert rows == world.rows()
    assert world.reconcile(0) is None


@pytest.mark.parametrize(
    ("sync", "processed"),
    [
        ({"late": "reconcile"}, True),
        ({"late": "next_run"}, True),
        ({"late": "discard"}, False),
        ({"late": "reconcile", "stragglers": "stop"}, False),
    ],
)
def test_a_branch_goes_on_where_late_feeds_count(
    make_world: MakeWorld, sync: dict[str, Any], processed: bool
) -> None:
    """After the gate has opened, a batch whose file is there is begun only if somebody merges it later."""
    early = {"deadline": 60, "floor": 0.5, "grace_period": 0}
    world = make_world("goes_on", FEEDS, FILES, sync={**early, **sync})
    world.land([(0, "heavy")])
    world.start(0)
    world.work(0)
    world.decide(0, RUNNING)
    world.land([(0, "light")])
    world.work(0)

    arrived = {outcome.feed_id for outcome in world.store.outcomes(world.key(0))}
    assert ({"heavy", "light"} if processed else {"heavy"}) == arrived
    assert {"heavy"} == set(world.publish(0)["versions"][0]["feeds"])


def test_repeating_it_changes_nothing(make_world: MakeWorld, connect: Connect) -> None:
    """A second look finds nothing new and publishes nothing."""
    world = make_world("twice", FEEDS, FILES)
    world.land([(0, "heavy")])
    world.run(0)
    world.land([(0, "light")])
    assert world.reconcile(0) is not None
    assert world.reconcile(0) is None
    with connect() as connection:
        assert [(1,), (2,)] == connection.execute(
            "SELECT version FROM orchestration.publish_ledger ORDER BY version"
        ).fetchall()


def test_a_file_without_a_date_belongs_to_the_newest_run(make_world: MakeWorld) -> None:
    """When the next run has published, a file of the same name is not taken for the older run's."""
    world = make_world("undated", FEEDS, FILES)
    world.dated = False
    world.land([(0, "heavy")])
    world.run(0)
    world.run(1)
    world.land([(0, "light")])

    assert world.reconcile(0) is None
    assert world.reconcile(1) is not None


def test_a_poor_feed_stays_outside(make_world: MakeWorld) -> None:
    """What would not have been approved in time is not merged afterwards, and the manifest says so."""
    files = {**FILES, (0, "light"): "code,size,name\nb,-1,\nc,-2,\nd,3,z\n"}
    world = make_world("poor", FEEDS, files, quality={"approve_at": 0.8, "fail_below": 0.1})
    world.land([(0, "heavy")])
    world.run(0)
    world.land([(0, "light")])

    assert world.reconcile(0) is None
    assert {"a", "b"} == set(values(world))


def test_a_failed_feed_is_read_again_when_asked(make_world: MakeWorld) -> None:
    """A repaired file comes in by the button, not by the schedule."""
    broken = {**FILES, (0, "light"): "kode,size,name\nb,9,y\n"}
    world = make_world("broken", FEEDS, broken)
    world.land(list(broken)[:2])
    assert "failed" == next(line["state"] for line in world.run(0)["feeds"] if line["feed"] == "light")
    world.files = FILES
    world.land([(0, "light")])

    assert world.reconcile(0) is None
    repaired = world.reconcile(0, failed_too=True)
    assert repaired is not None
    assert "published" == repaired["state"]


def test_a_run_that_published_nothing_is_left_alone(make_world: MakeWorld) -> None:
    """There is nothing to repair in a table that the run never wrote."""
    world = make_world("nothing", FEEDS, FILES)
    world.land([(0, "heavy")])
    world.play(0)
    world.land([(0, "light")])

    assert world.reconcile(0) is None


class Interfering(Publisher):
    """Lets another run publish between the look at the ledger and the publication."""

    def __init__(self, world: World, times: int) -> None:
        super().__init__(world.connect)
        self.world, self.times = world, times

    def publish(self, publication: Publication, *rows: Any) -> Any:
        if self.times:
            self.times -= 1
            self.world.run(len(self.world.played))
        return super().publish(publication, *rows)


def test_somebody_else_may_publish_meanwhile(make_world: MakeWorld) -> None:
    """The version is made again over what the table holds then."""
    world = make_world("race", FEEDS, FILES)
    world.land([(0, "heavy"), (1, "heavy")])
    world.run(0)
    world.land([(0, "light")])
    world.publisher = Interfering(world, times=1)
    with_interference = world.reconcile(0)

    assert with_interference is not None
    assert (7.0, "n", "heavy") == values(world)["c"]


def test_a_stale_look_publishes_nothing(make_world: MakeWorld) -> None:
    """Whoever is always overtaken gives up with an error, and the table stays as it was."""
    files = {(number, "heavy"): HEAVY for number in range(9)} | {(0, "light"): LIGHT}
    world = make_world("stale", FEEDS, files)
    world.land([(number, "heavy") for number in range(9)])
    world.run(0)
    world.land([(0, "light")])
    publisher = Interfering(world, times=8)
    with world.step(0, 1, "reconcile") as step:
        read_late_files(step, lambda _: publisher)
        with pytest.raises(PublicationOvertakenError, match="try again"):
            reconcile(step, lambda _: publisher)
    assert {"a", "b"} == set(values(world))


def test_a_run_from_before_versions_is_looked_at(make_world: MakeWorld) -> None:
    """A manifest that was recorded without a version is that of version 1."""
    world = make_world("old", FEEDS, FILES)
    world.land([(0, "heavy")])
    world.run(0)
    known = world.store._runs[world.key(0)]
    known.manifest = {name: value for name, value in (known.manifest or {}).items() if name != "version"}

    assert world.reconcile(0) is None
    world.land([(0, "light")])
    assert world.reconcile(0) is not None


def test_two_at_once_publish_one_version(make_world: MakeWorld, connect: Connect) -> None:
    """Of executions that reconcile the same feeds at once none fails, and one version comes of it."""
    world = make_world("crowd", FEEDS, FILES)
    world.land([(0, "heavy")])
    world.run(0)
    world.land([(0, "light")])
    with world.step(0, 1, "reader") as step:
        read_late_files(step, world.publishers)

    def work(number: int) -> object:
        with world.step(0, 1, f"reconcile:{number}") as step:
            return reconcile(step, world.publishers)

    with ThreadPoolExecutor(3) as pool:
        ended = list(pool.map(work, range(3)))
    assert any(ended)
    with connect() as connection:
        assert [(1,), (2,)] == connection.execute(
            "SELECT version FROM orchestration.publish_ledger ORDER BY version"
        ).fetchall()


def test_what_depends_on_a_mended_feed_is_mended_with_it(make_world: MakeWorld) -> None:
    """Feeds are read in the order of their dependencies, each with what is known then."""
    feeds = {"heavy": 5.0, "alpha": 1.0, "beta": 1.0}
    files = {(0, "heavy"): HEAVY, (0, "alpha"): "kode,size,name\nx,1,x\n", (0, "beta"): LIGHT}
    world = make_world("chain", feeds, files)
    world.depends_on = {"beta": ["alpha"]}
    world.land(list(files))
    assert {"alpha", "beta"} == {line["feed"] for line in world.run(0)["missing"]}
    world.files = {**files, (0, "alpha"): LIGHT}
    world.land([(0, "alpha")])
    repaired = world.reconcile(0, failed_too=True)

    assert repaired is not None
    assert [] == repaired["missing"]


def test_a_broken_late_file_is_read_again(make_world: MakeWorld) -> None:
    """A file that is still on its way when the schedule looks is not given up."""
    world = make_world("partial", FEEDS, {**FILES, (0, "light"): "kode\n"})
    world.land([(0, "heavy")])
    world.run(0)
    world.land([(0, "light")])
    assert world.reconcile(0) is None
    world.files = FILES
    world.land([(0, "light")])
    assert world.reconcile(0) is not None


def test_a_poor_straggler_is_called_so(make_world: MakeWorld) -> None:
    """The manifest does not promise a merge to a feed that is not good enough."""
    files = {**FILES, (0, "light"): "code,size,name\nb,-1,\nc,-2,\nd,3,z\n"}
    sync = {"deadline": 60, "floor": 0.5, "grace_period": 0}
    world = make_world("straggler", FEEDS, files, sync=sync, quality={"approve_at": 0.8, "fail_below": 0.1})
    world.land([(0, "heavy")])
    world.start(0)
    world.work(0)
    world.decide(0, RUNNING)
    world.land([(0, "light")])
    world.work(0)
    (line,) = world.publish(0)["missing"]

    assert "below_standard" == line["state"]
    assert world.reconcile(0) is None


def test_a_clock_that_is_set_back_changes_no_order(make_world: MakeWorld, connect: Connect) -> None:
    """Publications are ordered by number: what a later run has published stays, whatever the clock said."""
    world = make_world("clock", FEEDS, FILES)
    world.land([(0, "heavy"), (1, "heavy")])
    world.run(0)
    world.run(1)
    with connect() as connection:
        connection.execute(REWRITING)
        connection.execute(
            "UPDATE orchestration.publish_ledger SET published_at = published_at - interval '1 day' "
            "WHERE run_id = %s",
            [world.key(1).run_id],
        )
    world.land([(0, "light")])
    world.reconcile(0)

    assert (7.0, "n", "heavy") == values(world)["c"]
