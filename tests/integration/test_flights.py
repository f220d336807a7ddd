"""The demo of the flights on a real scheduler: five lanes, five datasets, and a second opinion in plain Python."""

from __future__ import annotations

import csv
import gzip
import io
import math
import statistics
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from rich.console import Console

from airflow_orchestration.storage.store import RunKey
from demo.flights import DEPARTURES
from demo.run import play
from demo.scenarios import SHIPPED
from demo.stack import Stack
from tests.integration.test_scenarios import Played

pytestmark = pytest.mark.integration

DAG_ID = "flights"
LANES = {
    "alpha": "departures",
    "beta": "planes",
    "gamma": "weather",
    "primary": "delays",
    "secondary": "delay_quality",
}


@pytest.fixture(scope="module")
def played(stack: Stack) -> Played:
    """The demo, played once."""
    with psycopg.connect(stack.warehouse_dsn) as connection:
        connection.execute("DROP SCHEMA IF EXISTS flights CASCADE")
    screen = io.StringIO()
    code = play(stack, "live", Console(file=screen, width=200), "flights")
    runs = stack.api.get(f"/api/v2/dags/{DAG_ID}/dagRuns?order_by=-start_date&limit=1")
    return Played(
        stack, RunKey(dag_id=DAG_ID, run_id=runs["dag_runs"][0]["dag_run_id"]), code, screen.getvalue()
    )


def departures() -> Iterator[dict[str, str | None]]:
    with gzip.open(SHIPPED / DEPARTURES, "rt") as file:
        for row in csv.DictReader(file):
            yield {name: None if text == "NA" else text for name, text in row.items()}


def expected_delays() -> dict[tuple[str, str], tuple[Any, ...]]:
    """By carrier and day: flights, cancelled ones, mean, median and worst delay, aircraft."""
    groups: dict[tuple[str, str], list[dict[str, str | None]]] = defaultdict(list)
    for row in departures():
        day = f"{row['year']}-{int(row['month'] or 0):02}-{int(row['day'] or 0):02}"
        groups[row["carrier"] or "", day].append(row)
    return {key: _figures(rows) for key, rows in groups.items()}


def _figures(rows: list[dict[str, str | None]]) -> tuple[Any, ...]:
    delays = [int(row["dep_delay"]) for row in rows if row["dep_delay"] is not None]
    return (
        len(rows),
        sum(row["dep_time"] is None for row in rows),
        math.fsum(delays) / len(delays) if delays else None,
        float(statistics.median(delays)) if delays else None,
        max(delays, default=None),
        len({row["tailnum"] for row in rows} - {None}),
    )


def test_each_lane_has_its_feed(played: Played) -> None:
    """One run uses all five lanes, and publishes five tables."""
    lanes = {task.removeprefix("round_1."): state["state"] for (task, _), state in played.tasks.items()}

    assert (0, "success", "published") == (played.code, played.state, played.manifest["state"])
    assert dict.fromkeys(LANES, "success") == {lane: lanes[lane] for lane in LANES}
    plan = played.rounds[0].plan
    assert LANES == {batch.lane.value: batch.feed_id for branch in plan.branches for batch in branch.batches}


def test_the_rows_of_each_feed_add_up(played: Played) -> None:
    """Rows in = published + superseded + quarantined, in the ledger, and as many rows stand in the tables."""
    lines = played.rows(
        "SELECT * FROM orchestration.publish_ledger_feed WHERE publication_key = %s", played.publication
    )
    tables = {
        "departures": "departure",
        "weather": "weather",
        "planes": "plane",
        "delays": "delay",
        "delay_quality": "delay_quality",
    }

    assert set(tables) == {line["feed_id"] for line in lines}
    for line in lines:
        parts = line["rows_published"] + line["rows_superseded"] + line["rows_quarantined"]
        table = tables[line["feed_id"]]
        (counted,) = played.rows(f"SELECT count(*) AS n FROM flights.{table}")
        assert line["rows_in"] == parts, line["feed_id"]
        assert line["rows_published"] == counted["n"], line["feed_id"]
    read = {line["feed_id"]: line["rows_in"] for line in lines}
    assert sum(1 for _ in departures()) == read["departures"]
    assert len(expected_delays()) == read["delays"]


def test_delays_are_those_of_plain_python(played: Played) -> None:
    """Each carrier's day is what Python makes of the same departures."""
    found = {
        (row["carrier"], row["day"].isoformat()): row for row in played.rows("SELECT * FROM flights.delay")
    }
    expected = expected_delays()

    assert expected.keys() == found.keys()
    for key, (flights, cancelled, mean, median, worst, aircraft) in expected.items():
        row = found[key]
        counts = (row["flights"], row["cancelled"], row["median_delay"], row["worst_delay"], row["aircraft"])
        assert (flights, cancelled, median, worst, aircraft) == counts, key
        assert mean is row["mean_delay"] or math.isclose(mean, row["mean_delay"], rel_tol=1e-12), key


def test_the_quality_of_the_delays_is_recorded(played: Played) -> None:
    """The secondary lane's table is of the delays, and the timeline says how filled their columns are."""
    lines = played.rows(
        "SELECT detail FROM orchestration.timeline WHERE run_id = %s AND event = 'data_quality_recorded'",
        played.key.run_id,
    )
    means = [figures[2] for figures in expected_delays().values()]
    (detail,) = [line["detail"] for line in lines]
    counted = played.rows(
        "SELECT sum(days)::int AS days, sum(days_without_departure)::int AS without FROM flights.delay_quality"
    )

    assert ("delays", "delay_quality") == (detail["feed"], detail["by"])
    share = sum(mean is not None for mean in means) / len(means)
    assert math.isclose(share, detail["columns"]["mean_delay"]["filled"]["share"], abs_tol=1e-5)
    assert [{"days": len(means), "without": sum(mean is None for mean in means)}] == counted


def test_an_impossible_wind_is_put_aside(played: Played) -> None:
    """One hour of the weather has a wind of 1,048 miles an hour: quarantined with its line, rule and reason."""
    found = played.rows(
        "SELECT feed_id, rule, column_name, raw FROM orchestration.quarantined_row WHERE publication_key = %s",
        played.publication,
    )

    assert [("weather", "maximum", "wind_kmh")] == [
        (row["feed_id"], row["rule"], row["column_name"]) for row in found
    ]
    assert "1048.36058" in found[0]["raw"]


def test_the_screen_shows_what_is_worth_looking_at(played: Played) -> None:
    """The worst days, the carriers and the quarantined row stand at the end."""
    worst = max(
        (figures for figures in expected_delays().values() if figures[0] >= 20 and figures[2] is not None),
        key=lambda figures: figures[2],
    )

    assert "weather.csv.gz arrives" in played.screen
    assert f"{worst[2]:,.1f}" in played.screen
    assert "Put aside from weather: wind_kmh breaks maximum" in played.screen
