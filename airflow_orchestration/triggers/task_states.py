"""Reads the states of task instances from a trigger or from a task, in one form."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import GetTaskStates
from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

from airflow_orchestration.triggers.poller import Poller, shared_poller
from airflow_orchestration.workflow.round_tasks import States

IDS_LENGTH = 20_000
"""Characters of ids in one question: Airflow puts them into a URL, which may have 65,536."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TasksOfRun:
    """Asks for the states of some tasks of a run."""

    run_id: str
    task_ids: tuple[str, ...]


def task_states(dag_id: str, run_id: str, task_ids: Sequence[str]) -> States:
    """Ask Airflow for the states of some tasks of a run, from a worker."""
    found = RuntimeTaskInstance.get_task_states(dag_id=dag_id, run_ids=[run_id], task_ids=list(task_ids))
    states: States = found.get(run_id, {})
    return states


def task_states_poller(dag_id: str) -> Poller[TasksOfRun, States]:
    """Return what all triggers of a Dag ask for states; each Dag has its own, so that none holds up another."""

    async def look(questions: frozenset[TasksOfRun]) -> Mapping[TasksOfRun, States]:
        return await _states_of_all(dag_id, questions)

    return shared_poller(("task states", dag_id), lambda: Poller(look))


async def _states_of_all(dag_id: str, questions: frozenset[TasksOfRun]) -> Mapping[TasksOfRun, States]:
    run_ids = sorted({question.run_id for question in questions})
    task_ids = sorted({task_id for question in questions for task_id in question.task_ids})
    asked = [_ask(dag_id, runs, tasks) for runs in _fitting(run_ids) for tasks in _fitting(task_ids)]
    known: dict[str, dict[str, str | None]] = {run_id: {} for run_id in run_ids}
    for found in await asyncio.gather(*asked):
        for run_id, states in found.items():
            known[run_id].update(states)
    return {question: known[question.run_id] for question in questions}


async def _ask(dag_id: str, run_ids: Sequence[str], task_ids: Sequence[str]) -> Mapping[str, States]:
    # What `RuntimeTaskInstance.get_task_states` sends, without blocking a thread until the answer comes.
    question = GetTaskStates(dag_id=dag_id, run_ids=list(run_ids), task_ids=list(task_ids))
    answer: Any = await task_runner.SUPERVISOR_COMMS.asend(question)
    states: Mapping[str, States] = answer.task_states
    return states


def _fitting(ids: Sequence[str]) -> Iterator[list[str]]:
    """Split ids so that each part fits into a URL, every character escaped."""
    part: list[str] = []
    length = 0
    for one in ids:
        needed = 3 * len(one.encode()) + len("&task_ids=")
        if part and length + needed > IDS_LENGTH:
            yield part
            part, length = [], 0
        part.append(one)
        length += needed
    yield part


def instances_of(task_id: str, states: States) -> dict[int, str | None]:
    """Return map index -> state of one task; an unmapped or not yet expanded one has index -1."""
    mapped = re.compile(rf"{re.escape(task_id)}_(\d+)")
    found = {int(match[1]): state for key, state in states.items() if (match := mapped.fullmatch(key))}
    if task_id in states:
        found[-1] = states[task_id]
    return found
