"""Runs of some Dags and feeds of one Dag over time, as a page shows them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

import psycopg
import pytest

from airflow_orchestration.domain.decision import Decision
from airflow_orchestration.insights.overview import feeds_over_time, runs_over_time
from airflow_orchestration.storage.postgres import PostgresStore
from airflow_orchestration.storage.sql_file import statements
from airflow_orchestration.storage.store import GateTerms, RunKey, RunState
from airflow_orchestration.storage.trust_history import Taught
from tests.rewriting import REWRITING
from tests.storage.builders import claimed, delivered, failed, merge_record, plan
from tests.storage.conftest import Connect

Target = psycopg.Connection[Any]
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
FEEDS = ("a", "b", "c")
SPEC = {"pipeline": {"feeds": [{"id": feed} for feed in FEEDS]}}
WIDE = 600
"""Seconds; the machine that runs the tests is never so slow."""


class Said(StrEnum):
    PROCEED = "proceed_to_data_merge"
    RECOVER = "timeout_recovery"
    JUDGED = "quality_approved"


def said(action: Said, policy: str = "quorum_gate", **evidence: Any) -> Decision:
    return Decision(policy=policy, action=action, reason=action, evidence=evidence)


def manifest(states: dict[str, str], **told: Any) -> dict[str, Any]:
    lines = [{"feed": feed, "state": state} for feed, state in states.items()]
    return {"version": 1, "weight_share": 0.8, "feeds_in": 2, "feeds_expected": 3, "feeds": lines, **told}


@dataclass
class Played:
    """Runs on PostgreSQL, made by the calls that a Dag's tasks make."""

    store: PostgresStore
    target: Target

    def begin(self, key: RunKey) -> None:
        self.store.save_run(claimed(self.store, run=key), SPEC, said(Said.PROCEED, "workflow_mode"))

    def open(self, key: RunKey, number: int = 1) -> None:
        terms = GateTerms(deadline=timedelta(seconds=WIDE))
        self.store.open_round(claimed(self.store, "plan", number, run=key), plan(number, FEEDS), terms)

    def arrive(self, key: RunKey, feed: str, rows: int, number: int = 1) -> None:
        branch = claimed(self.store, f"branch:beta:{feed}", number, run=key)
        self.store.register(branch, delivered(feed, rows, round_number=number))

    def judge(self, key: RunKey, overall: float, number: int = 1) -> None:
        fence = claimed(self.store, "quality", number, run=key)
        self.store.record_decision(fence, said(Said.JUDGED, "quality_gate", overall=overall))

    def end(self, key: RunKey, state: RunState, told: dict[str, Any]) -> None:
        self.store.finish(claimed(self.store, "close_out", run=key), state, told)

    def whole(self, key: RunKey, *, late: str | None = None) -> None:
        """One round, all feeds in but the one that is late."""
        self.begin(key)
        self.open(key)
        for feed in FEEDS:
            if feed != late:
                self.arrive(key, feed, rows=10)
        self.store.record_verdict(key, 1, said(Said.PROCEED))
        self.judge(key, 0.9)
        states = {feed: "late" if feed == late else "in" for feed in FEEDS}
        state = RunState.PUBLISHED_DEGRADED if late else RunState.PUBLISHED
        self.end(key, state, manifest(states))

    def shift(self, key: RunKey, table: str, column: str, seconds: float) -> None:
        with self.target.transaction():
            self.target.execute(REWRITING)
            self.target.execute(
                f"UPDATE orchestration.{table} SET {column} = {column} + %s WHERE (dag_id, run_id) = (%s, %s)",
                [timedelta(seconds=seconds), key.dag_id, key.run_id],
            )

    def runs(self, *dag_ids: str, since: datetime = LONG_AGO, limit: int = 500) -> dict[str, Any]:
        return runs_over_time(self.store, dag_ids, since=since, limit=limit)

    def feeds(self, dag_id: str = "load", runs: int = 30) -> dict[str, list[dict[str, Any]]]:
        found = feeds_over_time(self.store, dag_id, runs=runs)
        return {feed["feed"]: feed["runs"] for feed in found["feeds"]}


