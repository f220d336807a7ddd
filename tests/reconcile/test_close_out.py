"""When a run has ended, it has: whoever was given up before, and lives on, publishes nothing."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from airflow_orchestration.exceptions import FencedError
from airflow_orchestration.storage.store import Attempt, WorkUnit
from airflow_orchestration.workflow.close_out import close_out
from airflow_orchestration.workflow.publish import publish
from tests.reconcile.conftest import Connect, MakeWorld
from tests.reconcile.world import ALL_OVER, World


@pytest.fixture
def merged(make_world: MakeWorld) -> World:
    """A run whose merge is approved, and not published yet."""
    world = make_world("closed", {"only": 1.0}, {(0, "only"): "code,size,name\na,1,x\n"})
    world.land([(0, "only")])
    world.start(0)
    world.work(0)
    world.decide(0, ALL_OVER)
    return world


def end(world: World) -> dict[str, Any]:
    with world.step(0, 0, "close_out") as step:
        return close_out(step, world.publishers)


def test_a_publisher_that_was_given_up_publishes_nothing_after_the_end(
    merged: World, connect: Connect
) -> None:
    """The run ended as not published while its publisher was stopped: that is what it stays."""
    with merged.step(0, 0, "publish") as stopped:
        assert "not_published" == end(merged)["state"]
        with pytest.raises(FencedError, match="taken over"):
            publish(stopped, merged.publishers)
    with connect() as connection, pytest.raises(psycopg.errors.UndefinedTable):
        connection.execute("SELECT FROM public.closed")


def test_a_publisher_that_was_stopped_before_it_claimed_publishes_nothing_after_the_end(
    merged: World,
) -> None:
    """Its number would be newer than that of the end: what counts is when it was started."""
    unit = WorkUnit(run=merged.key(0), round=0, unit="publish")
    stopped = Attempt(
        try_number=99, ti_id="t", process="stopped", began_at=merged.store.run(unit.run).started_at
    )
    assert "not_published" == end(merged)["state"]
    with pytest.raises(FencedError, match="the run has ended since it was started"):
        merged.store.claim(unit, stopped)


def test_a_run_that_ended_unpublished_can_be_published_after_all(merged: World) -> None:
    """Somebody clears the task `publish`, and with it `close_out`: a new execution may do what the old one may not."""
    assert "not_published" == end(merged)["state"]
    assert "published" == merged.publish(0)["state"]
    assert ["a"] == [row[0] for row in merged.rows()]
