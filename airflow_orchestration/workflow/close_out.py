"""How did the run end? The last step says so, once, whatever happened before."""

from __future__ import annotations

from typing import Any

from airflow_orchestration.storage.publishing import Publisher
from airflow_orchestration.storage.store import RunState
from airflow_orchestration.workflow.publish import manifest_of, publication_key
from airflow_orchestration.workflow.step import Step


def close_out(step: Step, publisher: Publisher) -> dict[str, Any]:
    """Ask the target's ledger whether the run was published, record the end, and return the manifest."""
    table = step.spec.pipeline.publish.table
    published = publisher.ledger(table, publication_key(step.run_key)) is not None
    manifest = manifest_of(step, published=published)
    step.store.finish(step.fence, RunState(manifest["state"]), manifest)
    return manifest
