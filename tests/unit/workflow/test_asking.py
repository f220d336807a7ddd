"""What is asked about a run, and what becomes of the answer, step by step in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_orchestration.domain.pipeline import AskWhen
from airflow_orchestration.engine.staging import StagingArea
from airflow_orchestration.insights.narrative import sentence
from airflow_orchestration.policies.asking import Choice, Question
from airflow_orchestration.policies.quality import QualityAction
from airflow_orchestration.policies.quorum_gate import GateAction
from airflow_orchestration.storage.memory import MemoryStore
from airflow_orchestration.storage.store import RunKey, WorkUnit
from airflow_orchestration.workflow.analyze import analyze_batches
from airflow_orchestration.workflow.asking import (
    ask_after_gate,
    ask_after_quality,
    earlier_answer,
    put_question,
    take_answer,
    times_asked,
)
from airflow_orchestration.workflow.gate import decide_gate
from airflow_orchestration.workflow.in_process import ALL_OVER, ATTEMPT, LANES, InProcessRun
from airflow_orchestration.workflow.merge import merge_round
from airflow_orchestration.workflow.plan import plan_round
from airflow_orchestration.workflow.publish import _is_approved, _last_word
from airflow_orchestration.workflow.quality import validate_quality
from airflow_orchestration.workflow.routes import Route, after_gate, after_quality, next_round_or_fail
from airflow_orchestration.workflow.step import Step
from tests.corpus.rounds import play_round, spec_of

GOOD = "code,size\na,1\nb,2\n"
NEARLY = "code,size\n" + "".join(f"v{n},1\n" for n in range(5)) + "".join(f"i{n},-1\n" for n in range(6))
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
ALWAYS = list(AskWhen)

Play = Callable[..., Any]
Gated = Callable[..., Step]


@pytest.fixture
def gated(play: Play, tmp_path: Path) -> Gated:
    """Run feeds up to the verdict of the first round's gate, and return a step in that round."""

    def run(*arguments: Any, **pipeline: Any) -> Step:
        spec = play(*arguments, **pipeline)[0].spec
        fresh = InProcessRun(spec=spec, clock=lambda: datetime.now(UTC), report=lambda _: None)
        with fresh._step(tmp_path, 0, "analyze") as step:
            analyze_batches(fresh.store, step.fence, spec)
        with fresh._step(tmp_path, 1, "plan") as step:
            plan = plan_round(step).plan
        fresh._branches(tmp_path, plan)
        decide_gate(fresh.store, fresh.key, spec, 1, LANES, ALL_OVER)
        fence = fresh.store.claim(WorkUnit(run=fresh.key, round=1, unit="decide"), ATTEMPT)
        staging = StagingArea(tmp_path / "staging")
        return Step(store=fresh.store, fence=fence, scratch=tmp_path, open_staging=lambda _: staging)

    return run


def ask_at_gate(step: Step) -> Route:
    verdict = step.store.rounds(step.run_key)[0].verdict
    assert verdict is not None
    return ask_after_gate(step, verdict, after_gate(step, GateAction(verdict["action"])))


def ask_at_quality(step: Step) -> Route:
    decision = validate_quality(step)
    return ask_after_quality(step, decision, after_quality(step, decision.action))


def test_nobody_is_asked_where_everybody_came(gated: Gated) -> None:
    """With all feeds in and approved the run goes on at once, and says why nobody was asked."""
    step = gated({"one": GOOD, "two": GOOD}, ask_when=ALWAYS)

    assert Route.MERGE is ask_at_gate(step)
    merge_round(step)
    assert Route.PUBLISH is ask_at_quality(step)
    reasons = [
        found["reason"] for _, found in step.store.decisions(step.run_key) if found["policy"] == "asking"
    ]
    assert ["nothing_missing", "approved"] == reasons


def test_a_conditional_opening_is_put_to_a_person(gated: Gated) -> None:
    """The question names what failed, offers another round, and merges by default after the author's time."""
    files = {"one": GOOD, "two": GOOD, "three": GOOD, "four": ""}
    step = gated(files, ask_when=ALWAYS, ask_timeout=90)

    assert Route.ASK is ask_at_gate(step)
    asked = put_question(step, Question.GATE, NOON)
    assert (Choice.MERGE, Choice.NEXT_ROUND, Choice.STOP) == asked.offered
    assert (Choice.MERGE, NOON + timedelta(seconds=90)) == (asked.otherwise, asked.answer_by)
    assert "If nobody answers by 2026-11-22 12:01:30 UTC" in asked.body
    assert "| `four` | failed | 1 |" in asked.body
    assert "| `one` | in | 1 | 2 | 1.000 |  |" in asked.body


