"""What happened in a round: its branches, its gate, its merges, its quality gate, and what a person was asked?"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

from airflow_orchestration.domain.pipeline import ALL_FEEDS
from airflow_orchestration.domain.task_ids import asking_task_id
from airflow_orchestration.insights.evidence import LABELS
from airflow_orchestration.insights.run_branches import branches_of
from airflow_orchestration.insights.run_facts import RoundFacts, decision_shown, iso, with_meaning
from airflow_orchestration.policies.asking import AnswerReason
from airflow_orchestration.storage.readings import Row


class GateState(StrEnum):
    """How far the gate of a round is."""

    WAITING = "waiting"
    DECIDED = "decided"
    ABANDONED = "abandoned"
    """The run ended before it decided: nobody waits for it any more."""


def round_shown(facts: RoundFacts) -> dict[str, Any]:
    """A round as plain data."""
    return {
        "round": facts.number,
        "opened_at": iso(facts.opened.opened_at),
        "decided_at": iso(facts.opened.decided_at),
        "branches": branches_of(facts),
        "gate": _gate(facts),
        "merges": [_merge(facts, row) for row in facts.read.merges if row["round"] == facts.number],
        "quality": _quality(facts),
        "questions": questions_of(facts),
    }


def questions_of(facts: RoundFacts) -> list[dict[str, Any]]:
    """What a person was asked in a round, and what they said, oldest first."""
    asked = [row for row in facts.read.questions if row["round"] == facts.number]
    return [_question(facts, row, asked[number + 1 :]) for number, row in enumerate(asked)]


def _gate(facts: RoundFacts) -> dict[str, Any]:
    evidence, points = facts.evidence, facts.opened.points
    arrived = set(evidence.get("arrived_ids", ()))
    return {
        "state": _gate_state(facts).value,
        "deadline_at": iso(facts.opened.deadline_at),
        "floor_reached_at": iso(points[ALL_FEEDS].floor_reached_at),
        **{name: evidence.get(name) for name in _GATE_FIGURES},
        "required": [{"feed": feed, "arrived": feed in arrived} for feed in evidence.get("required_ids", ())],
        "points": [_point(facts, name) for name in points if name != ALL_FEEDS],
        "verdict": _verdict(facts),
    }


def _gate_state(facts: RoundFacts) -> GateState:
    if facts.opened.verdict is not None:
        return GateState.DECIDED
    return GateState.ABANDONED if facts.is_over else GateState.WAITING


_GATE_FIGURES = (
    "floor",
    "progress",
    "arrived_weight",
    "expected_weight",
    "grace_period_seconds",
    "arrived",
    "failed",
    "pending",
    "expected",
)
"""Verdicts of older versions may lack some."""


def _point(facts: RoundFacts, name: str) -> dict[str, Any]:
    stored, decided = facts.opened.points[name], facts.evidence.get("sync_points", {}).get(name, {})
    evidence = decided.get("evidence", {})
    point = facts.spec.pipeline.sync.points.get(name)
    return {
        "name": name,
        "floor": evidence.get("floor"),
        "progress": evidence.get("progress"),
        "deadline_at": iso(stored.deadline_at),
        "floor_reached_at": iso(stored.floor_reached_at),
        "members": list(point.feeds) if point else [],
    }


def _verdict(facts: RoundFacts) -> dict[str, Any] | None:
    if facts.opened.verdict is None:
        return None
    return facts.last_decision(facts.opened.verdict["policy"]) or _unnumbered(
        facts, facts.opened.verdict, iso(facts.opened.decided_at)
    )


def _unnumbered(facts: RoundFacts, decision: Mapping[str, Any], at: str | None) -> dict[str, Any]:
    """A decision that is not among the newest ones: its number is not looked for."""
    return {"id": None, "round": facts.number, "at": at, **with_meaning(decision)}


def _merge(facts: RoundFacts, row: Row) -> dict[str, Any]:
    name, decision = row["dataset"], row["decision"]
    dataset = facts.spec.datasets.get(name)
    shares = decision["evidence"].get("source_attribution", {})
    return {
        "dataset": name,
        **_versions(facts, row),
        "table": dataset.publish.table if dataset else name,
        "rows": row["staged_rows"],
        "sources": [
            {
                "feed": feed,
                "share": share,
                "published": row["published"].get(feed, 0),
                "superseded": row["superseded"].get(feed, 0),
            }
            for feed, share in sorted(shares.items(), key=lambda one: (-one[1], one[0]))
        ],
        "disagreements": [
            {
                "attribute": attribute,
                "compared": compared,
                "differ": row["disagreements"].get(attribute, 0),
                "examples": row["examples"].get(attribute, []),
            }
            for attribute, compared in row["compared"].items()
        ],
        "decision": facts.last_decision("merging", dataset=name)
        or _unnumbered(facts, decision, iso(row["merged_at"])),
    }


def _versions(facts: RoundFacts, merge: Row) -> dict[str, Any]:
    """Which version of its dataset a merge became, and how many there are: repairs merge without a round."""
    name = merge["dataset"]
    known = [line["version"] for line in facts.read.versions if line["dataset"] == name]
    is_last = merge["round"] == max(row["round"] for row in facts.read.merges if row["dataset"] == name)
    return {"version": min(known) if known and is_last else None, "versions": max(known, default=0)}


def _quality(facts: RoundFacts) -> dict[str, Any] | None:
    decision = facts.last_decision("quality_gate")
    if decision is None:
        return None
    evidence = decision["evidence"]
    below = set(evidence.get("below_standard", ()))
    merged = sorted(
        {feed for row in facts.read.merges if row["round"] == facts.number for feed in row["published"]}
    )
    return {
        **{name: evidence.get(name) for name in ("overall", "approve_at", "fail_below")},
        "feeds": [
            {"feed": feed, "score": facts.standing[feed]["quality_score"], "below": feed in below}
            for feed in merged
            if feed in facts.standing
        ],
        "decision": decision,
    }


def _question(facts: RoundFacts, asked: Row, later: list[Row]) -> dict[str, Any]:
    question = asked["detail"]["question"]
    next_time = next((row["at"] for row in later if row["detail"]["question"] == question), None)
    answer = next((row for row in _answers(facts, question) if _is_between(row, asked, next_time)), None)
    shown = decision_shown(answer) if answer else None
    return {
        "question": question,
        "task_id": asking_task_id(facts.number, question),
        "asked_at": iso(asked["at"]),
        "answer_by": asked["detail"]["answer_by"],
        "answered_at": shown and shown["at"],
        "by": shown and shown["evidence"]["by"],
        "chosen": shown and shown["action"],
        "default": shown and shown["reason"] != AnswerReason.ANSWERED,
        "labels": {choice.value: label for choice, label in LABELS.items()},
    }


def _answers(facts: RoundFacts, question: str) -> list[Row]:
    return [
        row
        for row in facts.read.decisions
        if row["round"] == facts.number
        and row["decision"]["policy"] == "person"
        and row["decision"]["evidence"].get("question") == question
    ]


def _is_between(answer: Row, asked: Row, next_time: datetime | None) -> bool:
    """Whether an answer is to this question, and not to the same one when it was put again."""
    at: datetime = answer["decided_at"]
    return bool(at >= asked["at"] and (next_time is None or at < next_time))
