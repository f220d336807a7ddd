"""Quality: the score, and the gate of SEED 3 and 25."""

from __future__ import annotations

import math
from typing import Any

import pytest

from airflow_orchestration.domain.outcome import QualityMeasures
from airflow_orchestration.domain.quality_rule import RuleResult
from airflow_orchestration.policies.quality import (
    FeedQuality,
    QualityDecision,
    QualityFacts,
    QualityGate,
    QualityScore,
)
from tests.unit.policies.vectors import cases


def decide(row: dict[str, Any]) -> QualityDecision:
    facts = QualityFacts(
        feeds=tuple(FeedQuality(feed_id=feed_id, score=score) for feed_id, score in row["feeds"].items()),
        overall=row["overall"],
        rows=row.get("rows", 1000),
        round=row.get("round", 1),
        max_rounds=3,
        nothing_new=row.get("nothing_new", False),
    )
    gate = QualityGate(approve_at=row["approve_at"]) if "approve_at" in row else QualityGate()
    return gate.evaluate(facts)


def check(row: dict[str, Any]) -> None:
    decision = decide(row)

    assert row["expected"] == {
        "action": decision.action,
        "reason": decision.reason,
        "below_standard": list(decision.below_standard),
    }


@cases("quality", "seed_03")
def test_seed_03_verdicts(row: dict[str, Any]) -> None:
    """A table is approved, sent back, or a critical failure."""
    check(row)


@cases("quality", "seed_25")
def test_seed_25_threshold(row: dict[str, Any]) -> None:
    """The standard is 0.8 or the author's."""
    check(row)


@cases("quality", "ruling_rounds_are_bounded")
def test_ruling_rounds_are_bounded(row: dict[str, Any]) -> None:
    """A revision needs a round that is left."""
    check(row)


def test_evidence() -> None:
    """The decision holds the scores, the thresholds and the feeds below standard."""
    expected = {
        "overall": 0.9,
        "approve_at": 0.8,
        "fail_below": 0.5,
        "rows": 1000,
        "feeds": 2,
        "feeds_below_standard": 1,
        "below_standard": ["b"],
        "round": 1,
        "max_rounds": 3,
    }

    assert expected == decide({"feeds": {"a": 0.95, "b": 0.79}, "overall": 0.9}).evidence


@pytest.mark.parametrize(
    ("measures", "expected"),
    [
        ((1.0, 1.0, 1.0), 1.0),
        ((0.0, 0.0, 0.0), 0.0),
        ((0.5, 0.5, 0), 0.4),
        ((0, 1.0, 0), 0.4),
        ((0, 0.5, 1.0), 0.4),
        ((1.0, 0.0, 1.0), 0.0),
    ],
)
def test_score_weighs_the_measures(measures: tuple[float, float, float], expected: float) -> None:
    """Completeness and validity count two fifths each, uniqueness one fifth."""
    completeness, validity, uniqueness = measures
    given = QualityMeasures(completeness=completeness, validity=validity, uniqueness=uniqueness)

    assert expected == QualityScore().score(given)


def warning(share: float, **changes: Any) -> RuleResult:
    """The result of a rule that a share of the rows breaks."""
    fields = {"name": "r", "column": "size", "severity": "warning", "value": 1.0, "threshold": "mustBe 0"}
    return RuleResult.model_validate({**fields, "passed": False, "share": share, **changes})


WARNINGS = [
    ((), 1.0), ((warning(0.5),), 0.95), ((warning(0.25), warning(0.25)), 0.95), ((warning(1.0), warning(1.0)), 0.9),
    ((warning(1.0, severity="error"),), 1.0), ((warning(1.0, severity="info"),), 1.0), ((warning(0.0, passed=True),), 1.0),
]  # fmt: skip


@pytest.mark.parametrize(("rules", "expected"), WARNINGS)
def test_warnings_lower_the_score_by_the_share_of_rows(
    rules: tuple[RuleResult, ...], expected: float
) -> None:
    """Up to a tenth, however many they are; errors and notes do not."""
    perfect = QualityMeasures(completeness=1.0, validity=1.0, uniqueness=1.0)

    assert pytest.approx(expected) == QualityScore().score(perfect, rules=rules)


@pytest.mark.parametrize(("external", "expected"), [(None, 0.8), (1.0, 0.8), (0.3, 0.3), (0.0, 0.0)])
def test_another_tool_is_a_ceiling(external: float | None, expected: float) -> None:
    """The lower of both scores counts."""
    given = QualityMeasures(completeness=0.5, validity=1.0, uniqueness=1.0)

    assert expected == QualityScore().score(given, external=external)


@pytest.mark.parametrize("weights", [(0.5, 0.5, 0.5), (1.2, -0.2, 0.0), (math.nan, 0.5, 0.5)])
def test_score_weights_are_shares_of_one(weights: tuple[float, float, float]) -> None:
    """Weights that are no shares of one are refused."""
    completeness, validity, uniqueness = weights
    with pytest.raises(ValueError, match="are no shares of one; use 0 or more each, 1 in sum"):
        QualityScore(completeness=completeness, validity=validity, uniqueness=uniqueness)


@pytest.mark.parametrize(
    ("approve_at", "fail_below"), [(0.4, 0.5), (1.1, 0.5), (0.8, -0.1), (math.nan, 0.5), (0.8, math.nan)]
)
def test_thresholds_are_in_order(approve_at: float, fail_below: float) -> None:
    """Thresholds out of order are refused with both values."""
    with pytest.raises(
        ValueError, match=f"fail_below {fail_below} and approve_at {approve_at} are out of order"
    ):
        QualityGate(approve_at=approve_at, fail_below=fail_below)


@pytest.mark.parametrize("score", [-0.1, 1.1, math.nan])
def test_a_score_that_is_none_is_refused(score: float) -> None:
    """NaN compares false with everything and would be approved; no score outside 0..1 gets that far."""
    with pytest.raises(ValueError, match=r"of 'a' is no quality; use 0\.\.1"):
        FeedQuality(feed_id="a", score=score)
    with pytest.raises(ValueError, match=r"overall .* is no quality; use 0\.\.1"):
        QualityFacts(feeds=(), overall=score, rows=1, round=1, max_rounds=3)