@pytest.fixture
def played(connect: Connect, target: Target) -> Iterator[Played]:
    """A store without runs."""
    with PostgresStore(connect) as store:
        yield Played(store, target)


def key(run_id: str, dag_id: str = "load") -> RunKey:
    return RunKey(dag_id=dag_id, run_id=run_id)


def ids(found: dict[str, Any]) -> list[tuple[str, str]]:
    return [(run["dag_id"], run["run_id"]) for run in found["runs"]]


def test_only_runs_of_the_named_dags_are_read(played: Played) -> None:
    """Newest first over all of them; of no Dag there is none, and a Dag named twice is one."""
    for number, dag_id in enumerate(("load", "secret", "check", "load")):
        played.begin(key(f"r{number}", dag_id))
    assert [("load", "r3"), ("check", "r2"), ("load", "r0")] == ids(played.runs("load", "check", "load"))
    assert [("secret", "r1")] == ids(played.runs("secret", "unknown"))
    assert {"since": "2020-01-01T00:00:00+00:00", "runs": [], "more": False} == played.runs()


def test_runs_are_read_since_a_moment_and_up_to_a_number(played: Played) -> None:
    """What there is beyond the number is said, not read; what began before the moment is no part of it."""
    for number in range(4):
        played.begin(key(f"r{number}", dag_id=f"load{number % 2}"))
    dags = ("load0", "load1")
    found = [(ids(one)[-1][1], one["more"]) for one in (played.runs(*dags, limit=n) for n in (3, 4))]
    assert [("r1", True), ("r0", False)] == found
    since = datetime.fromisoformat(played.runs(*dags)["runs"][1]["started_at"])
    assert ["r3", "r2"] == [run for _, run in ids(played.runs(*dags, since=since))]


def test_a_run_that_ended_shows_its_last_round(played: Played) -> None:
    """The manifest's figures, the rounds, what the last quality gate saw, and whether the last gate was in time."""
    run = key("r")
    played.begin(run)
    played.open(run)
    played.store.record_verdict(run, 1, said(Said.RECOVER))
    played.judge(run, 0.4)
    played.open(run, 2)
    played.store.record_verdict(run, 2, said(Said.PROCEED))
    played.judge(run, 0.95, 2)
    played.end(run, RunState.PUBLISHED_DEGRADED, manifest({"a": "in"}, version=2))
    [found] = played.runs("load")["runs"]
    started, finished = (datetime.fromisoformat(found.pop(name)) for name in ("started_at", "finished_at"))
    assert timedelta(0) < finished - started < timedelta(seconds=WIDE)
    assert (timedelta(0), timedelta(0)) == (started.utcoffset(), finished.utcoffset())
    assert {
        "dag_id": "load", "run_id": "r", "state": "published_degraded", "deadline_met": True, "weight_share": 0.8,
        "feeds_in": 2, "feeds_expected": 3, "quality": 0.95, "rounds": 2, "version": 2,
    } == found  # fmt: skip


def test_without_a_quality_gate_the_worst_merge_of_the_last_round_counts(played: Played) -> None:
    """A run that stopped between merge and quality gate still shows how good its rows are."""
    played.begin(key("r"))
    for number, qualities in ((1, (0.1,)), (2, (0.9, 0.7))):
        played.open(key("r"), number)
        for dataset, quality in enumerate(qualities):
            told = {"evidence": {"overall_quality": quality}}
            record = replace(merge_record(number), dataset=str(dataset), decision=told)
            played.store.save_merge(claimed(played.store, "merge", number, run=key("r")), record)
    assert 0.7 == played.runs("load")["runs"][0]["quality"]


