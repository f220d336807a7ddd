"""Fetches what other quality tools left as XCom, before the work on the feeds begins."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_orchestration.workflow.step import Step


def with_quality_results(context: Context, step: Step, feed_ids: Iterable[str]) -> Step:
    """Return the step with the XCom of each of these feeds' `quality_task`, of the step's own run.

    The work may go on in a process of its own, which can't ask Airflow any more.
    """
    results = {
        feed_id: context["ti"].xcom_pull(
            task_ids=task, dag_id=step.run_key.dag_id, run_id=step.run_key.run_id
        )
        for feed_id in feed_ids
        if (task := step.spec.feeds[feed_id].quality_task) is not None
    }
    return replace(step, quality_results=results) if results else step
