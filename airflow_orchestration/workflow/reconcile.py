"""Brings in what came late: the table then equals the one that would have come had it been on time.

A late feed can change only rows that it has keys of. Only these are merged again, from all feeds that are
in and by the same weights, and published as a new version of the run. Keys that a later run has published
since are left to that run, as they would have been.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow_orchestration.domain.outcome import FeedOutcome
from airflow_orchestration.domain.pipeline import DATE_PLACEHOLDER, Feed
from airflow_orchestration.engine.export import csv_chunks
from airflow_orchestration.engine.fusing import Fused, FusionSource, fuse
from airflow_orchestration.engine.keys import rows_gone, touched_keys
from airflow_orchestration.exceptions import OrchestrationError, PublicationOvertakenError
from airflow_orchestration.policies.merging import MergeDecision, Merging
from airflow_orchestration.storage.publication import FeedRows, History, Publication
from airflow_orchestration.storage.publishing import Publisher
from airflow_orchestration.storage.store import RunKey, RunState
from airflow_orchestration.workflow.branch import process_batch
from airflow_orchestration.workflow.members import arrived
from airflow_orchestration.workflow.merge import (
    content_hash,
    fetch_rows,
    fusion_sources,
    merge_facts,
)
from airflow_orchestration.workflow.publish import (
    MERGED_EXTRAS,
    manifest_of,
    publication_key,
    quarantined_rows,
    standing_feeds,
)
from airflow_orchestration.workflow.step import Step

log = logging.getLogger(__name__)

POLICY = "reconciling"
"""How the merge of a later version is named among the decisions."""
LOOK_BACK = timedelta(days=7)
"""How long after its end a degraded run is still repaired."""
TRIES = 5
"""How often a version is made again because somebody else published to the table meanwhile."""


def reconcile(step: Step, publisher: Publisher) -> dict[str, Any] | None:
    """Merge the run's late feeds, and return the new manifest; None when there is nothing to bring in."""
    table = step.spec.pipeline.publish.table
    for _ in range(TRIES):
        history = publisher.history(table, step.run_key)
        late = _late_feeds(step, history) if history.versions else []
        if not late:
            return _amend(step, history) if _is_news(step, history) else None
        try:
            _publish_version(step, publisher, history, late)
        except PublicationOvertakenError as overtaken:
            log.info("%s", overtaken)
        else:
            return _amend(step, publisher.history(table, step.run_key))
    raise PublicationOvertakenError(
        f"{table}: others published to it {TRIES} times meanwhile; try again later"
    )


def read_late_files(step: Step, publisher: Publisher, *, failed_too: bool = False) -> None:
    """Process the feeds whose file came after the run; with `failed_too` read those that failed again."""
    history = publisher.history(step.spec.pipeline.publish.table, step.run_key)
    if not history.versions:
        return
    again, found = failed_too, True
    while found:
        snapshot = step.store.gate_snapshot(step.run_key, step.round)
        standing = standing_feeds(step)
        found = False
        for feed in step.spec.feeds.values():
            known = standing.get(feed.id)
            if known is not None and (arrived(known) or not again):
                continue
            if _may_be_read(step, feed, standing, history):
                process_batch(step, feed.id, snapshot.round.plan.branch_of(feed.id), snapshot)
                found = True
        again = False


def _may_be_read(step: Step, feed: Feed, standing: dict[str, FeedOutcome], history: History) -> bool:
    """Without a date in its name, a file that came after the next run's is the next run's."""
    if history.later and DATE_PLACEHOLDER not in feed.uri:
        return False
    return all(needed in standing for needed in feed.depends_on) and step.spec.location(feed.id)[1].exists()


