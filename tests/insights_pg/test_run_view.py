"""What a person sees of a run, of runs that the real workflow has played on PostgreSQL."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from airflow_orchestration.domain.pipeline import AskWhen
from airflow_orchestration.insights.agents import run_agents
from airflow_orchestration.insights.overview import runs_over_time
from airflow_orchestration.insights.run_view import run_view, timeline_page
from airflow_orchestration.policies.asking import Choice, Question
from airflow_orchestration.storage.postgres import PostgresStore
from airflow_orchestration.storage.store import RunKey, RunState
from airflow_orchestration.workflow.asking import ask_after_gate, put_question, take_answer
from airflow_orchestration.workflow.routes import Route
from tests.insights_pg.conftest import MakeRun
from tests.insights_pg.played import RUNNING, PlayedRun
from tests.storage.builders import claimed
from tests.unit.workflow.rounds import KEY, Round

GOOD = "a,1,one\nb,2,two\nc,3,three\nd,4,four\n"
OTHER = "a,1,One\nb,2,two\nc,3,three\n"
REPAIRED = "a,1,one\nb,2,two\nc,3,three\nd,-4,four\n"
POOR = "a,-1,\nb,-2,\nc,-3,\nd,4,four\n"
EVER = datetime(1970, 1, 1, tzinfo=UTC)
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def feeds_of(shown: dict[str, Any]) -> dict[str, Any]:
    return {feed["feed"]: feed for branch in shown["branches"] for feed in branch["feeds"]}


def states_of(shown: dict[str, Any]) -> dict[str, str]:
    return {name: feed["state"] for name, feed in feeds_of(shown).items()}


@pytest.fixture(scope="module")
def degraded(store: PostgresStore, played: str, tmp_path_factory: pytest.TempPathFactory) -> PlayedRun:
    """Two rounds: one feed was repaired, one stayed away, and two disagree."""
    run = PlayedRun(
        tmp_path_factory.mktemp("landing"),
        store,
        lambda: psycopg.connect(played),
        {
            "north": {"weight": 2.0, "required": True},
            "east": {"usual_rows": 3},
            "south": {},
            "west": {"deadline": 0.001},
        },
        run_id="degraded",
        sync={"deadline": 600, "floor": 0.5, "points": {"core": {"feeds": ["north", "east"], "floor": 1.0}}},
        max_rounds=2,
    )
    run.start()
    run.land(north=GOOD, east=OTHER, south=POOR)
    for number in (1, 2):
        run.plan(number)
        run.work(number)
        run.look(number)
        run.merge(number)
        run.land(south=REPAIRED)
    run.publish()
    return run


def test_the_view_and_the_list_of_runs_agree_on_the_deadline(
    degraded: PlayedRun, store: PostgresStore
) -> None:
    """One function says whether it was met, wherever it is asked."""
    listed = runs_over_time(store, [degraded.key.dag_id], since=EVER)["runs"]
    [told] = [one for one in listed if one["run_id"] == degraded.key.run_id]

    assert (True, True) == (run_view(store, degraded.key)["deadline_met"], told["deadline_met"])


def test_a_degraded_run_says_what_its_manifest_says(degraded: PlayedRun, store: PostgresStore) -> None:
    """State, rows, quality, weights, usual rows and quarantine of a run are those of its manifest."""
    view = run_view(store, degraded.key)
    manifest = view["manifest"]
    assert store.manifest(degraded.key) == manifest
    assert RunState.PUBLISHED_DEGRADED == view["state"] == manifest["state"]
    shown = feeds_of(view["rounds"][0]) | feeds_of(view["rounds"][1])
    for told in manifest["feeds"]:
        feed = shown[told["feed"]]
        same = {"weight": "weight", "required": "required", "usual_rows": "usual_rows", "rows_in": "rows_in"}
        same |= {"rows_valid": "rows_staged", "rows_quarantined": "rows_quarantined"}
        assert [told.get(name) for name in same] == [feed[name] for name in same.values()], told["feed"]
        assert told.get("quality_score") == (feed["quality_score"] and round(feed["quality_score"], 4))
    published = {told["feed"]: told["rows_published"] for told in manifest["feeds"] if told["state"] == "in"}
    [merge] = view["rounds"][1]["merges"]
    assert published == {source["feed"]: source["published"] for source in merge["sources"]}
    assert manifest["rows"] == merge["rows"]
    rejects = {told["feed"]: told["rejects"] for told in manifest["feeds"] if told.get("rejects")}
    assert rejects == {"south": {one["rule"]: one["rows"] for one in view["quarantine"]}}
    assert {"south"} == {one["feed"] for one in view["quarantine"]}
    assert [gate["progress"] for gate in manifest["gate"]] == [
        one["gate"]["progress"] for one in view["rounds"]
    ]


def test_rounds_stand_side_by_side(degraded: PlayedRun, store: PostgresStore) -> None:
    """The first round has the poor feed below standard and its disagreements, the second runs again what needs it."""
    first, second = run_view(store, degraded.key)["rounds"]
    assert {"north": "in", "east": "in", "south": "below_standard", "west": "late"} == states_of(first)
    assert {"south": "in", "west": "late"} == states_of(second)
    assert ("needs_revision", "quality_approved") == tuple(
        one["quality"]["decision"]["action"] for one in (first, second)
    )
    below = [feed["feed"] for feed in first["quality"]["feeds"] if feed["below"]]
    assert ["south"] == below
    [merge] = second["merges"]
    name = next(one for one in merge["disagreements"] if one["attribute"] == "name")
    assert (3, 1) == (name["compared"], name["differ"])
    assert {"code": "a"} == name["examples"][0]["key"]
    assert pytest.approx(1.0) == sum(source["share"] for source in merge["sources"])


def test_a_gate_is_told_with_its_points(degraded: PlayedRun, store: PostgresStore) -> None:
    """Weights, required members and sync points of a decided gate are those of its verdict."""
    gate = run_view(store, degraded.key)["rounds"][0]["gate"]
    assert (4.0, 5.0, 0.8, 0.5) == (
        gate["arrived_weight"],
        gate["expected_weight"],
        gate["progress"],
        gate["floor"],
    )
    assert [{"feed": "north", "arrived": True}] == gate["required"]
    [core] = gate["points"]
    assert ("core", 1.0, ["north", "east"]) == (core["name"], core["progress"], core["members"])
    assert "only_failed_missing" == gate["verdict"]["reason"]


def test_every_figure_leads_to_a_decision(degraded: PlayedRun, store: PostgresStore) -> None:
    """Verdict, merge and quality of each round are among the decisions, by number, newest first."""
    view = run_view(store, degraded.key)
    known = {one["id"]: one for one in view["decisions"]}
    assert sorted(known, reverse=True) == [one["id"] for one in view["decisions"]]
    for shown in view["rounds"]:
        for one in (shown["gate"]["verdict"], shown["quality"]["decision"], shown["merges"][0]["decision"]):
            assert known[one["id"]] == one
            assert shown["round"] == one["round"]


def test_the_chart_has_a_bar_for_each_step(degraded: PlayedRun, store: PostgresStore) -> None:
    """Feeds, plan, gate, merge and quality of both rounds, and the publication, each with its ends."""
    chart = run_view(store, degraded.key)["chart"]
    kinds = {(bar["round"], bar["kind"]) for bar in chart}
    assert kinds == {(0, "publish")} | {
        (number, kind) for number in (1, 2) for kind in ("plan", "feed", "gate", "merge", "quality")
    }
    assert all(bar["from"] <= bar["to"] for bar in chart)
    assert sorted(bar["from"] for bar in chart) == [bar["from"] for bar in chart]


def test_a_view_is_plain_json(degraded: PlayedRun, store: PostgresStore) -> None:
    """What is returned survives JSON, without NaN and without anything that is not data."""
    view = run_view(store, degraded.key)
    assert view == json.loads(json.dumps(view, allow_nan=False))


@pytest.fixture
def waiting(make_run: MakeRun) -> PlayedRun:
    """One of two feeds is there, and the other one is waited for."""
    run = make_run({"north": {"weight": 3.0}, "east": {"weight": 1.0}}, sync={"deadline": 600, "floor": 0.9})
    run.land(north="a,1,one\na,1,one\nb,-1,two\n")
    run.plan()
    run.work()
    return run


def test_an_open_gate_is_seen_as_its_policy_sees_it(waiting: PlayedRun, store: PostgresStore) -> None:
    """Progress and counts are what the trigger's own look finds, and looking records nothing."""
    view = run_view(store, waiting.key)
    gate = view["rounds"][0]["gate"]
    assert ("running", None) == (view["state"], gate["verdict"])
    assert "quorum_gate" not in {one["policy"] for one in view["decisions"]}
    found = waiting.look(states=RUNNING).evidence
    for name in ("progress", "arrived_weight", "expected_weight", "arrived", "failed", "pending", "floor"):
        assert found[name] == gate[name], name
    assert 0.75 == gate["progress"]
    assert None is store.rounds(waiting.key)[0].verdict


