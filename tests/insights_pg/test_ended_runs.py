"""What a person sees of a run that is over, was repaired, or was decided by an older version."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from airflow_orchestration.domain.pipeline import AskWhen
from airflow_orchestration.insights import run_view as module
from airflow_orchestration.insights.run_view import run_view, view_of, view_tag
from airflow_orchestration.plugins.run_shapes import RunView
from airflow_orchestration.policies.asking import AnswerFacts, Answering, Choice, Question
from airflow_orchestration.storage.postgres import PostgresStore
from airflow_orchestration.storage.store import RunKey
from airflow_orchestration.workflow.asking import ask_after_gate, put_question
from airflow_orchestration.workflow.routes import Route
from tests.insights_pg.conftest import MakeRun
from tests.insights_pg.played import RUNNING, PlayedRun
from tests.reconcile.world import World

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
GOOD = "a,1,one\nb,2,two\n"
FILES = {(0, "north"): "code,size,name\na,1,x\nb,2,\n", (0, "east"): "code,size,name\nb,9,y\nc,3,z\n"}


def feeds_of(shown: dict[str, Any]) -> dict[str, Any]:
    return {feed["feed"]: feed for branch in shown["branches"] for feed in branch["feeds"]}


def on_a_later_day(store: PostgresStore, key: RunKey) -> dict[str, Any]:
    """The view of somebody who looks a day later."""
    read = store.readings.run(key)
    return view_of(store, replace(read, run={**read.run, "now": read.now + timedelta(days=1)}))


@pytest.fixture
def repaired(store: PostgresStore, played: str, tmp_path: Path) -> dict[str, Any]:
    """The view of a run whose late feed came in with version 2."""
    world = World(
        folder=tmp_path,
        table="public.repaired",
        feeds={"north": 5.0, "east": 1.0},
        files=FILES,
        connect=lambda: psycopg.connect(played),
    )
    world.store = store  # type: ignore[assignment]  # a world keeps its runs in memory
    world.land([(0, "north")])
    world.run(0)
    world.land([(0, "east")])
    world.reconcile(0)
    return run_view(store, world.key(0))


def test_a_repaired_run_does_not_contradict_its_manifest(repaired: dict[str, Any]) -> None:
    """The merge is that of version 1 of 2, and the feed that was late in its round is in since version 2."""
    [shown] = repaired["rounds"]
    [merge] = shown["merges"]
    assert 2 == repaired["manifest"]["version"]
    assert (1, 2) == (merge["version"], merge["versions"])
    assert {"north": ("in", None), "east": ("late", 2)} == {
        name: (feed["state"], feed["in_since_version"]) for name, feed in feeds_of(shown).items()
    }


def test_a_repair_is_a_mark_in_the_chart(repaired: dict[str, Any]) -> None:
    """It stands where it was published, and the publication before it ended with version 1."""
    [mark] = [bar for bar in repaired["chart"] if bar["kind"] == "version"]
    [publication] = [bar for bar in repaired["chart"] if bar["kind"] == "publish"]
    first, second = (line["published_at"] for line in repaired["manifest"]["versions"])
    assert ("version 2", datetime.fromisoformat(second)) == (
        mark["label"],
        datetime.fromisoformat(mark["from"]),
    )
    assert datetime.fromisoformat(first) == datetime.fromisoformat(publication["to"])
    assert RunView.model_validate({**repaired, "rows_shown": True})


@pytest.fixture
def given_up(make_run: MakeRun) -> RunKey:
    """A run that ended while its gate waited for a feed that had an hour left."""
    run = make_run({"north": {}, "east": {"deadline": 3600.0}}, sync={"deadline": 7200, "floor": 1.0})
    run.land(north=GOOD)
    run.plan()
    run.work()
    run.look(states=RUNNING)
    run.close()
    return run.key


def test_a_gate_that_never_decided_is_told(given_up: RunKey, store: PostgresStore) -> None:
    """With the run it is over, and so is everything that was waited for."""
    view = run_view(store, given_up)
    [shown] = view["rounds"]
    assert ("not_published", "abandoned", None) == (
        view["state"],
        shown["gate"]["state"],
        shown["gate"]["verdict"],
    )
    [bar] = [bar for bar in view["chart"] if bar["kind"] == "gate"]
    assert ("abandoned", view["finished_at"]) == (bar["state"], bar["to"])
    assert all(bar["from"] <= bar["to"] for bar in view["chart"])


def test_what_is_over_stays_as_it_was(given_up: RunKey, store: PostgresStore) -> None:
    """Deadlines that come after the end change nothing that is shown."""
    assert {**run_view(store, given_up), "now": None} == {**on_a_later_day(store, given_up), "now": None}


@pytest.fixture
def asked(make_run: MakeRun) -> PlayedRun:
    """A person is asked whether to merge without everybody."""
    run = make_run({"north": {}, "east": {}}, sync={"deadline": 600, "floor": 0.5}, ask_when=list(AskWhen))
    run.land(north=GOOD)
    run.plan()
    run.work()
    run.look()
    verdict = run.store.rounds(run.key)[0].verdict or {}
    with run.step(1, "decide") as step:
        assert Route.ASK is ask_after_gate(step, verdict, Route.MERGE)
    with run.step(1, "ask_gate") as step:
        put_question(step, Question.GATE, NOON)
    return run


def test_a_question_is_over_with_the_run(asked: PlayedRun, store: PostgresStore) -> None:
    """Its bar ends with the run, and says that nobody answered."""
    asked.close()
    view = run_view(store, asked.key)
    [bar] = [bar for bar in view["chart"] if bar["kind"] == "question"]
    assert ("unanswered", view["finished_at"]) == (bar["state"], bar["to"])


def test_an_answer_for_which_no_time_was_left_is_nobodys(asked: PlayedRun, store: PostgresStore) -> None:
    """What the run did instead is told as its own choice, and the recorded reason says why."""
    answer = Answering().evaluate(
        AnswerFacts(
            question=Question.GATE,
            offered=(Choice.MERGE, Choice.NEXT_ROUND, Choice.STOP),
            otherwise=Choice.MERGE,
            chosen=Choice.NEXT_ROUND,
            by="ada",
            at=NOON,
            round_left=False,
        )
    )
    with asked.step(1, "answer_gate") as step:
        store.record_decision(step.fence, answer)
    view = run_view(store, asked.key)
    [question] = view["rounds"][0]["questions"]
    assert ("merge", None, True) == (question["chosen"], question["by"], question["default"])
    assert "no_time_left" == next(one["reason"] for one in view["decisions"] if one["policy"] == "person")


@pytest.mark.parametrize("left", [set(), {"sync_points"}], ids=["nothing", "points without evidence"])
def test_a_verdict_of_another_version_lacks_figures(
    make_run: MakeRun, store: PostgresStore, left: set[str]
) -> None:
    """What it does not say is null, and everything else is shown."""
    run = make_run(
        {"north": {}, "east": {}},
        sync={"deadline": 600, "floor": 0.5, "points": {"core": {"feeds": ["north"], "floor": 1.0}}},
    )
    run.land(north=GOOD)
    run.plan()
    run.work()
    run.look()
    read = store.readings.run(run.key)
    verdict = {
        "policy": "quorum_gate",
        "action": "conditional_proceed",
        "reason": "grace_period_over",
        "evidence": {name: {"core": {}} for name in left},
    }
    decided = replace(read.rounds[0], verdict=verdict)
    view = view_of(store, replace(read, rounds=(decided,), decisions=()))
    gate = view["rounds"][0]["gate"]
    assert ("decided", None, None, []) == (gate["state"], gate["floor"], gate["arrived"], gate["required"])
    [core] = gate["points"]
    assert (None, None, ["north"]) == (core["floor"], core["progress"], core["members"])
    assert RunView.model_validate({**view, "rows_shown": True})


def _claim(run: PlayedRun) -> None:
    with run.step(1, "merge"):
        pass


def _tell(run: PlayedRun) -> None:
    with run.step(1, "told") as step:
        run.store.add_event(step.fence, "something", {})


@pytest.mark.parametrize("change", [_claim, _tell, PlayedRun.work, PlayedRun.look, PlayedRun.close])
def test_the_tag_of_a_view_changes_with_what_it_shows(
    make_run: MakeRun,
    store: PostgresStore,
    change: Callable[[PlayedRun], object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It stays while nothing happens, and a work unit that begins, an event, a verdict and the end change it."""
    monkeypatch.setattr(module, "SEEN_AS_SAME_SECONDS", 1e12)
    run = make_run({"north": {}}, max_rounds=1)
    make_run({"north": {}})
    run.land(north=GOOD)
    run.plan()
    before = view_tag(store, run.key)
    assert before == view_tag(store, run.key)
    change(run)
    assert before != view_tag(store, run.key)


def test_time_alone_is_news_of_a_run_that_goes_on(
    make_run: MakeRun, store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Feeds come to deadlines of their own; of a run that is over nothing changes any more."""
    monkeypatch.setattr(module, "SEEN_AS_SAME_SECONDS", 1e-6)
    run = make_run({"north": {}})
    run.plan()
    assert view_tag(store, run.key) != view_tag(store, run.key)
    run.close()
    assert view_tag(store, run.key) == view_tag(store, run.key)
