"""Merges what arrived, by weight, with attribution for every value (SEED 15 to 18)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from airflow_orchestration.domain.outcome import FeedOutcome
from airflow_orchestration.domain.run_spec import Dataset
from airflow_orchestration.engine.fusing import FusionSource, fuse
from airflow_orchestration.policies.admission import (
    Admission,
    AdmissionDecision,
    AdmissionFacts,
    Candidate,
)
from airflow_orchestration.policies.merging import MergeDecision, MergeFacts, Merging, SourceFacts
from airflow_orchestration.policies.trust.model import TrustModel
from airflow_orchestration.storage.gate_facts import arrived
from airflow_orchestration.storage.store import MergeRecord, StoredRound
from airflow_orchestration.workflow.capacity import whole_memory_mb
from airflow_orchestration.workflow.drift import drift_factor
from airflow_orchestration.workflow.gate import rounds_allowed
from airflow_orchestration.workflow.step import Step
from airflow_orchestration.workflow.trust import EVIDENCE, belief

STOPWATCH_STEP = 30.0
"""Seconds; the weight of SEED 16 knows only so fine a difference in time."""
EXAMPLES = 3
"""Ours: enough to see what a disagreement is about, and few enough to be stored with the merge."""


def merge_round(step: Step) -> list[MergeRecord]:
    """Merge the feeds that the round's verdict names as arrived, dataset by dataset, and register the results."""
    stored = step.store.rounds(step.run_key)[step.round - 1]
    standing = step.standing(step.round)
    admission = _admission(step, [standing[feed_id] for feed_id in _arrived(stored)])
    step.store.record_decision(step.fence, admission)
    admitted = [feed_id for feed_id in _arrived(stored) if feed_id not in admission.left_out]
    return [
        _merge_dataset(
            step, dataset, [standing[feed_id] for feed_id in admitted if feed_id in dataset.feeds], standing
        )
        for dataset in step.spec.datasets.values()
        if not set(admitted).isdisjoint(dataset.feeds)
    ]


def _merge_dataset(
    step: Step, dataset: Dataset, inputs: list[FeedOutcome], standing: Mapping[str, FeedOutcome]
) -> MergeRecord:
    decision = merge_decision(step, dataset, inputs, standing)
    number = list(step.spec.datasets).index(dataset.name)  # a name may hold any character
    sources = fusion_sources(step, decision, standing)
    believed = belief(step, dataset, sources)
    if believed is not None:
        decision = replace(decision, evidence={**decision.evidence, EVIDENCE: believed.as_evidence()})
    model = believed.model if believed else None
    fused = fuse(
        sources,
        contract=dataset.contract,
        merge=dataset.merge,
        trust=model,
        scratch=step.folder(f"fuse-{number}"),
        examples=EXAMPLES,
        memory_mb=whole_memory_mb(step),
    )
    key = f"{step.staging_prefix}/merged/{number}-e{step.fence.epoch}-rows.parquet"
    record = MergeRecord(
        round=step.round,
        dataset=dataset.name,
        staged=step.staging.store(fused.path, key, rows=fused.rows),
        content_sha256=content_hash(inputs, decision, model),
        decision=decision.as_json(),
        published=fused.published,
        superseded=fused.superseded,
        disagreements=fused.disagreements,
        compared=fused.compared,
        completeness=fused.completeness,
        examples=fused.examples,
    )
    step.store.record_decision(step.fence, decision)
    step.store.save_merge(step.fence, record)
    return record


def _arrived(stored: StoredRound) -> list[str]:
    if stored.verdict is None:
        raise KeyError(f"round {stored.round} has no verdict")
    return list(stored.verdict["evidence"]["arrived_ids"])


def _admission(step: Step, outcomes: list[FeedOutcome]) -> AdmissionDecision:
    pipeline = step.spec.pipeline
    candidates = tuple(
        Candidate(
            feed_id=outcome.feed_id,
            weight=step.spec.feeds[outcome.feed_id].weight,
            required=step.spec.feeds[outcome.feed_id].required,
            score=outcome.quality_score,
        )
        for outcome in outcomes
    )
    return Admission(approve_at=pipeline.quality.approve_at, floor=pipeline.sync.floor).evaluate(
        AdmissionFacts(
            candidates=candidates,
            expected_weight=sum(feed.weight for feed in step.spec.feeds.values()),
            round=step.round,
            max_rounds=rounds_allowed(step.spec, step.store.rounds(step.run_key)[step.round - 1]),
        )
    )


def fusion_sources(
    step: Step, decision: MergeDecision, standing: Mapping[str, FeedOutcome]
) -> list[FusionSource]:
    """Fetch the staged files of a merge's sources, each with its weight."""
    return [
        FusionSource(
            feed_id=source.feed_id, path=fetch_rows(step, standing[source.feed_id]), weight=source.weight
        )
        for source in decision.sources
    ]


def merge_decision(
    step: Step, dataset: Dataset, inputs: list[FeedOutcome], standing: Mapping[str, FeedOutcome]
) -> MergeDecision:
    """Weigh the sources of a dataset's merge."""
    merged = {outcome.feed_id for outcome in inputs}
    failed = [name for name in dataset.feeds if name in standing and not arrived(standing[name])]
    decision = Merging().evaluate(
        MergeFacts(
            sources=tuple(_source(step, outcome) for outcome in inputs),
            failed=tuple(failed),
            missing=tuple(feed_id for feed_id in dataset.feeds if feed_id not in {*merged, *failed}),
            expected_weight=sum(step.spec.feeds[feed_id].weight for feed_id in dataset.feeds),
        )
    )
    return replace(decision, evidence={**decision.evidence, "dataset": dataset.name})


def _source(step: Step, outcome: FeedOutcome) -> SourceFacts:
    feed = step.spec.feeds[outcome.feed_id]
    return SourceFacts(
        feed_id=feed.id,
        type=feed.type,
        quality=outcome.quality_score,
        seconds=_steady_seconds(outcome),
        trust=feed.weight * drift_factor(step, outcome),
        measures=outcome.measures,
        rows=outcome.rows_staged,
    )


def _steady_seconds(outcome: FeedOutcome) -> float:
    """Round to what a reader would call fast or slow: noise of the stopwatch must not order equal sources."""
    return round(outcome.elapsed.total_seconds() / STOPWATCH_STEP) * STOPWATCH_STEP


def fetch_rows(step: Step, outcome: FeedOutcome) -> Path:
    """Fetch the checked rows of a feed."""
    if outcome.staged is None:
        raise KeyError(f"{outcome.feed_id} has no staged file")
    return step.staging.fetch(outcome.staged, step.scratch)


def content_hash(inputs: list[FeedOutcome], decision: MergeDecision, model: TrustModel | None = None) -> str:
    """Equal staged files in equal order of weight, believed equally, give equal content."""
    files = {outcome.feed_id: outcome.staged.sha256 for outcome in inputs if outcome.staged}
    ordered = [[source.feed_id, files[source.feed_id]] for source in decision.sources]
    content = ordered if model is None else [ordered, model.as_json()]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
