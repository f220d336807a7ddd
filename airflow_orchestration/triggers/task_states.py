"""Reads the states of task instances from a trigger or from a task, in one form."""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
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
StatesByTask = Mapping[str, States]
"""Task id -> its part of an answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """What was answered last, and how many instances there were, and had ended, before that."""

    counts: Sequence[int]
    at: float
    states: Mapping[str, StatesByTask]
    """By run."""


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
        task_ids = {task_id for question in questions for task_id in question.task_ids}
        parts = [
            (runs, tasks)
            for alike in _told_apart(task_ids)
            for runs in _fitting(run_ids)
            for tasks in _fitting(alike)
        ]
        found = await asyncio.gather(*(self._part(runs, tasks) for runs, tasks in parts))
        self._seen = dict(zip(parts, found, strict=True))
        known: dict[str, dict[str, States]] = {run_id: {} for run_id in run_ids}
        for seen in found:
            for run_id, by_task in seen.states.items():
                known[run_id].update(by_task)
        return {question: _about(question.task_ids, known[question.run_id]) for question in questions}

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
        found = {run_id: _by_task(tasks, states) for run_id, states in answer.task_states.items()}
        return _Seen(counts=counts, at=now, states=found)

    async def _count(self, runs: Ids, tasks: Ids, states: list[str] | None) -> int:
        question = GetTICount(dag_id=self._dag_id, run_ids=list(runs), task_ids=list(tasks), states=states)
        answer: Any = await _asked(question)
        return int(answer.count)


async def _asked(question: GetTaskStates | GetTICount) -> object:
    """Send what `RuntimeTaskInstance` sends, without blocking a thread until the answer comes."""
    answer: object = await task_runner.SUPERVISOR_COMMS.asend(question)
    return answer


def _size(states: Mapping[str, StatesByTask]) -> int:
    return sum(len(of_task) for by_task in states.values() for of_task in by_task.values())


def _told_apart(task_ids: Collection[str]) -> list[list[str]]:
    """Put `load` and `load_1` into different questions: Airflow calls instance 1 of the one like the other."""
    depths: dict[str, int] = {}
    for task_id in sorted(task_ids, key=len):
        depths[task_id] = depths.get(_without_number(task_id), -1) + 1
    parts: list[list[str]] = [[] for _ in range(max(depths.values(), default=-1) + 1)]
    for task_id in sorted(depths):
        parts[depths[task_id]].append(task_id)
    return parts


def _without_number(name: str) -> str:
    stem, _, number = name.rpartition("_")
    return stem if number.isdecimal() else ""


def _by_task(task_ids: Ids, states: States) -> StatesByTask:
    asked = frozenset(task_ids)
    found: defaultdict[str, dict[str, str | None]] = defaultdict(dict)
    for name, state in states.items():
        found[name if name in asked else _without_number(name)][name] = state
    return found


def _about(task_ids: Ids, by_task: StatesByTask) -> States:
    return {name: state for one in task_ids for name, state in by_task.get(one, {}).items()}


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


def instances_of(task_id: str, states: States, *, mapped: bool) -> dict[int, str | None]:
    """Return map index -> state of one task; an unmapped or not yet expanded one has index -1.

    :param mapped: whether the task is known to be mapped; another one that has a state of its own has no
        instances, whatever other tasks are called.
    """
    if not mapped and task_id in states:
        return {-1: states[task_id]}
    instance = re.compile(rf"{re.escape(task_id)}_(\d+)")
    found = {int(match[1]): state for key, state in states.items() if (match := instance.fullmatch(key))}
    if task_id in states:
        found[-1] = states[task_id]
    return found
