"""Turns a pipeline file into a Dag: rounds of plan, lanes and gate, then publish and close out.

Airflow has no cycles, so the retry loop is unrolled: a round that is not needed is skipped. Inside
a round every trigger rule is the default, so that skipping cascades. Only the shared exits accept
skipped neighbours, and only `close_out`, the one leaf, runs whatever happened.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.providers.standard.operators.python import BranchPythonOperator
from airflow.sdk import DAG, Asset, TaskGroup, TriggerRule

from airflow_orchestration.dags.params import trigger_params
from airflow_orchestration.domain.batch import Lane
from airflow_orchestration.domain.pipeline import Pipeline
from airflow_orchestration.domain.pipeline_file import read_pipeline_file
from airflow_orchestration.operators.analyze_batches import AnalyzeBatchesOperator
from airflow_orchestration.operators.decide import decide_after_gate, decide_after_quality
from airflow_orchestration.operators.merge_branches import MergeBranchesOperator
from airflow_orchestration.operators.plan_round import PlanRoundOperator, RouteLaneOperator
from airflow_orchestration.operators.process_branch import LANE_OPERATORS
from airflow_orchestration.operators.publish import CloseOutOperator, FailOperator, PublishOperator
from airflow_orchestration.sensors.round_gate import RoundGateSensor
from airflow_orchestration.workflow.routes import Route

START_DATE = datetime(2026, 1, 1, tzinfo=UTC)
RETRY_DELAY = timedelta(seconds=5)
GATE_RETRIES = 2
"""Looking again changes nothing, so a gate that lost its triggerer may always be started again."""
AHEAD_OF_WORK = 100
"""Priority weight of the tasks that everything waits for, so that stragglers never keep them from a slot."""


def pipeline_dag(path: Path | str) -> DAG:
    """Build the Dag of a pipeline file; raises `InputRefusedError` with every problem of the file.

    In a file of the Dags folder, beside `my_pipeline.yaml`:

        from airflow_orchestration.dags.pipeline_dag import pipeline_dag
        dag = pipeline_dag(Path(__file__).with_suffix(".yaml"))
    """
    found = read_pipeline_file(Path(path))
    pipeline = found.pipeline
    with DAG(
        dag_id=pipeline.id,
        description=pipeline.description.strip().partition("\n")[0] or None,
        doc_md=pipeline.description or None,
        schedule=pipeline.schedule,
        start_date=START_DATE,
        catchup=False,
        tags=list(pipeline.tags),
        params=trigger_params(pipeline),
        render_template_as_native_obj=False,
        default_args={
            "owner": pipeline.owner,
            "retries": pipeline.retries,
            "retry_delay": RETRY_DELAY,
        },
    ) as dag:
        _build(dag, pipeline, found.path.resolve())
    return dag


@dataclass(frozen=True, slots=True, kw_only=True)
class _Round:
    """The ends of a round that others are tied to."""

    plan: PlanRoundOperator
    decide: BranchPythonOperator
    quality: BranchPythonOperator
    lanes: list[Any]


def _build(dag: DAG, pipeline: Pipeline, path: Path) -> None:
    store: dict[str, Any] = {"orchestration_conn_id": pipeline.store_conn_id}
    ahead: dict[str, Any] = {**store, "priority_weight": AHEAD_OF_WORK}
    exits: dict[str, Any] = {**ahead, "trigger_rule": TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS}
    target: dict[str, Any] = {"publish_conn_id": pipeline.publish.conn_id}
    analyze = AnalyzeBatchesOperator(task_id="analyze_batches", pipeline_file=str(path), **ahead)
    rounds = [_round(number, pipeline, ahead) for number in range(1, pipeline.max_rounds + 1)]
    publish = PublishOperator(
        task_id="publish", asset=Asset(name=pipeline.publish.table, uri=_uri(pipeline)), **target, **exits
    )
    fail = FailOperator(task_id="fail", **{**exits, "retries": 0})
    close_out = CloseOutOperator(
        task_id="close_out", **target, **{**ahead, "trigger_rule": TriggerRule.ALL_DONE}
    )
    analyze >> rounds[0].plan
    for this, following in zip(rounds, [*rounds[1:], None], strict=True):
        again = [following.plan] if following else []
        this.decide >> [*again, fail]
        this.quality >> [publish, *again, fail]
        this.lanes >> close_out
        _label(dag, this, following)
    [publish, fail] >> close_out


def _round(number: int, pipeline: Pipeline, ahead: dict[str, Any]) -> _Round:
    common = {**ahead, "round_number": number}
    group = f"round_{number}"
    with TaskGroup(group):
        with TaskGroup("route"):
            routes = {
                lane: RouteLaneOperator(task_id=f"to_{lane.value}", lane=lane, **common) for lane in Lane
            }
        lanes = {
            lane: operator.partial(
                task_id=lane.value,
                round_number=number,
                orchestration_conn_id=pipeline.store_conn_id,
                map_index_template="{{ branch_name }}",
            ).expand(branch_id=routes[lane].output)
            for lane, operator in LANE_OPERATORS.items()
        }
        gate = RoundGateSensor(
            task_id="gate",
            lanes={lane: task.task_id for lane, task in lanes.items()},
            **{**common, "retries": GATE_RETRIES},
        )
        plan = PlanRoundOperator(
            task_id="plan",
            gate=gate.task_id,
            routes={lane: task.task_id for lane, task in routes.items()},
            **{**common, "trigger_rule": TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS},
        )
        forks = {"conn_id": pipeline.store_conn_id, "round_number": number}
        targets = _targets(number, pipeline.max_rounds)
        decide = BranchPythonOperator(
            task_id="decide",
            python_callable=decide_after_gate,
            op_kwargs={**forks, "targets": targets},
            priority_weight=AHEAD_OF_WORK,
        )
        merge = MergeBranchesOperator(task_id="merge", **common)
        validate_quality = BranchPythonOperator(
            task_id="validate_quality",
            python_callable=decide_after_quality,
            op_kwargs={**forks, "targets": targets},
            priority_weight=AHEAD_OF_WORK,
        )
        plan >> [gate, *routes.values()]
        gate >> decide >> merge >> validate_quality
    return _Round(plan=plan, decide=decide, quality=validate_quality, lanes=list(lanes.values()))


def _targets(number: int, max_rounds: int) -> dict[str, str]:
    targets = {
        Route.MERGE.value: f"round_{number}.merge",
        Route.PUBLISH.value: "publish",
        Route.FAIL.value: "fail",
    }
    if number < max_rounds:
        targets[Route.NEXT_ROUND.value] = f"round_{number + 1}.plan"
    return targets


def _label(dag: DAG, this: _Round, following: _Round | None) -> None:
    """Name the edges that leave a fork. Airflow's `Label` would tie whole groups together across rounds."""
    dag.set_edge_info(this.quality.task_id, "publish", {"label": "quality_approved"})
    dag.set_edge_info(this.quality.task_id, "fail", {"label": "critical_failure"})
    if following:
        dag.set_edge_info(this.decide.task_id, following.plan.task_id, {"label": "timeout_recovery"})
        dag.set_edge_info(this.quality.task_id, following.plan.task_id, {"label": "needs_revision"})


def _uri(pipeline: Pipeline) -> str:
    schema, _, table = pipeline.publish.table.partition(".")
    return f"orchestration://{pipeline.publish.conn_id}/{schema}/{table}"
