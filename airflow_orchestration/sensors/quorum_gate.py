"""The quorum gate as a sensor: over any tasks of a run, and over the rounds of a pipeline Dag."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseSensorOperator, PokeReturnValue, timezone
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from airflow.triggers.base import StartTriggerArgs

from airflow_orchestration.domain.batch import Lane
from airflow_orchestration.hooks.orchestration import OrchestrationHook
from airflow_orchestration.policies.quorum_gate import FLOOR, GateDecision, QuorumGate
from airflow_orchestration.storage.store import RunKey
from airflow_orchestration.triggers.task_states import task_states
from airflow_orchestration.triggers.watched_tasks import WatchedTask, WatchedTasks
from airflow_orchestration.workflow.gate import decide_gate
from airflow_orchestration.workflow.step import read_spec

if TYPE_CHECKING:
    from airflow.sdk import Context

TRIGGERS = "airflow_orchestration.triggers.quorum_gate"
POKE_INTERVAL = 2.0
"""Seconds between two looks where the gate has to poke: in `dag.test()` and with `deferrable=False`."""


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
    :param weights: task id -> weight, 1 by default.
    :param required: task ids without which the gate never opens.
    :param deferrable: wait in the triggerer, without a worker slot.
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
        tasks = tuple(_watched(task, weights or {}, required) for task in watch)
        _refuse_unknown({*(weights or {}), *required} - {task.task_id for task in tasks})
        gate = QuorumGate(
            floor=floor,
            deadline=_duration(deadline),
            grace_period=None if grace_period is None else _duration(grace_period),
        )
        self.watched = WatchedTasks(tasks=tasks, gate=gate).as_json()
        self.run_started_at = "{{ dag_run.start_date.isoformat() }}"
        self.start_from_trigger = deferrable
        self.start_trigger_args = StartTriggerArgs(
            trigger_cls=f"{TRIGGERS}.QuorumGateTrigger",
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
        reached = ti.xcom_pull(task_ids=ti.task_id, key="floor_reached_at")
        now = timezone.utcnow()
        decision = watched.evaluate(
            task_states(ti.dag_id, ti.run_id, watched.task_ids),
            elapsed=now - started,
            since_floor=None if reached is None else now - datetime.fromisoformat(reached),
        )
        if decision.floor_reached and reached is None:
            ti.xcom_push(key="floor_reached_at", value=now.isoformat())
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


class RoundGateSensor(BaseSensorOperator):
    """The gate of one round of a pipeline Dag; its terms were written when the round was opened.

    It succeeds with every decision: the task after it goes where the decision says.

    :param lanes: lane -> task id of the lane's mapped task.
    """

    template_fields = ()
    start_from_trigger = True

    def __init__(
        self,
        *,
        round_number: int,
        lanes: Mapping[Lane, str],
        orchestration_conn_id: str = OrchestrationHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(poke_interval=POKE_INTERVAL, mode="reschedule", **kwargs)
        self.round_number = round_number
        self.lanes = {lane.value: task_id for lane, task_id in lanes.items()}
        self.orchestration_conn_id = orchestration_conn_id
        self.start_trigger_args = StartTriggerArgs(
            trigger_cls=f"{TRIGGERS}.RoundGateTrigger",
            trigger_kwargs={
                "orchestration_conn_id": orchestration_conn_id,
                "round_number": round_number,
                "lanes": self.lanes,
            },
            next_method="execute",
            next_kwargs=None,
            timeout=None,
        )

    def poke(self, context: Context) -> PokeReturnValue | bool:
        """Look once, for where no triggerer does it."""
        ti: Any = context["ti"]
        run = RunKey(dag_id=ti.dag_id, run_id=ti.run_id)
        states = task_states(ti.dag_id, ti.run_id, list(self.lanes.values()))
        with OrchestrationHook(self.orchestration_conn_id).store() as store:
            spec = read_spec(store.run(run))
            decision = decide_gate(store, run, spec, self.round_number, self.lanes, states)
        if not decision.is_settled:
            return False
        self.log.info("%s", decision)
        ti.xcom_push(key="decision", value=decision.as_json())
        return PokeReturnValue(is_done=True, xcom_value=decision.as_json())


def _watched(task: Any, weights: Mapping[str, float], required: Sequence[str]) -> WatchedTask:
    operator = getattr(task, "operator", task)
    task_id = operator if isinstance(operator, str) else operator.task_id
    return WatchedTask(
        task_id=task_id,
        mapped=bool(getattr(operator, "is_mapped", False)),
        weight=weights.get(task_id, 1.0),
        required=task_id in required,
    )


def _refuse_unknown(unknown: set[str]) -> None:
    if unknown:
        raise ValueError(
            f"weights and required name tasks that are not watched: {', '.join(sorted(unknown))}"
        )


def _duration(value: timedelta | float) -> timedelta:
    return value if isinstance(value, timedelta) else timedelta(seconds=value)