def test_no_other_round_is_offered_in_the_last_one(gated: Gated) -> None:
    """Where no round is left a person may merge or stop."""
    files = {"one": GOOD, "two": GOOD, "three": GOOD, "four": ""}
    step = gated(files, ask_when=ALWAYS, max_rounds=1)

    assert Route.ASK is ask_at_gate(step)
    assert (Choice.MERGE, Choice.STOP) == put_question(step, Question.GATE, NOON).offered


def test_without_a_required_feed_nobody_is_asked(gated: Gated) -> None:
    """A required feed that is missing leaves nothing to decide: the run fails as it would have."""
    feeds: dict[str, dict[str, Any]] = {"one": {}, "two": {"required": True}}
    step = gated({"one": GOOD, "two": ""}, feeds, ask_when=ALWAYS, max_rounds=1)

    assert Route.FAIL is ask_at_gate(step)


def test_what_arrived_below_the_floor_can_be_merged_and_published(gated: Gated) -> None:
    """A person's word after timeout_recovery merges exactly what had arrived, and the quality gate judges it."""
    step = gated({"one": GOOD, "two": ""}, ask_when=ALWAYS, max_rounds=1)

    assert Route.ASK is ask_at_gate(step)
    answer = take_answer(step, Question.GATE, chosen=Choice.MERGE, by="ada", at=NOON)
    [record] = merge_round(step)
    assert Choice.MERGE is answer.action
    assert {"one": 2} == record.published
    assert not _is_approved(step)
    assert QualityAction.QUALITY_APPROVED is validate_quality(step).action
    assert _is_approved(step)


def test_a_persons_publish_is_the_approval(gated: Gated) -> None:
    """A near miss is approved by a person's word on this very merge, and by nothing else."""
    step = gated({"one": NEARLY}, ask_when=ALWAYS, max_rounds=1)
    merge_round(step)

    assert Route.ASK is ask_at_quality(step)
    assert (Choice.PUBLISH, Choice.STOP) == put_question(step, Question.QUALITY, NOON).offered
    assert not _is_approved(step)
    take_answer(step, Question.QUALITY, chosen=Choice.PUBLISH, by="ada", at=NOON)
    assert _is_approved(step)
    merge_round(step)
    assert not _is_approved(step)


def test_no_answer_is_no_approval(gated: Gated) -> None:
    """When nobody answers in time a near miss is not published."""
    step = gated({"one": NEARLY}, ask_when=ALWAYS, max_rounds=1)
    merge_round(step)
    ask_at_quality(step)
    answer = take_answer(step, Question.QUALITY, chosen=Choice.STOP, by=None, at=NOON)

    assert (Choice.STOP, None) == (answer.action, answer.by)
    assert not _is_approved(step)
    assert "quality_gate: critical_failure because rounds_exhausted (one)" == _last_word(step)


def test_who_said_what_stays_known(gated: Gated) -> None:
    """The timeline tells what was asked and who answered, and the person's is the run's last word."""
    step = gated({"one": NEARLY}, ask_when=ALWAYS, max_rounds=1)
    merge_round(step)
    ask_at_quality(step)
    put_question(step, Question.QUALITY, NOON)
    take_answer(step, Question.QUALITY, chosen=Choice.STOP, by="ada", at=NOON)
    asked, answered = (sentence(event) for event in step.store.timeline(step.run_key)[-2:])
    _, decision = step.store.decisions(step.run_key)[-1]

    assert (
        "asked",
        (
            "things: quality 0.782, 1 of 1 feeds below 0.8. Publish the table all the same? "
            "(Publish it, Stop; without an answer: Stop)"
        ),
    ) == asked
    assert ("answered", "by ada: Stop") == answered
    assert "person: ada said stop" == _last_word(step)
    assert ("person", "stop", "answered") == (decision["policy"], decision["action"], decision["reason"])
    assert {
        "question": "quality",
        "by": "ada",
        "at": NOON.isoformat(),
        "offered": ["publish", "stop"],
        "otherwise": "stop",
    } == decision["evidence"]


