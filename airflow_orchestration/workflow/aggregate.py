"""Makes the rows of an aggregate out of those of other feeds, and says how good these are."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from airflow_orchestration.domain.batch import Lane
from airflow_orchestration.domain.decision import Json
from airflow_orchestration.domain.feed import Feed, FeedFormat
from airflow_orchestration.domain.outcome import FeedOutcome, QualityMeasures
from airflow_orchestration.domain.profile import ColumnProfile, FeedProfile
from airflow_orchestration.domain.statistics import Share
from airflow_orchestration.engine.aggregating import CheckedRows, aggregate
from airflow_orchestration.engine.ingest import Ingested
from airflow_orchestration.engine.profiling import profile
from airflow_orchestration.exceptions import FeedCode, FeedError
from airflow_orchestration.policies.routing import route
from airflow_orchestration.sources.fetched import Fetched, SourceFile
from airflow_orchestration.workflow.step import Step

log = logging.getLogger(__name__)

QUALITY_RECORDED = "data_quality_recorded"
"""The line of the timeline about rows that the secondary lane aggregated."""
DIGITS = 6
"""Of a share: more than any interval knows."""

Standing = Mapping[str, FeedOutcome]


def grouped(step: Step, feed: Feed, standing: Standing, memory_mb: int) -> Fetched:
    """Aggregate the checked rows of the feeds that an aggregate names, into one file; raises `FeedError`."""
    scratch = step.folder(f"{feed.id}-groups")
    sources = [
        CheckedRows(
            path=_fetched(step, _needed(feed, needed, standing)),
            contract=step.spec.dataset_of(needed).contract,
        )
        for needed in _feeds(feed)
    ]
    path = aggregate(feed, sources, scratch=scratch, memory_mb=memory_mb)
    for source in sources:
        source.path.unlink(missing_ok=True)
    file = SourceFile(path=path, root=scratch, origin=f"groups of {', '.join(_feeds(feed))}")
    return Fetched(files=(file,), format=FeedFormat.PARQUET)


def with_quality(step: Step, feed: Feed, outcome: FeedOutcome, standing: Standing) -> FeedOutcome:
    """Add what the feeds look like that an aggregate on the secondary lane is made of."""
    if feed.aggregate is None or route(feed.type, feed.source_type, feed.priority) is not Lane.SECONDARY:
        return outcome
    profiles = {
        needed: _profile(step, _needed(feed, needed, standing), f"{feed.id}-{needed}-profile")
        for needed in _feeds(feed)
    }
    return replace(outcome, aggregated=profiles)


def tell_quality(step: Step, outcome: FeedOutcome) -> FeedOutcome:
    """Write into the timeline what `with_quality` found, and return the outcome without it."""
    for feed_id, found in (outcome.aggregated or {}).items():
        detail = _metrics(found)
        step.store.add_event(step.fence, QUALITY_RECORDED, {"feed": feed_id, "by": outcome.feed_id, **detail})
        log.info("Quality of %s, by %s: %s", feed_id, outcome.feed_id, detail)
    return replace(outcome, aggregated=None)


def _feeds(feed: Feed) -> tuple[str, ...]:
    return () if feed.aggregate is None else feed.aggregate.feeds


def _needed(feed: Feed, needed: str, standing: Standing) -> FeedOutcome:
    if needed not in standing:
        raise FeedError(
            f"{feed.id} aggregates {needed}, which has no rows; run {needed} first.", code=FeedCode.DEPENDENCY
        )
    return standing[needed]


def _fetched(step: Step, outcome: FeedOutcome) -> Path:
    if outcome.staged is None:
        raise FeedError(f"{outcome.feed_id} has no rows; run it first.", code=FeedCode.DEPENDENCY)
    return step.staging.fetch(outcome.staged, step.scratch)


def _profile(step: Step, outcome: FeedOutcome, folder: str) -> FeedProfile:
    feed = step.spec.feeds[outcome.feed_id]
    quarantine = outcome.quarantine
    ingested = Ingested(
        rows_in=outcome.rows_in,
        rows_staged=outcome.rows_staged,
        rows_quarantined=outcome.rows_quarantined,
        rows_out_of_scope=outcome.rows_out_of_scope,
        staged=_fetched(step, outcome),
        quarantine=None if quarantine is None else step.staging.fetch(quarantine, step.scratch),
        rejects=dict(outcome.rejects or {}),
        measures=outcome.measures or QualityMeasures(completeness=1.0, validity=1.0, uniqueness=1.0),
    )
    return profile(
        ingested,
        contract=step.spec.dataset_of(feed.id).contract,
        columns=feed.columns,
        moment=step.run.started_at,
        scratch=step.folder(folder),
    )


def _metrics(found: FeedProfile) -> dict[str, Json]:
    return {
        "rows": found.rows,
        "completeness": _share(found.completeness),
        "validity": _share(found.validity),
        "uniqueness": _share(found.uniqueness),
        "newest": found.newest,
        "columns": {column.name: _column(column) for column in found.columns},
    }


def _column(column: ColumnProfile) -> dict[str, Json]:
    return {
        "filled": _share(column.completeness),
        "valid": _share(column.validity),
        "distinct": _share(column.uniqueness),
        "mean": column.mean,
        "deviation": column.deviation,
        "lowest": column.lowest,
        "highest": column.highest,
    }


def _share(share: Share) -> dict[str, Json]:
    low, high = share.interval
    return {"share": round(share.value, DIGITS), "from": round(low, DIGITS), "to": round(high, DIGITS)}
