"""Gates over a mapped task group, over ids, poked on a worker, and over what is skipped: for the tests alone."""

from __future__ import annotations

from typing import Any

from airflow.sdk import dag, task, task_group
from airflow.sdk.exceptions import AirflowSkipException

from airflow_orchestration.operators.arrived import arrived
from airflow_orchestration.sensors.quorum_gate import QuorumGateSensor, quorum_gate


@dag(schedule=None)
def gates_of_all_kinds():
    @task
    def work(number: int, ti: Any = None) -> int | None:
        if number == 1 and ti.try_number == 1:
            raise AirflowSkipException("nothing to do")
        return number or None

    @task_group
    def lot(number: int) -> None:
        work(number)

    @task
    def merge(decision: dict[str, Any]) -> dict[str, Any]:
        return arrived(decision)

    @task
    def alone() -> str:
        return "here"

    lots = lot.expand(number=[0, 1, 2])
    single = alone()
    merge.override(task_id="merge_lots")(
        quorum_gate([lots, single], floor=0.75, deadline=300, task_id="lots")
    )
    poked = QuorumGateSensor(
        task_id="poked", watch=["alone", "lot"], floor=0.75, deadline=300, deferrable=False, poke_interval=10
    )
    merge.override(task_id="merge_poked")(poked.output)
    never = QuorumGateSensor(task_id="never", watch=["alone"], floor=1, deadline="23:59 Asia/Tokyo")
    single >> never


gates_of_all_kinds()
