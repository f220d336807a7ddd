"""How did the run end? The last step says so, once, whatever happened before."""

from __future__ import annotations

from typing import Any

from airflow_orchestration.storage.publishing import Publisher
from airflow_orchestration.storage.store import RunState
from airflow_orchestration.workflow.publish import manifest_of
from airflow_orchestration.workflow.step import Step


def close_out(step: Step, publisher: Publisher) -> dict[str, Any]:
    """Ask the target's ledger what the run published, record the end, and return the manifest."""
    history = publisher.history(step.spec.pipeline.publish.table, step.run_key)
    manifest = manifest_of(step, published=bool(history.versions), versions=history.versions)
    step.store.finish(step.fence, RunState(manifest["state"]), manifest)
    return manifest
