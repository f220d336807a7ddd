"""Whole runs with a stream whose tasks are killed, tried again, or never closed: each record is in the table once."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any, NoReturn

import pytest

from airflow_orchestration.storage import postgres, streams_postgres
from airflow_orchestration.storage.postgres import PostgresStore
from airflow_orchestration.storage.publishing import Publisher
from airflow_orchestration.workflow import branch as branches
from airflow_orchestration.workflow.drift import register_judged
from airflow_orchestration.workflow.publish import publish
from tests.reconcile.world import ALL_OVER
from tests.sources.test_stream_runs import StreamWorld, make

CODES = [f"c{number:02}" for number in range(22)]


def die(*_: object, **__: object) -> NoReturn:
    """End this process as the kernel does when it wants its memory back."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def in_a_process(task: Callable[[], object], *deadly: tuple[object, str, Callable[..., Any]]) -> int:
    """Have a task done by a process of its own, in which some functions are replaced; return how it ended."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        for place, name, replacement in deadly:
            setattr(place, name, replacement)
        task()
    except BaseException:  # noqa: BLE001  # a child of a test must never return into pytest
        os._exit(4)
    os._exit(0)


def held_and_killed(*arguments: Any) -> None:
    """Write the ranges, and die before anything is committed."""
    streams_postgres.hold(*arguments)
    die()


def registered_and_killed(*arguments: Any, **options: Any) -> None:
    """Commit the result, and die."""
    register_judged(*arguments, **options)
    die()


KILLS_WHILE_READING = {
    "before it registers": (branches, "register_judged", die),
    "while it registers": (postgres, streams_postgres.hold.__name__, held_and_killed),
    "when it has registered": (branches, "register_judged", registered_and_killed),
}
HISTORY = [
    *KILLS_WHILE_READING,
    "before it publishes",
    "when it has published",
    "marked failed before it publishes",
    "marked failed when it has published",
    "good",
]


def play(world: StreamWorld, number: int, fate: str) -> int:
    """Play a run to its end, whatever meets it on its way; return how many of its tasks were killed."""
    killed = 0
    world.start(number)
    if fate in KILLS_WHILE_READING:
        killed += in_a_process(lambda: world.work(number), KILLS_WHILE_READING[fate]) == -signal.SIGKILL
    tries_again(world)
    world.work(number)
    world.decide(number, ALL_OVER)
    if fate == "before it publishes":
        killed += in_a_process(lambda: bring(world, number), (Publisher, "publish", die)) == -signal.SIGKILL
    if fate == "when it has published":
        killed += in_a_process(lambda: bring_and_die(world, number)) == -signal.SIGKILL
    tries_again(world)
    if fate == "marked failed when it has published":
        bring(world, number)
    elif fate != "marked failed before it publishes":
        world.publish(number)
    return killed


def bring(world: StreamWorld, number: int) -> None:
    """Execute the task `publish`, and nothing behind it."""
    with world.step(number, 0, "publish") as step:
        publish(step, world.publishers)


def bring_and_die(world: StreamWorld, number: int) -> None:
    """Execute the task `publish`, and die before anybody is told."""
    bring(world, number)
    die()


def tries_again(world: StreamWorld) -> None:
    """Number the tries behind those that a process of its own has made."""
    world._tries = count(next(world._tries) + 100)  # a forked process counts on by itself


def test_every_record_is_published_once_by_runs_that_are_killed(
    migrated: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Real steps, store and target: branches and publishers die, runs are marked failed, and no record is lost or doubled."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    world = make(migrated, tmp_path, publish={"table": "public.things", "mode": "append"})
    with PostgresStore(world.connect) as store:
        world.store = store  # type: ignore[assignment]  # the one for deployments keeps the same promises
        world.put(*CODES)
        fates = [*HISTORY, "good"]
        assert len(KILLS_WHILE_READING) + 2 == sum(
            play(world, number, fate) for number, fate in enumerate(fates)
        )
    assert CODES == [row[0] for row in world.rows()]
