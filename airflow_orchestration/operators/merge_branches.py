"""Merges the branches that the gate let through."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_orchestration.domain.wording import some_of
from airflow_orchestration.operators.base import OrchestrationOperator
from airflow_orchestration.workflow.merge import merge_round

if TYPE_CHECKING:
    from airflow.sdk import Context


class MergeBranchesOperator(OrchestrationOperator):
    """Fuses the arrived feeds per key and attribute, heaviest source first (SEED 15 to 18)."""

    def execute(self, context: Context) -> dict[str, Any]:
        """Return how many rows each feed brought to the merged tables."""
        with self.step(context, "merge") as step:
            records = merge_round(step)
        for record in records:
            self.log.info(
                "Merged %s: %s rows from %d feeds (%s)",
                record.dataset,
                f"{record.staged.rows:,}",
                len(record.published),
                some_of(f"{feed} {rows:,}" for feed, rows in record.published.items()),
            )
        if not records:
            self.log.info("Nothing was merged: no feed of the round has rows")
        context["ti"].xcom_push(key="decision", value={one.dataset: dict(one.decision) for one in records})
        return {
            "rows": sum(record.staged.rows for record in records),
            "published": {feed: rows for record in records for feed, rows in record.published.items()},
        }
