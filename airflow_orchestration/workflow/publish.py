"""Publishes the approved merge exactly once, with a ledger that adds up for every feed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

from airflow_orchestration.domain.contract import Contract
from airflow_orchestration.domain.outcome import FeedOutcome
from airflow_orchestration.domain.run_spec import Dataset, RunSpec
from airflow_orchestration.engine.export import csv_chunks
from airflow_orchestration.exceptions import (
    InputRefusedError,
    NotPublishedError,
    Problem,
    StreamTakenError,
)
from airflow_orchestration.insights.manifest import ManifestFacts, completeness_manifest
from airflow_orchestration.policies.asking import Choice
from airflow_orchestration.policies.quality import QualityAction
from airflow_orchestration.storage.publishing import FeedRows, History, Publication, Published, Publisher
from airflow_orchestration.storage.store import MergeRecord, RunKey
from airflow_orchestration.workflow.step import Step
from airflow_orchestration.workflow.stopping import BRANCH_STOPPED
from airflow_orchestration.workflow.streams import hold_again

MERGED_EXTRAS = ("_primary_source", "_sources", "_attribution", "_confidence", "_conflicts")
PUBLISH = "publish"
"""The work unit: one for the whole run."""
NO_CONTENT = hashlib.sha256().hexdigest()
QUARANTINE_COLUMNS = ("feed_id", "origin", "position", "rule", "column_name", "reason", "raw")

Publishers = Callable[[str], Publisher]
"""Connection id -> who publishes to that database."""


def check_targets(spec: RunSpec, publishers: Publishers) -> None:
    """Raise `InputRefusedError` with everything that would keep a publication from any of the run's tables."""
    refusals: dict[str, InputRefusedError] = {}
    for dataset in spec.datasets.values():
        try:
            publishers(dataset.publish.conn_id).preflight(dataset.publish, dataset.contract)
        except InputRefusedError as refused:
            refusals[dataset.publish.table] = refused
    if len(refusals) == 1:
        raise next(iter(refusals.values()))
    if refusals:
        problems = [
            Problem(code=problem.code, path=f"{table}: {problem.path}", message=problem.message)
            for table, refused in refusals.items()
            for problem in refused.problems
        ]
        raise InputRefusedError("target tables", problems)


def publish(step: Step, publishers: Publishers) -> dict[str, Published]:
    """Publish the last round's merges, dataset by dataset; what is already published is left as it is.

    A dataset of which nothing arrived is booked without rows: its table stays as it is, and its feeds are
    late ones of this run.
    """
    merges = last_merges(step)
    if not merges or not _is_approved(step):
        raise NotPublishedError("The quality gate has approved no merge of this run; nothing was published.")
    _take_streams_again(step, merges)
    return {
        dataset.name: _publish_dataset(
            step, publishers(dataset.publish.conn_id), dataset, merges.get(dataset.name)
        )
        for dataset in step.spec.datasets.values()
    }


def _take_streams_again(step: Step, merges: Mapping[str, MergeRecord]) -> None:
    """Hold what is published, if it was given back: a run that has ended may be published after all."""
    standing = standing_feeds(step)
    try:
        hold_again(
            step, {feed_id: standing[feed_id] for record in merges.values() for feed_id in record.published}
        )
    except StreamTakenError as taken:
        raise NotPublishedError(f"Nothing was published, start a new run instead: {taken}") from taken


def _publish_dataset(
    step: Step, publisher: Publisher, dataset: Dataset, record: MergeRecord | None
) -> Published:
    standing = standing_feeds(step)
    feeds = sorted(record.published) if record else []
    merged = step.staging.fetch(record.staged, step.scratch) if record else None
    published = publisher.publish(
        _publication(step, dataset, record, standing),
        merged_rows(step, dataset.contract, merged) if merged else (),
        quarantined_rows(step, feeds, standing),
    )
    step.store.add_event(step.fence, "published", {"dataset": dataset.name, **asdict(published)})
    return published


def histories(step: Step, publishers: Publishers) -> dict[str, History]:
    """What the ledgers of the targets know of the run, by dataset."""
    return {
        dataset.name: publishers(dataset.publish.conn_id).history(dataset.publish.table, step.run_key)
        for dataset in step.spec.datasets.values()
    }


def publication_key(run: RunKey) -> str:
    """What names this run's publication in the ledger of the target."""
    return f"{run.dag_id}/{run.run_id}"


