"""Facts that are wrong, contradict each other, or come too late, where decisions are made of them."""

from __future__ import annotations

from pathlib import Path

from tests.bad_input.decisions import decide
from tests.bad_input.rows import Row, answer_of, check, each_row


@each_row("decisions")
def test_bad_facts_are_decided_or_refused(row: Row, tmp_path: Path) -> None:
    """There is a decision with its reason, or a refusal, and never a wrong number."""
    check(row, answer_of(lambda: decide(row.given, tmp_path)))
