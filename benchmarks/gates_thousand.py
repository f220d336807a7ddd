"""How late do 1,000 gates in one triggerer decide? (targets: p95 <= 3 s, at most 2 connections of ours)

`python -m benchmarks gates-thousand [RUNS]`: starts a stack of its own. 1,000 gates over tasks wait at once in one
triggerer; then the last needed member of every other one arrives, one after another in a minute, and then the
others reach their deadlines in a minute. `gates-rounds` has the same for the gates of pipelines.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime
from statistics import median

import psutil

from benchmarks.gates_dags.many_gates import CLOSED_POOL, GATES, RUNS
from benchmarks.gates_stack import gates_stack, metadata, p95
from benchmarks.gates_waiting import Gate, TaskGates
from benchmarks.table import show
from demo.processes import wait_until
from demo.stack import Stack

ARRIVALS_SECONDS = 60.0
IDLE_SECONDS = 20.0
TARGET_SECONDS, TARGET_CONNECTIONS = 3.0, 2
UNDER_WAY = """SELECT count(*) FROM task_instance JOIN trigger ON trigger.id = trigger_id
WHERE state = 'deferred' AND triggerer_id IS NOT NULL"""
ENDED = """SELECT run_id, task_id, state, end_date FROM task_instance
WHERE dag_id = %s AND task_id LIKE 'gate%%'"""


def main(runs: int = RUNS) -> None:
    """Measure 25 gates in each of some runs."""
    with gates_stack() as stack:
        measure(stack, TaskGates(stack, [f"run_{number}" for number in range(runs)]))


def measure(stack: Stack, gates: TaskGates) -> None:
    """Let all gates wait, let what they wait for come, and print how late they were."""
    stack.api.wait_for_dag(gates.dag_id)
    stack.api.post("/api/v2/pools", {"name": CLOSED_POOL, "slots": 0})
    began = time.monotonic()
    gates.start()
    with metadata(stack) as airflow:

        def under_way() -> int:
            row = airflow.execute(UNDER_WAY).fetchone()
            return int(row[0]) if row else 0

        if not wait_until(lambda: under_way() == len(gates.gates), 240, every=1.0):
            raise RuntimeError(f"only {under_way()} of {len(gates.gates)} gates wait")
        started = time.monotonic() - began
        idle = cpu_share(stack, IDLE_SECONDS)
        connections = ours(stack)
        busy_from = triggerer_seconds(stack), time.monotonic()
        arrivals = [gate for gate in gates.gates if not gate.by_deadline]
        first = time.monotonic()
        for number, gate in enumerate(arrivals):
            time.sleep(max(0.0, first + number * ARRIVALS_SECONDS / len(arrivals) - time.monotonic()))
            gates.arrive(gate)
        connections = max(connections, ours(stack))
        wait_until(lambda: under_way() == 0, 300, every=1.0)
        busy = (triggerer_seconds(stack) - busy_from[0]) / (time.monotonic() - busy_from[1])
        ended = {
            Gate.of(run_id, task_id): (state, moment)
            for run_id, task_id, state, moment in airflow.execute(ENDED, [gates.dag_id]).fetchall()
        }
    report(gates, ended, connections, {"to start all": started, "idle": idle, "busy": busy})


def report(
    gates: TaskGates,
    ended: Mapping[Gate, tuple[str, datetime]],
    connections: int,
    shares: Mapping[str, float],
) -> None:
    """Print the figures."""
    due, decided = gates.due(), gates.decided()
    late = [(decided[gate] - due[gate]).total_seconds() for gate in gates.gates if gate in decided]
    over = [
        (ended[gate][1] - due[gate]).total_seconds() for gate in gates.gates if ended[gate][1] is not None
    ]
    wrong = [gate for gate in gates.gates if ended[gate][0] != "success"]
    rows = [
        ("decision after it was due, median s", f"{median(late):.2f}", ""),
        ("decision after it was due, p95 s", f"{p95(late):.2f}", f"<= {TARGET_SECONDS:g}"),
        ("decision after it was due, max s", f"{max(late):.2f}", ""),
        ("Airflow ended the task after it was due, p95 s", f"{p95(over):.2f}", ""),
        ("decided before it was due", str(sum(seconds < 0 for seconds in late)), "0"),
        ("gates that did not succeed", str(len(wrong)), "0"),
        ("connections to the store", str(connections), f"<= {TARGET_CONNECTIONS}"),
        ("triggerer, share of a core, all waiting", f"{shares['idle']:.0%}", ""),
        ("triggerer, share of a core, all deciding", f"{shares['busy']:.0%}", ""),
        ("until all wait, s", f"{shares['to start all']:.0f}", ""),
    ]
    show(f"{len(gates.gates):,} gates over tasks in one triggerer", rows)


def cpu_share(stack: Stack, seconds: float) -> float:
    """CPU seconds per second of the triggerer's processes."""
    before = triggerer_seconds(stack)
    time.sleep(seconds)
    return (triggerer_seconds(stack) - before) / seconds


def triggerer_seconds(stack: Stack) -> float:
    """CPU seconds of the triggerer and its child."""
    parent = psutil.Process(stack.processes.recorded()["triggerer"].pid)
    times = [process.cpu_times() for process in (parent, *parent.children(recursive=True))]
    return sum(taken.user + taken.system for taken in times)


def ours(stack: Stack) -> int:
    """Connections to the database of the store."""
    with metadata(stack) as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = 'warehouse'"
        ).fetchone()
        return int(row[0]) if row else 0


if GATES * RUNS > 1000:
    raise ValueError("a triggerer takes 1,000 triggers; let GATES * RUNS be no more")
