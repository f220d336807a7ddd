"""Streams in whole runs: what a run publishes it keeps, what it doesn't the next one reads."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from airflow_orchestration.domain.batch import Lane
from airflow_orchestration.domain.outcome import FeedOutcome, OutcomeStatus
from airflow_orchestration.exceptions import FencedError, NotPublishedError
from airflow_orchestration.sources.outside import Nowhere
from airflow_orchestration.storage.publishing import Publisher
from airflow_orchestration.workflow import branch as branches
from airflow_orchestration.workflow.branch import process_batch, run_branch
from airflow_orchestration.workflow.close_out import close_out
from airflow_orchestration.workflow.drift import register_judged
from airflow_orchestration.workflow.gate import decide_gate
from airflow_orchestration.workflow.merge import merge_round
from airflow_orchestration.workflow.plan import plan_round
from airflow_orchestration.workflow.publish import publish
from airflow_orchestration.workflow.quality import validate_quality
from airflow_orchestration.workflow.reconcile import reconcile
from airflow_orchestration.workflow.step import Step
from tests.reconcile.world import ALL_OVER, LANES, RUNNING, World
from tests.sources.test_outbox import CREATE, INDEX

EARLY = {"deadline": 60, "floor": 0.5, "grace_period": 0}
COLUMNS = {name: name for name in ("code", "size", "name")}


class Application(Nowhere):
    """A world outside with the application's database."""

    def __init__(self, database: str) -> None:
        self.database = database

    def postgres(self, conn_id: str) -> psycopg.Connection[Any]:
        """The one that the pipeline file names."""
        assert conn_id == "app"
        return psycopg.connect(self.database)


class StreamWorld(World):
    """Runs of a pipeline with a stream `events` beside the files."""

    outside: Application

    @contextmanager
    def step(self, number: int, round_number: int, unit: str) -> Iterator[Step]:
        """Take one step that knows the application's database."""
        with super().step(number, round_number, unit) as step:
            yield replace(step, outside=self.outside)

    def put(self, *codes: str, size: float = 1) -> None:
        """Let the application write an event for each code."""
        with self.connect() as connection:
            for code in codes:
                event = json.dumps({"code": code, "size": size, "name": "event"})
                connection.execute("INSERT INTO outbox (payload) VALUES (%s)", [event])

    def codes(self) -> str:
        """The codes of the published rows."""
        return "".join(row[0] for row in self.rows())

    def free_from(self, number: int) -> bool:
        """Whether a run would read on behind what was read, and not in a gap."""
        marks = self.store.streams.marks(self.key(number), "events").marks
        return all(mark.before is None for mark in marks.values())


def make(database: str, folder: Path, **changes: Any) -> StreamWorld:
    """A world with an empty outbox, and a file feed `files`."""
    with psycopg.connect(database) as connection:
        connection.execute(CREATE)
        connection.execute(INDEX)
    files = {"id": "files", "uri": "landing/{date}-files.csv", "format": "csv", "columns": COLUMNS}
    stream = {"conn_id": "app", "table": "public.outbox", "batch": {"records": 3}}
    events = {"id": "events", "source_type": "streaming", "outbox": stream, "columns": COLUMNS}
    world = StreamWorld(
        folder=folder / "world",
        table="public.things",
        feeds={},
        files={(number, "files"): f"code,size,name\nf{number},1,file\n" for number in range(9)},
        connect=lambda: psycopg.connect(database),
        changes={"feeds": [files, events], **changes},
    )
    world.outside = Application(database)
    return world


def play_with_a_straggler(world: StreamWorld) -> None:
    """Play run 0 so that its stream is read before, and registered after the gate has decided."""
    world.land([(0, "files")])
    world.start(0)
    plan = world.store.rounds(world.key(0))[0].plan
    (files,), (events,) = plan.branches_in(Lane.BETA), plan.branches_in(Lane.ALPHA)
    with world.step(0, 1, f"branch:beta:{files}") as step:
        run_branch(step, files, Lane.BETA)
    snapshot = world.store.gate_snapshot(world.key(0), 1)
    world.decide(0, RUNNING)
    with world.step(0, 1, f"branch:alpha:{events}") as step:
        process_batch(step, "events", events, snapshot)
    world.publish(0)


def end_unpublished(world: StreamWorld, number: int) -> dict[str, Any]:
    """Close a run that was merged and not published."""
    with world.step(number, 0, "close_out") as step:
        return close_out(step, world.publishers)


def test_each_run_publishes_the_next_batch(migrated: str, tmp_path: Path) -> None:
    """Three records each, then nothing: an empty batch is a success."""
    world = make(migrated, tmp_path)
    world.put("a", "b", "c", "d")
    seen = []
    for number in range(3):
        world.land([(number, "files")])
        manifest = world.run(number)
        seen.append((world.codes(), manifest["state"]))
    published = "published"
    assert [("abcf0", published), ("abcdf0f1", published), ("abcdf0f1f2", published)] == seen


