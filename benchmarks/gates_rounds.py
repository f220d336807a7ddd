"""How late do the gates of 1,000 pipeline runs decide? (targets: p95 <= 3 s, at most 2 connections)

`python -m benchmarks gates-rounds [RUNS]`: the triggers of 1,000 runs, in one process with a PostgreSQL of its own.
No machine for two lets 1,000 pipelines run at once, so Airflow is left out: it says nothing about any task. The
last feed of every other run arrives, one after another in a minute, while the other runs reach their deadlines.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import psycopg
import structlog
from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import GetTaskStates, TaskStatesResult
from psycopg.conninfo import conninfo_to_dict

from airflow_orchestration.domain.batch import Lane
from airflow_orchestration.domain.contract import Column, ColumnType, Contract
from airflow_orchestration.domain.outcome import FeedOutcome, OutcomeStatus
from airflow_orchestration.domain.pipeline import Pipeline
from airflow_orchestration.domain.plan import Branch, Plan, PlannedBatch
from airflow_orchestration.domain.run_spec import RunSpec
from airflow_orchestration.policies.quorum_gate import GateDecision, GateFacts, QuorumGate
from airflow_orchestration.storage.migrating import migrate
from airflow_orchestration.storage.postgres import PostgresStore
from airflow_orchestration.storage.store import Attempt, Fence, GateTerms, RunKey, WorkUnit
from airflow_orchestration.triggers.round_gate import RoundGateTrigger
from benchmarks.gates_stack import p95
from benchmarks.table import show
from demo.postgres import EmbeddedPostgres

RUNS = 1000
FEEDS = ("a", "b", "c", "d")
LANE = "beta"
CONN_ID = "rounds"
IDLE_SECONDS, BUSY_SECONDS, PREPARING_SECONDS = 15.0, 60.0, 60.0
TARGET_SECONDS, TARGET_CONNECTIONS = 3.0, 2
LATENESS = """SELECT extract(epoch FROM decided_at - least(
    deadline_at, (SELECT max(registered_at) FROM orchestration.feed_outcome AS arrived
                  WHERE arrived.run_id = round.run_id HAVING count(*) = %s)))
FROM orchestration.round JOIN orchestration.sync_point USING (dag_id, run_id, round)
WHERE decided_at IS NOT NULL"""


class SilentAirflow:
    """Takes every report, and knows no task."""

    async def asend(self, message: Any) -> Any:
        """Answer as if no task had been made yet."""
        return TaskStatesResult(task_states={}) if isinstance(message, GetTaskStates) else None


class Runs:
    """The runs in the store."""

    def __init__(self, store: PostgresStore, number: int) -> None:
        self.store = store
        self.keys = [RunKey(dag_id="pipeline", run_id=f"run_{one}") for one in range(number)]
        self._fences = [self._begin(key, place) for place, key in enumerate(self.keys)]

    def arrive(self, place: int, feeds: Sequence[str]) -> None:
        """Register feeds of a run."""
        for feed_id in feeds:
            outcome = FeedOutcome(
                feed_id=feed_id,
                round=1,
                branch_id="b1",
                status=OutcomeStatus.SUCCESS,
                elapsed=timedelta(seconds=1),
            )
            self.store.register(self._fences[place], outcome)

    def _begin(self, key: RunKey, place: int) -> Fence:
        fence = self._claim(key, "plan")
        self.store.save_run(fence, run_spec().as_json(), nobody_decides())
        wait = PREPARING_SECONDS + IDLE_SECONDS + place * BUSY_SECONDS / len(self.keys)
        deadline = wait if place % 2 else 3600.0
        self.store.open_round(fence, round_plan(1), GateTerms(deadline=timedelta(seconds=deadline)))
        return self._claim(key, f"branch:{LANE}:b1")

    def _claim(self, key: RunKey, unit: str) -> Fence:
        attempt = Attempt(try_number=1, ti_id="", process="benchmark")
        return self.store.claim(WorkUnit(run=key, round=1, unit=unit), attempt)


def main(runs: int = RUNS) -> None:
    """Print how late the verdicts were."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with TemporaryDirectory() as folder:
        server = EmbeddedPostgres(Path(folder) / "postgres")
        server.start()
        try:
            dsn = server.dsn()
            with psycopg.connect(dsn) as connection:
                migrate(connection)
            make_known(dsn)
            with PostgresStore(lambda: psycopg.connect(dsn)) as store:
                measure(dsn, Runs(store, runs))
        finally:
            server.stop()


