"""Turns a pipeline file into a Dag: rounds of plan, lanes and gate, then publish and close out.

Airflow has no cycles, so the retry loop is unrolled: a round that is not needed is skipped. Inside
a round every trigger rule is the default, so that skipping cascades. Only the shared exits accept
skipped neighbours, and only `close_out`, the one leaf, runs whatever happened.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from airflow.sdk import DAG, Asset, TriggerRule
from airflow.sdk.definitions.param import ParamsDict

from airflow_orchestration.dags import names
from airflow_orchestration.dags.arguments import dag_arguments
from airflow_orchestration.dags.dag_doc import dag_doc
from airflow_orchestration.dags.params import trigger_params
from airflow_orchestration.dags.reconcile_dag import reconcile_dag
from airflow_orchestration.dags.round_group import Round, round_group
from airflow_orchestration.domain.pipeline import Late, Pipeline
from airflow_orchestration.domain.pipeline_file import PipelineFile
from airflow_orchestration.domain.publish import Publish
from airflow_orchestration.hooks.pipeline_files import deployed_pipeline_file
from airflow_orchestration.operators.analyze_batches import ANALYZE_BATCHES, AnalyzeBatchesOperator
from airflow_orchestration.operators.publish import CloseOutOperator, FailOperator, PublishOperator

AHEAD_OF_WORK = 100
"""Priority weight of the tasks that everything waits for, so that stragglers never keep them from a slot."""


def pipeline_dag(path: Path | str) -> DAG:
    """Build the Dag of a pipeline file; raises `InputRefusedError` with every problem of the file.

    With `late: reconcile`, the default, Airflow finds a second one beside it, `<pipeline>__reconcile`.

    In a file of the Dags folder, beside `my_pipeline.yaml`:

        from airflow_orchestration.dags.pipeline_dag import pipeline_dag
        dag = pipeline_dag(Path(__file__).with_suffix(".yaml"))
    """
    return build_pipeline_dag(deployed_pipeline_file(path))


def build_pipeline_dag(found: PipelineFile) -> DAG:
    """Build the Dag of a pipeline, or of a tenant's job, whose file is read already."""
    pipeline = found.pipeline
    with DAG(
        dag_id=pipeline.id,
        description=pipeline.description.strip().partition("\n")[0] or None,
        doc_md=dag_doc(pipeline),
        schedule=pipeline.schedule,
        **dag_arguments(pipeline),
    ) as dag:
        _build(dag, pipeline, found)
    # After the tasks: Airflow copies a Dag's params for each of its tasks, which takes longer than all the rest.
    dag.params = ParamsDict(trigger_params(pipeline))
    if pipeline.sync.late is Late.RECONCILE:
        reconcile_dag(pipeline, _assets(pipeline))
    return dag


def _build(dag: DAG, pipeline: Pipeline, found: PipelineFile) -> None:
    common: dict[str, Any] = {
        "orchestration_conn_id": pipeline.store_conn_id,
        "priority_weight": AHEAD_OF_WORK,
    }
    exits: dict[str, Any] = {**common, "trigger_rule": TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS}
    analyze_batches = AnalyzeBatchesOperator(
        task_id=ANALYZE_BATCHES,
        task_display_name=names.ANALYZE,
        pipeline_file=str(found.path.resolve()),
        tenancy=found.tenancy,
        **common,
    )
    rounds = [round_group(number, pipeline, common) for number in range(1, pipeline.max_rounds + 1)]
    assets = _assets(pipeline)
    publish = PublishOperator(task_id="publish", task_display_name=names.PUBLISH, assets=assets, **exits)
    fail = FailOperator(task_id="fail", task_display_name=names.FAIL, **{**exits, "retries": 0})
    close_out = CloseOutOperator(
        task_id="close_out",
        task_display_name=names.CLOSE_OUT,
        assets=assets,
        late=pipeline.sync.late,
        **{**common, "trigger_rule": TriggerRule.ALL_DONE},
    )
    analyze_batches >> rounds[0].plan
    for this, following in zip(rounds, [*rounds[1:], None], strict=True):
        again = [following.plan] if following else []
        for fork in this.after_gate:
            fork >> [*again, fail]
        for fork in this.after_quality:
            fork >> [publish, *again, fail]
        this.workers >> close_out
        _label(dag, this, following)
    [publish, fail] >> close_out


def _label(dag: DAG, this: Round, following: Round | None) -> None:
    """Name the edges that leave a fork. Airflow's `Label` would tie whole groups together across rounds."""
    dag.set_edge_info(this.quality.task_id, "publish", {"label": "quality_approved"})
    dag.set_edge_info(this.quality.task_id, "fail", {"label": "critical_failure"})
    for ask in filter(None, (this.ask_gate, this.ask_quality)):
        for label, task_id in ask.ways.items():
            dag.set_edge_info(ask.task_id, task_id, {"label": label})
    if following:
        dag.set_edge_info(this.decide.task_id, following.plan.task_id, {"label": "timeout_recovery"})
        dag.set_edge_info(this.quality.task_id, following.plan.task_id, {"label": "needs_revision"})


def _assets(pipeline: Pipeline) -> list[Asset]:
    return [_asset(publish) for publish in pipeline.targets]


def _asset(publish: Publish) -> Asset:
    schema, _, table = publish.table.partition(".")
    return Asset(name=publish.table, uri=f"orchestration://{publish.conn_id}/{schema}/{table}")
