"""A batch that takes too long is stopped when the gate opens without it, on a real scheduler."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from tempfile import gettempdir

import psycopg
import pytest

from airflow_orchestration.domain.batch import Lane
from airflow_orchestration.storage.postgres import PostgresStore
from airflow_orchestration.storage.store import Attempt, RunKey, WorkUnit
from demo.stack import Stack
from tests.integration.test_scenarios import Played, trigger

pytestmark = pytest.mark.integration

DAG_ID = "stragglers"
WITHIN = timedelta(seconds=10)
BLOCK = "".join(f"key {number} that is repeated,{number}\n" for number in range(30_000)).encode()
MINUTES_OF_WORK = 1500
"""Blocks: more than a gigabyte."""


def played_with_a_straggler(stack: Stack) -> Played:
    """A run with a feed of one row, and one of a gigabyte that is deleted afterwards."""
    folder = stack.home / "stragglers"
    folder.mkdir(exist_ok=True)
    (folder / "quick.csv").write_text("code,size\nq,1\n")
    with (folder / "huge.csv").open("wb") as file:
        file.write(b"code,size\n")
        for _ in range(MINUTES_OF_WORK):
            file.write(BLOCK)
    try:
        return trigger(stack, DAG_ID)
    finally:
        (folder / "huge.csv").unlink()


def claimed_again(store: PostgresStore, key: RunKey, try_number: int) -> int:
    """Claim the straggler's work as another process of the same try, while its lease would still last."""
    (branch,) = store.rounds(key)[0].plan.branches_in(Lane.ALPHA)
    unit = WorkUnit(run=key, round=1, unit=f"branch:alpha:{branch}")
    return store.claim(unit, Attempt(try_number=try_number, ti_id="another", process="another")).epoch


def test_straggler_is_stopped_and_skipped(stack: Stack) -> None:
    """The run is published without it; its task is skipped, its lease free, and nothing of it is left."""
    played = played_with_a_straggler(stack)
    tasks = {task_id: task for (task_id, _), task in played.tasks.items()}
    with PostgresStore(lambda: psycopg.connect(stack.warehouse_dsn)) as store:
        events = {event.event: event for event in store.timeline(played.key)}
        outcomes = [outcome.feed_id for outcome in store.outcomes(played.key)]
    stopped, gate = events["branch_stopped"], events["synchronization_checkpoint"]

    assert ("success", "skipped", "success") == (
        played.state,
        tasks["round_1.alpha"]["state"],
        tasks["round_1.beta"]["state"],
    )
    assert ["huge"] == stopped.detail["feeds"]
    assert stopped.at - gate.at < WITHIN
    assert ("published_degraded", "late") == (played.manifest["state"], played.feed("huge")["state"])
    assert "still being processed when the gate decided, and stopped" in played.feed("huge")["why"]
    assert ["quick"] == outcomes
    assert [] == list((stack.home / "staging").glob(f"{DAG_ID}/*/r1/huge/*"))
    assert [] == list(Path(gettempdir()).glob("orchestration-*/huge"))
    with PostgresStore(lambda: psycopg.connect(stack.warehouse_dsn)) as store:
        assert claimed_again(store, played.key, tasks["round_1.alpha"]["try_number"]) > 0