def test_a_run_that_goes_on_and_one_that_was_refused(played: Played) -> None:
    """Neither has met or missed a deadline, and what is not known is null."""
    played.begin(key("goes on"))
    played.open(key("goes on"))
    played.end(key("refused"), RunState.NOT_PUBLISHED, {"why": "no contract"})
    refused, running = played.runs("load")["runs"]
    unknown = ("deadline_met", "weight_share", "feeds_in", "feeds_expected", "quality", "version")
    assert [[None] * 6] * 2 == [[run[name] for name in unknown] for run in (refused, running)]
    assert ("running", 1, None) == (running["state"], running["rounds"], running["finished_at"])
    assert ("not_published", 0) == (refused["state"], refused["rounds"])
    assert refused["finished_at"] == refused["started_at"]


def test_a_feed_is_shown_by_its_newest_outcome(played: Played) -> None:
    """When it came after its own round's opening, and how far from that round's decision; its trust is a mean."""
    run = key("r")
    played.begin(run)
    played.open(run)
    played.arrive(run, "a", rows=3)
    played.arrive(run, "b", rows=4)
    played.store.record_verdict(run, 1, said(Said.PROCEED))
    played.open(run, 2)
    played.arrive(run, "a", rows=30, number=2)
    played.store.record_verdict(run, 2, said(Said.PROCEED))
    taught = [
        Taught(attribute=name, feed_id="a", right=1, total=1, accuracy=accuracy)
        for name, accuracy in (("size", 0.5), ("name", 0.75))
    ]
    played.store.trust.teach(claimed(played.store, "close_out", run=run), "things", "weighing", taught)
    played.end(run, RunState.PUBLISHED, manifest({"a": "in", "b": "in"}))
    played.shift(run, "feed_outcome", "registered_at", 3600)
    found = played.feeds()
    [a], [b] = found["a"], found["b"]
    assert [(30, 0.625), (4, None)] == [(one["rows"], one["trust"]) for one in (a, b)]
    opened = {one.round: one.opened_at for one in played.store.rounds(run)}
    for one, number in ((a, 2), (b, 1)):
        assert 3600 < one["arrived_after_seconds"] < 3600 + WIDE
        between = played.store.rounds(run)[number - 1].decided_at - opened[number]  # type: ignore[operator]
        assert one["arrived_after_seconds"] - between.total_seconds() == pytest.approx(
            one["late_by_seconds"], abs=0.002
        )
    assert 0.91 == a["quality_score"]


def test_a_feed_that_failed_or_never_came_has_no_arrival(played: Played) -> None:
    """It is there with its state; in a run that goes on it is pending, failed, or in."""
    run = key("r1")
    played.whole(run, late="c")
    played.begin(key("r2"))
    played.open(key("r2"))
    played.arrive(key("r2"), "a", rows=5)
    played.store.register(claimed(played.store, "branch:beta:b", 1, run=key("r2")), failed("b"))
    found = played.feeds()
    assert {"a": ["in", "in"], "b": ["in", "failed"], "c": ["late", "pending"]} == {
        feed: [one["state"] for one in runs] for feed, runs in sorted(found.items())
    }
    nothing = ("arrived_after_seconds", "late_by_seconds", "rows", "quality_score")
    for one in (found["b"][1], *found["c"]):
        assert [None] * 4 == [one[name] for name in nothing]
    assert (5, None) == (found["a"][1]["rows"], found["a"][1]["late_by_seconds"])
    assert found["a"][0]["late_by_seconds"] < 0


def test_the_newest_runs_of_one_dag_oldest_first(played: Played) -> None:
    """Not those of another Dag; the feed that was missing most often leads."""
    for number, late in enumerate((None, "b", "c", "c")):
        played.whole(key(f"r{number}"), late=late)
    played.whole(key("r9", dag_id="other"), late="a")
    found = played.feeds()
    assert ["c", "b", "a"] == list(found)
    assert ["r0", "r1", "r2", "r3"] == [one["run_id"] for one in found["a"]]
    assert ["r2", "r3"] == [one["run_id"] for one in played.feeds(runs=2)["a"]]
    assert {"dag_id": "unknown", "feeds": [], "more": False} == feeds_over_time(played.store, "unknown")


