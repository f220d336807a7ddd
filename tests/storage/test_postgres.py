"""What only PostgreSQL can show: races, lost connections, and plans of hot queries."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import Any, TypeVar

import psycopg
import pytest

from airflow_orchestration.exceptions import FencedError
from airflow_orchestration.storage.postgres import PostgresStore
from airflow_orchestration.storage.sql_file import statements
from airflow_orchestration.storage.store import GateTerms, RunState
from tests.storage.builders import RUN, TERMS, Action, attempt, claimed, decision, outcome, plan, unit
from tests.storage.conftest import Connect

Target = psycopg.Connection[Any]
Result = TypeVar("Result")


def at_once(connect: Connect, workers: int, work: Callable[[PostgresStore, int], Result]) -> list[Result]:
    """Let stores with connections of their own do something at the same moment."""
    start = Barrier(workers)

    def one(number: int) -> Result:
        with PostgresStore(connect) as store:
            store.rounds(RUN)
            start.wait()
            return work(store, number)

    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(one, range(workers)))


def test_of_many_starters_one_wins(connect: Connect) -> None:
    """Of 8 processes that start the same attempt at once exactly one gets it, every time."""

    def start(round_number: int) -> Callable[[PostgresStore, int], bool]:
        def claim(store: PostgresStore, number: int) -> bool:
            try:
                store.claim(unit("plan", round_number), attempt(1, f"host:{number}:1"))
            except FencedError:
                return False
            return True

        return claim

    for round_number in range(5):
        assert 1 == sum(at_once(connect, 8, start(round_number)))


def test_a_later_publication_is_the_end(connect: Connect, target: Target) -> None:
    """State and time of the end are those of the publication, not of the end before it."""
    ends: list[Any] = []
    with PostgresStore(connect) as store:
        for number, state in enumerate([RunState.NOT_PUBLISHED, RunState.PUBLISHED, RunState.PUBLISHED], 1):
            store.finish(claimed(store, "close_out", try_number=number), state, {})
            ends.append(target.execute("SELECT state, finished_at FROM orchestration.run").fetchone())
    assert ["not_published", "published", "published"] == [state for state, _ in ends]
    assert ends[0][1] < ends[1][1] == ends[2][1]


def test_many_deciders_get_one_verdict(connect: Connect, target: Target) -> None:
    """12 simultaneous deciders of a gate all get the first one's verdict, and it stands once."""
    with PostgresStore(connect) as store:
        store.open_round(claimed(store, "plan", 1), plan(), TERMS)
    actions = [Action.PROCEED, Action.WAIT]
    verdicts = at_once(
        connect,
        12,
        lambda store, number: store.record_verdict(RUN, 1, decision(actions[number % 2], by=number)),
    )
    assert [verdicts[0]] * 12 == verdicts
    assert (1,) == target.execute("SELECT count(*) FROM orchestration.decision").fetchone()


def test_many_openers_get_one_deadline(connect: Connect) -> None:
    """Simultaneous openers of a round with different terms all get the first one's deadline."""

    def open_round(store: PostgresStore, number: int) -> object:
        fence = claimed(store, f"plan:{number}", 1)
        return store.open_round(fence, plan(), GateTerms(deadline=timedelta(seconds=60 + number)))

    opened = at_once(connect, 12, open_round)
    assert [opened[0]] * 12 == opened


def test_a_takeover_waits_for_a_write_under_way(connect: Connect, target: Target) -> None:
    """While a write holds its claim, a newer try waits; afterwards the older one is fenced."""
    with PostgresStore(connect) as store, ThreadPoolExecutor(1) as pool:
        zombie = claimed(store)
        with store._fenced(zombie):
            newer = pool.submit(lambda: claimed(PostgresStore(connect), try_number=2))
            blocked = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
            while target.execute(blocked).fetchone() != (1,):
                assert not newer.done()
        assert newer.result().epoch > zombie.epoch
        with pytest.raises(FencedError):
            store.add_event(zombie, "late", {})


def test_a_lost_connection_is_replaced(connect: Connect, target: Target) -> None:
    """A store whose connection was ended goes on with a new one."""
    with PostgresStore(connect) as store:
        fence = claimed(store)
        target.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        store.add_event(fence, "after", {})
        assert ["after"] == [event.event for event in store.timeline(RUN)]
        store.close()
        assert ["after"] == [event.event for event in store.timeline(RUN)]


