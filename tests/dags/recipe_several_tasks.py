"""Several tasks and two gates: a quick look at what is required, and the whole report without what is broken."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import dag, task

from airflow_orchestration.operators.arrived import arrived
from airflow_orchestration.sensors.quorum_gate import quorum_gate


@dag(schedule=None, tags=["recipe"])
def recipe_several_tasks():
    @task
    def flights() -> int:
        return 300

    @task
    def airports() -> int:
        return 20

    @task
    def weather() -> int:
        return 1000

    @task
    def planes() -> int:
        raise RuntimeError("the file is empty")

    @task
    def count(decision: dict[str, Any]) -> dict[str, int]:
        return arrived(decision)

    sources = [flights(), airports(), weather(), planes()]
    core = quorum_gate(sources[:2], floor=1, deadline=timedelta(minutes=5), task_id="core")
    everything = quorum_gate(
        sources,
        floor=0.8,
        deadline=timedelta(minutes=10),
        weights={"flights": 3},
        required=["flights"],
        note=False,
        task_id="everything",
    )
    count.override(task_id="quick_look")(core)
    count.override(task_id="report")(everything)


recipe_several_tasks()
