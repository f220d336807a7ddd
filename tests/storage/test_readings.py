"""What the page of a run reads does not grow with the run's timeline."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from airflow_orchestration.insights import run_chart
from airflow_orchestration.insights.agents import run_agents
from airflow_orchestration.insights.run_view import run_view, timeline_page
from airflow_orchestration.storage.postgres import PostgresStore
from airflow_orchestration.storage.readings import MOST_BESIDES, MOST_COUNTED, NEWEST
from airflow_orchestration.storage.sql_file import statements
from benchmarks.page_run import KEY, Size, fill
from demo.postgres import EmbeddedPostgres

SIZE = Size(branches=20, feeds=100, again=20, events=12_000, earlier_runs=5)
DRIFTED = 1_100
HOT = {
    "readings.sql": {
        "events_before": "timeline_run",
        "events_of_round_before": "timeline_round",
        "events_counted": "timeline_run",
        "questions_read": "timeline_asked",
    },
    "agents.sql": {"told_by_agents": "timeline_agent"},
}


ONE_RUN = {
    "readings.sql": [
        "feeds_read",
        "rejects_read",
        "claims_read",
        "waiting_read",
        "decisions_read",
        "decisions_besides_read",
    ],
    "agents.sql": ["decided_about_agents"],
}
OTHER_RUNS = """
    INSERT INTO orchestration.feed_outcome
        (dag_id, run_id, round, feed_id, epoch, branch_id, status, elapsed_seconds, cluster_utilization, rows_in,
         rows_staged, rows_quarantined, rows_out_of_scope, quality_score)
    SELECT 'other', 'run_' || n, 1, 'feed', 1, 'b1', 'success', 1, 0, 1, 1, 0, 0, 1 FROM generate_series(1, 3000) AS n;
    INSERT INTO orchestration.claim (dag_id, run_id, round, unit, epoch, try_number, ti_id, process, lease_until)
    SELECT 'other', 'run_' || n, 1, 'u', n, 1, 't', 'p', now() FROM generate_series(1, 3000) AS n;
    INSERT INTO orchestration.waiting
    SELECT 'other', 'run_' || n, 1, 'u', 'feed' FROM generate_series(1, 3000) AS n;
    INSERT INTO orchestration.decision (dag_id, run_id, round, decision)
    SELECT 'other', 'run_' || n, 1, '{"policy": "quorum_gate"}' FROM generate_series(1, 3000) AS n;
    ANALYZE"""
DRIFT = """
    INSERT INTO orchestration.decision (dag_id, run_id, round, decision)
    SELECT %(dag_id)s, %(run_id)s, 3,
           jsonb_build_object('policy', 'drift', 'action', 'x', 'reason', 'x', 'evidence', jsonb_build_object('feed', n))
    FROM generate_series(1, %(drifted)s) AS n"""


@pytest.fixture(scope="module")
def large(postgres: EmbeddedPostgres, create_migrated: Callable[[str], str]) -> Iterator[str]:
    """A database with a run that has most of a long timeline, and another run after it."""
    dsn = create_migrated("readings")
    with psycopg.connect(dsn, autocommit=True) as connection, _store(dsn) as store:
        fill(store, connection, SIZE)
        connection.execute(DRIFT, {"dag_id": KEY.dag_id, "run_id": KEY.run_id, "drifted": DRIFTED})
        connection.execute(OTHER_RUNS)
    yield dsn
    postgres.drop_database("readings")


def _store(dsn: str) -> PostgresStore:
    return PostgresStore(lambda: psycopg.connect(dsn))


@pytest.mark.parametrize(
    ("file", "name", "index"), [(file, *one) for file, found in HOT.items() for one in found.items()]
)
def test_a_timeline_is_read_by_an_index(large: str, file: str, name: str, index: str) -> None:
    """Nothing reads the timeline but by the index that is made for it, and no more of it than it returns."""
    asked = {"dag_id": KEY.dag_id, "run_id": KEY.run_id, "round": 1, "before": NEWEST, "limit": 201}
    with psycopg.connect(large) as connection:
        query = f"EXPLAIN (ANALYZE, FORMAT JSON) {statements(file)[name]}"
        row = connection.execute(query, asked).fetchone()
    assert row is not None
    reads = [node for node in _nodes(row[0][0]["Plan"]) if node.get("Relation Name") == "timeline"]
    assert {index} <= {node.get("Index Name") for node in reads} <= {index, "timeline_asked"}, json.dumps(row)
    assert all(node["Actual Rows"] <= asked["limit"] for node in reads)
    assert [] == [node for node in reads if node.get("Rows Removed by Filter", 0)]


@pytest.mark.parametrize(
    ("file", "name"), [(file, name) for file, found in ONE_RUN.items() for name in found]
)
def test_one_run_is_read_and_no_others(large: str, file: str, name: str) -> None:
    """Among thousands of runs, what is known of one is found by an index."""
    asked = {"dag_id": KEY.dag_id, "run_id": KEY.run_id, "limit": 1000}
    with psycopg.connect(large) as connection:
        row = connection.execute(f"EXPLAIN (FORMAT JSON) {statements(file)[name]}", asked).fetchone()
    assert row is not None
    kinds = [node["Node Type"] for node in _nodes(row[0][0]["Plan"])]
    assert "Seq Scan" not in kinds, json.dumps(row)
    assert any("Index" in kind for kind in kinds)


def _nodes(node: dict[str, Any]) -> list[dict[str, Any]]:
    return [node, *(inner for child in node.get("Plans", []) for inner in _nodes(child))]


def test_a_large_run_is_shown_in_bounds(large: str) -> None:
    """Every branch with its agent is there, events are counted no further than needed, and bars are few."""
    with _store(large) as store:
        view = run_view(store, KEY)
        agents = run_agents(store, KEY)
        page = timeline_page(store, KEY)
    first = view["rounds"][0]
    assert SIZE.branches == len(first["branches"]) == len({branch["agent"] for branch in first["branches"]})
    assert SIZE.feeds == sum(len(branch["feeds"]) for branch in first["branches"])
    assert {"count": MOST_COUNTED, "more": True} == view["events"]
    assert "waiting" in {branch["state"] for branch in view["rounds"][-1]["branches"]}
    assert [SIZE.branches] * 3 == [len(one.agents) for one in agents]
    assert 200 == len(page["events"])
    assert page["before"] == page["events"][-1]["id"]


def test_news_of_a_run_are_seen_by_looking_at_a_line_of_each_table(large: str) -> None:
    """Whether there is anything new costs an index look-up each, however long the run's records are."""
    asked = {"dag_id": KEY.dag_id, "run_id": KEY.run_id}
    with psycopg.connect(large) as connection:
        query = f"EXPLAIN (ANALYZE, FORMAT JSON) {statements('readings.sql')['newest_read']}"
        row = connection.execute(query, asked).fetchone()
    assert row is not None
    reads = {node["Index Name"]: node for node in _nodes(row[0][0]["Plan"]) if "Index Name" in node}
    assert {"timeline_run", "decision_run", "claim_newest"} == set(reads), json.dumps(row)
    assert {1} == {node["Actual Rows"] for node in reads.values()}
    assert not [node for node in reads.values() if node.get("Rows Removed by Filter", 0)]


def test_many_decisions_about_feeds_crowd_nothing_out(large: str) -> None:
    """A thousand feeds that are not as usual take neither a quality section nor a link from the view."""
    with _store(large) as store:
        view = run_view(store, KEY)
    decided = [shown for shown in view["rounds"] if shown["gate"]["verdict"]]
    shown = [one["policy"] for one in view["decisions"]]
    assert 2 == len([one for one in decided if one["quality"] and one["gate"]["verdict"]["id"]])
    assert MOST_BESIDES == shown.count("drift")
    assert 2 == shown.count("quorum_gate") == shown.count("quality_gate")


def test_a_chart_keeps_what_went_wrong(large: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there are more bars than can be told apart, feeds that went well and quickly are left out."""
    with _store(large) as store:
        every = run_view(store, KEY)["chart"]
        monkeypatch.setattr(run_chart, "MOST_BARS", 60)
        some = run_view(store, KEY)["chart"]
    assert (True, 60) == (len(every) > 60, len(some))
    assert [bar for bar in every if bar["kind"] != "feed"] == [bar for bar in some if bar["kind"] != "feed"]
    bad = [bar for bar in every if bar["kind"] == "feed" and bar["state"] != "in"]
    assert bad
    assert all(bar in some for bar in bad)
