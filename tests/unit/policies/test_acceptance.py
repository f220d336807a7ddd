"""Which publications those who come after take."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_orchestration.policies.acceptance import Acceptance, AcceptanceFacts
from tests.unit.policies.vectors import cases


@cases("acceptance", "acceptance")
def test_acceptance(row: dict[str, Any]) -> None:
    """A publication is judged by what it says of itself, and by what is asked for."""
    facts = AcceptanceFacts(
        published=row.get("published", True),
        weight_share=row["share"],
        present=frozenset(row["present"]),
        missing=tuple(row["missing"]),
    )
    standard = Acceptance(min_share=row.get("min_share"), require=row.get("require", ()))
    decision = standard.evaluate(facts)

    assert row["expected"] == {"action": decision.action, "reason": decision.reason}
    assert decision.is_accepted == (row["expected"]["action"] == "accept")


@pytest.mark.parametrize("share", [0, -0.1, 1.1, 80])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    """Percents and nothing at all are no shares."""
    with pytest.raises(ValueError, match="is no share"):
        Acceptance(min_share=share)