def test_a_feed_that_somebody_left_out_was_not_missing(played: Played) -> None:
    """Who chose to do without it knows; one that came late once is before it."""
    for number in range(2):
        played.begin(key(f"r{number}"))
        states = {"a": "left_out", "b": "late" if number else "in", "c": "in"}
        played.end(key(f"r{number}"), RunState.PUBLISHED_DEGRADED, manifest(states))
    found = played.feeds()
    assert ["b", "a", "c"] == list(found)
    assert ["left_out"] * 2 == [one["state"] for one in found["a"]]


def test_no_more_than_30_runs_of_feeds_are_shown(played: Played) -> None:
    """Whatever is asked for; a feed that is in some of the runs alone has only these."""
    played.target.execute(
        "INSERT INTO orchestration.run (dag_id, run_id, state, manifest, finished_at) "
        "SELECT 'load', 'r' || n, 'published', jsonb_build_object('feeds', jsonb_build_array("
        "jsonb_build_object('feed', 'a', 'state', 'in'), jsonb_build_object('feed', 'b' || n % 2, 'state', 'in'))), "
        "now() + n * interval '1 s' FROM generate_series(1, 40) AS n"
    )
    found = played.feeds(runs=1000)
    assert {"a": 30, "b0": 15, "b1": 15} == {feed: len(runs) for feed, runs in found.items()}
    assert ["r39", "r40"] == [one["run_id"] for one in found["a"]][-2:]


WIDE_RUNS, WIDE_FEEDS = 30, 500
WIDE_LINES = """
    INSERT INTO orchestration.run (dag_id, run_id, spec, mode, started_at, state, manifest, finished_at)
    SELECT 'load', 'run_' || n, '{}', '{}', now(), 'published', told.manifest, now()
    FROM generate_series(1, %(runs)s) AS n CROSS JOIN (
        SELECT jsonb_build_object('feeds', jsonb_agg(jsonb_build_object(
            'feed', 'feed_' || f, 'state', CASE WHEN f %% 50 = 0 THEN 'late' ELSE 'in' END))) AS manifest
        FROM generate_series(1, %(feeds)s) AS f) AS told"""


def test_of_wide_manifests_only_what_was_missing_is_told_apart_by_run(target: Target) -> None:
    """Rosters that are alike are unfolded once: what is looked at does not grow with feeds by runs."""
    target.execute(WIDE_LINES, {"runs": WIDE_RUNS, "feeds": WIDE_FEEDS})
    asked = {"dag_id": "load", "runs": WIDE_RUNS, "feeds": 5}
    query = f"EXPLAIN (ANALYZE, VERBOSE, FORMAT JSON) {statements('overview.sql')['feeds_over_time']}"
    row = target.execute(query, asked).fetchone()
    assert row is not None
    plan = nodes(row[0][0]["Plan"])
    unfolded = sum(
        node["Actual Rows"] * node["Actual Loops"] for node in plan if node["Node Type"] == "Function Scan"
    )
    assert WIDE_FEEDS + WIDE_RUNS * WIDE_FEEDS // 50 == unfolded
    read = {name for node in plan if node.get("Relation Name") == "run" for name in node["Output"]}
    assert not {name for name in read if name.split(".")[-1] in {"manifest", "spec"}}


def test_a_page_holds_no_more_than_200_feeds(played: Played) -> None:
    """The others are said to be there."""
    states = {f"feed_{number:03}": "in" for number in range(201)}
    played.begin(key("r"))
    played.end(key("r"), RunState.PUBLISHED, manifest(states | {"feed_200": "late"}))
    found = feeds_over_time(played.store, "load")
    assert (200, True) == (len(found["feeds"]), found["more"])
    assert ["feed_200", "feed_000"] == [feed["feed"] for feed in found["feeds"][:2]]


