"""The Dag of a pipeline that asks a person, the one of a pipeline that does not, and the task that asks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from airflow.providers.standard.operators import hitl
from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import DAG
from airflow.sdk.exceptions import DownstreamTasksSkipped, TaskAwaitingInput
from airflow.serialization.serialized_objects import DagSerialization

from airflow_orchestration.dags.pipeline_dag import pipeline_dag
from airflow_orchestration.domain.pipeline import AskWhen
from airflow_orchestration.hooks.orchestration import OrchestrationHook
from airflow_orchestration.hooks.outside import staging_area
from airflow_orchestration.operators import base
from airflow_orchestration.storage.memory import MemoryStore
from airflow_orchestration.storage.store import RunKey, WorkUnit
from airflow_orchestration.workflow.asking import ask_after_gate
from airflow_orchestration.workflow.routes import Route
from airflow_orchestration.workflow.step import Step
from tests.airflow.test_fork import Instance, skipped_by
from tests.corpus.rounds import _attempt, play_round, spec_of

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


START = datetime(2026, 11, 22, 12, tzinfo=UTC)
RUN = RunKey(dag_id="night", run_id="1")


class Kept(dict[str, Any]):
    """What a task keeps from one try to the next."""

    def set(self, key: str, value: Any) -> None:
        self[key] = value


class Tries:
    """The tries of one task that asks about a gate which opened without one of four feeds."""

    def __init__(self, dag: DAG, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.dag, self.tmp_path, self.kept = dag, tmp_path, Kept()
        self.store, self.store_is_away = MemoryStore(lambda: START), False
        self.asked: list[dict[str, Any]] = []
        self.waits: timedelta | None = None
        self.decision: Any = None
        feeds = {name: "failed" if name == "d" else "success" for name in "abcd"}
        spec = spec_of({name: {} for name in feeds}, grace_period=0)
        asking = spec.pipeline.model_copy(update={"ask_when": (AskWhen.CONDITIONAL,)})
        play_round(self.store, RUN, spec.model_copy(update={"pipeline": asking}), ended=feeds)
        monkeypatch.setattr(OrchestrationHook, "store", lambda _: self._opened())
        monkeypatch.setattr(base, "die_with_parent", lambda: None)
        monkeypatch.setattr(hitl, "upsert_hitl_detail", lambda **asked: self.asked.append(asked))
        self.comes_up()

    def comes_up(self) -> None:
        """Let the fork before it decide, once more, that a person is asked."""
        fence = self.store.claim(WorkUnit(run=RUN, round=1, unit="decide"), _attempt())
        step = Step(store=self.store, fence=fence, scratch=self.tmp_path, open_staging=staging_area)
        verdict = self.store.rounds(RUN)[0].verdict
        assert verdict is not None
        assert Route.ASK is ask_after_gate(step, verdict, Route.MERGE)

    def ask(self) -> bool:
        """Begin a try; return whether it waits for an answer."""
        task: Any = self.dag.get_task("round_1.ask_gate")
        try:
            task.execute(self._context(task))
        except TaskAwaitingInput as awaiting:
            self.waits = awaiting.timeout
            return True
        except DownstreamTasksSkipped:
            return False
        raise AssertionError("it neither waits nor skips")

    def answer(self, option: str) -> None:
        """Give the try that waits what a person said."""
        task: Any = self.dag.get_task("round_1.ask_gate")
        user = {"id": "1", "name": "ada"}
        event = {"chosen_options": [option], "params_input": {}, "responded_at": START, "timedout": False}
        with pytest.raises(DownstreamTasksSkipped):
            task.execute_complete(self._context(task), {**event, "responded_by_user": user})

    @property
    def answers(self) -> list[tuple[str, str]]:
        decisions = [decision for _, decision in self.store.decisions(RUN)]
        return [(one["action"], one["evidence"]["by"]) for one in decisions if one["policy"] == "person"]

    def _context(self, task: Any) -> dict[str, Any]:
        instance: Any = Instance(task)
        instance.id, instance.dag_id, instance.run_id, instance.try_number = "1", RUN.dag_id, RUN.run_id, 1
        instance.start_date = START
        instance.xcom_push = self._push
        return {"ti": instance, "task_instance": instance, "dag": self.dag, "task_state_store": self.kept}

    def _push(self, key: str, value: Any) -> None:
        if key == "decision":
            self.decision = value

    @contextmanager
    def _opened(self) -> Iterator[MemoryStore]:
        if self.store_is_away:
            raise psycopg.OperationalError("the database system is starting up")
        yield self.store


@pytest.fixture
def tries(build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tries:
    """A question that has come up and is not yet put."""
    return Tries(build(["conditional"]), tmp_path, monkeypatch)


def test_an_answer_outlives_a_store_that_is_away(tries: Tries) -> None:
    """Airflow gives an answer once: the next try follows it, and asks nobody again."""
    assert tries.ask()
    tries.store_is_away = True
    with pytest.raises(psycopg.OperationalError):
        tries.answer("Stop")
    tries.store_is_away = False

    assert not tries.ask()
    assert [("stop", "ada")] == tries.answers
    assert "stop" == tries.decision["action"]
    assert 1 == len(tries.asked)


def test_an_answer_to_an_earlier_question_is_not_taken(tries: Tries) -> None:
    """A run that is cleared before the fork asks anew, even if what was said before was kept and not recorded."""
    tries.ask()
    tries.store_is_away = True
    with pytest.raises(psycopg.OperationalError):
        tries.answer("Stop")
    tries.store_is_away = False
    tries.comes_up()

    assert tries.ask()
    assert 2 == len(tries.asked)


def test_a_cleared_task_follows_what_was_answered(tries: Tries) -> None:
    """As long as the question has not come up anew its answer holds, and stands in the XCom of this try too."""
    tries.ask()
    tries.answer("Stop")
    tries.decision = None

    assert not tries.ask()
    assert ("person", "stop") == (tries.decision["policy"], tries.decision["action"])
    assert [("stop", "ada")] == tries.answers


def test_a_retry_leaves_the_time_that_is_left(tries: Tries) -> None:
    """A question that is put again does not begin its time anew, and is told once."""
    tries.ask()
    assert timedelta(minutes=14) < (tries.waits or timedelta(0))
    kept = tries.kept["question"]
    kept["by"] = (datetime.fromisoformat(kept["by"]) - timedelta(minutes=10)).isoformat()
    tries.ask()

    assert timedelta(minutes=4) < (tries.waits or timedelta(0)) <= timedelta(minutes=5)
    assert 1 == sum(event.event == "person_asked" for event in tries.store.timeline(RUN))
