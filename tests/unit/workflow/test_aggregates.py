"""Aggregates in a whole run: after their feeds, made anew with them, published as rows of their own."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest

from airflow_orchestration.domain.contract import Contract
from airflow_orchestration.domain.decision import Decision
from airflow_orchestration.domain.outcome import FeedOutcome
from airflow_orchestration.domain.pipeline import Pipeline
from airflow_orchestration.domain.plan import Plan
from airflow_orchestration.domain.run_spec import RunSpec
from airflow_orchestration.exceptions import InputRefusedError
from airflow_orchestration.storage.gate_facts import newest_outcomes
from airflow_orchestration.workflow.aggregate import QUALITY_RECORDED
from airflow_orchestration.workflow.in_process import InProcessRun
from airflow_orchestration.workflow.output import OUTPUT_WRITTEN


def contract(name: str, key: str, **types: str) -> Contract:
    columns = [{"name": column, "type": kind} for column, kind in types.items()]
    return Contract.model_validate({"name": name, "key": [key], "columns": columns})


SALE = contract("sale", "id", id="string", shop="string", euros="number")
SHOP = contract("shop", "shop", shop="string", sales="integer", euros="number")
COUNTRY = contract("country", "kind", kind="string", shops="integer", euros="number")
CONTRACTS = (SALE, SHOP, COUNTRY)
NORTH = "id,shop,cents\n1,a,150\n2,b,250\n3,a,50\n4,a,x\n"
SOUTH = "id,shop,cents\n5,a,100\n6,c,300\n"

Feeds = dict[str, dict[str, Any]]


def feeds(**changes: dict[str, Any]) -> Feeds:
    file = {"format": "csv", "dataset": "sale"}
    columns = {"id": "id", "shop": "shop", "euros": {"expression": "cents::INTEGER / 100.0"}}
    declared: Feeds = {
        "north": {**file, "uri": "landing/north.csv", "columns": columns},
        "south": {**file, "uri": "landing/south.csv", "columns": columns},
        "shops": {
            "dataset": "shop",
            "type": "data_aggregation",
            "priority": "high",
            "depends_on": ["north", "south"],
            "aggregate": {
                "feeds": ["north", "south"],
                "group_by": ["shop"],
                "measures": {"sales": {"function": "count"}, "euros": {"function": "sum", "column": "euros"}},
            },
        },
        "countries": {
            "dataset": "country",
            "type": "quality_monitoring",
            "priority": "low",
            "depends_on": ["shops"],
            "aggregate": {
                "feeds": ["shops"],
                "group_by": ["shop"],
                "measures": {"shops": {"function": "count"}, "euros": {"function": "max", "column": "euros"}},
            },
            "columns": {"kind": "shop", "shops": "shops", "euros": "euros"},
        },
    }
    return {name: {**feed, **changes.get(name, {})} for name, feed in declared.items()}


class World:
    """A folder with files, and a run over them."""

    def __init__(self, folder: Path, declared: Feeds, **pipeline: Any) -> None:
        self.folder = folder
        self.reported: list[Plan | Decision] = []
        self.react: Callable[[Plan | Decision], None] = lambda _: None
        self.run = InProcessRun(
            spec=RunSpec(
                pipeline=Pipeline.model_validate(
                    {
                        "id": "sales",
                        "roots": {"landing": str(folder), "lake": str(folder / "lake")},
                        "staging": str(folder / "staging"),
                        "contract": "unused",
                        "sync": {"deadline": 60},
                        "datasets": {one.name: {"publish": {"table": f"s.{one.name}"}} for one in CONTRACTS},
                        "feeds": [{"id": name, **feed} for name, feed in declared.items()],
                        **pipeline,
                    }
                ),
                contracts=CONTRACTS,
                run_date=date(2026, 11, 22),
            ),
            clock=lambda: datetime.now(UTC),
            report=self.report,
            output=folder / "out",
        )

    def report(self, made: Plan | Decision) -> None:
        self.reported.append(made)
        self.react(made)

    def deliver(self, **files: str) -> None:
        for name, text in files.items():
            (self.folder / f"{name}.csv").write_text(text)

    def outcomes(self) -> dict[str, FeedOutcome]:
        return newest_outcomes(self.run.store.outcomes(self.run.key))

    def events(self, name: str) -> list[dict[str, Any]]:
        return [dict(event.detail) for event in self.run.store.timeline(self.run.key) if event.event == name]

    def rows(self, dataset: str, columns: str) -> list[tuple[Any, ...]]:
        with duckdb.connect() as connection:
            [path] = (self.folder / "out").glob(f"rows-*-{dataset}.parquet")
            return connection.execute(f"SELECT {columns} FROM '{path}' ORDER BY ALL").fetchall()


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Two files of sales, aggregated by shop, and these once more."""
    return World(tmp_path, feeds())


def test_aggregates_are_published_beside_what_they_are_made_of(world: World) -> None:
    """Sums are of the checked rows of both feeds, an aggregate of aggregates comes after them, and all adds up."""
    world.deliver(north=NORTH, south=SOUTH)
    manifest = world.run.run()

    assert "published" == manifest["state"]
    assert [("a", 3, 3.0), ("b", 1, 2.5), ("c", 1, 3.0)] == world.rows("shop", "shop, sales, euros")
    assert [("a", 1, 3.0), ("b", 1, 2.5), ("c", 1, 3.0)] == world.rows("country", "kind, shops, euros")
    for feed_id, outcome in world.outcomes().items():
        assert outcome.rows_in == outcome.rows_staged + outcome.rows_quarantined, feed_id
    assert {"expression": 1} == world.outcomes()["north"].rejects


