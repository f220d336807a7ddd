"""Whose rows count how much? Ranks the sources of a round and says how sure the whole is (SEED 15-18).

The document's weight, 70 % quality and 30 % speed, ranks whole sources; the author's weight, here `trust`,
scales it: effective weight = trust * branch weight. A source's attribution is its share of the weight.
Values are not averaged here: they are merged per key and attribute, and this ranking says who is asked first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import median

from airflow_orchestration.domain.batch import BatchType
from airflow_orchestration.domain.decision import Decision, Json
from airflow_orchestration.domain.outcome import QualityMeasures
from airflow_orchestration.domain.statistics import wilson_interval

QUALITY_WEIGHT = 0.7
"""SEED 16: what the quality of a source counts for."""
TIME_WEIGHT = 0.3
"""SEED 16: what its speed counts for."""
TIME_SCALE = 60.0
"""SEED 16: after so many seconds, speed counts half."""
MISSING_QUALITY = 0.5
"""SEED 16: the quality of a source that nobody measured; a missing time is infinite, hence weight 0.35."""


class MergeAction(StrEnum):
    """What the merger does."""

    INTEGRATE = "integrate"
    NOTHING_TO_INTEGRATE = "nothing_to_integrate"


class MergeReason(StrEnum):
    """How the sources were ranked."""

    NO_SOURCE = "no_source"
    NO_SIGNAL = "no_signal"
    RANKED_BY_QUALITY_AND_TIME = "ranked_by_quality_and_time"


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFacts:
    """One successful source.

    A measurement that can't be one (NaN, negative, a quality above 1) is treated as missing: a broken
    stopwatch must not stop a merge. `trust` is the author's and is refused instead.
    """

    feed_id: str
    type: BatchType
    quality: float | None
    seconds: float | None
    trust: float = 1.0
    rows: int = 0
    measures: QualityMeasures | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.trust < math.inf:
            raise ValueError(f"trust {self.trust} of {self.feed_id!r} is no weight; use 0 or more, usually 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeFacts:
    """The successes, who is not among them, and the weight of everybody whom the pipeline expects."""

    sources: tuple[SourceFacts, ...]
    failed: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    expected_weight: float
    """The sum of the authors' weights over successes, failures and missing feeds."""

    def __post_init__(self) -> None:
        if not 0 <= self.expected_weight < math.inf:
            raise ValueError(f"expected_weight {self.expected_weight} is no weight; sum the feeds' weights")


@dataclass(frozen=True, slots=True, kw_only=True)
class RankedSource:
    """A source with its effective weight and its share of the sum of all."""

    feed_id: str
    weight: float
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Synthesis:
    """What the sources of one type amount to (SEED 17). Without a source, quality is 0 and that is no error."""

    type: BatchType
    status: str
    """`synthesized`, `no_signal`, or for want of sources `no_ingestion_data` and the like."""
    primary: str | None = None
    supporting: Mapping[str, float | None]
    """The two measures that matter for this type (SEED 15), weighted by attribution; None if not measured."""
    confidence_interval: tuple[float, float] | None = None
    """Where the share of valid rows lies, given how many were seen."""
    attribution: Mapping[str, float]
    quality_score: float
    sources_count: int
    total_weight: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeDecision(Decision):
    """The ranking of the sources, heaviest first, and the result of SEED 18."""

    action: MergeAction
    reason: MergeReason
    sources: tuple[RankedSource, ...]
    syntheses: Mapping[BatchType, Synthesis]
    overall_quality: float
    integration_confidence: float
    """The attribution-weighted quality of what is there, times the share of the expected weight that is there."""

    @property
    def attribution(self) -> dict[str, float]:
        """Feed id -> share; the shares sum to 1."""
        return {source.feed_id: source.share for source in self.sources}

    @property
    def quality_by_type(self) -> dict[BatchType, float]:
        """The quality of every type, 0 for a type without a source."""
        return {kind: synthesis.quality_score for kind, synthesis in self.syntheses.items()}


