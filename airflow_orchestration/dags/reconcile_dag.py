"""The Dag beside a pipeline's own that brings in what came late: on a schedule, or by its trigger button."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import DAG, Asset, Param

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
START_DATE = datetime(2026, 1, 1, tzinfo=UTC)
RETRY_DELAY = timedelta(seconds=5)


def reconcile_dag(pipeline: Pipeline, asset: Asset, common: dict[str, Any]) -> DAG:
    """Build the Dag `<pipeline>__reconcile`. `common` are arguments of its task."""
    with DAG(
        dag_id=f"{pipeline.id}__reconcile",
        description=f"Merges feeds that came late to runs of {pipeline.id}",
        doc_md=DOC,
        schedule=pipeline.sync.reconcile_schedule,
        start_date=START_DATE,
        catchup=False,
        max_active_runs=1,
        tags=list(pipeline.tags),
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
        render_template_as_native_obj=False,
        default_args={"owner": pipeline.owner, "retries": pipeline.retries, "retry_delay": RETRY_DELAY},
    ) as dag:
        find = FindLateOperator(task_id="find_late", pipeline_id=pipeline.id, **common)
        ReconcileOperator.partial(
            task_id="reconcile",
            pipeline_id=pipeline.id,
            publish_conn_id=pipeline.publish.conn_id,
            asset=asset,
            outlets=[late_versions(asset)],
            map_index_template=RUN_NAME,
            **common,
        ).expand(late_run_id=find.output)
    return dag
