"""Does a table merged by trust learn from its own runs? Whole runs, published to a real table."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from airflow_orchestration.insights.trust import trust_courses
from airflow_orchestration.workflow.trust_changes import trust_changes
from tests.reconcile.world import World

Connect = Callable[[], psycopg.Connection[Any]]
FEEDS = ("good", "steady", "poor", "poorer", "late")
SHARES = {"good": 0.97, "steady": 0.9, "poor": 0.5, "poorer": 0.4, "late": 0.9}
KEYS = [f"k{number:03}" for number in range(120)]


def files_of(runs: int) -> dict[tuple[int, str], str]:
    """Feeds that are right in `size` as often as `SHARES` says; `poorer` copies the errors of `poor`."""
    dice = random.Random(3)
    files = {}
    for run in range(runs):
        sizes: dict[str, dict[str, int]] = {feed: {} for feed in FEEDS}
        for key in KEYS:
            for feed in FEEDS:
                wrong = dice.randint(2, 9)
                if feed == "poorer" and dice.random() < 0.9:
                    sizes[feed][key] = sizes["poor"][key]
                else:
                    sizes[feed][key] = 1 if dice.random() < SHARES[feed] else wrong
        for feed, found in sizes.items():
            lines = "".join(f"{key},{size},\n" for key, size in found.items())
            files[run, feed] = f"code,size,name\n{lines}"
    return files


@pytest.fixture
def world(tmp_path: Path, connect: Connect) -> World:
    """Five feeds, of which the table's `size` is merged by trust, with twelve known rows."""
    (tmp_path / "world").mkdir()
    probes = "".join(f"{key},1\n" for key in KEYS[:12])
    (tmp_path / "world" / "probes.csv").write_text(f"code,size\n{probes}")
    merge = {"attributes": {"size": "trust"}, "trust": {"probes": "landing/probes.csv", "half_life": 5}}
    return World(
        folder=tmp_path / "world",
        table="public.trusted",
        feeds=dict.fromkeys(FEEDS, 1.0),
        files=files_of(2),
        connect=connect,
        changes={"merge": merge},
    )


def evidence(world: World, number: int) -> dict[str, Any]:
    merge = world.store.merges(world.key(number), 1)["thing"]
    return dict(merge.decision["evidence"]["trust"])


def land(world: World, number: int, *, late: bool = True) -> None:
    world.land([(number, feed) for feed in FEEDS if late or feed != "late"])


def right(world: World) -> float:
    sizes = [row[1] for row in world.rows()]
    return sizes.count(1) / len(sizes)


def test_the_second_run_learns_from_the_first(world: World) -> None:
    """What a published run settled is known to the next one, and shown as the feeds' course."""
    for number in (0, 1):
        land(world, number)
        world.run(number)
    assert [0, 1] == [evidence(world, number)["earlier_runs"] for number in (0, 1)]
    courses = {
        course.feed_id: course
        for course in trust_courses(world.store.trust.history("things", "thing", runs=9))
    }
    assert 2 == len(courses["good"].accuracy)
    assert (courses["good"].accuracy[-1] or 0) > (courses["poor"].accuracy[-1] or 1)
    assert right(world) > 0.95


def test_a_run_that_is_not_published_teaches_nothing(world: World) -> None:
    """Only what was published is learned from."""
    land(world, 0)
    world.play(0)
    land(world, 1)
    world.run(1)
    assert 0 == evidence(world, 1)["earlier_runs"]


def test_what_trust_changed_can_be_shown(world: World) -> None:
    """The count of values that a vote would not have chosen comes with the first of them."""
    land(world, 0)
    world.run(0)
    with world.step(0, 0, "trust") as step:
        found = trust_changes(step, step.spec.datasets["thing"], 3)
    count, cells = found["size"]
    assert count > 0
    assert min(count, 3) == len(cells)
    assert all(cell.value != cell.other for cell in cells)


def test_a_late_feed_is_merged_by_what_the_run_believed(world: World) -> None:
    """The rows that a late feed touches are merged by the run's own model, so that no other row contradicts them."""
    land(world, 0, late=False)
    world.run(0)
    before = evidence(world, 0)["model"]
    land(world, 0)
    assert world.reconcile(0) is not None
    assert before == evidence(world, 0)["model"]
    assert len(KEYS) == len(world.rows())
    assert "late" in str(world.rows()[0])


def test_equal_files_believed_otherwise_are_other_content(world: World) -> None:
    """The hash of a merge covers the model: a retry with equal trust is the same, another trust is not."""
    world.files = {(run, feed): files_of(1)[0, feed] for run in (0, 1) for feed in FEEDS}
    for number in (0, 1):
        land(world, number)
        world.run(number)
    hashes = {world.store.merges(world.key(number), 1)["thing"].content_sha256 for number in (0, 1)}
    models = {str(evidence(world, number)["model"]) for number in (0, 1)}
    assert len(models) == len(hashes)
