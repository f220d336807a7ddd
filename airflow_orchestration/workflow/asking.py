"""Asks a person before a verdict is followed, and keeps what they said (SEED 5 and its ruling)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from airflow_orchestration.insights.evidence import LABELS, QuestionFacts, body, subject
from airflow_orchestration.policies.asking import (
    AnswerDecision,
    AnswerFacts,
    Answering,
    AnswerReason,
    AskingAction,
    AskingDecision,
    Choice,
    GateQuestion,
    GateQuestionFacts,
    QualityQuestion,
    QualityQuestionFacts,
    Question,
)
from airflow_orchestration.policies.quality import QualityAction, QualityDecision
from airflow_orchestration.policies.quorum_gate import GateAction
from airflow_orchestration.workflow.gate import end_of_time
from airflow_orchestration.workflow.publish import manifest_of
from airflow_orchestration.workflow.routes import CHOICES, Route, next_round_or_fail
from airflow_orchestration.workflow.step import Step

LATE = "arrived after the gate had decided"


@dataclass(frozen=True, slots=True, kw_only=True)
class PutQuestion:
    """A question as it is put to a person."""

    subject: str
    body: str
    offered: tuple[Choice, ...]
    otherwise: Choice
    answer_by: datetime


def ask_after_gate(step: Step, verdict: Mapping[str, Any], route: Route) -> Route:
    """Return `Route.ASK` when a person is asked before the run follows its gate, else the route unchanged."""
    evidence = verdict["evidence"]
    return _ask(
        step,
        GateQuestion(ask_when=step.spec.pipeline.ask_when).evaluate(
            GateQuestionFacts(
                opened=verdict["action"] != GateAction.TIMEOUT_RECOVERY,
                arrived=evidence["arrived"],
                missing=evidence["expected"] - evidence["arrived"],
                required_missing=len(evidence["required_missing_ids"]),
                round_left=next_round_or_fail(step) is Route.NEXT_ROUND,
                otherwise=CHOICES[route],
            )
        ),
        route,
    )


def ask_after_quality(step: Step, verdict: QualityDecision, route: Route) -> Route:
    """Return `Route.ASK` when a person is asked before the run follows its quality gate, else the route."""
    pipeline = step.spec.pipeline
    question = QualityQuestion(
        ask_when=pipeline.ask_when,
        approve_at=pipeline.quality.approve_at,
        fail_below=pipeline.quality.fail_below,
    )
    facts = QualityQuestionFacts(
        approved=verdict.action is QualityAction.QUALITY_APPROVED,
        overall=float(str(verdict.evidence["overall"])),
        rows=int(str(verdict.evidence["rows"])),
        round_left=next_round_or_fail(step) is Route.NEXT_ROUND,
        otherwise=CHOICES[route],
    )
    return _ask(step, question.evaluate(facts), route)


def put_question(
    step: Step, question: Question, now: datetime, answer_by: datetime | None = None
) -> PutQuestion:
    """Return what a person is told, and write down that they are asked.

    :param answer_by: until when they have time, where the same question was put and written down before.
    """
    offered, otherwise = _asked(step, question)
    until = answer_by or now + timedelta(seconds=step.spec.pipeline.ask_timeout)
    facts = QuestionFacts(
        pipeline_id=step.spec.pipeline.id,
        round=step.round,
        question=question,
        verdict=_verdict(step, question),
        feeds=_feed_lines(step),
        offered=offered,
        otherwise=otherwise,
        answer_by=until,
        round_until=end_of_time(step.spec, step.store.rounds(step.run_key)[step.round - 1]),
    )
    put = PutQuestion(
        subject=subject(facts), body=body(facts), offered=offered, otherwise=otherwise, answer_by=until
    )
    if answer_by is None:
        _write_down(step, question, put)
    return put


def times_asked(step: Step, question: Question) -> int:
    """How often the question came up in this round: the answer to an earlier one is none to the latest."""
    return sum(decision["policy"] == "asking" for decision in _said(step, question))


def earlier_answer(step: Step, question: Question) -> Mapping[str, Any] | None:
    """Return what was decided since the question came up, if anything was: an answer outlives a lost task."""
    latest = _said(step, question)[-1:]
    return latest[0] if latest and latest[0]["policy"] == "person" else None


def take_answer(
    step: Step, question: Question, *, chosen: Choice, by: str | None, at: datetime
) -> AnswerDecision:
    """Record what a person said, or that nobody did (`by` is None), and return what the run does."""
    offered, otherwise = _asked(step, question)
    snapshot = step.store.gate_snapshot(step.run_key, step.round)
    until = end_of_time(step.spec, snapshot.round)
    decision = Answering().evaluate(
        AnswerFacts(
            question=question,
            offered=offered,
            otherwise=otherwise,
            chosen=chosen,
            by=by,
            at=at,
            round_left=until is None or snapshot.now < until,
        )
    )
    told = LABELS[decision.action]
    if decision.reason is AnswerReason.NO_TIME_LEFT:
        told = f"{LABELS[Choice.NEXT_ROUND]}, for which no time was left: {told}"
    step.store.record_decision(step.fence, decision)
    step.store.add_event(
        step.fence,
        "person_answered",
        {"question": question.value, "by": by, "answer": told, "at": at.isoformat()},
    )
    return decision


def _ask(step: Step, decision: AskingDecision, route: Route) -> Route:
    step.store.record_decision(step.fence, decision)
    return Route.ASK if decision.action is AskingAction.ASK else route


def _write_down(step: Step, question: Question, put: PutQuestion) -> None:
    step.store.add_event(
        step.fence,
        "person_asked",
        {
            "question": question.value,
            "subject": put.subject,
            "offered": [LABELS[choice] for choice in put.offered],
            "otherwise": LABELS[put.otherwise],
            "answer_by": put.answer_by.isoformat(),
        },
    )


def _said(step: Step, question: Question) -> list[Mapping[str, Any]]:
    """What was decided about a question in this round, oldest first: whether to ask, and the answers."""
    return [
        decision
        for number, decision in step.store.decisions(step.run_key)
        if number == step.round and decision["evidence"].get("question") == question.value
    ]


def _asked(step: Step, question: Question) -> tuple[tuple[Choice, ...], Choice]:
    """What was offered when the question was decided on: later arrivals don't change it."""
    asking = _last(step, "asking", question=question.value)["evidence"]
    return tuple(Choice(choice) for choice in asking["offered"]), Choice(asking["otherwise"])


def _verdict(step: Step, question: Question) -> Mapping[str, Any]:
    return _last(step, "quorum_gate" if question is Question.GATE else "quality_gate")


def _last(step: Step, policy: str, **evidence: str) -> Mapping[str, Any]:
    found = [
        decision
        for number, decision in step.store.decisions(step.run_key)
        if (number, decision["policy"]) == (step.round, policy)
        and all(decision["evidence"][name] == value for name, value in evidence.items())
    ]
    if not found:
        raise KeyError(f"round {step.round} has no decision of {policy}")
    return found[-1]


def _feed_lines(step: Step) -> list[dict[str, Any]]:
    """The manifest's lines, in which a feed that arrived for a merge that is not yet made is in."""
    arrived = set(_verdict(step, Question.GATE)["evidence"]["arrived_ids"])
    return [_seen_by_gate(line, arrived) for line in manifest_of(step, published=False)["feeds"]]


def _seen_by_gate(line: dict[str, Any], arrived: set[str]) -> dict[str, Any]:
    if line["state"] != "unused":
        return line
    if line["feed"] in arrived:
        return {**line, "state": "in", "why": None}
    return {**line, "state": "late", "why": LATE}
