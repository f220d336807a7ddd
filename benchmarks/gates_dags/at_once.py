"""Tasks whose wait is over before it begins: gates over what is there, and branches that find their file."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, BaseOperator, task

from airflow_orchestration.domain.plan import Plan
from airflow_orchestration.hooks.orchestration import OrchestrationHook
from airflow_orchestration.sensors.quorum_gate import QuorumGateSensor
from airflow_orchestration.storage.store import Attempt, GateTerms, RunKey, WorkUnit
from airflow_orchestration.triggers.branch_wait import BranchWaitTrigger

if TYPE_CHECKING:
    from airflow.sdk import Context

GATES = 200
BRANCHES = 48


class WaitForThisFile(BaseOperator):
    """Waits as a branch does, for a file that is there."""

    def execute(self, context: Context) -> None:
        """Defer at once."""
        waiting = [["feed", "file", __file__]]
        trigger = BranchWaitTrigger(
            orchestration_conn_id=OrchestrationHook.default_conn_name, round_number=1, waiting=waiting
        )
        self.defer(trigger=trigger, method_name="resume")

    def resume(self, context: Context, event: dict[str, Any]) -> str:
        """Return what was found."""
        return str(event["kind"])


with DAG("gates_at_once", schedule=None, tags=["benchmark"], max_active_tasks=GATES):
    there = EmptyOperator(task_id="there")
    for number in range(GATES):
        there >> QuorumGateSensor(task_id=f"gate_{number}", watch=[there], deadline=600)

with DAG("branches_at_once", schedule=None, tags=["benchmark"], max_active_tasks=BRANCHES):

    @task
    def open_round(ti: Any = None) -> None:
        """Open a round, which a branch looks at before it looks for its file."""
        key = RunKey(dag_id=ti.dag_id, run_id=ti.run_id)
        with OrchestrationHook().store() as store:
            fence = store.claim(
                WorkUnit(run=key, round=1, unit="plan"), Attempt(try_number=1, ti_id="", process="")
            )
            store.open_round(fence, Plan(round=1, branches=()), GateTerms(deadline=timedelta(hours=1)))

    opened = open_round()
    for number in range(BRANCHES):
        opened >> WaitForThisFile(task_id=f"branch_{number}")