def test_a_branch_says_what_it_waits_for(waiting: PlayedRun, store: PostgresStore) -> None:
    """One branch is done, with its rows and its weight; the other one waits for its feed."""
    view = run_view(store, waiting.key)
    done, waits = sorted(view["rounds"][0]["branches"], key=lambda one: one["state"])
    assert ("done", 1, 3.0, []) == (done["state"], done["rows"], done["weight"], done["waiting_for"])
    assert ("waiting", 0, ["east"], None) == (
        waits["state"],
        waits["rows"],
        waits["waiting_for"],
        waits["seconds"],
    )
    assert {"east": "waiting", "north": "below_standard"} == states_of(view["rounds"][0])
    assert None is next(bar for bar in view["chart"] if bar["label"] == "east")["to"]


def test_rows_put_aside_are_counted_by_rule(waiting: PlayedRun, store: PostgresStore) -> None:
    """Each rule that put rows aside is named, with the feed and how many they are."""
    [outcome] = store.outcomes(waiting.key)
    found = {one["rule"]: one["rows"] for one in run_view(store, waiting.key)["quarantine"]}
    assert outcome.rejects == found
    assert outcome.rows_quarantined == sum(found.values()) == 2


def test_a_round_that_nobody_has_begun_is_pending(make_run: MakeRun, store: PostgresStore) -> None:
    """After the plan, branches and feeds are pending, and the gate waits."""
    run = make_run({"north": {}})
    run.plan()
    [shown] = run_view(store, run.key)["rounds"]
    assert {"north": "pending"} == states_of(shown)
    assert ["pending"] == [branch["state"] for branch in shown["branches"]]
    assert None is shown["quality"]


