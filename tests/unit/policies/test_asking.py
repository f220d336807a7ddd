"""When is a person asked, what is offered, and what happens by default?"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_orchestration.domain.pipeline import AskWhen
from airflow_orchestration.policies.asking import (
    AnswerFacts,
    Answering,
    AskingDecision,
    Choice,
    GateQuestion,
    GateQuestionFacts,
    QualityQuestion,
    QualityQuestionFacts,
    Question,
)
from tests.unit.policies.vectors import cases

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def answer(chosen: str, by: str | None, **facts: Any) -> AnswerFacts:
    return AnswerFacts(
        question=Question.GATE,
        offered=tuple(map(Choice, facts.get("offered", ["merge", "stop"]))),
        otherwise=Choice(facts.get("otherwise", "merge")),
        chosen=Choice(chosen),
        by=by,
        at=NOON,
        round_left=facts.get("round_left", True),
    )


def assert_decided(row: dict[str, Any], decision: AskingDecision) -> None:
    expected = row["expected"]

    assert (expected["action"], expected["reason"]) == (decision.action, decision.reason)
    assert row["otherwise"] == decision.otherwise
    assert row["otherwise"] in decision.offered
    assert expected.get("offered", list(decision.offered)) == list(decision.offered)
    assert list(decision.offered) == decision.evidence["offered"]


@cases("asking", "gate")
def test_gate(row: dict[str, Any]) -> None:
    """A person is asked about the gate only where the author wants it and where they can change something."""
    arrived, missing, required_missing = row["feeds"]
    decision = GateQuestion(ask_when={AskWhen(when) for when in row["ask_when"]}).evaluate(
        GateQuestionFacts(
            opened=row["opened"],
            arrived=arrived,
            missing=missing,
            required_missing=required_missing,
            round_left=row["round_left"],
            otherwise=Choice(row["otherwise"]),
        )
    )

    assert_decided(row, decision)


@cases("asking", "quality")
def test_quality(row: dict[str, Any]) -> None:
    """A person is asked about the quality only of a table that nearly meets the standard."""
    question = QualityQuestion(
        ask_when={AskWhen(when) for when in row["ask_when"]}, fail_below=row.get("fail_below", 0.5)
    )
    decision = question.evaluate(
        QualityQuestionFacts(
            approved=row["approved"],
            overall=row["overall"],
            rows=row.get("rows", 100),
            round_left=row.get("round_left", False),
            otherwise=Choice(row["otherwise"]),
        )
    )

    assert_decided(row, decision)


@cases("asking", "answer")
def test_answer(row: dict[str, Any]) -> None:
    """The answer is a person's word, or what the run would have done unasked."""
    facts = {name: row[name] for name in ("offered", "otherwise", "round_left") if name in row}
    decision = Answering().evaluate(answer(row["chosen"], row.get("by"), **facts))
    expected = row["expected"]

    assert (expected["action"], expected["reason"]) == (decision.action, decision.reason)
    assert expected.get("by") == decision.by == decision.evidence["by"]


def test_answer_that_was_not_offered_is_refused() -> None:
    """A choice that was not offered is refused, with what was."""
    with pytest.raises(ValueError, match="publish was not offered; choose one of: merge, stop"):
        answer("publish", "ada")
