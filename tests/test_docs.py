"""The documentation says what the code does."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest

from airflow_orchestration.policies.quorum_gate import GateFacts, Member, MemberState, QuorumGate

PAGE = Path(__file__).parents[1] / "docs" / "why_did_the_gate_open.md"
AFTER_THE_FLOOR = " after the floor"


def rows() -> list[list[str]]:
    """The rows of the decision table."""
    table = PAGE.read_text().partition("## The table")[2].partition("\n## ")[0]
    lines = [line for line in table.splitlines() if re.match(r"\| (arrived|pending|failed)", line)]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def minutes(text: str) -> timedelta:
    return timedelta(minutes=int(text.split(maxsplit=1)[0]))


@pytest.mark.parametrize(
    ("members", "grace", "time", "action", "reason"), rows(), ids=lambda cell: cell.replace(", ", "-")
)
def test_the_decision_table(members: str, grace: str, time: str, action: str, reason: str) -> None:
    """Each row of the page is what the gate says."""
    gate = QuorumGate(deadline=minutes("10 min"), grace_period=None if grace == "none" else minutes(grace))
    facts = GateFacts(
        members=tuple(
            Member(id=f"m{number}", required=word.endswith("!"), state=MemberState(word.rstrip("!")))
            for number, word in enumerate(members.split(", "))
        ),
        elapsed=minutes("5 min") if AFTER_THE_FLOOR in time else minutes(time),
        since_floor=minutes(time) if AFTER_THE_FLOOR in time else None,
    )
    decision = gate.evaluate(facts)

    assert (action, reason) == (decision.action, decision.reason)


def test_the_table_is_read() -> None:
    """The page has a table, and the test above its rows."""
    assert 14 == len(rows())