def _late_feeds(step: Step, history: History) -> list[str]:
    """The feeds that arrived, are good enough, and are in no version."""
    already = {feed_id for version in history.versions for feed_id in version.feeds}
    approve_at = step.spec.pipeline.quality.approve_at
    return [
        feed_id
        for feed_id, outcome in standing_feeds(step).items()
        if arrived(outcome) and feed_id not in already and outcome.quality_score >= approve_at
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Remerged:
    """The touched rows as they are with the late feeds, and as they were without them."""

    now: Fused
    before: Fused | None
    withdrawn: int


def _publish_version(step: Step, publisher: Publisher, history: History, late: Sequence[str]) -> None:
    """Publish the late feeds as the run's next version.

    Nobody judges the whole again: what is in was approved, and a feed that meets the standard makes it no worse.
    """
    standing = standing_feeds(step)
    already = {feed_id for version in history.versions for feed_id in version.feeds}
    inputs = [standing[feed_id] for feed_id in step.spec.feeds if feed_id in already or feed_id in late]
    decision = Merging().evaluate(merge_facts(step, inputs, standing))
    remerged = _remerge(step, history, decision, late)
    publication = _publication(step, history, remerged, standing, late, content_hash(inputs, decision))
    columns = [column.name for column in step.spec.contract.columns]
    merged = csv_chunks(remerged.now.path, [*columns, *MERGED_EXTRAS], scratch=step.folder("merged"))
    publisher.publish(publication, merged, quarantined_rows(step, sorted(late), standing))
    step.store.record_decision(step.fence, replace(decision, policy=POLICY))


def _remerge(step: Step, history: History, decision: MergeDecision, late: Sequence[str]) -> _Remerged:
    sources = fusion_sources(step, decision, standing_feeds(step))
    keys = touched_keys(
        [source.path for source in sources if source.feed_id in late],
        but_not_of=[path for run, feeds in history.later.items() for path in _rows_of(step, run, feeds)],
        contract=step.spec.contract,
        scratch=step.folder("keys"),
    )
    now = _fused(step, sources, keys, "now")
    on_time = [source for source in sources if source.feed_id not in late]
    if not on_time:
        return _Remerged(now=now, before=None, withdrawn=0)
    before = _fused(step, on_time, keys, "before")
    withdrawn = rows_gone(
        before.path, now.path, contract=step.spec.contract, scratch=step.folder("withdrawn")
    )
    return _Remerged(now=now, before=before, withdrawn=withdrawn)


def _fused(step: Step, sources: Sequence[FusionSource], keys: Path, name: str) -> Fused:
    return fuse(
        sources,
        contract=step.spec.contract,
        tolerance=step.spec.pipeline.merge.tolerance,
        scratch=step.folder(name),
        only_keys=keys,
    )


def _rows_of(step: Step, run: RunKey, feeds: Sequence[str]) -> list[Path]:
    """The checked rows of the feeds that another run published."""
    try:
        other = step.reading(run)
        standing = standing_feeds(other)
        return [fetch_rows(other, standing[feed_id]) for feed_id in feeds]
    except KeyError:
        raise OrchestrationError(
            f"{run.dag_id}/{run.run_id} has published to {step.spec.pipeline.publish.table} since, and this store "
            "does not know with which rows; give one table to one store"
        ) from None


def _publication(
    step: Step,
    history: History,
    remerged: _Remerged,
    standing: dict[str, FeedOutcome],
    late: Sequence[str],
    content_sha256: str,
) -> Publication:
    replaced = remerged.before.published if remerged.before else {}
    rows = {
        feed_id: _feed_rows(
            remerged.now, feed_id, standing[feed_id] if feed_id in late else None, replaced.get(feed_id, 0)
        )
        for feed_id in remerged.now.published
    }
    return Publication(
        table=step.spec.pipeline.publish.table,
        publication_key=f"{publication_key(step.run_key)}@{content_sha256[:16]}",
        run=step.run_key,
        round=step.round,
        epoch=step.fence.epoch,
        content_sha256=content_sha256,
        contract=step.spec.contract,
        feeds={feed_id: counts for feed_id, counts in rows.items() if counts.rows_in or feed_id in late},
        version=len(history.versions) + 1,
        after=history.newest,
        rows_withdrawn=remerged.withdrawn,
    )


def _feed_rows(now: Fused, feed_id: str, late: FeedOutcome | None, replaced: int) -> FeedRows:
    """A feed's rows among the touched keys; a late feed brings its quarantined rows as well."""
    staged = now.published[feed_id] + now.superseded[feed_id]
    quarantined = late.rows_quarantined if late else 0
    return FeedRows(
        rows_in=staged + quarantined,
        rows_staged=staged,
        rows_quarantined=quarantined,
        published=now.published[feed_id],
        superseded=now.superseded[feed_id],
        replaced=replaced,
    )


def _is_news(step: Step, history: History) -> bool:
    """Whether a version was published by an execution that died before it could say so."""
    known = step.store.manifest(step.run_key)
    return known is not None and known["version"] < len(history.versions)


def _amend(step: Step, history: History) -> dict[str, Any]:
    """Record what the run has published now."""
    manifest = manifest_of(step, published=True, versions=history.versions)
    step.store.add_event(step.fence, "reconciled", manifest["versions"][-1])
    step.store.finish(step.fence, RunState(manifest["state"]), manifest)
    return manifest
