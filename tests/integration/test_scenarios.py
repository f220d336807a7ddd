"""The demo's scenarios on a real scheduler, triggerer and PostgreSQL."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
from psycopg.rows import dict_row
from rich.console import Console

from airflow_orchestration.storage.postgres import PostgresStore
from airflow_orchestration.storage.store import RunKey
from demo.errors import ApiError
from demo.processes import wait_until
from demo.run import DAG_ID, play
from demo.scenarios import FEED_FILES, SCENARIOS, Landing
from demo.stack import Stack
from tests.integration.oracle import expected_rows

pytestmark = pytest.mark.integration


class Played:
    """A finished run of the demo, with everything that it left behind."""

    def __init__(self, stack: Stack, key: RunKey, code: int | None = None, screen: str = "") -> None:
        self.stack, self.key, self.code, self.screen = stack, key, code, screen
        with PostgresStore(lambda: psycopg.connect(stack.warehouse_dsn)) as store:
            self.manifest: Mapping[str, Any] = store.manifest(key) or {}
            self.rounds = store.rounds(key)
            self.decisions = store.decisions(key)
            self.events = [event.event for event in store.timeline(key)]
        self.state = stack.api.run_state(key.dag_id, key.run_id)
        self.tasks = {
            (task["task_id"], task["map_index"]): task
            for task in stack.api.task_instances(key.dag_id, key.run_id)
        }

    def feed(self, feed_id: str) -> Mapping[str, Any]:
        line: Mapping[str, Any] = next(line for line in self.manifest["feeds"] if line["feed"] == feed_id)
        return line

    def merge_order(self) -> list[str]:
        merges = [
            decision for _, decision in self.decisions if decision["policy"] in {"merging", "reconciling"}
        ]
        shares: Mapping[str, float] = merges[-1]["evidence"]["source_attribution"]
        return sorted(shares, key=lambda feed: (-shares[feed], feed))

    def rows(self, query: str, *parameters: object) -> list[dict[str, Any]]:
        with psycopg.connect(self.stack.warehouse_dsn, row_factory=dict_row) as connection:
            return connection.execute(query, parameters).fetchall()

    @property
    def publication(self) -> str:
        return f"{self.key.dag_id}/{self.key.run_id}"


def versions(played: Played) -> list[dict[str, Any]]:
    return played.rows(
        "SELECT * FROM orchestration.publish_ledger WHERE run_id = %s ORDER BY version", played.key.run_id
    )


def play_scenario(stack: Stack, name: str) -> Played:
    screen = io.StringIO()
    code = play(stack, name, Console(file=screen, width=200))
    runs = stack.api.get(f"/api/v2/dags/{DAG_ID}/dagRuns?order_by=-start_date&limit=1")
    key = RunKey(dag_id=DAG_ID, run_id=runs["dag_runs"][0]["dag_run_id"])
    return Played(stack, key, code, screen.getvalue())


def trigger(stack: Stack, dag_id: str, conf: Mapping[str, Any] | None = None) -> Played:
    stack.api.wait_for_dag(dag_id)
    run_id = stack.api.trigger(dag_id, conf)
    stack.api.wait_for_run(dag_id, run_id)
    return Played(stack, RunKey(dag_id=dag_id, run_id=run_id))


def assert_rows_add_up(played: Played) -> None:
    """For each feed: rows in = published + superseded + quarantined, counted in the tables themselves."""
    lines = played.rows(
        "SELECT * FROM orchestration.publish_ledger_feed WHERE publication_key = %s", played.publication
    )
    assert {line["feed"] for line in played.manifest["feeds"] if line["state"] == "in"} == {
        line["feed_id"] for line in lines
    }
    for line in lines:
        parts = line["rows_published"] + line["rows_superseded"] + line["rows_quarantined"]
        assert line["rows_in"] == parts
        assert played.feed(line["feed_id"])["rows_in"] == line["rows_in"]
    quarantined = played.rows(
        "SELECT feed_id, count(*) AS n FROM orchestration.quarantined_row WHERE publication_key = %s GROUP BY 1",
        played.publication,
    )
    assert {line["feed_id"]: line["rows_quarantined"] for line in lines if line["rows_quarantined"]} == {
        row["feed_id"]: row["n"] for row in quarantined
    }


def assert_table_is_right(played: Played) -> None:
    """Every published value and its source are what plain Python makes of the same lists."""
    expected = expected_rows(played.merge_order())
    rows = {row["iata"]: row for row in played.rows("SELECT * FROM reference.airport")}

    assert expected.keys() == rows.keys()
    for code, (primary, values, sources) in expected.items():
        row = rows[code]
        assert primary == row["_primary_source"], code
        found = {
            name: row[name]
            for name in ("icao", "name", "city", "country", "latitude", "longitude", "elevation_ft")
        }
        assert {name: values.get(name) for name in found} == found, code
        assert {name: feed for name, feed in sources.items() if name != "iata"} == row["_attribution"], code


def test_repair(stack: Stack) -> None:
    """What was broken and what was late come in afterwards: a second version, and the table is the full one."""
    played = play_scenario(stack, "repair")
    first, second = versions(played)

    assert 0 == played.code
    assert "published" == played.manifest["state"]
    assert [] == played.manifest["missing"]
    assert ["aircodes", "vega"] == sorted(played.manifest["versions"][1]["feeds"])
    assert_table_is_right(played)
    published = played.rows("SELECT count(*) AS n FROM reference.airport")[0]["n"]
    assert published == played.manifest["rows"] == first["rows_inserted"] + second["rows_inserted"]
    assert second["rows_published"] < published
    assert "reconciled" in played.screen
    path = "/api/v2/assets/events?source_dag_id=airport_reference__reconcile&order_by=-timestamp&limit=1"
    (told,) = stack.api.get(path)["asset_events"]
    assert (2, played.key.run_id) == (told["extra"]["version"], told["extra"]["run_id"])
    for line in played.manifest["feeds"]:
        parts = line["rows_published"] + line["rows_superseded"] + line["rows_quarantined"]
        assert line["rows_in"] == parts, line["feed"]


@pytest.fixture(autouse=True)
def empty_target(stack: Stack) -> None:
    """Each scenario publishes into a table of its own."""
    with psycopg.connect(stack.warehouse_dsn) as connection:
        connection.execute("DROP SCHEMA IF EXISTS reference CASCADE")
        connection.execute("CREATE SCHEMA reference")


def test_degraded(stack: Stack) -> None:
    """One list broken and one late: published degraded, both named with their reasons, the rest right."""
    played = play_scenario(stack, "degraded")

    assert 0 == played.code
    assert "success" == played.state
    assert "published_degraded" == played.manifest["state"]
    assert {"aircodes", "vega"} == {line["feed"] for line in played.manifest["missing"]}
    assert ("failed", "late") == (played.feed("aircodes")["state"], played.feed("vega")["state"])
    assert "no complete JSON" in played.feed("aircodes")["why"]
    assert "had not arrived" in played.feed("vega")["why"]
    assert (
        round((9083 + 2040) / (7884 + 4517 + 9766 + 9083 + 1329 + 2040), 4)
        == (played.manifest["usual_rows_missing_share"])
    )
    assert "PUBLISHED DEGRADED" in played.screen
    assert played.stack.url in played.screen
    assert_rows_add_up(played)
    assert_table_is_right(played)


def test_degraded_is_visible_in_airflow(stack: Stack) -> None:
    """The broken list's branch is red, the late one's skipped, and the asset event carries the manifest."""
    played = play_scenario(stack, "degraded")
    branches = {
        task["rendered_map_index"]: task["state"]
        for task in played.tasks.values()
        if task["task_id"] == "round_1.beta"
    }
    by_feed = {
        feed: state for name, state in branches.items() for feed in name.partition(": ")[2].split(", ")
    }
    events = stack.api.get(f"/api/v2/assets/events?source_run_id={quote(played.key.run_id)}&limit=100")
    extra = events["asset_events"][-1]["extra"]

    assert "failed" == by_feed["aircodes"]
    assert by_feed["vega"] in {"skipped", "failed"}  # failed when it shares a branch with aircodes
    assert "published_degraded" == extra["state"]
    assert {"aircodes", "vega"} == {line["feed"] for line in extra["missing"]}


def test_complete(stack: Stack) -> None:
    """With all lists in time everything is published in one round, and nothing is missing."""
    played = play_scenario(stack, "complete")

    assert (0, "success", "published") == (played.code, played.state, played.manifest["state"])
    assert [] == played.manifest["missing"]
    assert "all_arrived" == played.manifest["gate"][0]["reason"]
    assert_rows_add_up(played)
    assert_table_is_right(played)


def test_quality(stack: Stack) -> None:
    """A list below standard keeps round 1 from publishing, is run again alone, and then everything is."""
    played = play_scenario(stack, "quality")

    assert (0, "success", "published") == (played.code, played.state, played.manifest["state"])
    assert 2 == len(played.rounds)
    assert ("ourairports",) == played.rounds[1].plan.feed_ids
    assert {"ourairports": 2} == {
        line["feed"]: line["round"] for line in played.manifest["feeds"] if line["round"] > 1
    }
    ledger = played.rows(
        "SELECT * FROM orchestration.publish_ledger WHERE publication_key = %s", played.publication
    )
    assert [2] == [row["round"] for row in ledger]
    assert 1 == played.events.count("published")
    assert_rows_add_up(played)
    assert_table_is_right(played)


def test_late_list_is_waited_for_without_a_slot(stack: Stack) -> None:
    """A list that lands before the deadline is taken in, its branch having waited in the triggerer."""
    landing = Landing(stack.home / "landing")
    landing.clear()
    landing.deliver(*(feed for feed in FEED_FILES if feed != "vega"))
    stack.api.wait_for_dag(DAG_ID)
    run_id = stack.api.trigger(DAG_ID, {"sync_deadline": 120})
    key = RunKey(dag_id=DAG_ID, run_id=run_id)
    wait_until_deferred(stack, key)
    landing.deliver("vega")
    stack.api.wait_for_run(DAG_ID, run_id)
    played = Played(stack, key)

    assert ("success", "published") == (played.state, played.manifest["state"])
    assert "in" == played.feed("vega")["state"]


def wait_until_deferred(stack: Stack, key: RunKey) -> None:
    def deferred() -> bool:
        tasks = stack.api.task_instances(key.dag_id, key.run_id)
        return any(task["task_id"] == "round_1.beta" and task["state"] == "deferred" for task in tasks)

    assert wait_until(deferred, 60, every=0.5)


def test_required_list_broken(stack: Stack) -> None:
    """Without a required list nothing is published: every round decides at once, and the run fails."""
    landing = Landing(stack.home / "landing")
    SCENARIOS["complete"](landing).before()
    landing.deliver("airportsdata", change=lambda _: b"")
    played = trigger(stack, DAG_ID)

    assert ("failed", "not_published") == (played.state, played.manifest["state"])
    assert 3 == len(played.rounds)
    assert {"required_failed"} == {gate["reason"] for gate in played.manifest["gate"]}
    assert "airportsdata" in played.rounds[2].plan.feed_ids  # and what the others had not brought by then
    assert [] == played.rows(
        "SELECT 1 FROM orchestration.publish_ledger WHERE publication_key = %s", played.publication
    )
    assert played.rows("SELECT to_regclass('reference.airport') AS t")[0]["t"] is None


def test_bad_conf_changes_nothing(stack: Stack) -> None:
    """What the form can't see fails the first task, and leaves nothing but a record of why."""
    played = trigger(stack, DAG_ID, {"batches": [{"id": "vega"}, {"id": "vega"}]})
    (run,) = played.rows("SELECT spec, state FROM orchestration.run WHERE run_id = %s", played.key.run_id)

    assert "failed" == played.state
    assert "failed" == played.tasks["analyze_batches", -1]["state"]
    assert {"spec": None, "state": "not_published"} == run
    assert played.manifest["why"].startswith("conf was refused: batches")
    assert ([], ["run_finished"]) == (list(played.rounds), played.events)
    with pytest.raises(ApiError, match="sync_floor"):
        stack.api.trigger(DAG_ID, {"sync_floor": 0.1})


