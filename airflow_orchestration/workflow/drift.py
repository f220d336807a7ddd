"""Compares what came with what usually comes, and says so where it differs."""

from __future__ import annotations

import logging
from dataclasses import replace

from airflow_orchestration.domain.outcome import FeedOutcome
from airflow_orchestration.domain.pipeline import DriftChoice
from airflow_orchestration.policies.drift import DRIFT_FACTOR, Drift, DriftDecision, DriftFacts, shown
from airflow_orchestration.workflow.aggregate import tell_quality
from airflow_orchestration.workflow.output import show_output
from airflow_orchestration.workflow.step import Step

log = logging.getLogger(__name__)

FEED_DRIFTED = "feed_drifted"
"""The line of the timeline about a feed that is not as usual."""


def register_judged(step: Step, outcome: FeedOutcome, *, keep_success: bool = False) -> FeedOutcome:
    """Compare a feed with its history, and register it with what is unusual about it."""
    outcome = tell_quality(step, outcome)
    show_output(step, outcome.feed_id)
    decision = _judged(step, outcome)
    if decision is None or not decision.has_drifted:
        step.register(outcome, keep_success=keep_success)
        return outcome
    drifted = replace(outcome, drift=decision.evidence)
    step.register(drifted, keep_success=keep_success)
    step.store.record_decision(step.fence, decision)
    step.store.add_event(step.fence, FEED_DRIFTED, decision.evidence)
    log.warning("Feed %s is not as usual: %s", outcome.feed_id, "; ".join(shown(decision.evidence)))
    return drifted


def drift_factor(step: Step, outcome: FeedOutcome) -> float:
    """What the feed's weight is multiplied by."""
    lowers = step.spec.pipeline.quality.drift is DriftChoice.LOWER_WEIGHT
    return DRIFT_FACTOR if lowers and outcome.drift is not None else 1.0


def _judged(step: Step, outcome: FeedOutcome) -> DriftDecision | None:
    if outcome.profile is None:
        return None
    history = step.store.profiles(step.run_key.dag_id, outcome.feed_id, step.run.started_at)
    return Drift().evaluate(
        DriftFacts(feed_id=outcome.feed_id, profile=outcome.profile, history=tuple(history))
    )
