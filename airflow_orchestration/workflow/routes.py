"""Where does a run go after its gate, and after its quality gate? (SEED 2, 3)"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from airflow_orchestration.policies.asking import Choice
from airflow_orchestration.policies.quality import QualityAction
from airflow_orchestration.policies.quorum_gate import GateAction
from airflow_orchestration.workflow.plan import rebalance
from airflow_orchestration.workflow.step import Step


class Route(StrEnum):
    """The next stop of a run."""

    MERGE = "merge"
    NEXT_ROUND = "next_round"
    PUBLISH = "publish"
    FAIL = "fail"
    ASK = "ask"
    """A person says where."""


CHOICES: Mapping[Route, Choice] = MappingProxyType(
    {
        Route.MERGE: Choice.MERGE,
        Route.PUBLISH: Choice.PUBLISH,
        Route.NEXT_ROUND: Choice.NEXT_ROUND,
        Route.FAIL: Choice.STOP,
    }
)
"""The stops as a person may choose them."""


def after_gate(step: Step, action: GateAction) -> Route:
    """Merge what the gate let through, else try another round while one is left."""
    if action in {GateAction.PROCEED_TO_DATA_MERGE, GateAction.CONDITIONAL_PROCEED}:
        return Route.MERGE
    return next_round_or_fail(step)


def after_quality(step: Step, action: QualityAction) -> Route:
    """Publish what was approved, revise what can be revised."""
    match action:
        case QualityAction.QUALITY_APPROVED:
            return Route.PUBLISH
        case QualityAction.NEEDS_REVISION:
            return next_round_or_fail(step)
        case QualityAction.CRITICAL_FAILURE:
            return Route.FAIL


def next_round_or_fail(step: Step) -> Route:
    """Go round once more if the load balancer finds something to run again."""
    return Route.NEXT_ROUND if rebalance(step, after_round=step.round).rerun else Route.FAIL
