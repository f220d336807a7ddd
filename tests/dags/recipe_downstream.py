"""A downstream Dag: makes its report from a published table only when that is complete enough."""

from __future__ import annotations

from airflow.sdk import Asset, dag, task

from airflow_orchestration.operators.require_completeness import RequireCompleteness

TABLE = Asset(name="public.five_lanes", uri="orchestration://orchestration_default/public/five_lanes")


@dag(schedule=[TABLE], tags=["recipe"])
def recipe_downstream():
    @task
    def report() -> str:
        return "made"

    RequireCompleteness(task_id="complete", min_share=0.9, require=["nightly"]) >> report()


recipe_downstream()
