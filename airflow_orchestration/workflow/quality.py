"""Is what was merged good enough to publish? (SEED 3)"""

from __future__ import annotations

from airflow_orchestration.policies.quality import FeedQuality, QualityDecision, QualityFacts, QualityGate
from airflow_orchestration.workflow.gate import rounds_allowed
from airflow_orchestration.workflow.step import Step


def validate_quality(step: Step) -> QualityDecision:
    """Judge the round's merge and the feeds in it, and record the decision."""
    merge = step.store.merge(step.run_key, step.round)
    standing = step.standing(step.round)
    quality = step.spec.pipeline.quality
    decision = QualityGate(approve_at=quality.approve_at, fail_below=quality.fail_below).evaluate(
        QualityFacts(
            feeds=tuple(
                FeedQuality(feed_id=feed_id, score=standing[feed_id].quality_score)
                for feed_id in sorted(merge.published)
            ),
            overall=float(merge.decision["evidence"]["overall_quality"]),
            rows=merge.staged.rows,
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