def test_the_secondary_lane_records_the_quality_of_what_it_aggregates(world: World) -> None:
    """The timeline has a line for each feed that is aggregated there, column by column; the primary lane none."""
    world.deliver(north=NORTH, south=SOUTH)
    world.run.run()
    (found,) = world.events(QUALITY_RECORDED)

    assert ("shops", "countries", 3) == (found["feed"], found["by"], found["rows"])
    assert 1.0 == found["completeness"]["share"]
    assert (2.5, 3.0) == (found["columns"]["euros"]["lowest"], found["columns"]["euros"]["highest"])
    assert 0.33 < found["columns"]["euros"]["distinct"]["share"] < 1
    assert json.dumps(found)


def test_the_quality_of_each_aggregated_feed_is_recorded(tmp_path: Path) -> None:
    """An aggregate at low priority tells how good its sources are, quarantined rows included."""
    world = World(tmp_path, feeds(shops={"priority": "low"}))
    world.deliver(north=NORTH, south=SOUTH)
    world.run.run()
    found = {line["feed"]: line for line in world.events(QUALITY_RECORDED)}

    assert {"north", "south", "shops"} == found.keys()
    assert 0.75 == found["north"]["columns"]["euros"]["valid"]["share"]
    assert 1.0 == found["south"]["columns"]["euros"]["valid"]["share"]


def test_a_failed_feed_fails_its_aggregates_with_the_reason(tmp_path: Path) -> None:
    """Nothing is summed up out of half of the feeds."""
    world = World(tmp_path, feeds(), max_rounds=1, sync={"deadline": 60, "floor": 0.25})
    world.deliver(north=NORTH, south="")
    world.run.run()
    outcomes = world.outcomes()

    assert "shops depends on south, which failed" == outcomes["shops"].error
    assert "countries depends on shops, which failed" == outcomes["countries"].error


def test_an_aggregate_is_made_anew_with_a_feed_that_runs_again(world: World) -> None:
    """A feed below standard runs again in round 2, and so do the aggregates of it, over its new rows."""
    bad = "id,shop,cents\n" + "".join(f"{number},a,x\n" for number in range(50)) + "99,z,1\n"
    world.deliver(north=bad, south=SOUTH)

    def repair(made: Plan | Decision) -> None:
        if isinstance(made, Decision) and made.action == "needs_revision":
            world.deliver(north=NORTH)

    world.react = repair
    manifest = world.run.run()
    plans = [made for made in world.reported if isinstance(made, Plan)]

    assert "published" == manifest["state"]
    assert {"north", "shops", "countries"} == set(plans[1].feed_ids)
    assert [("a", 3, 3.0), ("b", 1, 2.5), ("c", 1, 3.0)] == world.rows("shop", "shop, sales, euros")


def test_an_aggregate_waits_for_a_late_feed_and_is_late_with_it(tmp_path: Path) -> None:
    """Without one of its feeds an aggregate is not made: it is late as well."""
    world = World(tmp_path, feeds(), max_rounds=1, sync={"deadline": 0.2, "floor": 0.25})
    world.deliver(north=NORTH)
    manifest = world.run.run()

    assert "published_degraded" == manifest["state"]
    assert {"north"} == world.outcomes().keys()
    assert {"south", "shops", "countries"} == {line["feed"] for line in manifest["missing"]}


def test_checked_rows_go_into_partitions_as_well(tmp_path: Path) -> None:
    """The run's rows stand below the declared root, one folder for each shop, and nothing else is there."""
    output = {"uri": "lake/sales", "partition_by": ["shop"]}
    world = World(tmp_path, feeds(north={"output": output}))
    world.deliver(north=NORTH, south=SOUTH)
    world.run.run()
    (told,) = world.events(OUTPUT_WRITTEN)
    found = sorted(path for path in (tmp_path / "lake").rglob("*") if path.is_file())

    assert told["feed"] == "north"
    assert [f"{told['folder']}/shop={shop}/part-0.parquet" for shop in "ab"] == [str(path) for path in found]
    with duckdb.connect() as connection:
        read = f"read_parquet('{tmp_path}/lake/sales/*/*/*.parquet', hive_partitioning = true)"
        rows = connection.execute(f"SELECT id, shop, euros FROM {read} ORDER BY id").fetchall()
    assert [("1", "a", 1.5), ("2", "b", 2.5), ("3", "a", 0.5)] == rows


def test_bad_expressions_are_refused_before_the_run_is_recorded(tmp_path: Path) -> None:
    """The first task names them all, and nothing has been touched."""
    columns = {"id": "id", "shop": "shop", "euros": {"expression": "getenv('HOME')"}}
    world = World(tmp_path, feeds(north={"columns": columns}))

    with pytest.raises(InputRefusedError, match=r"columns\.euros\.expression: calls getenv"):
        world.run.run()
    assert [] == world.run.store.timeline(world.run.key)
