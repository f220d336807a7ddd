"""Publishes the approved merge exactly once, with a ledger that adds up for every feed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from airflow_orchestration.domain.outcome import FeedOutcome
from airflow_orchestration.engine.export import csv_chunks
from airflow_orchestration.exceptions import NotPublishedError
from airflow_orchestration.insights.manifest import ManifestFacts, completeness_manifest
from airflow_orchestration.policies.asking import Choice
from airflow_orchestration.policies.quality import QualityAction
from airflow_orchestration.storage.publication import Version
from airflow_orchestration.storage.publishing import FeedRows, Publication, Published, Publisher
from airflow_orchestration.storage.store import MergeRecord, RunKey
from airflow_orchestration.workflow.step import Step
from airflow_orchestration.workflow.stopping import BRANCH_STOPPED

MERGED_EXTRAS = ("_primary_source", "_sources", "_attribution", "_agreement")
QUARANTINE_COLUMNS = ("feed_id", "position", "rule", "column_name", "reason", "raw")


def publish(step: Step, publisher: Publisher) -> Published:
    """Publish the last round's merge; a merge that is already published is left as it is."""
    record = last_merge(step)
    if record is None or not _is_approved(step, record):
        raise NotPublishedError("The quality gate has approved no merge of this run; nothing was published.")
    standing = standing_feeds(step)
    publication = _publication(step, record, standing)
    published = publisher.publish(
        publication,
        merged_rows(step, step.staging.fetch(record.staged, step.scratch)),
        quarantined_rows(step, sorted(record.published), standing),
    )
    step.store.add_event(step.fence, "published", asdict(published))
    return published


def publication_key(run: RunKey) -> str:
    """What names this run's publication in the ledger of the target."""
    return f"{run.dag_id}/{run.run_id}"


def manifest_of(step: Step, *, published: bool, versions: Sequence[Version] = ()) -> dict[str, Any]:
    """Build the run's completeness manifest from what the store holds, and the versions in the ledger."""
    started = step.run.started_at
    usual = step.store.usual_rows(step.run_key.dag_id, list(step.spec.feeds), started)
    return completeness_manifest(
        ManifestFacts(
            spec=step.spec,
            started_at=started,
            rounds=tuple(step.store.rounds(step.run_key)),
            standing=standing_feeds(step),
            merge=last_merge(step),
            usual_rows=usual,
            published=published,
            versions=tuple(versions),
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
    """Say in one line what a gate or a quality gate decided, and over what."""
    evidence = decision["evidence"]
    below = ", ".join(evidence.get("below_standard", []))
    point = f"sync point {evidence['decided_by']}" if "decided_by" in evidence else ""
    named = f" ({below or point})" if below or point else ""
    return f"{decision['policy']}: {decision['action']} because {decision['reason']}{named}"


def last_merge(step: Step) -> MergeRecord | None:
    """The merge of the last round, if that round was merged."""
    rounds = step.store.rounds(step.run_key)
    try:
        return step.store.merge(step.run_key, rounds[-1].round) if rounds else None
    except KeyError:
        return None


def standing_feeds(step: Step) -> dict[str, FeedOutcome]:
    """What counts of each feed in the last round."""
    rounds = step.store.rounds(step.run_key)
    return step.standing(rounds[-1].round) if rounds else {}


def _is_approved(step: Step, record: MergeRecord) -> bool:
    """Whether the last word on this merge is an approval; a new merge needs a new one."""
    words = [
        (decision["policy"], decision["action"])
        for number, decision in step.store.decisions(step.run_key)
        if number == record.round and decision["policy"] in {"merging", "quality_gate", "person"}
    ]
    return words[-1:] in ([("quality_gate", QualityAction.QUALITY_APPROVED)], [("person", Choice.PUBLISH)])


def _publication(step: Step, record: MergeRecord, standing: dict[str, FeedOutcome]) -> Publication:
    return Publication(
        table=step.spec.pipeline.publish.table,
        publication_key=publication_key(step.run_key),
        run=step.run_key,
        round=record.round,
        epoch=step.fence.epoch,
        content_sha256=record.content_sha256,
        contract=step.spec.contract,
        feeds={
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


def merged_rows(step: Step, file: Path) -> Iterator[bytes]:
    """The rows of a merged file, as CSV."""
    columns = [column.name for column in step.spec.contract.columns]
    return csv_chunks(file, [*columns, *MERGED_EXTRAS], scratch=step.folder("merged"))


def quarantined_rows(step: Step, feeds: Sequence[str], standing: dict[str, FeedOutcome]) -> Iterator[bytes]:
    """The rows of some feeds that stay outside, as CSV."""
    for feed_id in feeds:
        staged = standing[feed_id].quarantine
        if staged is not None:
            path = step.staging.fetch(staged, step.scratch)
            yield from csv_chunks(path, QUARANTINE_COLUMNS, scratch=step.folder("quarantine"))
