"""The quorum gate over the feeds of one round of a pipeline Dag."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseSensorOperator, PokeReturnValue
from airflow.triggers.base import StartTriggerArgs

from airflow_orchestration.hooks.orchestration import OrchestrationHook
from airflow_orchestration.storage.store import RunKey
from airflow_orchestration.triggers.task_states import task_states
from airflow_orchestration.workflow.gate import decide_gate
from airflow_orchestration.workflow.step import read_spec

if TYPE_CHECKING:
    from airflow.sdk import Context

POKE_INTERVAL = 2.0
"""Seconds between two looks in `dag.test()`, where no triggerer looks."""


class RoundGateSensor(BaseSensorOperator):
    """The gate of one round of a pipeline Dag; its terms were written when the round was opened.

    It succeeds with every decision: the task after it goes where the decision says.

    :param tasks: lane -> task id of its mapped task, or `agents` -> that of the agents.
    """

    template_fields = ()
    start_from_trigger = True

    def __init__(
        self,
        *,
        round_number: int,
        tasks: Mapping[str, str],
        orchestration_conn_id: str = OrchestrationHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(poke_interval=POKE_INTERVAL, mode="reschedule", **kwargs)
        self.round_number = round_number
        self.tasks = dict(tasks)
        self.orchestration_conn_id = orchestration_conn_id
        self.start_trigger_args = StartTriggerArgs(
            trigger_cls="airflow_orchestration.triggers.round_gate.RoundGateTrigger",
            trigger_kwargs={
                "orchestration_conn_id": orchestration_conn_id,
                "round_number": round_number,
                "tasks": self.tasks,
            },
            next_method="execute",
            next_kwargs=None,
            timeout=None,
        )

    def poke(self, context: Context) -> PokeReturnValue | bool:
        """Look once, for where no triggerer does it."""
        ti: Any = context["ti"]
        run = RunKey(dag_id=ti.dag_id, run_id=ti.run_id)
        states = task_states(ti.dag_id, ti.run_id, list(self.tasks.values()))
        with OrchestrationHook(self.orchestration_conn_id).store() as store:
            spec = read_spec(store.run(run))
            decision = decide_gate(store, run, spec, self.round_number, self.tasks, states)
        if not decision.is_settled:
            return False
        self.log.info("%s", decision)
        return PokeReturnValue(is_done=True, xcom_value=decision.as_json())