def test_what_was_offered_stays_offered(gated: Gated) -> None:
    """Another round that finds nothing left to repair, because it has come since, merges everything."""
    step = gated({"one": GOOD, "two": GOOD, "three": GOOD, "four": ""}, ask_when=ALWAYS)
    ask_at_gate(step)
    standing = step.standing(1)
    step.store.register(step.fence, replace(standing["one"], feed_id="four"))

    assert Route.FAIL is next_round_or_fail(step)
    assert "| `four` | late | 1 | 2 | 1.000 | `arrived after the gate had decided` |" in (
        put_question(step, Question.GATE, NOON).body
    )
    answer = take_answer(step, Question.GATE, chosen=Choice.NEXT_ROUND, by="ada", at=NOON)
    assert Choice.NEXT_ROUND is answer.action
    fence = step.store.claim(WorkUnit(run=step.run_key, round=2, unit="plan"), ATTEMPT)
    assert () == plan_round(replace(step, fence=fence)).plan.feed_ids
    verdict = decide_gate(step.store, step.run_key, step.spec, 2, LANES, ALL_OVER)
    assert "all_arrived" == verdict.reason


@pytest.mark.parametrize(("minutes", "action"), [(10, "next_round"), (119, "next_round"), (121, "stop")])
def test_no_round_is_begun_after_a_deadline_that_is_a_time_of_day(
    tmp_path: Path, minutes: int, action: str
) -> None:
    """The gate gives up at four, the deadline is six: from then on another round could only give up as well."""
    now = [datetime(2026, 11, 22, 3, tzinfo=UTC)]  # 04:00 in Berlin
    store, run = MemoryStore(lambda: now[0]), RunKey(dag_id="night", run_id="1")
    spec = spec_of({name: {} for name in "abcd"}, deadline="06:00 Europe/Berlin")
    asking = spec.model_copy(
        update={"pipeline": spec.pipeline.model_copy(update={"ask_when": (AskWhen.BELOW_FLOOR,)})}
    )
    play_round(store, run, asking, ended={"a": "failed", "b": "failed", "c": "success"})
    fence = store.claim(WorkUnit(run=run, round=1, unit="decide"), ATTEMPT)
    step = Step(store=store, fence=fence, scratch=tmp_path, open_staging=lambda _: StagingArea(tmp_path))

    assert Route.ASK is ask_at_gate(step)
    asked = put_question(step, Question.GATE, now[0])
    assert "if there is time: until 2026-11-22 05:00:00 UTC" in asked.body
    assert Choice.NEXT_ROUND is asked.otherwise
    now[0] += timedelta(minutes=minutes)
    answer = take_answer(step, Question.GATE, chosen=Choice.NEXT_ROUND, by="ada", at=now[0])
    assert action == answer.action
    told = sentence(store.timeline(run)[-1])[1]
    assert told.startswith("by ada: Try another round")
    assert told.endswith("Stop") == (action == "stop")


def test_an_answer_outlives_the_task_that_asked(gated: Gated) -> None:
    """A task that starts again follows what was answered, until the question comes up anew."""
    step = gated({"one": GOOD, "two": GOOD, "three": GOOD, "four": ""}, ask_when=ALWAYS)
    ask_at_gate(step)

    assert earlier_answer(step, Question.GATE) is None
    take_answer(step, Question.GATE, chosen=Choice.STOP, by="ada", at=NOON)
    earlier = earlier_answer(step, Question.GATE)
    assert ("stop", "answered") == (earlier and earlier["action"], earlier and earlier["reason"])
    assert earlier_answer(step, Question.QUALITY) is None
    ask_at_gate(step)
    assert earlier_answer(step, Question.GATE) is None


def test_a_question_that_is_put_again_leaves_the_time_that_is_left(gated: Gated) -> None:
    """Another try of the task doesn't begin the time anew, and isn't told as another question."""
    step = gated({"one": GOOD, "two": GOOD, "three": GOOD, "four": ""}, ask_when=ALWAYS, ask_timeout=90)
    ask_at_gate(step)
    first = put_question(step, Question.GATE, NOON)
    again = put_question(step, Question.GATE, NOON + timedelta(seconds=60), first.answer_by)

    assert first == again
    assert 1 == sum(event.event == "person_asked" for event in step.store.timeline(step.run_key))


def test_each_time_that_a_question_comes_up_is_counted(gated: Gated) -> None:
    """The count grows with the question itself, and with no other question and no answer."""
    step = gated({"one": GOOD, "two": GOOD, "three": GOOD, "four": ""}, ask_when=ALWAYS)
    ask_at_gate(step)
    take_answer(step, Question.GATE, chosen=Choice.STOP, by="ada", at=NOON)

    assert (1, 0) == (times_asked(step, Question.GATE), times_asked(step, Question.QUALITY))
    ask_at_gate(step)
    assert 2 == times_asked(step, Question.GATE)
