"""One run on the real stack whose tasks are killed, orphaned, and stopped until others have taken their place."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from demo.processes import OwnedProcess, end, family, wait_until
from demo.settings import METADATA_DATABASE
from demo.stack import DAEMONS, Stack
from tests.torture.monkey_strikes import was_succeeded
from tests.torture.stack_inputs import NOTHING_HAPPENS, Feed, Inputs, Landing, of
from tests.torture.stack_oracle import told_of, violations
from tests.torture.stack_pipelines import Tortured, write_dags
from tests.torture.stack_processes import Worker, busy_workers

pytestmark = pytest.mark.integration

SCHEDULER = "scheduler"
HASTY = {
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "7",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "1",
}
FEEDS = (
    Feed(id="killed", rows=300, weight=4, terms={"source_type": "streaming"}),
    Feed(id="orphaned", rows=300, weight=2, bad=0.1),
    Feed(id="stopped", rows=300, weight=1, terms={"source_type": "real_time"}),
)
LANES = {"round_1.alpha": "killed", "round_1.beta": "orphaned", "round_1.gamma": "stopped"}
PIPELINE = Tortured(id="tortured", kind="south", feeds=FEEDS)
STRIKES = {
    "killed": ("task", SIGKILL),
    "orphaned": ("supervisor", SIGKILL),
    "stopped": ("supervisor", SIGSTOP),
}
RUN_ID = "struck"
AT_WORK = """
SELECT id::text, task_id, try_number FROM task_instance
WHERE dag_id = %s AND run_id = %s AND state = 'running' AND map_index >= 0"""
TRIES = """
SELECT task_id, max(try_number) AS tries FROM task_instance
WHERE dag_id = %s AND run_id = %s AND map_index >= 0 AND state = 'success' GROUP BY 1"""


@pytest.fixture
def hasty(stack: Stack) -> Iterator[Stack]:
    """The session's stack, with a scheduler that takes a task for dead after seconds; then its own again."""
    restart_scheduler(stack, HASTY)
    yield stack
    restart_scheduler(stack, {})
    assert wait_until(stack.is_up, 60)


def restart_scheduler(stack: Stack, changes: dict[str, str]) -> None:
    leader = stack.processes.recorded()[SCHEDULER]
    end(family(leader, stack.home / "airflow"), [(SIGKILL, 10.0)])
    stack.processes.spawn(SCHEDULER, DAEMONS[SCHEDULER], stack.environment() | changes)


@pytest.fixture
def dag_folder(stack: Stack) -> Iterator[Path]:
    """A folder of Dags that the stack reads; what the test adds is gone afterwards."""
    folder = stack.home.parent / "test_dags"
    before = set(folder.iterdir())
    yield folder
    for path in set(folder.iterdir()) - before:
        if path.is_file():
            path.unlink()


def ask(conninfo: str, query: str, *parameters: object) -> list[dict[str, Any]]:
    with psycopg.connect(conninfo, row_factory=dict_row) as connection:
        cursor = connection.execute(query, parameters)
        return cursor.fetchall() if cursor.description else []


class Struck:
    """The run, and what was done to it."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.metadata = stack.postgres.dsn(METADATA_DATABASE)
        self.done: dict[str, Worker] = {}
        self.was_zombie = False
        """The stopped attempt worked on when another had begun in its place."""

    def strike_until_over(self) -> str:
        """Strike each lane's first attempt as soon as it is at work; return how the run ended."""
        deadline = time.monotonic() + 150
        while (state := self.stack.api.run_state(PIPELINE.id, RUN_ID)) not in {"success", "failed"}:
            assert time.monotonic() < deadline, f"{state}; struck: {sorted(self.done)}"
            for line in ask(self.metadata, AT_WORK, PIPELINE.id, RUN_ID):
                self._meet(line["id"], LANES[line["task_id"]], line["try_number"])
            time.sleep(0.05)
        return state

    def _meet(self, ti_id: str, feed: str, try_number: int) -> None:
        if feed == "stopped" and try_number > 1 and not self.was_zombie:
            worker = self.done[feed]
            is_taken_over = was_succeeded(partial(ask, self.metadata), worker.ti_id)
            self.was_zombie = worker.task.is_alive() and is_taken_over
            send(SIGCONT, worker.everybody)
        if feed in self.done or try_number > 1:
            return
        workers = busy_workers(self.stack.processes.recorded()[SCHEDULER])
        worker = next((worker for worker in workers if worker.ti_id == ti_id), None)
        if worker is None:
            return
        self.done[feed] = worker
        victim, signal_number = STRIKES[feed]
        send(signal_number, [getattr(worker, victim)])


def send(signal_number: int, processes: Sequence[OwnedProcess]) -> None:
    for process in processes:
        process.send(signal_number)


def deliver(stack: Stack, folder: Path) -> Inputs:
    """Let the Dag, its table's schema and its files be there."""
    write_dags(folder, [PIPELINE])
    inputs = of(7, 0, NOTHING_HAPPENS, FEEDS)
    Landing(folder.parent / "landing" / PIPELINE.id).begin(inputs)
    ask(stack.warehouse_dsn, "CREATE SCHEMA IF NOT EXISTS tortured")
    return inputs


def test_a_run_survives_killed_orphaned_and_stopped_tasks(hasty: Stack, dag_folder: Path) -> None:
    """Each lane loses its first attempt, one of which goes on beside the second: every row is published once."""
    inputs = deliver(hasty, dag_folder)
    hasty.api.wait_for_dag(PIPELINE.id)
    request = {"dag_run_id": RUN_ID, "logical_date": inputs.logical_date, "conf": {}}
    hasty.api.post(f"/api/v2/dags/{PIPELINE.id}/dagRuns", request)
    struck = Struck(hasty)
    state = struck.strike_until_over()
    told = told_of(lambda query, *values: ask(hasty.warehouse_dsn, query, *values), PIPELINE, inputs, RUN_ID)
    assert told is not None
    tries = {line["task_id"]: line["tries"] for line in ask(struck.metadata, TRIES, PIPELINE.id, RUN_ID)}

    assert "success" == state
    assert [] == violations(told, PIPELINE, inputs, reconciled=False)
    assert {"killed", "orphaned", "stopped"} == told.counted == struck.done.keys()
    assert struck.was_zombie
    assert 2 <= min(tries[lane] for lane in LANES), tries
