"""Is what was merged good enough to publish? (SEED 3)"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from airflow_orchestration.domain.outcome import FeedOutcome
from airflow_orchestration.policies.quality import FeedQuality, QualityDecision, QualityFacts, QualityGate
from airflow_orchestration.workflow.gate import rounds_allowed
from airflow_orchestration.workflow.step import Step


def validate_quality(step: Step) -> QualityDecision:
    """Judge the round's merges and the feeds in them, and record the decision: the worst table counts."""
    merges = step.store.merges(step.run_key, step.round).values()
    merged = sorted(feed_id for merge in merges for feed_id in merge.published)
    standing = step.standing(step.round)
    quality = step.spec.pipeline.quality
    decision = QualityGate(approve_at=quality.approve_at, fail_below=quality.fail_below).evaluate(
        QualityFacts(
            feeds=tuple(
                FeedQuality(feed_id=feed_id, score=standing[feed_id].quality_score) for feed_id in merged
            ),
            overall=min(
                (float(merge.decision["evidence"]["overall_quality"]) for merge in merges), default=0.0
            ),
            rows=sum(merge.staged.rows for merge in merges),
            nothing_new=_nothing_new(step, merged, standing),
            round=step.round,
            max_rounds=rounds_allowed(step.spec, step.store.rounds(step.run_key)[step.round - 1]),
        )
    )
    step.store.record_decision(step.fence, decision)
    step.store.add_event(
        step.fence,
        "data_quality_validated",
        {**decision.evidence, "action": decision.action.value, "reason": decision.reason.value},
    )
    return decision


def _nothing_new(step: Step, merged: Sequence[str], standing: Mapping[str, FeedOutcome]) -> bool:
    """Whether no row came in because the streams of the run hold none that is not read yet."""
    streams = [feed_id for feed_id in merged if step.spec.feeds[feed_id].is_stream]
    return bool(streams) and not any(standing[feed_id].rows_in for feed_id in merged)