def test_a_failed_feed_says_why(make_run: MakeRun, store: PostgresStore) -> None:
    """A feed that could not be read has its error and no quality, and its branch has failed."""
    run = make_run({"north": {}, "east": {}}, max_rounds=1)
    run.land(north=GOOD)
    (run.folder / "east.csv").write_bytes(b"")
    run.plan()
    run.work()
    run.look()
    [shown] = run_view(store, run.key)["rounds"]
    feed = feeds_of(shown)["east"]
    assert ("failed", None) == (feed["state"], feed["quality_score"])
    assert feed["error"].startswith("east")
    assert "failed" in {branch["state"] for branch in shown["branches"]}


def test_a_run_that_was_refused_has_only_an_end(store: PostgresStore) -> None:
    """Without an analysis there are a state, a manifest and a timeline, and nothing else."""
    key = RunKey(dag_id="things", run_id="refused")
    fence = claimed(store, "close_out", run=key)
    store.finish(fence, RunState.NOT_PUBLISHED, {"state": "not_published", "why": "conf is refused"})
    view = run_view(store, key)
    assert ("not_published", [], None, None) == (
        view["state"],
        view["rounds"],
        view["mode"],
        view["started_at"],
    )
    assert "conf is refused" == view["manifest"]["why"]
    assert ["finished: not published"] == [one["text"] for one in timeline_page(store, key)["events"]]


