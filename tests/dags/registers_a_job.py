"""Registers a job while it runs: specification and contract come with the run's conf."""

from __future__ import annotations

from typing import Any

from airflow.sdk import dag, task

from airflow_orchestration.operators.register_job import RegisterJobOperator


@dag(schedule=None, tags=["test"])
def registers_a_job():
    @task
    def written(dag_run: Any = None) -> dict[str, str]:
        return {name: dag_run.conf[name] for name in ("specification", "contract")}

    texts = written()
    RegisterJobOperator(
        task_id="register",
        tenant="east",
        job="stock",
        specification=texts["specification"],
        contract=texts["contract"],
    )


registers_a_job()