def test_a_run_that_publishes_nothing_gives_its_records_back(migrated: str, tmp_path: Path) -> None:
    """The next run reads what the failed one had read, and the run after that goes on behind both."""
    world = make(migrated, tmp_path)
    world.put("a", "b", "c", "d", "e")
    world.play(0)
    assert "not_published" == end_unpublished(world, 0)["state"]
    world.run(1)
    assert "abc" == world.codes()
    world.run(2)
    assert "abcde" == world.codes()
    assert world.free_from(3)


def test_a_run_published_after_all_takes_its_records_again(migrated: str, tmp_path: Path) -> None:
    """A person publishes a run that had ended without: its records are its own again."""
    world = make(migrated, tmp_path)
    world.put("a", "b", "c", "d")
    world.play(0)
    end_unpublished(world, 0)
    assert "published_degraded" == world.publish(0)["state"]
    world.run(1)
    assert "abcd" == world.codes()


def test_a_run_whose_records_another_one_has_is_not_published(migrated: str, tmp_path: Path) -> None:
    """It would publish records twice; the message names the run that has them, and says what to do."""
    world = make(migrated, tmp_path)
    world.put("a", "b", "c", "d")
    world.play(0)
    end_unpublished(world, 0)
    world.run(1)
    with (
        world.step(0, 0, "publish") as step,
        pytest.raises(
            NotPublishedError, match=r"start a new run instead: .*run public.things-1 has registered"
        ),
    ):
        publish(step, world.publishers)
    assert "abc" == world.codes()


def test_a_publisher_that_was_overtaken_by_the_end_is_shut_out(migrated: str, tmp_path: Path) -> None:
    """A publisher that wakes up after its run was closed and its records given back commits nothing."""
    world = make(migrated, tmp_path)
    world.put("a", "b", "c")
    world.play(0)
    with world.step(0, 0, "publish") as zombie:
        end_unpublished(world, 0)
        with pytest.raises(FencedError):
            publish(zombie, world.publishers)
    with world.connect() as connection:
        assert (0,) == connection.execute("SELECT count(*) FROM orchestration.publish_ledger").fetchone()


def test_a_feed_that_came_too_late_keeps_its_records_for_the_repair(migrated: str, tmp_path: Path) -> None:
    """A stream that is registered after the gate is merged as a later version, and no other run reads it."""
    world = make(migrated, tmp_path, sync=EARLY)
    world.put("a", "b", "c", "d")
    play_with_a_straggler(world)
    before = world.codes()
    world.run(1)
    between = world.codes()
    world.reconcile(0)
    assert ("f0", "df0") == (before, between)
    assert "abcdf0" == world.codes()


def test_a_feed_that_came_too_late_to_count_gives_its_records_back(migrated: str, tmp_path: Path) -> None:
    """With `late: discard` nobody merges it: the next run reads its records."""
    world = make(migrated, tmp_path, sync={**EARLY, "late": "discard"})
    world.put("a", "b", "c", "d")
    play_with_a_straggler(world)
    world.run(1)
    assert "abcf0" == world.codes()


def test_a_feed_without_the_quality_gives_its_records_back(migrated: str, tmp_path: Path) -> None:
    """Records of a feed that is below standard, and so in no version, are the next run's to read."""
    quality = {"approve_at": 0.9, "fail_below": 0}
    world = make(migrated, tmp_path, sync=EARLY, quality=quality)
    world.put("a", size=-1)
    play_with_a_straggler(world)
    world.reconcile(0)
    assert "f0" == world.codes()
    assert () == world.store.streams.marks(world.key(0), "events").again
    told = [
        event.detail["feed"]
        for event in world.store.timeline(world.key(0))
        if event.event == "stream_returned"
    ]
    assert ["events"] == told


def test_a_second_round_that_never_read_the_stream_gives_its_records_back(
    migrated: str, tmp_path: Path
) -> None:
    """A feed below standard is to be read again, the gate decides without it, and a later run publishes: the run after that has them."""
    world = make(migrated, tmp_path, max_rounds=2, quality={"approve_at": 0.9, "fail_below": 0})
    world.put("a", size=-1)
    world.put("b")
    world.land([(number, "files") for number in range(3)])
    world.start(0)
    world.work(0)
    for number in (1, 2):
        if number == 2:
            with world.step(0, 2, "plan") as step:
                plan_round(step)
        decide_gate(world.store, world.key(0), world.spec(0), number, LANES, ALL_OVER)
        with world.step(0, number, "merge") as step:
            merge_round(step)
            validate_quality(step)
    world.publish(0)
    world.run(1)
    before = world.codes()
    with world.step(0, 2, "reconcile") as step:
        reconcile(step, world.publishers)
    world.start(2)
    world.work(2)
    (outcome,) = (one for one in world.store.outcomes(world.key(2)) if one.feed_id == "events")
    assert ("f0f1", 2) == (before, outcome.rows_in)
    assert () == world.store.streams.marks(world.key(0), "events").again