def test_a_run_that_nobody_knows_is_an_error(store: PostgresStore) -> None:
    """Neither a view nor a timeline is made up."""
    key = RunKey(dag_id="things", run_id="nobody's")
    with pytest.raises(KeyError, match="nobody's"):
        run_view(store, key)
    with pytest.raises(KeyError, match="nobody's"):
        timeline_page(store, key)


@pytest.fixture
def asked(make_run: MakeRun) -> PlayedRun:
    """A gate opened without everybody, and a person is asked."""
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


def test_a_question_is_open_until_it_is_answered(asked: PlayedRun, store: PostgresStore) -> None:
    """Its task and the time for an answer are known, and no answer is."""
    [question] = run_view(store, asked.key)["rounds"][0]["questions"]
    assert ("gate", "round_1.ask_gate") == (question["question"], question["task_id"])
    assert None is question["answered_at"] is question["by"] is question["chosen"] is question["default"]
    assert datetime.fromisoformat(question["answer_by"]) > NOON


@pytest.mark.parametrize(("by", "default"), [("ada", False), (None, True)])
def test_an_answer_says_whose_it_is(
    asked: PlayedRun, store: PostgresStore, by: str | None, default: bool
) -> None:
    """Who chose what, or that nobody did and the run went on by itself."""
    with asked.step(1, "answer_gate") as step:
        take_answer(step, Question.GATE, chosen=Choice.MERGE, by=by, at=NOON)
    [question] = run_view(store, asked.key)["rounds"][0]["questions"]
    assert ("merge", by, default) == (question["chosen"], question["by"], question["default"])
    assert question["answered_at"] > question["asked_at"]


def test_a_question_that_came_up_again_is_open_again(asked: PlayedRun, store: PostgresStore) -> None:
    """An answer belongs to the question that it was given to, not to a later one."""
    with asked.step(1, "answer_gate") as step:
        take_answer(step, Question.GATE, chosen=Choice.STOP, by="ada", at=NOON)
        put_question(step, Question.GATE, NOON)
    found = run_view(store, asked.key)["rounds"][0]["questions"]
    assert ["stop", None] == [question["chosen"] for question in found]


def test_agents_stand_at_their_branches(store: PostgresStore, tmp_path: Path) -> None:
    """Each branch and lane of a run with agents names who has it, and `agents` says that there are some."""
    bench = Round(tmp_path, {"north": {}, "east": {}}, store=store)
    assert not run_view(store, KEY)["agents"]
    hired = {agent.agent_id for agent in bench.hire() if agent.position >= 0}
    view = run_view(store, KEY)
    assert view["agents"]
    assert hired == {branch["agent"] for branch in view["rounds"][0]["branches"]}
    assert hired == {agent.agent_id for one in run_agents(store, KEY) for agent in one.agents}
    assert {"agent_selection", "agent_order"}.isdisjoint(one["policy"] for one in view["decisions"])


def test_a_timeline_is_read_page_by_page(degraded: PlayedRun, store: PostgresStore) -> None:
    """Pages follow one another without gaps, newest first, also those of one round."""
    whole = timeline_page(store, degraded.key)["events"]
    assert len(store.timeline(degraded.key)) == len(whole)
    assert run_view(store, degraded.key)["events"] == {"count": len(whole), "more": False}
    for number in (None, 1):
        expected = [one["id"] for one in whole if number in {None, one["round"]}]
        found: list[int] = []
        before = None
        while True:
            page = timeline_page(store, degraded.key, before=before, round_number=number, limit=3)
            found += [one["id"] for one in page["events"]]
            before = page["before"]
            if before is None:
                break
        assert expected == found
    assert "merged thing: 4 rows from 3 feeds" in {one["text"] for one in whole}
