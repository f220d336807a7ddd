"""Which tasks a fork skips, on every way out of a round."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import DownstreamTasksSkipped

from airflow_orchestration.dags.pipeline_dag import pipeline_dag

DEMO = Path(__file__).parents[2] / "dags" / "airport_reference.yaml"


@pytest.fixture(scope="module")
def dag() -> DAG:
    return pipeline_dag(DEMO)


class Instance:
    """As much of a task instance as branching asks for."""

    map_index = -1

    def __init__(self, task: Any) -> None:
        self.task = task

    def xcom_push(self, key: str, value: Any) -> None:
        self.followed = value


def skipped_by(dag: DAG, fork: str, chosen: str) -> set[str]:
    task: Any = dag.get_task(fork)
    with pytest.raises(DownstreamTasksSkipped) as skipped:
        task.do_branch({"ti": Instance(task), "dag": dag}, chosen)
    return {entry[0] for entry in skipped.value.tasks}


@pytest.mark.parametrize(
    ("fork", "chosen", "runs", "skips"),
    [
        ("round_1.decide", "round_1.merge", {"round_1.merge", "round_2.plan", "publish", "fail"}, set()),
        ("round_1.decide", "round_2.plan", {"round_2.plan", "publish", "fail"}, {"round_1.merge"}),
        ("round_1.decide", "fail", {"fail"}, {"publish", "round_1.merge", "round_2.plan", "round_3.gate"}),
        ("round_1.validate_quality", "publish", {"publish"}, {"fail", "round_2.plan", "round_3.beta"}),
        ("round_1.validate_quality", "round_2.plan", {"round_2.plan", "publish", "fail"}, set()),
        ("round_2.decide", "fail", {"fail"}, {"publish", "round_2.merge", "round_3.plan"}),
        ("round_2.validate_quality", "fail", {"fail"}, {"publish", "round_3.plan"}),
        ("round_3.decide", "fail", {"fail"}, {"publish", "round_3.merge"}),
        ("round_3.validate_quality", "publish", {"publish"}, {"fail"}),
    ],
)
def test_fork_leaves_exactly_one_exit(
    dag: DAG, fork: str, chosen: str, runs: set[str], skips: set[str]
) -> None:
    """Leaving the loop skips the other exit and every later round; going on keeps both exits open."""
    if not skips:
        task: Any = dag.get_task(fork)
        try:
            task.do_branch({"ti": Instance(task), "dag": dag}, chosen)
            found: set[str] = set()
        except DownstreamTasksSkipped as skipped:
            found = {entry[0] for entry in skipped.tasks}
    else:
        found = skipped_by(dag, fork, chosen)

    assert skips <= found
    assert not runs & found