def time_factor(seconds: float | None) -> float:
    """Return 1 for no time at all, 0.5 for a minute, near 0 for hours or an unknown time (SEED 16)."""
    if seconds is None or not seconds >= 0:
        return 0.0
    return 1.0 / (1.0 + seconds / TIME_SCALE)


def branch_weight(quality: float | None, seconds: float | None) -> float:
    """Return the document's weight of a source, 70 % quality and 30 % speed (SEED 16).

    >>> round(branch_weight(0.9, 60), 3)
    0.78
    >>> branch_weight(None, None)
    0.35
    """
    return QUALITY_WEIGHT * _known(quality) + TIME_WEIGHT * time_factor(seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Merging:
    """Ranks the sources by trust, quality and speed.

    A vendor trusted three times as much as another stays first although its file is worse:

    >>> vendors = (
    ...     SourceFacts(feed_id="ours", type=BatchType.DATA_INGESTION, quality=0.8, seconds=60, trust=3.0),
    ...     SourceFacts(feed_id="web", type=BatchType.DATA_INGESTION, quality=1.0, seconds=60),
    ... )
    >>> decision = Merging().evaluate(MergeFacts(sources=vendors, expected_weight=4.0))
    >>> {feed_id: round(share, 2) for feed_id, share in decision.attribution.items()}
    {'ours': 0.71, 'web': 0.29}
    """

    def evaluate(self, facts: MergeFacts) -> MergeDecision:
        """Rank, attribute and summarize."""
        ranked = _ranked(facts.sources)
        action, reason = _why(ranked)
        quality = _weighted(ranked, lambda source: _known(source.quality)) or 0.0
        confidence = quality * _arrived_share(facts)
        syntheses = {kind: _synthesis(kind, facts.sources) for kind in BatchType}
        return MergeDecision(
            policy="merging",
            action=action,
            reason=reason,
            sources=tuple(source for source, _ in ranked),
            syntheses=syntheses,
            overall_quality=quality,
            integration_confidence=confidence,
            evidence={
                "successful_branches": len(ranked),
                "failed_branches": len(facts.failed),
                "missing_branches": len(facts.missing),
                "overall_quality": quality,
                "integration_confidence": confidence,
                "source_attribution": {source.feed_id: source.share for source, _ in ranked},
                "syntheses": {kind.value: _as_json(found) for kind, found in syntheses.items()},
                "merge_performance": _performance(facts),
            },
        )


_Ranking = Sequence[tuple[RankedSource, SourceFacts]]


def _why(ranked: _Ranking) -> tuple[MergeAction, MergeReason]:
    if not ranked:
        return MergeAction.NOTHING_TO_INTEGRATE, MergeReason.NO_SOURCE
    if not _has_signal(ranked):
        return MergeAction.INTEGRATE, MergeReason.NO_SIGNAL
    return MergeAction.INTEGRATE, MergeReason.RANKED_BY_QUALITY_AND_TIME


def _has_signal(ranked: _Ranking) -> bool:
    return any(source.weight > 0 for source, _ in ranked)


def _ranked(sources: Sequence[SourceFacts]) -> _Ranking:
    """Heaviest first, then by id. Weights that are all 0 tell nothing: equal shares (ruling)."""
    weights = {one.feed_id: one.trust * branch_weight(one.quality, one.seconds) for one in sources}
    total = math.fsum(weights.values())
    ordered = sorted(sources, key=lambda one: (-weights[one.feed_id], one.feed_id))
    return [
        (
            RankedSource(
                feed_id=one.feed_id,
                weight=weights[one.feed_id],
                share=weights[one.feed_id] / total if total > 0 else 1 / len(sources),
            ),
            one,
        )
        for one in ordered
    ]


def _measured(share: float | None) -> float | None:
    return share if share is not None and 0 <= share <= 1 else None


def _known(quality: float | None) -> float:
    measured = _measured(quality)
    return MISSING_QUALITY if measured is None else measured


def _weighted(ranked: _Ranking, measure: _Measure) -> float | None:
    """The mean of what was measured, by attribution; None when nothing was."""
    found = [(source.share, value) for source, one in ranked if (value := measure(one)) is not None]
    total = math.fsum(share for share, _ in found)
    if not found:
        return None
    if not total > 0:
        return math.fsum(value for _, value in found) / len(found)
    return min(1.0, math.fsum(share * value for share, value in found) / total)


def _arrived_share(facts: MergeFacts) -> float:
    arrived = math.fsum(source.trust for source in facts.sources)
    return min(1.0, arrived / facts.expected_weight) if facts.expected_weight > 0 else 0.0


_Measure = Callable[[SourceFacts], float | None]


def _completeness(source: SourceFacts) -> float | None:
    return _measured(source.measures.completeness) if source.measures else None


def _validity(source: SourceFacts) -> float | None:
    return _measured(source.measures.validity) if source.measures else None


def _uniqueness(source: SourceFacts) -> float | None:
    return _measured(source.measures.uniqueness) if source.measures else None


def _freshness(source: SourceFacts) -> float | None:
    return time_factor(source.seconds)


def _quality(source: SourceFacts) -> float | None:
    return _measured(source.quality)


SUPPORTING: Mapping[BatchType, Mapping[str, _Measure]] = {
    BatchType.DATA_INGESTION: {"completeness": _completeness, "freshness": _freshness},
    BatchType.DATA_VALIDATION: {"quality": _quality, "consistency": _uniqueness},
    BatchType.DATA_TRANSFORMATION: {"schema_compliance": _validity, "accuracy": _quality},
    BatchType.DATA_AGGREGATION: {"coverage": _completeness, "consistency": _uniqueness},
    BatchType.QUALITY_MONITORING: {"quality": _quality, "validity": _validity},
}
"""SEED 15 and its ruling: what supports the result of each type, and the measure that we have for it."""


def _synthesis(kind: BatchType, sources: Sequence[SourceFacts]) -> Synthesis:
    ranked = _ranked([source for source in sources if source.type is kind])
    return Synthesis(
        type=kind,
        status=_status(kind, ranked),
        primary=ranked[0][0].feed_id if ranked else None,
        supporting={name: _weighted(ranked, measure) for name, measure in SUPPORTING[kind].items()},
        confidence_interval=_validity_interval([one for _, one in ranked]),
        attribution={source.feed_id: source.share for source, _ in ranked},
        quality_score=_weighted(ranked, lambda source: _known(source.quality)) or 0.0,
        sources_count=len(ranked),
        total_weight=math.fsum(source.weight for source, _ in ranked),
    )


def _status(kind: BatchType, ranked: _Ranking) -> str:
    if not ranked:
        return f"no_{kind.value.removeprefix('data_')}_data"
    return "synthesized" if _has_signal(ranked) else "no_signal"


def _validity_interval(sources: Sequence[SourceFacts]) -> tuple[float, float] | None:
    found = [(one.rows, _validity(one)) for one in sources if one.rows > 0]
    measured = [(count, validity) for count, validity in found if validity is not None]
    if not measured:
        return None
    rows = sum(count for count, _ in measured)
    return wilson_interval(math.fsum(count * validity for count, validity in measured) / rows, rows)


def _as_json(found: Synthesis) -> dict[str, Json]:
    return {
        "status": found.status,
        "primary": found.primary,
        "supporting": dict(found.supporting),
        "confidence_interval": list(found.confidence_interval) if found.confidence_interval else None,
        "quality_score": found.quality_score,
        "sources_count": found.sources_count,
        "total_weight": found.total_weight,
    }


def _performance(facts: MergeFacts) -> dict[str, Json]:
    """Only successes count as success; the document counted failures in (SEED 18 and ruling)."""
    processed = len(facts.sources) + len(facts.failed)
    expected = processed + len(facts.missing)
    qualities = [_known(source.quality) for source in facts.sources]
    return {
        "branches_processed": processed,
        "success_rate": len(facts.sources) / expected if expected else 0.0,
        "quality_min": min(qualities, default=None),
        "quality_median": median(qualities) if qualities else None,
        "quality_max": max(qualities, default=None),
    }
