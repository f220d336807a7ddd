"""What is a person told who is asked? A line that says what is at stake, and the facts in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any

from airflow_orchestration.insights.completeness import percent
from airflow_orchestration.policies.asking import Choice, Question
from airflow_orchestration.policies.quorum_gate import GateAction

LONGEST_TEXT = 300
"""Letters of a stranger's text that are shown."""
MOST_LINES = 50
"""Feeds in the table; those that are missing come first."""
LABELS: Mapping[Choice, str] = MappingProxyType(
    {
        Choice.MERGE: "Merge what has arrived",
        Choice.PUBLISH: "Publish it",
        Choice.NEXT_ROUND: "Try another round",
        Choice.STOP: "Stop",
    }
)
CONSEQUENCES: Mapping[Choice, str] = MappingProxyType(
    {
        Choice.MERGE: "the feeds that are in are merged and judged, the others stay out",
        Choice.PUBLISH: "the table is published as it is",
        Choice.NEXT_ROUND: "what failed, is missing or is below standard is run again",
        Choice.STOP: "nothing is published, and the run fails",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionFacts:
    """What a question rests on.

    `verdict` is the recorded decision that it is about, `feeds` are lines of the completeness manifest.
    `round_until` is when it is too late for another round, None where that has no end.
    """

    pipeline_id: str
    round: int
    question: Question
    verdict: Mapping[str, Any]
    feeds: Sequence[Mapping[str, Any]]
    offered: tuple[Choice, ...]
    otherwise: Choice
    answer_by: datetime
    round_until: datetime | None = None


def subject(facts: QuestionFacts) -> str:
    """Say in one line what is asked."""
    evidence = facts.verdict["evidence"]
    if facts.question is Question.QUALITY:
        return (
            f"{facts.pipeline_id}: quality {evidence['overall']:.3f}, {evidence['feeds_below_standard']} of "
            f"{evidence['feeds']} feeds below {evidence['approve_at']:g}. Publish the table all the same?"
        )
    there = f"{evidence['arrived']} of {evidence['expected']} feeds arrived ({percent(evidence['progress'])})"
    if facts.verdict["action"] == GateAction.CONDITIONAL_PROCEED:
        return f"{facts.pipeline_id}: {there}. Merge without the others?"
    return f"{facts.pipeline_id}: only {there}, too few. Merge them all the same?"


def body(facts: QuestionFacts) -> str:
    """Return the evidence in Markdown: what is so, the feeds, what is offered, and what happens by default."""
    offers = [f"* **{LABELS[choice]}**: {_consequence(choice, facts)}." for choice in facts.offered]
    return "\n".join(
        [
            _situation(facts),
            "",
            *_table(facts.feeds),
            "",
            *offers,
            "",
            f"If nobody answers by {_moment(facts.answer_by)}: **{LABELS[facts.otherwise]}**.",
        ]
    )


def quoted(text: str) -> str:
    """Show a stranger's text in Markdown, in one line, so that nothing in it is markup, a link or HTML.

    >>> quoted("| <b>no</b> `rows`")
    "`¦ <b>no</b> 'rows'`"
    """
    line = "".join(letter for letter in " ".join(text.split()) if letter.isprintable())
    plain = line.replace("`", "'").replace("|", "¦")  # neither can be escaped inside code in a table
    if not plain:
        return ""
    return f"`{plain[:LONGEST_TEXT]}…`" if len(plain) > LONGEST_TEXT else f"`{plain}`"


def _consequence(choice: Choice, facts: QuestionFacts) -> str:
    if choice is not Choice.NEXT_ROUND or facts.round_until is None:
        return CONSEQUENCES[choice]
    return f"{CONSEQUENCES[choice]}, if there is time: until {_moment(facts.round_until)}"


def _moment(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S %Z}"


def _situation(facts: QuestionFacts) -> str:
    evidence = facts.verdict["evidence"]
    decided = f"`{facts.verdict['action']}` because `{facts.verdict['reason']}`"
    if facts.question is Question.GATE:
        return (
            f"Round {facts.round}: {percent(evidence['progress'])} of the weight arrived, the floor is "
            f"{percent(evidence['floor'])}. The gate says {decided}."
        )
    return (
        f"Round {facts.round}: the merged table has {evidence['rows']:,} rows of quality "
        f"{evidence['overall']:.3f}; {evidence['approve_at']:g} is approved, for the table and for each feed. "
        f"The quality gate says {decided}."
    )


def _table(feeds: Sequence[Mapping[str, Any]]) -> list[str]:
    missing_first = sorted(feeds, key=lambda line: line["state"] == "in")
    rest = len(missing_first) - MOST_LINES
    return [
        "| feed | state | weight | rows | quality | why |",
        "|---|---|---:|---:|---:|---|",
        *map(_row, missing_first[:MOST_LINES]),
        *([f"\n… and {rest} more feeds."] if rest > 0 else []),
    ]


def _row(line: Mapping[str, Any]) -> str:
    rows, quality = line.get("rows_valid"), line.get("quality_score")
    cells = [
        quoted(line["feed"]),
        line["state"].replace("_", " ") + (" (required)" if line["required"] else ""),
        f"{line['weight']:g}",
        "" if rows is None else f"{rows:,}",
        "" if quality is None else f"{quality:.3f}",
        quoted(line["why"] or ""),
    ]
    return f"| {' | '.join(cells)} |"
