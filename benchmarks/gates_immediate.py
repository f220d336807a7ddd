"""Does a gate that is satisfied already ever fail? (target: never)

`python -m benchmarks gates-immediate [ROUNDS]`: starts a stack of its own. Airflow 3.3.2 fails about one in ten
tasks that are deferred by a worker and whose trigger fires at once (apache/airflow#67287, #72716). A gate starts
and ends in the triggerer, so no worker is in its way; a branch that waits is deferred, and looks after 8 s.
"""

from __future__ import annotations

from collections import Counter

from benchmarks.gates_stack import gates_stack
from benchmarks.table import show

DAGS = {"gates_at_once": "gate", "branches_at_once": "branch"}
ROUNDS = 2


def main(rounds: int = ROUNDS) -> None:
    """Print how many tasks there were and how many did not succeed at their first try."""
    tried: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    with gates_stack() as stack:
        for dag_id in DAGS:
            stack.api.wait_for_dag(dag_id)
        for _ in range(rounds):
            for dag_id, prefix in DAGS.items():
                run_id = stack.api.trigger(dag_id)
                stack.api.wait_for_run(dag_id, run_id, 900)
                tasks = stack.api.task_instances(dag_id, run_id)
                states = [one["state"] for one in tasks if one["task_id"].startswith(prefix)]
                tried[dag_id] += len(states)
                failed[dag_id] += sum(state != "success" for state in states)
    rows = []
    for dag_id in DAGS:
        rows.append((dag_id, f"{tried[dag_id]:,}", ""))
        rows.append(("... that did not succeed at the first try", str(failed[dag_id]), "0"))
    show("Tasks whose wait is over before it begins, without retries", rows)
