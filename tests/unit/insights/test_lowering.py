"""What lowered a feed's score is said with the measures and rules that did it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from airflow_orchestration.domain.external_quality import ExternalQuality
from airflow_orchestration.domain.outcome import FeedOutcome, OutcomeStatus, QualityMeasures
from airflow_orchestration.domain.quality_rule import RuleResult
from airflow_orchestration.insights.lowering import broken_rules, lowered_by

FULL = QualityMeasures(completeness=1.0, validity=1.0, uniqueness=1.0)


def outcome(*rules: RuleResult, measures: QualityMeasures = FULL, **changes: Any) -> FeedOutcome:
    return FeedOutcome(
        feed_id="planes",
        round=1,
        branch_id="b1",
        status=OutcomeStatus.SUCCESS,
        elapsed=timedelta(0),
        measures=measures,
        rules=tuple(rule.model_dump(mode="json", exclude_none=True) for rule in rules),
        **changes,
    )


def rule(severity: str, *, passed: bool = False, value: float | None = 4.0) -> RuleResult:
    return RuleResult.model_validate(
        {
            "name": "few gaps",
            "column": "size",
            "severity": severity,
            "value": value,
            "threshold": "mustBe 0",
            "passed": passed,
        }
    )


def checked(score: float) -> RuleResult:
    return ExternalQuality(tool="soda", success=True, score=score).as_result("check")


LOWERED = [
    (outcome(rule("warning")), "few gaps is 4, mustBe 0"),
    (outcome(rule("warning", value=None)), "few gaps is not measurable, mustBe 0"),
    (outcome(rule("warning", passed=True)), ""),
    (outcome(rule("info")), ""),
    (outcome(checked(0.5)), "check (soda) is 0.5, ceiling of the score"),
    (outcome(checked(1.0)), ""),
    (outcome(measures=replace(FULL, completeness=0.75)), "completeness 0.750"),
    (
        outcome(
            rule("warning"),
            measures=replace(FULL, validity=0.5, uniqueness=0.9),
            rejects={"type": 3, "pattern": 2000},
        ),
        "validity 0.500 (rows put aside: pattern 2,000, type 3); uniqueness 0.900; few gaps is 4, mustBe 0",
    ),
]


@pytest.mark.parametrize(("found", "told"), LOWERED)
def test_a_low_score_is_told_with_its_causes(found: FeedOutcome, told: str) -> None:
    """Measures that aren't full, broken warnings, and the ceiling of another tool; nothing else lowers a score."""
    assert told == lowered_by(found)


def test_every_broken_rule_is_listed_with_its_severity() -> None:
    """Those that cost nothing too; those that were kept are not."""
    found = outcome(rule("warning"), rule("info"), rule("error", passed=True))

    assert ["few gaps is 4, mustBe 0 (warning)", "few gaps is 4, mustBe 0 (info)"] == broken_rules(found)


def test_without_rules_nothing_is_broken() -> None:
    """An outcome may hold no results at all."""
    assert [] == broken_rules(replace(outcome(), rules=None))
