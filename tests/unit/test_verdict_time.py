"""A verdict is cheap, however many members there are; `python -m benchmarks gates-verdict` measures it."""

from __future__ import annotations

import pytest

from benchmarks.gates_verdict import TARGETS, verdicts

MARGIN = 10


@pytest.mark.parametrize(("members", "target"), TARGETS.items())
def test_a_verdict_takes_no_time(members: int, target: float) -> None:
    """The quickest of some verdicts stays within its target, ten times over for machines that are busy."""
    assert target * MARGIN >= min(verdicts(members, rounds=20))
