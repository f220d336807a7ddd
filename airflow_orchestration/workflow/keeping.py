"""Keeps the files of a feed in the staging area: its rows, and those that were put aside."""

from __future__ import annotations

from dataclasses import replace

from airflow_orchestration.domain.outcome import FeedOutcome, StagedFile
from airflow_orchestration.engine.ingest import BrokenRulesError, Ingested
from airflow_orchestration.workflow.step import Step


def kept_rows(step: Step, feed_id: str, ingested: Ingested) -> StagedFile:
    """Store the rows that may be merged."""
    return step.staging.store(ingested.staged, _keys(step, feed_id)[0], rows=ingested.rows_staged)


def kept_quarantine(step: Step, feed_id: str, ingested: Ingested) -> StagedFile | None:
    """Store the rows that were put aside; None where there are none."""
    if ingested.quarantine is None:
        return None
    return step.staging.store(ingested.quarantine, _keys(step, feed_id)[1], rows=ingested.rows_quarantined)


def discard_kept(step: Step, feed_id: str) -> None:
    """Delete what this execution may have stored of a feed."""
    for key in _keys(step, feed_id):
        step.staging.discard(key)


def with_what_broke(step: Step, failed: FeedOutcome, error: BrokenRulesError) -> FeedOutcome:
    """Add to a failure what became of the rows, and store those that were put aside: they tell the cause."""
    ingested = error.ingested
    return replace(
        failed,
        rows_in=ingested.rows_in,
        rows_staged=ingested.rows_staged,
        rows_quarantined=ingested.rows_quarantined,
        rows_out_of_scope=ingested.rows_out_of_scope,
        quarantine=kept_quarantine(step, failed.feed_id, ingested),
        measures=ingested.measures,
        rejects=ingested.rejects,
        rules=tuple(result.model_dump(mode="json", exclude_none=True) for result in ingested.rules),
    )


def _keys(step: Step, feed_id: str) -> tuple[str, str]:
    """Where this execution stages a feed's rows, and those that it puts aside."""
    prefix = f"{step.staging_prefix}/{feed_id}/e{step.fence.epoch}"
    return f"{prefix}-rows.parquet", f"{prefix}-quarantine.parquet"
