"""Writes a feed's checked rows below a root as well, where the author wants them in partitions."""

from __future__ import annotations

import shutil
from pathlib import Path

from airflow_orchestration.domain.decision import Json
from airflow_orchestration.domain.feed import DATE_PLACEHOLDER, Feed, Output
from airflow_orchestration.engine.partitioning import Place, give_name, write_partitions
from airflow_orchestration.workflow.step import Step, run_hash

OUTPUT_WRITTEN = "output_written"
"""The line of the timeline about rows that were written below a root."""


def write_output(step: Step, feed: Feed, rows: Path, memory_mb: int) -> None:
    """Write the rows where no reader looks yet; raises `FeedError` when they can't be written there."""
    if feed.output is not None:
        write_partitions(
            feed,
            rows,
            _place(step, feed.output),
            step.fence.epoch,
            contract=step.spec.dataset_of(feed.id).contract,
            scratch=step.folder(f"{feed.id}-output"),
            memory_mb=memory_mb,
        )


def show_output(step: Step, feed_id: str) -> None:
    """Let readers see what `write_output` wrote. The timeline comes first: it refuses who was overtaken."""
    output = step.spec.feeds[feed_id].output
    if output is not None:
        place = _place(step, output)
        detail: dict[str, Json] = {
            "feed": feed_id,
            "folder": str(place.final),
            "partition_by": list(output.partition_by),
        }
        step.store.add_event(step.fence, OUTPUT_WRITTEN, detail)
        give_name(place, step.fence.epoch)


def discard_output(step: Step, feed_id: str) -> None:
    """Delete what this execution wrote and nobody saw."""
    output = step.spec.feeds[feed_id].output
    if output is not None:
        shutil.rmtree(_place(step, output).draft(step.fence.epoch).parent, ignore_errors=True)


def withdraw_output(step: Step, feed_id: str) -> None:
    """Hide the run's rows from readers: its records of a stream are given back, and another run's to write."""
    output = step.spec.feeds[feed_id].output
    if output is not None:
        place = _place(step, output)
        if place.final.exists():
            shutil.rmtree(place.withdrawn, ignore_errors=True)
            place.final.rename(place.withdrawn)


def restore_output(step: Step, feed_id: str) -> None:
    """Let readers see again what was withdrawn."""
    output = step.spec.feeds[feed_id].output
    if output is not None:
        place = _place(step, output)
        if place.withdrawn.exists() and not place.final.exists():
            place.withdrawn.rename(place.final)


def _place(step: Step, output: Output) -> Place:
    name, _, below = output.uri.partition("/")
    root = Path(step.spec.pipeline.roots[name])
    folder = root / below.replace(DATE_PLACEHOLDER, step.spec.run_date.isoformat())
    return Place(root=root, folder=folder, run=run_hash(step.run_key))
