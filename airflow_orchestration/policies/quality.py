"""How good are the rows, and is that good enough to publish (SEED 3, 25)?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from airflow_orchestration.domain.decision import Decision
from airflow_orchestration.domain.defaults import APPROVE_AT, FAIL_BELOW
from airflow_orchestration.domain.outcome import QualityMeasures
from airflow_orchestration.domain.quality_rule import RuleResult

COMPLETENESS_WEIGHT, VALIDITY_WEIGHT, UNIQUENESS_WEIGHT = 0.4, 0.4, 0.2
"""Ours; the document names no formula. A gap or a broken rule costs twice what a duplicate key does."""
WARNING_WEIGHT = 0.1
"""Ours: what a warning takes from the score that every row breaks; one that half the rows break takes half of it.

Half of what the default standard leaves: warnings alone don't keep out a feed that is else perfect.
"""
TOLERANCE = 1e-9
"""A score that is a sum of floats must not miss the standard by the last bit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityScore:
    """One number for three measures, their weighted mean; warnings and other tools can only lower it.

    A feed with every cell filled and every rule kept, in which half the rows repeat a key:

    >>> measures = QualityMeasures(completeness=1.0, validity=1.0, uniqueness=0.5)
    >>> QualityScore().score(measures)
    0.9

    Another tool found four of its five checks kept:

    >>> QualityScore().score(measures, external=0.8)
    0.8

    A warning that every row breaks, or that has no rows of its own, in a feed that is else perfect:

    >>> perfect = QualityMeasures(completeness=1.0, validity=1.0, uniqueness=1.0)
    >>> warning = RuleResult(
    ...     name="rowCount", column=None, severity="warning", value=9, threshold="mustBeGreaterThan 10", passed=False,
    ...     share=1.0,
    ... )
    >>> QualityScore().score(perfect, rules=[warning]), APPROVE_AT
    (0.9, 0.8)
    """

    completeness: float = COMPLETENESS_WEIGHT
    validity: float = VALIDITY_WEIGHT
    uniqueness: float = UNIQUENESS_WEIGHT

    def __post_init__(self) -> None:
        weights = (self.completeness, self.validity, self.uniqueness)
        if not all(weight >= 0 for weight in weights) or not math.isclose(math.fsum(weights), 1.0):
            raise ValueError(f"weights {weights} are no shares of one; use 0 or more each, 1 in sum")

    def score(
        self,
        measures: QualityMeasures,
        *,
        rules: Sequence[RuleResult] = (),
        external: float | None = None,
    ) -> float:
        """Return the score, 0..1; without a valid row there is nothing to praise.

        The shares of the warnings that `rules` hold are added up to 1 at most and take up to
        `WARNING_WEIGHT` of the mean; then `external`, the score of another tool, is a ceiling.
        """
        if measures.validity == 0:
            return 0.0
        parts = (
            self.completeness * measures.completeness,
            self.validity * measures.validity,
            self.uniqueness * measures.uniqueness,
        )
        warned = min(1.0, math.fsum(rule.share for rule in rules if rule.warns))
        mean = min(1.0, math.fsum(parts)) * (1 - WARNING_WEIGHT * warned)
        return mean if external is None else min(mean, external)


class QualityAction(StrEnum):
    """Where the merged table goes next (SEED 3)."""

    QUALITY_APPROVED = "quality_approved"
    NEEDS_REVISION = "needs_revision"
    CRITICAL_FAILURE = "critical_failure"


class QualityReason(StrEnum):
    """Why it goes there."""

    NOTHING_TO_PUBLISH = "nothing_to_publish"
    NOTHING_NEW = "nothing_new"
    BEYOND_REPAIR = "beyond_repair"
    ROUNDS_EXHAUSTED = "rounds_exhausted"
    FEEDS_BELOW_STANDARD = "feeds_below_standard"
    TABLE_BELOW_STANDARD = "table_below_standard"
    STANDARD_MET = "standard_met"


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedQuality:
    """The score of one feed that is part of the table."""

    feed_id: str
    score: float

    def __post_init__(self) -> None:
        if not 0 <= self.score <= 1:
            raise ValueError(f"score {self.score} of {self.feed_id!r} is no quality; use 0..1")


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityFacts:
    """The feeds in the table, the table itself, and which round of how many this is.

    `nothing_new`: streams were read to their ends and held no further record.
    """

    feeds: tuple[FeedQuality, ...]
    overall: float
    rows: int
    round: int
    max_rounds: int
    nothing_new: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.overall <= 1:
            raise ValueError(f"overall {self.overall} is no quality; use 0..1")


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityDecision(Decision):
    """The verdict, and the feeds that a revision would run again."""

    action: QualityAction
    reason: QualityReason
    below_standard: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityGate:
    """Approves what meets the standard, sends back what a round may mend, stops the rest (SEED 3).

    A table that is good on the whole is not published over one poor feed while a round is left:

    >>> feeds = (FeedQuality(feed_id="airports", score=0.99), FeedQuality(feed_id="planes", score=0.6))
    >>> facts = QualityFacts(feeds=feeds, overall=0.9, rows=12_000, round=1, max_rounds=3)
    >>> decision = QualityGate().evaluate(facts)
    >>> decision.action.value, decision.reason.value, decision.below_standard
    ('needs_revision', 'feeds_below_standard', ('planes',))
    """

    approve_at: float = APPROVE_AT
    fail_below: float = FAIL_BELOW

    def __post_init__(self) -> None:
        if not 0 <= self.fail_below <= self.approve_at <= 1:
            raise ValueError(
                f"fail_below {self.fail_below} and approve_at {self.approve_at} are out of order; "
                "use 0 <= fail_below <= approve_at <= 1"
            )

    def evaluate(self, facts: QualityFacts) -> QualityDecision:
        """Judge the merged table and every feed in it."""
        below = tuple(feed.feed_id for feed in facts.feeds if not _reaches(feed.score, self.approve_at))
        action, reason = self._verdict(facts, below)
        return QualityDecision(
            policy="quality_gate",
            action=action,
            reason=reason,
            below_standard=below,
            evidence={
                "overall": facts.overall,
                "approve_at": self.approve_at,
                "fail_below": self.fail_below,
                "rows": facts.rows,
                "feeds": len(facts.feeds),
                "feeds_below_standard": len(below),
                "below_standard": list(below),
                "round": facts.round,
                "max_rounds": facts.max_rounds,
            },
        )

    def _verdict(self, facts: QualityFacts, below: tuple[str, ...]) -> tuple[QualityAction, QualityReason]:
        if facts.rows == 0:
            return (
                (QualityAction.QUALITY_APPROVED, QualityReason.NOTHING_NEW)
                if facts.nothing_new
                else (QualityAction.CRITICAL_FAILURE, QualityReason.NOTHING_TO_PUBLISH)
            )
        if not _reaches(facts.overall, self.fail_below):
            return QualityAction.CRITICAL_FAILURE, QualityReason.BEYOND_REPAIR
        if not below and _reaches(facts.overall, self.approve_at):
            return QualityAction.QUALITY_APPROVED, QualityReason.STANDARD_MET
        if facts.round >= facts.max_rounds:
            return QualityAction.CRITICAL_FAILURE, QualityReason.ROUNDS_EXHAUSTED
        if below:
            return QualityAction.NEEDS_REVISION, QualityReason.FEEDS_BELOW_STANDARD
        return QualityAction.NEEDS_REVISION, QualityReason.TABLE_BELOW_STANDARD


def _reaches(score: float, standard: float) -> bool:
    return score >= standard - TOLERANCE
