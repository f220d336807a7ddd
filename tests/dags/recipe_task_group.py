"""Task groups: the table is made without the vendor that failed, and then the run fails all the same."""

from __future__ import annotations

from typing import Any

from airflow.sdk import dag, task, task_group
from airflow.sdk.exceptions import AirflowFailException

from airflow_orchestration.operators.arrived import arrived
from airflow_orchestration.sensors.quorum_gate import quorum_gate


@task
def fetch(name: str) -> list[int]:
    if name == "vega":
        raise RuntimeError("the vendor sent nothing")
    return [1, 2, 3]


@task
def check(rows: list[int]) -> int:
    return sum(rows)


@dag(schedule=None, tags=["recipe"])
def recipe_task_group():
    @task_group
    def vendor(name: str) -> None:
        check(fetch(name))

    @task_group
    def archive() -> None:
        check.override(task_id="page").expand(rows=[[1, 2], [3, 4]])

    @task
    def merge(decision: dict[str, Any]) -> dict[str, int]:
        return arrived(decision)

    @task
    def fail_when_degraded(decision: dict[str, Any]) -> None:
        if decision["action"] == "conditional_proceed":
            raise AirflowFailException(f"Made without {decision['evidence']['failed_ids']}")

    vendors = [vendor.override(group_id=name)(name) for name in ("altair", "deneb", "vega")]
    gate = quorum_gate([*vendors, archive()], floor=0.75, deadline=600, required=["altair"])
    merge(gate) >> fail_when_degraded(gate)


recipe_task_group()
