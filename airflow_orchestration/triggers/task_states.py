"""Reads the states of task instances from a trigger or from a task, in one form."""

from __future__ import annotations

import re
from collections.abc import Sequence

from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

from airflow_orchestration.workflow.round_tasks import States


def task_states(dag_id: str, run_id: str, task_ids: Sequence[str]) -> States:
    """Ask Airflow for the states of some tasks of a run."""
    found = RuntimeTaskInstance.get_task_states(dag_id=dag_id, run_ids=[run_id], task_ids=list(task_ids))
    states: States = found.get(run_id, {})
    return states


def instances_of(task_id: str, states: States) -> dict[int, str | None]:
    """Return map index -> state of one task; an unmapped or not yet expanded one has index -1."""
    mapped = re.compile(rf"{re.escape(task_id)}_(\d+)")
    found = {int(match[1]): state for key, state in states.items() if (match := mapped.fullmatch(key))}
    if task_id in states:
        found[-1] = states[task_id]
    return found
