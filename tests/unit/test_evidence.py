"""What a person is told who is asked."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_orchestration.insights.evidence import MOST_LINES, QuestionFacts, body, quoted, subject
from airflow_orchestration.policies.asking import Choice, Question


def line(feed: str, **changes: Any) -> dict[str, Any]:
    return {"feed": feed, "state": "in", "why": None, "weight": 1.0, "required": False, **changes}


GATE = QuestionFacts(
    pipeline_id="things",
    round=1,
    question=Question.GATE,
    verdict={
        "action": "conditional_proceed",
        "reason": "deadline_at_floor",
        "evidence": {"arrived": 3, "expected": 4, "progress": 0.75, "floor": 0.75},
    },
    feeds=[
        line("one", rows_valid=1200, quality_score=0.9912, required=True),
        line("two", state="late", why="two.csv had not arrived", weight=2.0),
    ],
    offered=(Choice.MERGE, Choice.NEXT_ROUND, Choice.STOP),
    otherwise=Choice.MERGE,
    answer_by=datetime(2026, 11, 22, 12, 15, tzinfo=UTC),
)
QUALITY = replace(
    GATE,
    question=Question.QUALITY,
    verdict={
        "action": "needs_revision",
        "reason": "feeds_below_standard",
        "evidence": {
            "overall": 0.7812,
            "approve_at": 0.8,
            "rows": 1200,
            "feeds": 2,
            "feeds_below_standard": 1,
        },
    },
    offered=(Choice.PUBLISH, Choice.STOP),
    otherwise=Choice.STOP,
)


def test_subject_says_what_is_asked() -> None:
    """The subject has the pipeline, the figure that the question is about, and the question, in one line."""
    recovery = {**GATE.verdict, "action": "timeout_recovery"}

    assert "things: 3 of 4 feeds arrived (75 %). Merge without the others?" == subject(GATE)
    assert "things: only 3 of 4 feeds arrived (75 %), too few. Merge them all the same?" == subject(
        replace(GATE, verdict=recovery)
    )
    assert "things: quality 0.781, 1 of 2 feeds below 0.8. Publish the table all the same?" == subject(
        QUALITY
    )


def test_the_end_of_the_time_for_another_round_is_told() -> None:
    """Who chooses another round knows until when that can change anything."""
    until = datetime(2026, 11, 22, 12, 5, tzinfo=UTC)

    assert "is run again, if there is time: until 2026-11-22 12:05:00 UTC." in body(
        replace(GATE, round_until=until)
    )
    assert "if there is time" not in body(GATE)
    assert "if there is time" not in body(replace(QUALITY, round_until=until))


def test_body_of_the_gates_question() -> None:
    """The body has the gate's figures, a line per feed with the missing ones first, the offers and the default."""
    assert body(GATE).splitlines() == [
        (
            "Round 1: 75 % of the weight arrived, the floor is 75 %. "
            "The gate says `conditional_proceed` because `deadline_at_floor`."
        ),
        "",
        "| feed | state | weight | rows | quality | why |",
        "|---|---|---:|---:|---:|---|",
        "| `two` | late | 2 |  |  | `two.csv had not arrived` |",
        "| `one` | in (required) | 1 | 1,200 | 0.991 |  |",
        "",
        "* **Merge what has arrived**: the feeds that are in are merged and judged, the others stay out.",
        "* **Try another round**: what failed, is missing or is below standard is run again.",
        "* **Stop**: nothing is published, and the run fails.",
        "",
        "If nobody answers by 2026-11-22 12:15:00 UTC: **Merge what has arrived**.",
    ]


def test_body_of_the_quality_question() -> None:
    """The body has the table's score, what is approved, and what happens by default."""
    text = body(QUALITY)

    assert "1,200 rows of quality 0.781; 0.8 is approved" in text
    assert "**Publish it**" in text
    assert text.endswith("**Stop**.")


@pytest.mark.parametrize(
    "text",
    [
        "a | b",
        "<img src=x onerror=alert(1)>",
        "[click](javascript:alert(1))",
        "`` ` ``",
        "first\n\n# second",
        "https://example.com/ **bold**",
        "\u202etxt.exe\x00",
        "x" * 10_000,
    ],
)
def test_strangers_text_is_never_markup(text: str) -> None:
    """Whatever a file's error holds stays one piece of code in one cell of the table."""
    shown = quoted(text)
    facts = replace(GATE, feeds=[line("one", state="failed", why=text)])
    cells = body(facts).splitlines()[4].split(" | ")

    assert ("`", "`", 2) == (shown[0], shown[-1], shown.count("`"))
    assert "|" not in shown
    assert shown.isprintable()
    assert len(shown) < 400
    assert [f"{shown} |"] == cells[5:]


def test_a_long_table_shows_what_is_missing() -> None:
    """Of many feeds the missing ones are shown first, and the rest is counted."""
    feeds = [
        *(line(f"feed_{number}") for number in range(MOST_LINES)),
        line("gone", state="late", why="late"),
    ]
    rows = body(replace(GATE, feeds=feeds)).splitlines()

    assert rows[4].startswith("| `gone` | late |")
    assert "… and 1 more feeds." in rows
