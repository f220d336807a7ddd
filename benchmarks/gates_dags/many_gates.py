"""Many gates that wait: over tasks that only the benchmark ends, and for rounds that only it fills.

The pool of `blocker` has no slots, so no worker ever has anything to do.
"""

from __future__ import annotations

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, task

from airflow_orchestration.domain.batch import Lane
from airflow_orchestration.sensors.quorum_gate import QuorumGateSensor
from airflow_orchestration.sensors.round_gate import RoundGateSensor

GATES = 25
RUNS = 40
FIRST_DEADLINE, LAST_DEADLINE = 300, 360
CLOSED_POOL = "closed"


def new_dag(dag_id: str) -> DAG:
    """A Dag that lets all runs go on side by side."""
    return DAG(dag_id, schedule=None, tags=["benchmark"], max_active_runs=RUNS, max_active_tasks=GATES * RUNS)


with new_dag("many_gates"):
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

with new_dag("many_rounds"):
    lane = EmptyOperator(task_id="lane")
    task(task_id="blocker", pool=CLOSED_POOL)(lambda: None)() >> lane
    for number in range(1, GATES + 1):
        RoundGateSensor(task_id=f"gate_{number}", round_number=number, lanes={Lane.BETA: "lane"})
