"""The two forks of a round, as callables for Airflow's BranchPythonOperator (SEED 2, 3)."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from airflow.sdk import get_current_context

from airflow_orchestration.insights.completeness import percent
from airflow_orchestration.operators.base import open_step
from airflow_orchestration.policies.quorum_gate import GateAction
from airflow_orchestration.workflow.asking import ask_after_gate, ask_after_quality
from airflow_orchestration.workflow.quality import validate_quality
from airflow_orchestration.workflow.routes import Route, after_gate, after_quality

log = logging.getLogger(__name__)


def decide_after_gate(conn_id: str, round_number: int, targets: Mapping[str, str]) -> str:
    """Follow the gate's recorded verdict: merge, go round again, fail, or ask a person first.

    :param targets: `Route` -> task id; with `Route.ASK` if the Dag has a task that asks.
    """
    context = get_current_context()
    with open_step(context, conn_id, round_number, "decide") as step:
        verdict = step.store.rounds(step.run_key)[round_number - 1].verdict
        if verdict is None:
            raise RuntimeError(f"The gate of round {round_number} recorded no verdict.")
        route = after_gate(step, GateAction(verdict["action"]))
        if Route.ASK in targets:
            route = ask_after_gate(step, verdict, route)
    log.info(
        "%s because %s: %s of the weight arrived, the floor is %s; next: %s",
        verdict["action"],
        verdict["reason"],
        percent(verdict["evidence"]["progress"]),
        percent(verdict["evidence"]["floor"]),
        route.value.replace("_", " "),
    )
    return targets[route]


def decide_after_quality(conn_id: str, round_number: int, targets: Mapping[str, str]) -> str:
    """Judge what was merged: publish it, revise it, fail, or ask a person first.

    :param targets: `Route` -> task id; with `Route.ASK` if the Dag has a task that asks.
    """
    context = get_current_context()
    with open_step(context, conn_id, round_number, "quality") as step:
        decision = validate_quality(step)
        route = after_quality(step, decision.action)
        if Route.ASK in targets:
            route = ask_after_quality(step, decision, route)
    log.info("%s; next: %s", decision, route.value.replace("_", " "))
    context["ti"].xcom_push(key="decision", value=decision.as_json())
    return targets[route]
