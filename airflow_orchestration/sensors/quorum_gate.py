"""The quorum gate over any tasks of a Dag run: needs no store and no pipeline file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.sdk import BaseSensorOperator, PokeReturnValue, TriggerRule, timezone
from airflow.sdk.bases.decorator import get_unique_task_id
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from airflow.triggers.base import StartTriggerArgs

from airflow_orchestration.domain.deadline import time_of_day
from airflow_orchestration.domain.defaults import FLOOR
from airflow_orchestration.insights.completeness import DAG_RUN_NOTE, gate_note
from airflow_orchestration.policies.quorum_gate import GateDecision
from airflow_orchestration.sensors.watch_list import found_in, watched_tasks
from airflow_orchestration.triggers.task_states import task_states
from airflow_orchestration.triggers.watched_tasks import WatchedTasks, floor_moment, watch_terms

if TYPE_CHECKING:
    from airflow.sdk import Context, XComArg

POKE_INTERVAL = 10.0
"""Seconds between two looks where the gate has to poke: in `dag.test()` and with `deferrable=False`.
Airflow 3.3.2 fails sensors that are rescheduled every second or two (apache/airflow#71172)."""
ANY_TIME = datetime(2000, 1, 1, tzinfo=timezone.utc)
LONGEST = timedelta(days=366)
FLOOR_REACHED_AT = "floor_reached_at"
NOT_FOR_GATES = {
    "timeout": "deadline says until when it waits",
    "execution_timeout": "it would end a gate that waits; deadline says until when it waits",
    "mode": "deferrable says where it waits",
    "never_fail": "soft_fail skips what comes after",
    "silent_fail": "a look that fails is taken again in the triggerer",
    "exponential_backoff": "poke_interval says how often it looks where it pokes",
    "max_wait": "poke_interval says how often it looks where it pokes",
}
"""What sensors know besides, and a gate in the triggerer can't follow -> what to write instead."""


def quorum_gate(
    watch: Sequence[Any], *, deadline: timedelta | float | str, task_id: str = "quorum_gate", **kwargs: Any
) -> XComArg:
    """Put a gate behind some tasks, and return its decision for a task that merges what arrived.

        loads = load.expand(region=regions())
        merge(quorum_gate([loads], deadline=600, floor=0.75))

    The tasks become the gate's upstream, so that the graph shows them and that they are no leaves of
    the Dag, which would fail the run when they fail. The gate starts with the run all the same.

    :param kwargs: of `QuorumGateSensor`.
    """
    gate = QuorumGateSensor(task_id=get_unique_task_id(task_id), watch=watch, deadline=deadline, **kwargs)
    for item in watch:
        found = found_in(gate.get_dag(), item)
        if isinstance(found, str):
            raise ValueError(  # noqa: TRY004  # the type is right
                f"watch names {found!r}, which the Dag has not by now; put the gate behind what it watches, "
                "or correct the id"
            )
        gate.set_upstream(found)
    output: XComArg = gate.output
    return output


class QuorumGateSensor(BaseSensorOperator):
    """Opens when enough of the watched tasks have succeeded, by weight, and every required one.

    All arrived opens it at once; the floor opens it after `grace_period` or at the deadline. When the
    floor or a required task can't be reached any more it fails at once, otherwise at the deadline.
    Returns the decision; `operators.arrived` takes from it what arrived, by name.

    Its trigger rule is `always`: it starts with the run, wherever it stands, and watches.

    :param watch: tasks, results of TaskFlow calls, task groups, or the ids of these. Of a mapped task each
        instance is a member. Of a task group each leaf is one, for which other tasks wait when they wait for
        the group. A skipped task has failed to arrive.
    :param deadline: from the start of the Dag run; or a time of day with its time zone, such as
        `06:00 Europe/Berlin`: the first such moment after the start of the run.
    :param floor: the share of the weight that is good enough.
    :param grace_period: how long to wait for the others once the floor is reached; None holds to the
        deadline, 0 not at all.
    :param weights: task or group id -> weight, 1 by default; it is the weight of each instance of a mapped
        task, and of each leaf of a group.
    :param required: task or group ids without which the gate never opens.
    :param note: put into the note of the Dag run what is missing.
    :param deferrable: wait in the triggerer, without a worker slot.

    A gate that has shut stays shut, so in the triggerer it is not retried, whatever `default_args` say,
    unless you give it `retries` of its own. The other parameters of sensors that end a wait are refused,
    and a gate can't be mapped: neither works in the triggerer.
    """

    template_fields = ("run_started_at",)
    start_from_trigger = True

    def __init__(
        self,
        *,
        watch: Sequence[Any],
        deadline: timedelta | float | str,
        floor: float = FLOOR,
        grace_period: timedelta | float | None = None,
        weights: Mapping[str, float] | None = None,
        required: Sequence[str] = (),
        note: bool = True,
        deferrable: bool = True,
        poke_interval: timedelta | float = POKE_INTERVAL,
        **kwargs: Any,
    ) -> None:
        _refuse([name for name in NOT_FOR_GATES if name in kwargs])
        kwargs.setdefault("trigger_rule", TriggerRule.ALWAYS)
        kwargs["execution_timeout"] = None  # default_args may have one for the tasks that work
        if deferrable:
            kwargs.setdefault("retries", 0)
        super().__init__(poke_interval=poke_interval, mode="reschedule", **kwargs)
        dag = self.get_dag()
        self.watched = watch_terms(
            watched_tasks(watch, weights=weights or {}, required=required, dag=dag),
            floor=_share(floor),
            deadline=_deadline(deadline),
            grace_period=None if grace_period is None else _seconds(grace_period),
        )
        if self.task_id in {task_id for task_id, *_ in self.watched["tasks"]}:
            raise ValueError(f"the gate {self.task_id} watches itself; take it out of watch")
        WatchedTasks.from_json(self.watched, run_started_at=ANY_TIME)  # refuses nonsense now, not in the run
        self.note = note
        self.run_started_at = "{{ dag_run.start_date.isoformat() }}"
        self.start_from_trigger = deferrable
        self.start_trigger_args = self._trigger_args()

    @classmethod
    def partial(cls, **_: Any) -> NoReturn:
        """Refuse to be mapped: the instances of a mapped task do not start in the triggerer."""
        raise TypeError(f"{cls.__name__} can't be mapped; write a gate for each list of tasks")

    def _trigger_args(self) -> StartTriggerArgs:
        return StartTriggerArgs(
            trigger_cls="airflow_orchestration.triggers.quorum_gate.QuorumGateTrigger",
            trigger_kwargs={
                "watched": self.watched,
                "run_started_at": self.run_started_at,
                "soft_fail": self.soft_fail,
                "note": self.note,
            },
            next_method="execute",
            next_kwargs=None,
            timeout=None,
        )

    def poke(self, context: Context) -> PokeReturnValue | bool:
        """Look once, for where no triggerer does it."""
        ti: Any = context["ti"]
        started = datetime.fromisoformat(self.run_started_at)
        watched = WatchedTasks.from_json(self.watched, run_started_at=started)
        kept: Any = context["task_state_store"]  # XComs of a task are cleared each time that it is poked
        reached = floor_moment(kept.get(FLOOR_REACHED_AT), run_started_at=started)
        now = timezone.utcnow()
        decision = watched.evaluate(
            task_states(ti.dag_id, ti.run_id, watched.task_ids),
            elapsed=now - started,
            since_floor=None if reached is None else now - reached,
        )
        if decision.floor_reached and reached is None:
            kept.set(FLOOR_REACHED_AT, now.isoformat())
        return self._answer(decision, context)

    def _answer(self, decision: GateDecision, context: Context) -> PokeReturnValue | bool:
        if not decision.is_settled:
            return False
        self.log.info("%s", decision)
        note = gate_note(self.task_id, decision.as_json())
        if self.note and note is not None:
            context["ti"].xcom_push(key=DAG_RUN_NOTE, value=note)
        if decision.is_open:
            return PokeReturnValue(is_done=True, xcom_value=decision.as_json())
        if self.soft_fail:
            raise AirflowSkipException(str(decision))
        raise AirflowFailException(str(decision))


def _deadline(value: timedelta | float | str) -> float | str:
    if isinstance(value, str):
        time_of_day(value)
        return value
    return _seconds(value)


def _seconds(value: timedelta | float) -> float:
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise TypeError(f"{value!r} is no duration; write a timedelta, or a number of seconds")
    if not seconds <= LONGEST.total_seconds():
        raise ValueError(f"{value!r} is too long; write at most {LONGEST.total_seconds():.0f} seconds")
    return seconds


def _share(value: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"floor {value!r} is no number; write a share, such as 0.75")
    if value == 0:
        raise ValueError("floor 0 opens over nothing; write the share that is good enough, such as 0.75")
    return value


def _refuse(names: Sequence[str]) -> None:
    if names:
        told = "; ".join(f"{name}: {NOT_FOR_GATES[name]}" for name in names)
        raise TypeError(f"a gate has no {', '.join(names)} ({told})")
