"""Merging: SEED 15 to 18 and their rulings."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from airflow_orchestration.domain.batch import BatchType
from airflow_orchestration.domain.outcome import QualityMeasures
from airflow_orchestration.domain.statistics import wilson_interval
from airflow_orchestration.policies.merging import (
    MergeDecision,
    MergeFacts,
    Merging,
    SourceFacts,
    branch_weight,
)
from tests.unit.policies.vectors import cases

MEASURES = QualityMeasures(completeness=0.9, validity=0.8, uniqueness=0.7)


def measured(value: float | str) -> float | None:
    return None if value == "?" else float(value)


def source(
    feed_id: str,
    batch_type: str = "data_ingestion",
    quality: float | str = 0.9,
    seconds: float | str = 60,
    trust: float = 1.0,
    **rest: Any,
) -> SourceFacts:
    return SourceFacts(
        feed_id=feed_id,
        type=BatchType(batch_type),
        quality=measured(quality),
        seconds=measured(seconds),
        trust=trust,
        **rest,
    )


def decide(*sources: SourceFacts, **rest: Any) -> MergeDecision:
    weights = {"expected_weight": math.fsum(one.trust for one in sources)} | rest
    return Merging().evaluate(MergeFacts(sources=sources, **weights))


def check(row: dict[str, Any]) -> None:
    decision = decide(*(source(*values) for values in row["sources"]))

    assert row["expected"] == {
        "action": decision.action,
        "reason": decision.reason,
        "attribution": {feed_id: round(share, 4) for feed_id, share in decision.attribution.items()},
        "overall_quality": round(decision.overall_quality, 4),
    }
    assert list(row["expected"]["attribution"]) == [one.feed_id for one in decision.sources]


@cases("merging", "seed_16_weight")
def test_seed_16_weight(row: dict[str, Any]) -> None:
    """A source weighs 0.7 * quality + 0.3 / (1 + seconds / 60)."""
    assert row["expected"] == pytest.approx(branch_weight(measured(row["quality"]), measured(row["seconds"])))


@cases("merging", "seed_17")
def test_seed_17_attribution(row: dict[str, Any]) -> None:
    """Sources are attributed by their share of the weight, heaviest first."""
    check(row)


@cases("merging", "ruling_no_signal")
def test_ruling_no_signal(row: dict[str, Any]) -> None:
    """Where all weights are 0, attribution is equal, and the decision says why."""
    check(row)


@cases("merging", "ruling_trust")
def test_ruling_trust(row: dict[str, Any]) -> None:
    """70/30 ranks sources, the author's weight scales it."""
    check(row)


@pytest.mark.parametrize(
    ("batch_type", "expected"),
    [
        (BatchType.DATA_INGESTION, {"completeness": 0.9, "freshness": 0.5}),
        (BatchType.DATA_VALIDATION, {"quality": 0.6, "consistency": 0.7}),
        (BatchType.DATA_TRANSFORMATION, {"schema_compliance": 0.8, "accuracy": 0.6}),
        (BatchType.DATA_AGGREGATION, {"coverage": 0.9, "consistency": 0.7}),
        (BatchType.QUALITY_MONITORING, {"quality": 0.6, "validity": 0.8}),
    ],
)
def test_seed_15_supporting_measures(batch_type: BatchType, expected: dict[str, float]) -> None:
    """Each type of batch is supported by the two measures that matter for it; none is dropped."""
    decision = decide(source("a", batch_type.value, quality=0.6, measures=MEASURES, rows=10))
    found = decision.syntheses[batch_type]

    assert expected == pytest.approx(found.supporting)
    assert ("synthesized", "a", 0.6) == (found.status, found.primary, found.quality_score)


def test_seed_15_types_are_synthesized_apart() -> None:
    """The sources of one type do not count in another; the whole counts them all."""
    decision = decide(
        source("a", "data_ingestion", 1.0),
        source("b", "data_validation", 0.5),
        source("c", "data_validation", 0.5),
    )

    assert {"a": 1.0} == decision.syntheses[BatchType.DATA_INGESTION].attribution
    assert {"b": 0.5, "c": 0.5} == decision.syntheses[BatchType.DATA_VALIDATION].attribution
    assert {"a", "b", "c"} == set(decision.attribution)


@pytest.mark.parametrize(
    ("batch_type", "expected"),
    [
        (BatchType.DATA_INGESTION, "no_ingestion_data"),
        (BatchType.DATA_VALIDATION, "no_validation_data"),
        (BatchType.DATA_TRANSFORMATION, "no_transformation_data"),
        (BatchType.DATA_AGGREGATION, "no_aggregation_data"),
        (BatchType.QUALITY_MONITORING, "no_quality_monitoring_data"),
    ],
)
def test_seed_17_a_type_without_source_is_no_error(batch_type: BatchType, expected: str) -> None:
    """A type without a source has quality 0, a status of its own, and no primary source."""
    found = decide().syntheses[batch_type]

    assert (expected, None, 0.0, 0, 0.0, None) == (
        found.status,
        found.primary,
        found.quality_score,
        found.sources_count,
        found.total_weight,
        found.confidence_interval,
    )