def measure(dsn: str, runs: Runs) -> None:
    """Let all gates wait, let what they wait for come, and print the figures."""
    for place in range(len(runs.keys)):
        runs.arrive(place, FEEDS[1:])
    connections, idle, busy = asyncio.run(wait_for_all(dsn, runs))
    with psycopg.connect(dsn) as connection:
        late = [float(seconds) for (seconds,) in connection.execute(LATENESS, [len(FEEDS)]).fetchall()]
    rows = [
        ("decision after it was due, median s", f"{median(late):.2f}", ""),
        ("decision after it was due, p95 s", f"{p95(late):.2f}", f"<= {TARGET_SECONDS:g}"),
        ("decision after it was due, max s", f"{max(late):.2f}", ""),
        ("decided before it was due", str(sum(seconds < 0 for seconds in late)), "0"),
        ("not decided", str(len(runs.keys) - len(late)), "0"),
        ("connections to the store", str(connections), f"<= {TARGET_CONNECTIONS}"),
        ("share of a core, all waiting", f"{idle:.0%}", ""),
        ("share of a core, all deciding", f"{busy:.0%}", ""),
    ]
    show(f"The gates of {len(runs.keys):,} pipeline runs in one process", rows)


async def wait_for_all(dsn: str, runs: Runs) -> tuple[int, float, float]:
    """Run every trigger to its end; return connections and shares of a core, idle and busy."""
    task_runner.SUPERVISOR_COMMS = SilentAirflow()  # type: ignore[attr-defined]  # as the triggerer does
    waiting = [asyncio.create_task(end_of(key)) for key in runs.keys]
    idle = await cpu_share(asyncio.sleep(IDLE_SECONDS))
    busy = await cpu_share(asyncio.gather(*waiting, asyncio.to_thread(let_arrive, runs)))
    with psycopg.connect(dsn) as connection:
        query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'triggers'"
        row = connection.execute(query).fetchone()
    return (row[0] if row else 0), idle, busy


def let_arrive(runs: Runs) -> None:
    """Let the last feed of every other run come, one after another."""
    began = time.monotonic()
    for place in range(0, len(runs.keys), 2):
        time.sleep(max(0.0, began + place * BUSY_SECONDS / len(runs.keys) - time.monotonic()))
        runs.arrive(place, FEEDS[:1])


async def end_of(key: RunKey) -> None:
    """Run one gate's trigger as a triggerer does."""
    trigger: Any = RoundGateTrigger(orchestration_conn_id=CONN_ID, round_number=1, tasks={LANE: LANE})
    trigger.task_instance = SimpleNamespace(
        dag_id=key.dag_id, run_id=key.run_id, task_id="gate", map_index=-1, try_number=1
    )
    async for _ in trigger.run():
        return


async def cpu_share(work: Any) -> float:
    """CPU seconds of this process per second of some work."""
    cpu, wall = time.process_time(), time.perf_counter()
    await work
    return (time.process_time() - cpu) / (time.perf_counter() - wall)


def make_known(dsn: str) -> None:
    """Tell Airflow the connection."""
    parts = conninfo_to_dict(dsn)
    address = {
        "conn_type": "postgres",
        "host": parts["host"],
        "login": parts["user"],
        "schema": parts["dbname"],
    }
    extra = json.dumps({"application_name": "triggers"})
    os.environ[f"AIRFLOW_CONN_{CONN_ID.upper()}"] = json.dumps({**address, "extra": extra})


def round_plan(number: int) -> Plan:
    """What a round has to do."""
    batches = tuple(PlannedBatch(feed_id=feed_id, lane=Lane(LANE), cost=1.0) for feed_id in FEEDS)
    return Plan(round=number, branches=(Branch(branch_id="b1", batches=batches),))


def nobody_decides() -> GateDecision:
    """A decision that nobody reads, for where the store wants one."""
    return QuorumGate(deadline=timedelta(hours=1)).evaluate(GateFacts(members=(), elapsed=timedelta(0)))


def run_spec() -> RunSpec:
    """A pipeline of four feeds, which are never read."""
    feed: dict[str, Any] = {"format": "csv", "columns": {"code": "code"}}
    pipeline = {
        "id": "pipeline",
        "roots": {"landing": "/tmp"},
        "staging": "/tmp/staging",
        "contract": "unused",
        "sync": {"deadline": 3600},
        "publish": {"table": "public.thing"},
        "feeds": [{"id": name, "uri": f"landing/{name}.csv", **feed} for name in FEEDS],
    }
    columns = (Column(name="code", type=ColumnType.STRING),)
    contract = Contract(name="thing", key=("code",), columns=columns)
    return RunSpec(
        pipeline=Pipeline.model_validate(pipeline), contracts=(contract,), run_date=datetime.now(UTC).date()
    )
