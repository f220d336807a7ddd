"""Merges the branches that the gate let through."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_orchestration.operators.base import OrchestrationOperator
from airflow_orchestration.workflow.merge import merge_round

if TYPE_CHECKING:
    from airflow.sdk import Context


class MergeBranchesOperator(OrchestrationOperator):
    """Fuses the arrived feeds per key and attribute, heaviest source first (SEED 15 to 18)."""

    def execute(self, context: Context) -> dict[str, Any]:
        """Return how many rows each feed brought to the merged table."""
        with self.step(context, "merge") as step:
            record = merge_round(step)
        self.log.info("Merged %d rows from %d feeds", record.staged.rows, len(record.published))
        context["ti"].xcom_push(key="decision", value=dict(record.decision))
        return {"rows": record.staged.rows, "published": dict(record.published)}
