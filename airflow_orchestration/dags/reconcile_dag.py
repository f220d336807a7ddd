"""The Dag beside a pipeline's own that brings in what came late: on a schedule, or by its trigger button."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow.sdk import DAG, Asset, Param

from airflow_orchestration.dags import names
from airflow_orchestration.dags.arguments import dag_arguments
from airflow_orchestration.domain.pipeline import Pipeline
from airflow_orchestration.operators.reconcile import (
    RUN_ID,
    RUN_NAME,
    FindLateOperator,
    ReconcileOperator,
    late_versions,
)

DOC = """Looks for feeds that came after their run, and publishes each such run anew as a further version.
Trigger it to look now, or with a run id to repair one run, feeds that failed included."""


def reconcile_dag(pipeline: Pipeline, assets: Sequence[Asset]) -> DAG:
    """Build the Dag `<pipeline>__reconcile`; `assets` are the published tables."""
    store: dict[str, Any] = {"orchestration_conn_id": pipeline.store_conn_id}
    with DAG(
        dag_id=f"{pipeline.id}__reconcile",
        description=f"Merges feeds that came late to runs of {pipeline.id}",
        doc_md=DOC,
        schedule=pipeline.sync.reconcile_schedule,
        params={
            RUN_ID: Param(
                None,
                type=["null", "string"],
                maxLength=250,
                title="Run",
                description=f"A run of {pipeline.id} to repair, failed feeds included. Empty: every degraded run "
                "of the last 7 days.",
            )
        },
        **dag_arguments(pipeline),
    ) as dag:
        find = FindLateOperator(
            task_id="find_late", task_display_name=names.FIND_LATE, pipeline_id=pipeline.id, **store
        )
        ReconcileOperator.partial(
            task_id="reconcile",
            task_display_name=names.RECONCILE,
            pipeline_id=pipeline.id,
            assets=list(assets),
            outlets=[late_versions(asset) for asset in assets],
            map_index_template=RUN_NAME,
            **store,
        ).expand(late_run_id=find.output)
    return dag
