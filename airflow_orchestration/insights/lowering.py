"""What lowered the score of a feed, and which rules were broken?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from airflow_orchestration.domain.external_quality import CEILING
from airflow_orchestration.domain.outcome import FeedOutcome
from airflow_orchestration.domain.quality_rule import Severity, result_words

DIGITS = 3


def broken_rules(outcome: FeedOutcome) -> list[str]:
    """Every rule about many rows that was broken, of whatever severity, with its value and threshold."""
    return [f"{_words(rule)} ({rule['severity']})" for rule in outcome.rules or () if not rule["passed"]]


def lowered_by(outcome: FeedOutcome) -> str:
    """The measures that aren't full and the rules that lowered the score, as half a sentence.

    >>> from datetime import timedelta
    >>> from airflow_orchestration.domain.outcome import OutcomeStatus, QualityMeasures
    >>> outcome = FeedOutcome(
    ...     feed_id="planes", round=1, branch_id="b1", status=OutcomeStatus.SUCCESS, elapsed=timedelta(0),
    ...     measures=QualityMeasures(completeness=1.0, validity=0.4, uniqueness=1.0), rejects={"type": 6},
    ... )
    >>> lowered_by(outcome)
    'validity 0.400 (rows put aside: type 6)'
    """
    rules = map(_words, filter(_lowers, outcome.rules or ()))
    return "; ".join([*_measures(outcome), *rules])


def _measures(outcome: FeedOutcome) -> Iterator[str]:
    measures = outcome.measures
    if measures is None:
        return
    rejects = sorted((outcome.rejects or {}).items(), key=lambda found: -found[1])
    aside = f" (rows put aside: {', '.join(f'{rule} {rows:,}' for rule, rows in rejects)})" if rejects else ""
    if _is_low(measures.completeness):
        yield f"completeness {measures.completeness:.{DIGITS}f}"
    if _is_low(measures.validity):
        yield f"validity {measures.validity:.{DIGITS}f}{aside}"
    if _is_low(measures.uniqueness):
        yield f"uniqueness {measures.uniqueness:.{DIGITS}f}"


def _is_low(share: float) -> bool:
    return round(share, DIGITS) < 1


def _words(rule: Mapping[str, Any]) -> str:
    return result_words(rule["name"], rule.get("value"), rule.get("threshold", ""))


def _lowers(rule: Mapping[str, Any]) -> bool:
    """Whether it is a broken warning, or the verdict of another tool that is a ceiling."""
    if rule.get("threshold") == CEILING:
        return bool(rule["value"] < 1)
    return rule["severity"] == Severity.WARNING and not rule["passed"]
