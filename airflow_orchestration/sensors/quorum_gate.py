"""The quorum gate over any tasks of a Dag run: needs no store and no pipeline file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseSensorOperator, PokeReturnValue, timezone
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from airflow.triggers.base import StartTriggerArgs

from airflow_orchestration.domain.defaults import FLOOR
from airflow_orchestration.policies.quorum_gate import GateDecision, Member, QuorumGate
from airflow_orchestration.triggers.task_states import task_states
from airflow_orchestration.triggers.watched_tasks import WatchedTask, WatchedTasks

if TYPE_CHECKING:
    from airflow.sdk import Context

POKE_INTERVAL = 10.0
"""Seconds between two looks where the gate has to poke: in `dag.test()` and with `deferrable=False`.
Airflow 3.3.2 fails sensors that are rescheduled every second or two (apache/airflow#71172)."""


class QuorumGateSensor(BaseSensorOperator):
    """Opens when enough of the watched tasks have succeeded, by weight, and every required one.

    It runs beside the tasks that it watches: put it downstream of what starts them, not of them.
    All arrived opens it at once; the floor opens it after `grace_period` or at the deadline. When the
    floor or a required task can't be reached any more it fails at once, otherwise at the deadline.
    Returns the decision; `evidence.arrived_ids` names what arrived, `task_id` or `task_id[map_index]`.

    :param watch: the operators or task ids to watch; of a mapped task each instance is a member.
    :param deadline: from the start of the Dag run.
    :param floor: the share of the weight that is good enough.
    :param grace_period: how long to wait for the others once the floor is reached; None holds to the
        deadline, 0 not at all.
    :param weights: task id -> weight, 1 by default; of a mapped task it is the weight of each instance.
    :param required: task ids without which the gate never opens.
    :param deferrable: wait in the triggerer, without a worker slot.

    A gate that has shut stays shut, so retries are of use against faults of Airflow only.
    """

    template_fields = ("run_started_at",)
    start_from_trigger = True

    def __init__(
        self,
        *,
        watch: Sequence[Any],
        deadline: timedelta | float,
        floor: float = FLOOR,
        grace_period: timedelta | float | None = None,
        weights: Mapping[str, float] | None = None,
        required: Sequence[str] = (),
        deferrable: bool = True,
        poke_interval: timedelta | float = POKE_INTERVAL,
        **kwargs: Any,
    ) -> None:
        super().__init__(poke_interval=poke_interval, mode="reschedule", **kwargs)
        _refuse_texts(watch=watch, required=required)
        tasks = tuple(_watched(task, weights or {}, required) for task in watch)
        _refuse_nonsense(tasks, {*(weights or {}), *required})
        gate = QuorumGate(
            floor=floor,
            deadline=_duration(deadline),
            grace_period=None if grace_period is None else _duration(grace_period),
        )
        self.watched = WatchedTasks(tasks=tasks, gate=gate).as_json()
        self.run_started_at = "{{ dag_run.start_date.isoformat() }}"
        self.start_from_trigger = deferrable
        self.start_trigger_args = StartTriggerArgs(
            trigger_cls="airflow_orchestration.triggers.quorum_gate.QuorumGateTrigger",
            trigger_kwargs={
                "watched": self.watched,
                "run_started_at": self.run_started_at,
                "soft_fail": self.soft_fail,
            },
            next_method="execute",
            next_kwargs=None,
            timeout=None,
        )

    def poke(self, context: Context) -> PokeReturnValue | bool:
        """Look once, for where no triggerer does it."""
        ti: Any = context["ti"]
        watched = WatchedTasks.from_json(self.watched)
        started = datetime.fromisoformat(self.run_started_at)
        kept: Any = context["task_state_store"]  # XComs of a task are cleared each time that it is poked
        reached = kept.get("floor_reached_at")
        now = timezone.utcnow()
        decision = watched.evaluate(
            task_states(ti.dag_id, ti.run_id, watched.task_ids),
            elapsed=now - started,
            since_floor=None if reached is None else now - datetime.fromisoformat(reached),
        )
        if decision.floor_reached and reached is None:
            kept.set("floor_reached_at", now.isoformat())
        return self._answer(decision, context)

    def _answer(self, decision: GateDecision, context: Context) -> PokeReturnValue | bool:
        if not decision.is_settled:
            return False
        self.log.info("%s", decision)
        context["ti"].xcom_push(key="decision", value=decision.as_json())
        if decision.is_open:
            return PokeReturnValue(is_done=True, xcom_value=decision.as_json())
        if self.soft_fail:
            raise AirflowSkipException(str(decision))
        raise AirflowFailException(str(decision))


def _watched(task: Any, weights: Mapping[str, float], required: Sequence[str]) -> WatchedTask:
    operator = getattr(task, "operator", task)
    task_id = operator if isinstance(operator, str) else operator.task_id
    return WatchedTask(
        task_id=task_id,
        mapped=bool(getattr(operator, "is_mapped", False)),
        weight=weights.get(task_id, 1.0),
        required=task_id in required,
    )


def _refuse_texts(**lists: object) -> None:
    for name, value in lists.items():
        if isinstance(value, str):
            raise TypeError(f"{name} is the text {value!r}; write a list: [{value!r}]")


def _refuse_nonsense(tasks: Sequence[WatchedTask], named: set[str]) -> None:
    ids = [task.task_id for task in tasks]
    if not ids:
        raise ValueError("watch is empty: a gate over nothing would open at once")
    twice = sorted({task_id for task_id in ids if ids.count(task_id) > 1})
    if twice:
        raise ValueError(f"watch names tasks twice: {', '.join(twice)}")
    unknown = sorted(named - set(ids))
    if unknown:
        raise ValueError(f"weights and required name tasks that are not watched: {', '.join(unknown)}")
    for task in tasks:
        if isinstance(task.weight, str):
            raise TypeError(f"the weight of {task.task_id} is the text {task.weight!r}; write a number")
        Member(id=task.task_id, weight=task.weight)


def _duration(value: timedelta | float) -> timedelta:
    if isinstance(value, timedelta):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r} is no duration; write a timedelta, or a number of seconds")
    return timedelta(seconds=value)