def test_a_failed_write_leaves_no_event(connect: Connect, target: Target) -> None:
    """The timeline row is written in the transaction of the change, and goes with it."""
    target.execute("ALTER TABLE orchestration.timeline ADD CHECK (event <> 'feed_registered')")
    with PostgresStore(connect) as store:
        with pytest.raises(psycopg.errors.CheckViolation):
            store.register(claimed(store, "branch:beta:b1", 1), outcome())
        assert [] == store.outcomes(RUN)


@pytest.fixture
def full(connect: Connect, target: Target) -> Target:
    """10,000 outcomes, events and decisions in 100 runs."""
    with PostgresStore(connect) as store:
        store.open_round(claimed(store, "plan", 1), plan(), TERMS)
    named = "SELECT 'airports', 'run_' || n % 100"
    numbers = "FROM generate_series(1, 10000) AS n"
    target.execute(
        f"INSERT INTO orchestration.run (dag_id, run_id, state, manifest, finished_at) SELECT DISTINCT 'airports', 'run_' || n % 100, 'published', '{{}}'::jsonb, now() {numbers}"
    )
    target.execute(
        "INSERT INTO orchestration.round (dag_id, run_id, round, plan, opened_at) "
        "SELECT 'airports', 'run_' || n, 1, '{}', now() FROM generate_series(0, 9999) AS n"
    )
    target.execute(
        "INSERT INTO orchestration.sync_point (dag_id, run_id, round, name, deadline_at) "
        "SELECT 'airports', 'run_' || n, 1, 'feeds', now() FROM generate_series(0, 9999) AS n"
    )
    target.execute(
        "INSERT INTO orchestration.feed_outcome (dag_id, run_id, round, feed_id, epoch, branch_id, status, "
        "elapsed_seconds, cluster_utilization, rows_in, rows_staged, rows_quarantined, rows_out_of_scope, "
        f"quality_score) {named}, 1, 'feed_' || n / 100, n, 'b1', 'success', 1, 0, n, n, 0, 0, 1 {numbers}"
    )
    target.execute(
        "INSERT INTO orchestration.feed_profile (dag_id, run_id, round, feed_id, profile) "
        f"{named}, 1, 'feed_' || n / 100, '{{}}' {numbers}"
    )
    target.execute(
        f"INSERT INTO orchestration.timeline (dag_id, run_id, round, unit, event, detail) {named}, 1, 'u', 'e', '{{}}' {numbers}"
    )
    target.execute(
        f"INSERT INTO orchestration.decision (dag_id, run_id, round, decision) {named}, 1, '{{}}' {numbers}"
    )
    target.execute(f"INSERT INTO orchestration.waiting {named}, 1, 'u', 'feed_' || n {numbers}")
    target.execute("ANALYZE")
    return target


HOT = [
    "gate_snapshots",
    "branch_snapshot",
    "outcomes",
    "timeline",
    "decisions",
    "usual_rows",
    "observed_seconds",
    "profiles",
    "forget_waiting",
]


@pytest.mark.parametrize("name", HOT)
def test_a_hot_query_uses_its_index(full: Target, name: str) -> None:
    """No query that runs all the time reads a whole table that grows with the runs."""
    asked = {
        "dag_id": "airports",
        "run_id": "run_7",
        "round": 1,
        "unit": "u",
        "feeds": ["feed_1"],
        "dag_ids": ["airports"],
        "run_ids": ["run_7"],
        "rounds": [1],
        "before": "2100-01-01",
        "successes": 10,
        "enough": 3,
        "feed_id": "feed_1",
        "recent": 30,
    }
    query = f"EXPLAIN (FORMAT JSON) {statements('queries.sql')[name]}"
    plans = full.execute(query, asked).fetchone()
    assert plans is not None
    read_whole = [
        node["Relation Name"] for node in nodes(plans[0][0]["Plan"]) if node["Node Type"] == "Seq Scan"
    ]
    assert [] == [table for table in read_whole if table != "run"], json.dumps(plans, indent=1)


def nodes(node: dict[str, Any]) -> list[dict[str, Any]]:
    return [node, *(inner for child in node.get("Plans", []) for inner in nodes(child))]