def manifest_of(
    step: Step, *, published: bool, known: Mapping[str, History] = MappingProxyType({})
) -> dict[str, Any]:
    """Build the run's completeness manifest from what the store holds, and what the ledgers know of it."""
    started = step.run.started_at
    usual = step.store.usual_rows(step.run_key.dag_id, list(step.spec.feeds), started)
    return completeness_manifest(
        ManifestFacts(
            spec=step.spec,
            started_at=started,
            rounds=tuple(step.store.rounds(step.run_key)),
            standing=standing_feeds(step),
            merges=last_merges(step),
            usual_rows=usual,
            published=published,
            versions={name: history.versions for name, history in known.items() if history.versions},
            stopped=_stopped(step),
            last_word=_last_word(step),
        )
    )


def _stopped(step: Step) -> frozenset[str]:
    """The feeds that were stopped in the last round; what was stopped before has been tried again."""
    last = len(step.store.rounds(step.run_key))
    events = (e for e in step.store.timeline(step.run_key) if e.event == BRANCH_STOPPED and e.round == last)
    return frozenset(str(feed_id) for event in events for feed_id in cast("list[str]", event.detail["feeds"]))


def _last_word(step: Step) -> str:
    for _, decision in reversed(step.store.decisions(step.run_key)):
        if decision["policy"] == "person" and decision["evidence"]["by"] is not None:
            return f"person: {decision['evidence']['by']} said {decision['action']}"
        if decision["policy"] in {"quorum_gate", "quality_gate"}:
            return sentence_of(decision)
    return ""


def sentence_of(decision: Mapping[str, Any]) -> str:
    """Say in one line what a policy decided, and over what: feeds that are below standard, or the sync point."""
    evidence = decision["evidence"]
    below = evidence.get("below_standard")
    feeds = ", ".join(below) if isinstance(below, list) else ""  # a load balancer counts them
    point = f"sync point {evidence['decided_by']}" if "decided_by" in evidence else ""
    named = f" ({feeds or point})" if feeds or point else ""
    return f"{decision['policy']}: {decision['action']} because {decision['reason']}{named}"


def last_merges(step: Step) -> Mapping[str, MergeRecord]:
    """The merges of the last round by dataset; none when that round was not merged."""
    rounds = step.store.rounds(step.run_key)
    return step.store.merges(step.run_key, rounds[-1].round) if rounds else {}


def standing_feeds(step: Step) -> dict[str, FeedOutcome]:
    """What counts of each feed in the last round."""
    rounds = step.store.rounds(step.run_key)
    return step.standing(rounds[-1].round) if rounds else {}


def _is_approved(step: Step) -> bool:
    """Whether the last word on the last round's merge is an approval; a new merge needs a new one."""
    last = len(step.store.rounds(step.run_key))
    words = [
        (decision["policy"], decision["action"])
        for number, decision in step.store.decisions(step.run_key)
        if number == last and decision["policy"] in {"merging", "quality_gate", "person"}
    ]
    return words[-1:] in ([("quality_gate", QualityAction.QUALITY_APPROVED)], [("person", Choice.PUBLISH)])


def _publication(
    step: Step, dataset: Dataset, record: MergeRecord | None, standing: dict[str, FeedOutcome]
) -> Publication:
    return Publication(
        table=dataset.publish.table,
        publication_key=publication_key(step.run_key),
        run=step.run_key,
        round=len(step.store.rounds(step.run_key)),
        epoch=step.fence.epoch,
        content_sha256=record.content_sha256 if record else NO_CONTENT,
        contract=dataset.contract,
        mode=dataset.publish.mode,
        partition_by=dataset.publish.partition_by,
        feeds={}
        if record is None
        else {
            feed_id: FeedRows(
                rows_in=standing[feed_id].rows_in,
                rows_staged=standing[feed_id].rows_staged,
                rows_quarantined=standing[feed_id].rows_quarantined,
                published=record.published[feed_id],
                superseded=record.superseded[feed_id],
            )
            for feed_id in record.published
        },
    )


def merged_rows(step: Step, contract: Contract, file: Path) -> Iterator[bytes]:
    """The rows of a merged file, as CSV."""
    columns = [column.name for column in contract.columns]
    return csv_chunks(file, [*columns, *MERGED_EXTRAS], scratch=step.folder("merged"))


def quarantined_rows(step: Step, feeds: Sequence[str], standing: dict[str, FeedOutcome]) -> Iterator[bytes]:
    """The rows of some feeds that stay outside, as CSV."""
    for feed_id in feeds:
        staged = standing[feed_id].quarantine
        if staged is not None:
            path = step.staging.fetch(staged, step.scratch)
            yield from csv_chunks(path, QUARANTINE_COLUMNS, scratch=step.folder("quarantine"))
