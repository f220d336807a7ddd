"""Which tasks does `watch=[...]` name? Of a task group its leaves, of a TaskFlow result the task behind it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airflow.sdk import DAG, BaseOperator, TaskGroup, XComArg
from airflow.sdk.definitions.mappedoperator import MappedOperator

from airflow_orchestration.policies.quorum_gate import Member
from airflow_orchestration.triggers.watched_tasks import WatchedTask


@dataclass(frozen=True, slots=True, kw_only=True)
class _Named:
    """One task, and what the author may call it in `weights` and `required`."""

    task_id: str
    mapped: bool
    names: tuple[str, ...]


def watched_tasks(
    watch: Sequence[Any], *, weights: Mapping[str, float], required: Sequence[str], dag: DAG | None
) -> tuple[WatchedTask, ...]:
    """Return the tasks; raises `TypeError` or `ValueError` for what can't be meant.

    :param weights: task id or group id -> weight; the task's own id goes before the group's.
    """
    for parameter, value in {"watch": watch, "required": required}.items():
        if isinstance(value, str):
            raise TypeError(f"{parameter} is the text {value!r}; write a list: [{value!r}]")
        if not isinstance(value, list | tuple):
            raise TypeError(f"{parameter} is a {type(value).__name__}; write a list, such as [load]")
    named = [task for item in watch for task in _named(found_in(dag, item))]
    _refuse_nonsense(named, weights, required)
    return tuple(
        WatchedTask(
            task_id=task.task_id,
            mapped=task.mapped,
            weight=next((weights[name] for name in task.names if name in weights), 1.0),
            required=any(name in required for name in task.names),
        )
        for task in named
    )


def found_in(dag: DAG | None, item: Any) -> Any:
    """Return the task or task group of an id when the Dag has it by now; anything else unchanged."""
    if dag is None or not isinstance(item, str):
        return item
    return dag.task_dict.get(item) or dag.task_group.get_task_group_dict().get(item) or item


def _named(item: Any) -> Iterator[_Named]:
    if isinstance(item, str):
        yield _Named(task_id=item, mapped=False, names=(item,))
    elif isinstance(item, TaskGroup):
        for leaf in item.get_leaves():
            yield _task(leaf, item.group_id)
    elif isinstance(item, XComArg):
        for task_id, operator in {task.task_id: task for task, _ in item.iter_references()}.items():
            yield _task(operator, task_id)
    elif isinstance(item, BaseOperator | MappedOperator):
        yield _task(item, item.task_id)
    else:
        raise TypeError(f"watch holds {item!r}; write tasks, their results, task groups, or ids of these")


def _task(operator: Any, called: str | None) -> _Named:
    mapped = isinstance(operator, MappedOperator) or operator.get_closest_mapped_task_group() is not None
    names = dict.fromkeys((operator.task_id, called or operator.task_id))
    return _Named(task_id=operator.task_id, mapped=mapped, names=tuple(names))


def _refuse_nonsense(tasks: Sequence[_Named], weights: Mapping[str, float], required: Sequence[str]) -> None:
    ids = [task.task_id for task in tasks]
    if not ids:
        raise ValueError("watch is empty: a gate over nothing would open at once")
    twice = sorted({task_id for task_id in ids if ids.count(task_id) > 1})
    if twice:
        raise ValueError(f"watch names tasks twice: {', '.join(twice)}")
    _refuse_ambiguity(tasks)
    unknown = sorted({*weights, *required} - {name for task in tasks for name in task.names})
    if unknown:
        raise ValueError(f"weights and required name what is not watched: {', '.join(unknown)}")
    for name, weight in weights.items():
        if isinstance(weight, bool) or not isinstance(weight, int | float):
            raise TypeError(f"the weight of {name} is {weight!r}; write a number")
        Member(id=name, weight=weight)


def _refuse_ambiguity(tasks: Sequence[_Named]) -> None:
    """Airflow tells the state of instance 1 of `load` under the name `load_1`, as that of such a task."""
    ids = {task.task_id for task in tasks}
    for task in tasks:
        alike = re.compile(rf"{re.escape(task.task_id)}_\d+")
        other = next((name for name in sorted(ids) if task.mapped and alike.fullmatch(name)), None)
        if other is not None:
            raise ValueError(
                f"Airflow can't tell the task {other} from an instance of the mapped task {task.task_id}; "
                "rename one, or watch them with two gates"
            )
