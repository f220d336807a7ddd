"""Aggregates of late feeds: made when their feeds have come, as if these had been on time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from airflow_orchestration.domain.contract import Contract
from tests.reconcile.conftest import Connect
from tests.reconcile.world import CONTRACT, World

SIZES = Contract.model_validate(
    {
        "name": "sizes",
        "key": ["name"],
        "columns": [
            {"name": "name", "type": "string"},
            {"name": "things", "type": "integer"},
            {"name": "size", "type": "number"},
        ],
    }
)
ONE = "code,size,name\na,1,x\nb,2,y\n"
TWO = "code,size,name\nc,4,x\nd,8,x\n"
FILES = {(number, feed): text for number in (0, 1) for feed, text in (("one", ONE), ("two", TWO))}
ALL = [("x", 3, 13.0), ("y", 1, 2.0)]


@pytest.fixture
def world(connect: Connect, tmp_path: Path) -> World:
    """Two lists of things, and their sizes by name."""
    file = {"dataset": "thing", "format": "csv", "columns": {name: name for name in ("code", "size", "name")}}
    made = {
        "feeds": ["one", "two"],
        "group_by": ["name"],
        "measures": {"things": {"function": "count"}, "size": {"function": "sum", "column": "size"}},
    }
    sizes = {"id": "sizes", "dataset": "sizes", "type": "data_aggregation", "depends_on": ["one", "two"]}
    return World(
        folder=tmp_path,
        table="public.thing",
        feeds={"one": 1.0, "two": 1.0, "sizes": 1.0},
        files=FILES,
        connect=connect,
        contracts=(CONTRACT, SIZES),
        changes={
            "publish": None,
            "datasets": {name: {"publish": {"table": f"public.{name}"}} for name in ("thing", "sizes")},
            "feeds": [
                {"id": "one", "uri": "landing/{date}-one.csv", **file},
                {"id": "two", "uri": "landing/{date}-two.csv", **file},
                {**sizes, "aggregate": made},
            ],
        },
    )


def sizes(connect: Connect) -> list[tuple[Any, ...]]:
    with connect() as connection:
        return connection.execute("SELECT name, things, size FROM public.sizes ORDER BY name").fetchall()


def test_an_aggregate_comes_with_the_late_feed_that_it_waited_for(world: World, connect: Connect) -> None:
    """It is late with its feed, and both are merged afterwards: the tables are those of a run on time."""
    world.land([(0, "one")])
    first = world.run(0)
    world.land([(0, "two")])
    second = world.reconcile(0)

    assert {"two", "sizes"} == {line["feed"] for line in first["missing"]}
    assert second is not None
    assert ("published", []) == (second["state"], second["missing"])
    assert ALL == sizes(connect)
    assert world.reconcile(0) is None


def test_a_failed_feed_that_is_delivered_again_brings_its_aggregate(world: World, connect: Connect) -> None:
    """The button reads what had failed again: first the feed, then what is made of it."""
    world.files = {**FILES, (0, "two"): ""}
    world.land([(0, "one"), (0, "two")])
    first = world.run(0)
    world.files = FILES
    world.land([(0, "two")])
    second = world.reconcile(0, failed_too=True)

    assert {"two", "sizes"} == {line["feed"] for line in first["missing"]}
    assert second is not None
    assert [] == second["missing"]
    assert ALL == sizes(connect)


def test_an_aggregate_of_an_older_run_is_made_after_the_next_one(world: World, connect: Connect) -> None:
    """Its feed's file names the day, so it belongs to the older run, and so does what is made of it."""
    world.land([(0, "one")])
    world.run(0)
    world.land([(1, "one"), (1, "two")])
    world.run(1)
    world.land([(0, "two")])
    manifest = world.reconcile(0)

    assert manifest is not None
    assert [] == manifest["missing"]
    assert ALL == sizes(connect)
