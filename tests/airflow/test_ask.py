"""The Dag of a pipeline that asks a person, and the one of a pipeline that does not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import DAG
from airflow.serialization.serialized_objects import DagSerialization

from airflow_orchestration.dags.pipeline_dag import pipeline_dag
from tests.airflow.test_fork import skipped_by

DEMO = Path(__file__).parents[2] / "dags" / "airport_reference.yaml"
Build = Callable[[Sequence[str]], DAG]


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """Build the demo's Dag with some `ask_when`."""

    def dag(ask_when: Sequence[str]) -> DAG:
        document = yaml.safe_load(DEMO.read_text())
        document["ask_when"] = list(ask_when)
        document["contract"] = str(DEMO.with_name(document["contract"]))
        path = tmp_path / "asked.yaml"
        path.write_text(yaml.safe_dump(document))
        return pipeline_dag(path)

    return dag


@pytest.mark.parametrize(
    ("ask_when", "asks"),
    [
        ([], set()),
        (["conditional"], {"ask_gate"}),
        (["below_floor"], {"ask_gate"}),
        (["near_miss"], {"ask_quality"}),
        (["conditional", "near_miss"], {"ask_gate", "ask_quality"}),
    ],
)
def test_only_a_pipeline_that_asks_has_tasks_that_ask(
    build: Build, ask_when: list[str], asks: set[str]
) -> None:
    """Each round asks where the author wants it; without `ask_when` no task is added."""
    plain, dag = build([]), build(ask_when)
    added = {f"round_{number}.{task}" for number in (1, 2, 3) for task in asks}

    assert added == set(dag.task_ids) - set(plain.task_ids)
    assert added == {task.task_id for task in dag.tasks if isinstance(task, HITLOperator)}


def test_a_person_may_lead_where_the_verdict_may(build: Build) -> None:
    """The tasks that ask lead to the merge, to publishing, to the next round or to the end."""
    dag = build(["conditional", "near_miss"])

    assert "round_1.ask_gate" in dag.get_task("round_1.decide").downstream_task_ids
    assert {"round_1.merge", "round_2.plan", "fail"} == dag.get_task("round_1.ask_gate").downstream_task_ids
    assert "round_1.ask_quality" in dag.get_task("round_1.validate_quality").downstream_task_ids
    assert {"publish", "round_2.plan", "fail"} == dag.get_task("round_1.ask_quality").downstream_task_ids
    assert {"publish", "fail"} == dag.get_task("round_3.ask_quality").downstream_task_ids


def test_a_question_that_is_not_asked_does_not_skip_the_merge(build: Build) -> None:
    """The merge accepts a skipped question, and only where there is one; nothing else in a round changes."""
    rules = {
        asked: {
            task.task_id: task.trigger_rule
            for task in build(asked).tasks
            if task.task_id.startswith("round_") and task.trigger_rule != "all_success"
        }
        for asked in ((), ("conditional",), ("near_miss",))
    }
    plans = {f"round_{number}.plan": "none_failed_min_one_success" for number in (1, 2, 3)}
    merges = {f"round_{number}.merge": "none_failed_min_one_success" for number in (1, 2, 3)}

    assert {(): plans, ("conditional",): {**plans, **merges}, ("near_miss",): plans} == rules


@pytest.mark.parametrize(
    ("fork", "chosen", "runs", "skips"),
    [
        ("round_1.decide", "round_1.merge", {"round_1.merge", "publish", "fail"}, {"round_1.ask_gate"}),
        ("round_1.decide", "round_2.plan", {"round_2.plan", "fail"}, {"round_1.ask_gate", "round_1.merge"}),
        ("round_1.decide", "fail", {"fail"}, {"round_1.ask_gate", "round_2.ask_gate", "publish"}),
        ("round_1.ask_gate", "round_2.plan", {"round_2.plan", "publish", "fail"}, {"round_1.merge"}),
        (
            "round_1.ask_gate",
            "fail",
            {"fail"},
            {"publish", "round_1.merge", "round_2.plan", "round_3.ask_gate"},
        ),
        ("round_1.validate_quality", "publish", {"publish"}, {"round_1.ask_quality", "fail", "round_2.plan"}),
        ("round_1.ask_quality", "publish", {"publish"}, {"fail", "round_2.plan", "round_3.ask_quality"}),
        ("round_1.ask_quality", "fail", {"fail"}, {"publish", "round_2.plan"}),
        ("round_3.ask_gate", "fail", {"fail"}, {"publish", "round_3.merge"}),
    ],
)
def test_an_answer_ends_what_is_not_needed(
    build: Build, fork: str, chosen: str, runs: set[str], skips: set[str]
) -> None:
    """A person's answer, like a verdict, skips the other ways and every later round when the run leaves the loop."""
    found = skipped_by(build(["conditional", "below_floor", "near_miss"]), fork, chosen)

    assert skips <= found
    assert not runs & found


def test_asking_keeps_every_way_open(build: Build) -> None:
    """A fork that leads to a person skips nothing."""
    dag = build(["conditional", "near_miss"])
    for fork, asks in (("decide", "ask_gate"), ("validate_quality", "ask_quality")):
        task: Any = dag.get_task(f"round_1.{fork}")
        followed = dag.get_task(f"round_1.{asks}").get_flat_relative_ids(upstream=False)

        assert task.downstream_task_ids - {f"round_1.{asks}"} <= followed


def test_a_question_renders_nothing_and_is_the_same_each_time(build: Build) -> None:
    """What a person is asked comes from the store: no template, and no new Dag version without a change."""
    dag = build(["conditional", "near_miss"])

    assert {()} == {tuple(task.template_fields) for task in dag.tasks if isinstance(task, HITLOperator)}
    assert DagSerialization.to_dict(dag) == DagSerialization.to_dict(build(["conditional", "near_miss"]))
