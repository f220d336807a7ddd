"""The gate of one round of a pipeline Dag, in the triggerer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow.triggers.base import TaskSuccessEvent, TriggerEvent

from airflow_orchestration.domain.run_spec import RunSpec
from airflow_orchestration.policies.quorum_gate import GateDecision
from airflow_orchestration.storage.store import RunKey
from airflow_orchestration.triggers.gate import POLL_SECONDS, GateTrigger
from airflow_orchestration.triggers.shared_store import shared_store
from airflow_orchestration.triggers.task_states import task_states
from airflow_orchestration.workflow.gate import decide_gate
from airflow_orchestration.workflow.step import read_spec


class RoundGateTrigger(GateTrigger):
    """The store says what arrived, Airflow which tasks died.

    :param round_number: the round.
    :param lanes: lane -> task id of the lane's mapped task.
    """

    def __init__(
        self,
        orchestration_conn_id: str,
        round_number: int,
        lanes: Mapping[str, str],
        poll_interval: float = POLL_SECONDS,
    ) -> None:
        super().__init__()
        self.orchestration_conn_id = orchestration_conn_id
        self.round_number = round_number
        self.lanes = dict(lanes)
        self.poll_interval = poll_interval
        self._spec: RunSpec | None = None

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return plain data that makes this trigger again."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "orchestration_conn_id": self.orchestration_conn_id,
                "round_number": self.round_number,
                "lanes": self.lanes,
                "poll_interval": self.poll_interval,
            },
        )

    def decide(self) -> GateDecision:
        """Evaluate what is registered. States are read first: what ended before the look is in the store."""
        where = self.coordinates()
        run = RunKey(dag_id=where["dag_id"], run_id=where["run_id"])
        states = task_states(run.dag_id, run.run_id, list(self.lanes.values()))
        store = shared_store(self.orchestration_conn_id)
        self._spec = self._spec or read_spec(store.run(run))
        return decide_gate(store, run, self._spec, self.round_number, self.lanes, states)

    def end_event(self, decision: GateDecision) -> TriggerEvent:
        """Succeed with any decision: the task after the gate follows it."""
        return TaskSuccessEvent()