def test_seed_17_synthesis() -> None:
    """A synthesis weighs quality by weight, counts its sources and sums their weight."""
    found = decide(source("a", quality=0.5), source("b", quality=1.0)).syntheses[BatchType.DATA_INGESTION]

    assert 2 == found.sources_count
    assert 1.35 == pytest.approx(found.total_weight)
    assert (0.5 * 0.5 + 1.0 * 0.85) / 1.35 == pytest.approx(found.quality_score)


def test_ruling_no_signal_of_one_type() -> None:
    """A type whose weights are all 0 has equal shares, although another type has a signal."""
    decision = decide(source("a", "data_validation", 0.0, "?"), source("b", "data_ingestion", 0.9))
    found = decision.syntheses[BatchType.DATA_VALIDATION]

    assert ("no_signal", {"a": 1.0}) == (found.status, found.attribution)


def test_seed_17_confidence_interval() -> None:
    """The interval is Wilson's for the share of valid rows over all rows seen."""
    measures = QualityMeasures(completeness=1.0, validity=0.9, uniqueness=1.0)
    decision = decide(source("a", measures=measures, rows=60), source("b", measures=measures, rows=40))

    assert (0.82563, 0.94477) == pytest.approx(
        decision.syntheses[BatchType.DATA_INGESTION].confidence_interval, abs=1e-5
    )


@pytest.mark.parametrize(
    "unmeasured",
    [
        source("a"),
        source("a", rows=10),
        source("a", measures=MEASURES),
        source("a", rows=10, measures=QualityMeasures(completeness=1.0, validity=math.nan, uniqueness=1.0)),
    ],
)
def test_seed_17_no_interval_without_rows(unmeasured: SourceFacts) -> None:
    """Without measured rows there is no interval, rather than a made-up one."""
    assert decide(unmeasured).syntheses[BatchType.DATA_INGESTION].confidence_interval is None


@pytest.mark.parametrize(("share", "inside"), [(0.0, 0.0), (1.0, 1.0), (0.5, 0.5)])
def test_wilson_interval_stays_in_bounds(share: float, inside: float) -> None:
    """An interval holds the share that was seen and never leaves 0..1."""
    low, high = wilson_interval(share, 20)

    assert 0.0 <= low <= inside <= high <= 1.0


def test_seed_17_unmeasured_sources_do_not_dilute() -> None:
    """A measure is averaged over the sources that have it."""
    decision = decide(source("a", measures=MEASURES, rows=10), source("b"))

    assert 0.9 == decision.syntheses[BatchType.DATA_INGESTION].supporting["completeness"]


def test_seed_18_result() -> None:
    """The result counts branches, rates success by successes only, and shows how quality is spread."""
    decision = decide(
        source("a", quality=0.9),
        source("b", quality=0.7),
        source("c", "data_validation", quality=0.8),
        failed=("d",),
        missing=("e",),
        expected_weight=5.0,
    )
    evidence = decision.evidence

    assert (3, 1, 1) == (
        evidence["successful_branches"],
        evidence["failed_branches"],
        evidence["missing_branches"],
    )
    assert {
        "branches_processed": 4,
        "success_rate": 0.6,
        "quality_min": 0.7,
        "quality_median": 0.8,
        "quality_max": 0.9,
    } == evidence["merge_performance"]


def test_seed_18_quality_per_type_is_0_by_default() -> None:
    """Each type has a quality, 0 where it has no source."""
    expected = dict.fromkeys(BatchType, 0.0) | {BatchType.DATA_INGESTION: 0.9}

    assert expected == pytest.approx(decide(source("a", quality=0.9)).quality_by_type)


@pytest.mark.parametrize(("expected_weight", "expected"), [(2.0, 0.8), (4.0, 0.4), (1.0, 0.8), (0.0, 0.0)])
def test_seed_18_integration_confidence(expected_weight: float, expected: float) -> None:
    """Confidence is the quality of what is there times the share of the expected weight that is there."""
    decision = decide(source("a", quality=0.8), source("b", quality=0.8), expected_weight=expected_weight)

    assert expected == pytest.approx(decision.integration_confidence)


def test_a_decision_survives_json() -> None:
    """What goes to XCom and the audit table is plain data."""
    plain = decide(
        source("a", measures=MEASURES, rows=10), source("b", "data_validation"), failed=("c",)
    ).as_json()

    assert plain == json.loads(json.dumps(plain))


@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf])
def test_an_authors_weight_is_a_weight(value: float) -> None:
    """Trust and expected weight that are no weights are refused."""
    with pytest.raises(ValueError, match=r"of 'a' is no weight; use 0 or more"):
        source("a", trust=value)
    with pytest.raises(ValueError, match=r"expected_weight .* is no weight"):
        decide(expected_weight=value)
