"""Is what was merged good enough to publish? (SEED 3)"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from airflow_orchestration.domain.outcome import FeedOutcome
from airflow_orchestration.policies.quality import FeedQuality, QualityDecision, QualityFacts, QualityGate
from airflow_orchestration.workflow.gate import rounds_allowed
from airflow_orchestration.workflow.step import Step


def validate_quality(step: Step) -> QualityDecision:
    """Judge the round's merges and the feeds in them, and record the decision: the worst table counts, and the emptiest."""
    merges = step.store.merges(step.run_key, step.round).values()
    merged = sorted(feed_id for merge in merges for feed_id in merge.published)
    standing = step.standing(step.round)
    demanded = [merge for merge in merges if not _nothing_new(step, merge.published, standing)]
    quality = step.spec.pipeline.quality
    decision = QualityGate(approve_at=quality.approve_at, fail_below=quality.fail_below).evaluate(
        QualityFacts(
            feeds=tuple(
                FeedQuality(feed_id=feed_id, score=standing[feed_id].quality_score) for feed_id in merged
            ),
            overall=min(
                (float(merge.decision["evidence"]["overall_quality"]) for merge in merges), default=0.0
            ),
            rows=min((merge.staged.rows for merge in demanded), default=0),
            nothing_new=bool(merges) and not demanded,
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


def _nothing_new(step: Step, feeds: Collection[str], standing: Mapping[str, FeedOutcome]) -> bool:
    """Whether no row came in because the streams behind these feeds hold none that is not read yet."""

    def dry(feed_id: str) -> bool:
        feed = step.spec.feeds[feed_id]
        made_of = feed.aggregate.feeds if feed.aggregate else ()
        return standing[feed_id].rows_in == 0 and (
            feed.is_stream or (bool(made_of) and all(map(dry, made_of)))
        )

    return all(map(dry, feeds))
