"""Reads the states of task instances from a trigger or from a task, in one form."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import GetTaskStates, GetTICount
from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

from airflow_orchestration.triggers.poller import Poller, shared
from airflow_orchestration.workflow.round_tasks import OVER, States

IDS_LENGTH = 20_000
"""Characters of ids in one question: Airflow puts them into a URL, which may have 65,536."""
MANY = 200
"""From so many instances on, two counts cost less than their states."""
READ_ANEW_SECONDS = 10.0
"""States are read so often though the counts stay: somebody may have turned a failure into a success."""


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
    return shared(("task states", dag_id), lambda: Poller(_DagStates(dag_id).look))


Ids = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """What was answered last, and how many instances there were, and had ended, before that."""

    counts: Sequence[int]
    at: float
    states: Mapping[str, States]


class _DagStates:
    """Asks for the states of a Dag's tasks, of all runs at once.

    Airflow counts tasks in no time, but reads the states of a thousand in a third of a second. So where there
    are many, it is first asked whether any has been added or has ended since, and only then which.
    """

    def __init__(self, dag_id: str) -> None:
        self._dag_id = dag_id
        self._seen: dict[tuple[Ids, Ids], _Seen] = {}

    async def look(self, questions: frozenset[TasksOfRun]) -> Mapping[TasksOfRun, States]:
        """Answer all questions of one moment."""
        run_ids = sorted({question.run_id for question in questions})
        task_ids = sorted({task_id for question in questions for task_id in question.task_ids})
        parts = [(runs, tasks) for runs in _fitting(run_ids) for tasks in _fitting(task_ids)]
        found = await asyncio.gather(*(self._part(runs, tasks) for runs, tasks in parts))
        self._seen = dict(zip(parts, found, strict=True))
        known: dict[str, dict[str, str | None]] = {run_id: {} for run_id in run_ids}
        for seen in found:
            for run_id, states in seen.states.items():
                known[run_id].update(states)
        return {question: known[question.run_id] for question in questions}

    async def _part(self, runs: Ids, tasks: Ids) -> _Seen:
        before = self._seen.get((runs, tasks))
        now = asyncio.get_running_loop().time()
        counts: Sequence[int] = ()
        if before is not None and _size(before.states) >= MANY:
            counts = await asyncio.gather(
                self._count(runs, tasks, None), self._count(runs, tasks, sorted(OVER))
            )
            if counts == before.counts and now - before.at < READ_ANEW_SECONDS:
                return before
        question = GetTaskStates(dag_id=self._dag_id, run_ids=list(runs), task_ids=list(tasks))
        answer: Any = await _asked(question)
        return _Seen(counts=counts, at=now, states=answer.task_states)

    async def _count(self, runs: Ids, tasks: Ids, states: list[str] | None) -> int:
        question = GetTICount(dag_id=self._dag_id, run_ids=list(runs), task_ids=list(tasks), states=states)
        answer: Any = await _asked(question)
        return int(answer.count)


async def _asked(question: GetTaskStates | GetTICount) -> object:
    """Send what `RuntimeTaskInstance` sends, without blocking a thread until the answer comes."""
    answer: object = await task_runner.SUPERVISOR_COMMS.asend(question)
    return answer


def _size(states: Mapping[str, States]) -> int:
    return sum(len(of_run) for of_run in states.values())


def _fitting(ids: Sequence[str]) -> Iterator[Ids]:
    """Split ids so that each part fits into a URL, every character escaped."""
    part: list[str] = []
    length = 0
    for one in ids:
        needed = 3 * len(one.encode()) + len("&task_ids=")
        if part and length + needed > IDS_LENGTH:
            yield tuple(part)
            part, length = [], 0
        part.append(one)
        length += needed
    yield tuple(part)


def instances_of(task_id: str, states: States) -> dict[int, str | None]:
    """Return map index -> state of one task; an unmapped or not yet expanded one has index -1."""
    mapped = re.compile(rf"{re.escape(task_id)}_(\d+)")
    found = {int(match[1]): state for key, state in states.items() if (match := mapped.fullmatch(key))}
    if task_id in states:
        found[-1] = states[task_id]
    return found
