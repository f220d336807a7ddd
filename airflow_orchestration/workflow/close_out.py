"""How did the run end? The last step says so, once, whatever happened before."""

from __future__ import annotations

from typing import Any

from airflow_orchestration.storage.store import RunState
from airflow_orchestration.workflow.publish import (
    Publishers,
    histories,
    last_merges,
    manifest_of,
    publication_key,
)
from airflow_orchestration.workflow.step import Step
from airflow_orchestration.workflow.streams import settle_streams, shut_out_publishers
from airflow_orchestration.workflow.trust import teach


def close_out(step: Step, publishers: Publishers) -> dict[str, Any]:
    """Ask the targets' ledgers what the run published, record the end, and return the manifest.

    A run is published when all its tables are: one that a table refused ends as not published, until its task
    `publish` has brought the rest.
    """
    shut_out_publishers(step, publishers, publication_key(step.run_key))
    known = histories(step, publishers)
    settle_streams(step, known)
    merges = last_merges(step)
    teach(
        step, {name: merges[name] for name, history in known.items() if history.versions and name in merges}
    )
    manifest = manifest_of(step, published=all(history.versions for history in known.values()), known=known)
    step.store.finish(step.fence, RunState(manifest["state"]), manifest)
    return manifest
