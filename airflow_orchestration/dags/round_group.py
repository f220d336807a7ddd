"""One round as a task group: plan, routes, lanes, gate, and the two forks with the merge between them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow.sdk import TaskGroup, TriggerRule

from airflow_orchestration.domain.batch import Lane
from airflow_orchestration.domain.pipeline import Pipeline
from airflow_orchestration.operators.decide import decide_after_gate, decide_after_quality
from airflow_orchestration.operators.fork import ForkOperator
from airflow_orchestration.operators.merge_branches import MergeBranchesOperator
from airflow_orchestration.operators.plan_round import PlanRoundOperator, RouteLaneOperator
from airflow_orchestration.operators.process_branch import BRANCH_NAME, LANE_OPERATORS
from airflow_orchestration.sensors.round_gate import RoundGateSensor
from airflow_orchestration.workflow.routes import Route

GATE_RETRIES = 2
"""Looking again changes nothing, so a gate that lost its triggerer may always be started again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """The ends of a round that others are tied to."""

    plan: PlanRoundOperator
    decide: ForkOperator
    quality: ForkOperator
    lanes: list[Any]


def group_id(number: int) -> str:
    """Name the task group of a round."""
    return f"round_{number}"


def round_group(number: int, pipeline: Pipeline, defaults: Mapping[str, Any]) -> Round:
    """Build the tasks of one round. `defaults` are arguments of every task but the lanes."""
    common = {**defaults, "round_number": number}
    with TaskGroup(group_id(number)):
        with TaskGroup("route"):
            routes = {
                lane: RouteLaneOperator(task_id=f"to_{lane.value}", lane=lane, **common) for lane in Lane
            }
        lanes = {lane: _lane(lane, routes[lane], number, pipeline) for lane in Lane}
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
        decide, quality = _forks(number, pipeline, defaults["priority_weight"])
        plan >> [gate, *routes.values()]
        gate >> decide >> MergeBranchesOperator(task_id="merge", **common) >> quality
    return Round(plan=plan, decide=decide, quality=quality, lanes=list(lanes.values()))


def _lane(lane: Lane, route: RouteLaneOperator, number: int, pipeline: Pipeline) -> Any:
    """Map a lane over the ids of its branches, which the plan made: never over what a stranger wrote."""
    return (
        LANE_OPERATORS[lane]
        .partial(
            task_id=lane.value,
            round_number=number,
            orchestration_conn_id=pipeline.store_conn_id,
            map_index_template=BRANCH_NAME,
        )
        .expand(branch_id=route.output)
    )


def _forks(number: int, pipeline: Pipeline, priority_weight: int) -> tuple[ForkOperator, ForkOperator]:
    targets = _targets(number, pipeline.max_rounds)
    common: dict[str, Any] = {
        "op_kwargs": {"conn_id": pipeline.store_conn_id, "round_number": number, "targets": targets},
        "exits": [targets[Route.PUBLISH], targets[Route.FAIL]],
        "later_groups": [group_id(later) for later in range(number + 1, pipeline.max_rounds + 1)],
        "priority_weight": priority_weight,
    }
    decide = ForkOperator(task_id="decide", python_callable=decide_after_gate, **common)
    validate_quality = ForkOperator(
        task_id="validate_quality", python_callable=decide_after_quality, **common
    )
    return decide, validate_quality


def _targets(number: int, max_rounds: int) -> dict[str, str]:
    targets = {
        Route.MERGE.value: f"{group_id(number)}.merge",
        Route.PUBLISH.value: "publish",
        Route.FAIL.value: "fail",
    }
    if number < max_rounds:
        targets[Route.NEXT_ROUND.value] = f"{group_id(number + 1)}.plan"
    return targets
