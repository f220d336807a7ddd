"""Who is merged in the last round."""

from __future__ import annotations

from typing import Any

from airflow_orchestration.policies.admission import Admission, AdmissionFacts, Candidate
from tests.unit.policies.vectors import cases


@cases("admission", "last_round")
def test_last_round(row: dict[str, Any]) -> None:
    """A poor feed that nobody needs does not keep the good ones from publishing."""
    candidates = tuple(
        Candidate(feed_id=feed_id, weight=weight, required=required, score=score)
        for feed_id, (weight, score, required) in row["feeds"].items()
    )
    decision = Admission().evaluate(
        AdmissionFacts(candidates=candidates, expected_weight=4, round=row["round"], max_rounds=3)
    )

    assert row["expected"] == {
        "action": decision.action,
        "reason": decision.reason,
        "left_out": list(decision.left_out),
    }
