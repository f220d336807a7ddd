"""How did the run end? The last step says so, once, whatever happened before.

A run that is marked failed never comes to its last step; the next one then frees what it holds of streams.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from airflow_orchestration.insights.manifest import refused_manifest
from airflow_orchestration.storage.store import RunState, WorkUnit
from airflow_orchestration.workflow.coordination import record_coordinators
from airflow_orchestration.workflow.publish import (
    PUBLISH,
    Publishers,
    histories,
    last_merges,
    manifest_of,
    publication_key,
)
from airflow_orchestration.workflow.step import Step
from airflow_orchestration.workflow.streams import (
    give_back_left,
    settle_streams,
    shut_out_publishers,
    with_streams,
)
from airflow_orchestration.workflow.trust import teach

log = logging.getLogger(__name__)


def close_out(step: Step, publishers: Publishers) -> dict[str, Any]:
    """Ask the targets' ledgers what the run published, record the end, and return the manifest.

    An execution of `publish` that was given up, and lives on, publishes nothing after that.
    A run is published when all its tables are: one that a table refused ends as not published, until its task
    `publish` has brought the rest.
    """
    shut = step.store.shut(step.fence, WorkUnit(run=step.run_key, round=0, unit=PUBLISH))
    shut_out_publishers(publishers, publication_key(step.run_key), step.spec.datasets.values(), shut.epoch)
    known = histories(step, publishers)
    settle_streams(step, known)
    merges = last_merges(step)
    teach(
        step, {name: merges[name] for name, history in known.items() if history.versions and name in merges}
    )
    record_coordinators(step)
    manifest = manifest_of(step, published=all(history.versions for history in known.values()), known=known)
    step.store.finish(step.fence, RunState(manifest["state"]), manifest)
    return manifest


def refuse(step: Step, why: str, codes: Sequence[str] = ()) -> dict[str, Any]:
    """Record that a run ended before it began, so that everybody who looks sees why, and return the manifest."""
    manifest = refused_manifest(why, codes)
    step.store.finish(step.fence, RunState.NOT_PUBLISHED, manifest)
    return manifest


def free_left_records(step: Step, publishers: Publishers) -> None:
    """Give back what earlier runs hold of streams and have not published, when they ended without saying so.

    Should such a run live on after all: what it has under way is not committed, and its task `publish` is
    refused once another run has its records.
    """
    for run in step.store.streams.holders(step.run_key):
        left = step.reading(run)
        try:
            shut_out_publishers(publishers, publication_key(run), with_streams(left), step.fence.epoch)
            known = histories(left, publishers)
        except (
            Exception
        ):  # whatever is wrong with an older run's target, this run can be played; the next one asks again
            log.warning(
                "What run %s published can't be told; it keeps its records", run.run_id, exc_info=True
            )
        else:
            give_back_left(step, left, known)