HISTORY = """
    INSERT INTO orchestration.run (dag_id, run_id, spec, mode, started_at, state, manifest, finished_at)
    SELECT 'dag_' || n % 100, 'run_' || n, '{}', '{}', at, 'published',
           '{"version": 1, "feeds": [{"feed": "a", "state": "in"}, {"feed": "b", "state": "in"}]}', at
    FROM (SELECT n, now() - n * interval '1 minute' AS at FROM generate_series(1, 20000) AS n) AS made;
    INSERT INTO orchestration.round (dag_id, run_id, round, plan, opened_at)
    SELECT 'dag_' || n % 100, 'run_' || n, 1, '{}', now() FROM generate_series(1, 5000) AS n;
    INSERT INTO orchestration.sync_point (dag_id, run_id, round, name, deadline_at)
    SELECT 'dag_' || n % 100, 'run_' || n, 1, 'feeds', now() FROM generate_series(1, 5000) AS n;
    INSERT INTO orchestration.decision (dag_id, run_id, round, decision)
    SELECT 'dag_' || n % 100, 'run_' || n, 1, '{"policy": "quality_gate", "evidence": {"overall": 1}}'
    FROM generate_series(1, 5000) AS n;
    INSERT INTO orchestration.merge (dag_id, run_id, round, dataset, epoch, staged_uri, staged_sha256, staged_bytes,
        staged_rows, content_sha256, decision, published, superseded, disagreements, compared, completeness)
    SELECT 'dag_' || n % 100, 'run_' || n, 1, 'd', 1, '', '', 1, 1, '', '{}', '{}', '{}', '{}', '{}', 1
    FROM generate_series(1, 5000) AS n;
    INSERT INTO orchestration.feed_outcome (dag_id, run_id, round, feed_id, epoch, branch_id, status, elapsed_seconds,
        cluster_utilization, rows_in, rows_staged, rows_quarantined, rows_out_of_scope, quality_score)
    SELECT 'dag_' || n % 100, 'run_' || n, 1, feed, 1, 'b', 'success', 1, 0, 1, 1, 0, 0, 1
    FROM generate_series(1, 5000) AS n, unnest(ARRAY['a', 'b']) AS feed;
    INSERT INTO orchestration.trust
    SELECT 'dag_' || n % 100, 'd', 'run_' || n, 'name', feed, 1, 1, 1, 'weighing', now()
    FROM generate_series(1, 5000) AS n, unnest(ARRAY['a', 'b']) AS feed;
    ANALYZE orchestration.run, orchestration.round, orchestration.sync_point, orchestration.decision,
            orchestration.merge, orchestration.feed_outcome, orchestration.trust"""
ASKED = {
    "runs_over_time": {
        "dag_ids": [f"dag_{number}" for number in range(90, 110)],
        "since": LONG_AGO,
        "limit": 51,
        "all_feeds": "feeds",
    },
    "feeds_over_time": {"dag_id": "dag_7", "runs": 30, "feeds": 201},
}


def test_what_is_read_does_not_grow_with_the_runs(target: Target) -> None:
    """Of 20,000 runs only the newest of each named Dag are looked at, and of other tables only what is theirs."""
    target.execute(HISTORY)
    for name, most in (("runs_over_time", 10 * 51 + 5 * 51), ("feeds_over_time", 30 + 2 * 30 * 4)):
        query = f"EXPLAIN (ANALYZE, FORMAT JSON) {statements('overview.sql')[name]}"
        row = target.execute(query, ASKED[name]).fetchone()
        assert row is not None
        scans = [node for node in nodes(row[0][0]["Plan"]) if "Relation Name" in node]
        told = json.dumps(scans, indent=1)
        assert "Seq Scan" not in {scan["Node Type"] for scan in scans}, told
        read = sum(
            scan["Actual Loops"] * (scan["Actual Rows"] + scan.get("Rows Removed by Filter", 0))
            for scan in scans
        )
        assert 0 < read <= most, told


def nodes(node: dict[str, Any]) -> list[dict[str, Any]]:
    return [node, *(inner for child in node.get("Plans", []) for inner in nodes(child))]