def test_a_run_that_never_closes_leaves_its_records_to_the_next_one(migrated: str, tmp_path: Path) -> None:
    """A Dag run that is marked failed skips its last step: the next one reads what it had read."""
    world = make(migrated, tmp_path)
    world.put("a", "b", "c", "d")
    world.land([(number, "files") for number in range(3)])
    world.play(0)
    world.run(1)
    between = world.codes()
    world.run(2)
    assert ("abcf1", "abcdf1f2") == (between, world.codes())
    assert world.free_from(3)


def test_a_run_that_published_and_never_closed_keeps_its_records(migrated: str, tmp_path: Path) -> None:
    """The target's ledger knows that it published, though the store does not."""
    world = make(migrated, tmp_path)
    world.put("a", "b", "c", "d")
    world.play(0)
    with world.step(0, 0, "publish") as step:
        publish(step, world.publishers)
    world.run(1)
    assert "abcd" == world.codes()
    assert 1 == len(world.store.streams.marks(world.key(0), "events").again)


def test_a_publisher_of_a_run_that_never_closed_is_shut_out(migrated: str, tmp_path: Path) -> None:
    """It wakes up when the next run has begun: it commits nothing, and started anew after another has its records it is refused by name."""
    world = make(migrated, tmp_path)
    world.put("a", "b", "c", "d")
    world.play(0)
    with world.step(0, 0, "publish") as zombie:
        world.start(1)
        with pytest.raises(FencedError):
            publish(zombie, world.publishers)
    world.run(2)
    with (
        world.step(0, 0, "publish") as anew,
        pytest.raises(NotPublishedError, match=r"public\.things-2 has registered"),
    ):
        publish(anew, world.publishers)
    assert "abc" == world.codes()


def test_a_target_that_can_not_be_asked_keeps_no_run_from_beginning(migrated: str, tmp_path: Path) -> None:
    """What an older run published is not known while its target is away: it keeps its records until it is."""
    world = make(migrated, tmp_path)
    world.put("a", "b", "c", "d")
    world.play(0)
    working, world.publisher = world.publisher, Publisher(unreachable)
    world.start(1)
    held = world.store.streams.marks(world.key(0), "events").again
    world.publisher = working
    world.start(2)
    assert 1 == len(held)
    assert () == world.store.streams.marks(world.key(0), "events").again


def unreachable() -> psycopg.Connection[Any]:
    """A database that is away."""
    raise psycopg.OperationalError("the server is away")


def test_a_stream_that_a_rival_took_meanwhile_is_read_again(
    migrated: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that lost the race for the first records reads those behind them in the same task."""
    world = make(migrated, tmp_path)
    world.put("a", "b", "c", "d", "e")
    world.land([(0, "files"), (1, "files")])
    world.start(0)
    world.start(1)
    rivals = iter([1])

    def after_the_rival(step: Step, outcome: FeedOutcome) -> FeedOutcome:
        if outcome.feed_id == "events" and next(rivals, None):
            world.work(1)
        return register_judged(step, outcome)

    monkeypatch.setattr(branches, "register_judged", after_the_rival)
    world.work(0)
    read = {
        number: [
            (one.status, one.rows_staged)
            for one in world.store.outcomes(world.key(number))
            if one.ranges is not None
        ]
        for number in (0, 1)
    }
    assert {0: [(OutcomeStatus.SUCCESS, 2)], 1: [(OutcomeStatus.SUCCESS, 3)]} == read


def test_the_last_state_is_published_whatever_the_bounds_of_a_batch_are(
    migrated: str, tmp_path: Path
) -> None:
    """Four states of a thing, three in one batch and one in the next: the newest is in the table after each run."""
    world = make(migrated, tmp_path)
    for size in (1, 2, 3, 4):
        world.put("a", size=size)
    world.run(0)
    first = world.rows()
    world.run(1)
    assert ([3], [4]) == ([row[1] for row in first], [row[1] for row in world.rows()])
    (outcome,) = (one for one in world.store.outcomes(world.key(0)) if one.feed_id == "events")
    assert (1.0, {"superseded": 2}) == (outcome.quality_score, outcome.rejects)


def test_rows_of_records_that_are_given_back_are_withdrawn_from_the_output(
    migrated: str, tmp_path: Path
) -> None:
    """The next run writes them, and readers see each record once; published after all, the rows are back."""
    world = make(migrated, tmp_path)
    feeds = [
        {**feed, "output": {"uri": "landing/lake"}} if feed["id"] == "events" else feed
        for feed in world.changes["feeds"]
    ]
    world.changes = {**world.changes, "feeds": feeds}
    world.put("a", "b", "c")
    lake = world.folder / "lake"

    def shown() -> int:
        return len(list(lake.glob("run=*/*.parquet")))

    world.play(0)
    while_held = shown()
    end_unpublished(world, 0)
    given_back = shown()
    world.publish(0)
    assert (1, 0, 1) == (while_held, given_back, shown())
    world.play(1)
    world.play(2)
    assert 3 == shown()