def test_five_lanes(stack: Stack) -> None:
    """Each feed runs in its lane, dependent feeds after what they need, and all are published."""
    folder = stack.home / "lanes"
    folder.mkdir(exist_ok=True)
    (folder / "stream.ndjson").write_text('{"code": "s", "size": 1}\n{"code": "t", "size": 2}\n')
    (folder / "live.json").write_text('[{"code": "l", "size": 3.5}]')
    for number, feed in enumerate(("nightly", "totals", "checks")):
        (folder / f"{feed}.csv").write_text(f"code,size\n{feed},{number}\n")
    played = trigger(stack, "five_lanes", {"workflow_mode": "parallel"})
    lanes = {task_id for task_id, _ in played.tasks if played.tasks[task_id, _]["state"] == "success"}

    assert ("success", "published") == (played.state, played.manifest["state"])
    assert {f"round_1.{lane}" for lane in ("alpha", "beta", "gamma", "primary", "secondary")} <= lanes
    with PostgresStore(lambda: psycopg.connect(stack.warehouse_dsn)) as store:
        arrivals = [
            event.detail["feed"] for event in store.timeline(played.key) if event.event == "feed_registered"
        ]
    assert arrivals.index("nightly") < arrivals.index("totals") < arrivals.index("checks")


def test_what_a_failed_feed_was_needed_for_fails_with_a_reason(stack: Stack) -> None:
    """A feed whose dependency failed is failed at once, and its reason names the dependency."""
    folder = stack.home / "lanes"
    folder.mkdir(exist_ok=True)
    (folder / "stream.ndjson").write_text('{"code": "s", "size": 1}\n')
    (folder / "live.json").write_text('[{"code": "l", "size": 3.5}]')
    (folder / "nightly.csv").write_text("")
    for feed in ("totals", "checks"):
        (folder / f"{feed}.csv").write_text(f"code,size\n{feed},1\n")
    played = trigger(stack, "five_lanes", {"sync_floor": 0.3})

    assert ("success", "published_degraded") == (played.state, played.manifest["state"])
    assert "totals depends on nightly, which failed" == played.feed("totals")["why"]
    assert "checks depends on totals, which failed" == played.feed("checks")["why"]


def test_gate_alone(stack: Stack) -> None:
    """The stand-alone gate opens over three of four regions, and the merge takes exactly those."""
    stack.api.wait_for_dag("gate_alone")
    run_id = stack.api.trigger("gate_alone")
    state = stack.api.wait_for_run("gate_alone", run_id)
    run = f"/api/v2/dags/gate_alone/dagRuns/{quote(run_id, safe='')}"
    merged = stack.api.get(f"{run}/taskInstances/merge/xcomEntries/return_value")["value"]

    assert "success" == state
    assert ["africa", "americas", "europe"] == merged
