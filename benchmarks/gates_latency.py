"""How long after the last needed arrival does the next task start? (target: a plain edge + 2 s)

`python -m benchmarks gates-latency [ROUNDS]`: starts a stack of its own. In each run the three ways follow one
another: a plain edge, the quorum gate, and Airflow's own deferrable `ExternalTaskSensor`, which looks as often
as the gate.
"""

from __future__ import annotations

from datetime import datetime
from statistics import median
from typing import Any

from benchmarks.gates_stack import gates_stack, p95, start_run
from benchmarks.table import show
from demo.stack import Stack

DAG_ID = "latency"
ROUNDS = 20
WAYS = {"edge": "plain edge", "gate": "quorum gate", "sensor": "deferrable ExternalTaskSensor"}
TARGET_SECONDS = 2.0


def main(rounds: int = ROUNDS) -> None:
    """Print medians and 95th percentiles; the first run only warms up."""
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    with gates_stack() as stack:
        for number in range(rounds + 1):
            found = one_run(stack)
            if number:
                for way, taken in found.items():
                    seconds[way].append(taken)
    edge, gate = median(seconds["edge"]), median(seconds["gate"])
    rows = [("gate - edge, medians, s", f"{gate - edge:.2f}", f"<= {TARGET_SECONDS:g}")]
    for way, name in WAYS.items():
        rows.append((f"{name}, median s", f"{median(seconds[way]):.2f}", ""))
        rows.append((f"{name}, p95 s", f"{p95(seconds[way]):.2f}", ""))
    show(f"From the end of the last task to the start of the next, {rounds} runs", rows)


def one_run(stack: Stack) -> dict[str, float]:
    """Run the Dag once and return the seconds of each way, by Airflow's own clock."""
    run_id = start_run(stack, DAG_ID)
    state = stack.api.wait_for_run(DAG_ID, run_id)
    if state != "success":
        raise RuntimeError(f"{DAG_ID} ended {state}")
    tasks = {task["task_id"]: task for task in stack.api.task_instances(DAG_ID, run_id)}
    return {
        way: (
            _moment(tasks[f"{way}_next"], "start_date") - _moment(tasks[f"{way}_last"], "end_date")
        ).total_seconds()
        for way in WAYS
    }


def _moment(task: dict[str, Any], name: str) -> datetime:
    return datetime.fromisoformat(task[name])
