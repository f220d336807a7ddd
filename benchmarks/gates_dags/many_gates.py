"""Many gates that wait over tasks which only the benchmark ends.

The pool of `blocker` has no slots, so no worker ever has anything to do.
"""

from __future__ import annotations

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, task

from airflow_orchestration.sensors.quorum_gate import QuorumGateSensor

GATES = 25
RUNS = 40
FIRST_DEADLINE, LAST_DEADLINE = 240, 300
CLOSED_POOL = "closed"


with DAG(
    "many_gates", schedule=None, tags=["benchmark"], max_active_runs=RUNS, max_active_tasks=GATES * RUNS
):
    arrived = [EmptyOperator(task_id=f"arrived_{number}") for number in range(3)]
    blocker = task(task_id="blocker", pool=CLOSED_POOL)(lambda: None)()
    for number in range(GATES):
        held = EmptyOperator(task_id=f"held_{number}")
        blocker >> held
        by_deadline = number % 2 == 1
        QuorumGateSensor(
            task_id=f"gate_{number}",
            watch=[*arrived, held],
            deadline=FIRST_DEADLINE + number * (LAST_DEADLINE - FIRST_DEADLINE) // GATES
            if by_deadline
            else 3600,
        )
