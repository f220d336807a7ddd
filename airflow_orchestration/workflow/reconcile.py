"""Brings in what came late: the table then equals the one that would have come had it been on time.

A late feed can change only rows that it has keys of. Only these are merged again, from all feeds that are
in and by the same weights, and published as a new version of the run. Keys that a later run has published
since are left to that run, as they would have been.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow_orchestration.domain.dependencies import in_order
from airflow_orchestration.domain.feed import DATE_PLACEHOLDER
from airflow_orchestration.domain.outcome import FeedOutcome
from airflow_orchestration.engine.fusing import Fused, FusionSource, fuse
from airflow_orchestration.engine.keys import rows_gone, touched_keys
from airflow_orchestration.exceptions import (
    FeedError,
    FencedError,
    OrchestrationError,
    PublicationOvertakenError,
)
from airflow_orchestration.policies.merging import Merging
from airflow_orchestration.storage.publication import FeedRows, History, Publication
from airflow_orchestration.storage.publishing import Publisher
from airflow_orchestration.storage.store import RunKey, RunState
from airflow_orchestration.workflow.branch import staged_batch
from airflow_orchestration.workflow.members import arrived
from airflow_orchestration.workflow.merge import content_hash, fetch_rows, fusion_sources, merge_facts
from airflow_orchestration.workflow.publish import (
    manifest_of,
    merged_rows,
    publication_key,
    quarantined_rows,
    standing_feeds,
)
from airflow_orchestration.workflow.step import Step

log = logging.getLogger(__name__)

POLICY = "reconciling"
"""How the merge of a later version is named among the decisions."""
RECONCILED = "reconciled"
"""The line of the timeline about a later version."""
LOOK_BACK = timedelta(days=7)
"""How long after its end a degraded run is still repaired."""
PAUSES_SECONDS = (0.2, 0.5, 1.0, 2.0)
"""Between tries, when somebody else has published to the table meanwhile."""

Standing = Mapping[str, FeedOutcome]


def reconcile(step: Step, publisher: Publisher) -> dict[str, Any] | None:
    """Merge the run's late feeds, and return the new manifest; None when there is nothing to bring in.

    Raises `PublicationOvertakenError` when others publish to the table again and again meanwhile.
    """
    for pause in (*PAUSES_SECONDS, None):
        history = publisher.history(step.spec.pipeline.publish.table, step.run_key)
        late = late_feeds(step, history) if history.versions else []
        if not late:
            return _amend(step, history) if _is_news(step, history) else None
        try:
            _publish_version(step, publisher, history, late)
        except PublicationOvertakenError as overtaken:
            if pause is None:
                raise
            log.info("%s", overtaken)
            time.sleep(pause)
    return None


def read_late_files(step: Step, publisher: Publisher, *, failed_too: bool = False) -> None:
    """Process the feeds whose file came after the run; with `failed_too` read those that failed again.

    A file that can't be used is not registered: it may still be on its way, and is read again the next time.
    """
    history = publisher.history(step.spec.pipeline.publish.table, step.run_key)
    if not history.versions:
        return
    feeds, standing = step.spec.feeds, standing_feeds(step)
    for feed_id in in_order({feed_id: feed.depends_on for feed_id, feed in feeds.items()}):
        known = standing.get(feed_id)
        if known is not None and (arrived(known) or not failed_too):
            continue
        if _may_be_read(step, feed_id, standing, history):
            _read(step, feed_id)
            standing = standing_feeds(step)


def late_feeds(step: Step, history: History) -> list[str]:
    """The feeds that arrived, are good enough, and are in no version."""
    approve_at = step.spec.pipeline.quality.approve_at
    return [
        feed_id
        for feed_id, outcome in standing_feeds(step).items()
        if arrived(outcome) and feed_id not in history.feeds and outcome.quality_score >= approve_at
    ]


def _may_be_read(step: Step, feed_id: str, standing: Standing, history: History) -> bool:
    """Without a date in its name, a file that came after the next run's is the next run's."""
    feed = step.spec.feeds[feed_id]
    if history.later and DATE_PLACEHOLDER not in feed.uri:
        return False
    return all(needed in standing for needed in feed.depends_on) and step.spec.location(feed_id)[1].exists()


def _read(step: Step, feed_id: str) -> None:
    snapshot = step.store.gate_snapshot(step.run_key, step.round)
    try:
        outcome = staged_batch(step, feed_id, snapshot.round.plan.branch_of(feed_id), snapshot)
    except FeedError as error:
        log.warning("Feed %s can't be used: %s", feed_id, error)
        return
    if outcome.quality_score < step.spec.pipeline.quality.approve_at:
        log.warning("Feed %s stays outside: its quality is %.3f", feed_id, outcome.quality_score)
    step.store.register(step.fence, outcome, keep_success=True)


def _publish_version(step: Step, publisher: Publisher, history: History, late: Sequence[str]) -> None:
    """Publish the late feeds as the run's next version.

    Nobody judges the whole again: what is in was approved, and a feed that meets the standard makes it no worse.
    """
    standing = standing_feeds(step)
    inputs = [standing[feed_id] for feed_id in step.spec.feeds if feed_id in {*history.feeds, *late}]
    decision = Merging().evaluate(merge_facts(step, inputs, standing))
    step.store.record_decision(step.fence, replace(decision, policy=POLICY))
    remerged = _remerge(step, history, fusion_sources(step, decision, standing), late)
    late_ones = {feed_id: standing[feed_id] for feed_id in late}
    try:
        publisher.publish(
            _publication(step, history, remerged, late_ones, content_hash(inputs, decision)),
            merged_rows(step, remerged.now.path),
            quarantined_rows(step, sorted(late), dict(standing)),
        )
    except FencedError as fenced:
        raise PublicationOvertakenError(str(fenced)) from fenced


@dataclass(frozen=True, slots=True, kw_only=True)
class _Remerged:
    """The touched rows as they are with the late feeds, and as they were without them."""

    now: Fused
    before: Fused
    withdrawn: int


def _remerge(step: Step, history: History, sources: Sequence[FusionSource], late: Sequence[str]) -> _Remerged:
    keys = touched_keys(
        [source.path for source in sources if source.feed_id in late],
        but_not_of=[path for run, feeds in history.later.items() for path in _rows_of(step, run, feeds)],
        contract=step.spec.contract,
        scratch=step.folder("keys"),
    )
    now = _fused(step, sources, keys, "now")
    before = _fused(step, [source for source in sources if source.feed_id not in late], keys, "before")
    gone = rows_gone(before.path, now.path, contract=step.spec.contract, scratch=step.folder("gone"))
    return _Remerged(now=now, before=before, withdrawn=gone)


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
    other = step.reading(run)
    standing = standing_feeds(other)
    unknown = [feed_id for feed_id in feeds if feed_id not in standing]
    if unknown:
        raise OrchestrationError(
            f"{run.dag_id}/{run.run_id} has published to {step.spec.pipeline.publish.table} since, and this store "
            f"does not know its rows of {', '.join(unknown)}; give one table to one store"
        )
    return [fetch_rows(other, standing[feed_id]) for feed_id in feeds]


def _publication(
    step: Step, history: History, remerged: _Remerged, late: Standing, content_sha256: str
) -> Publication:
    """The touched rows. Equal late feeds make an equal key: a version is published once, whoever makes it."""
    counts = {
        feed_id: _feed_rows(remerged, feed_id, late[feed_id].rows_quarantined if feed_id in late else 0)
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
        feeds={feed_id: rows for feed_id, rows in counts.items() if rows.rows_in or feed_id in late},
        version=len(history.versions) + 1,
        after=history.newest,
        rows_withdrawn=remerged.withdrawn,
    )


def _feed_rows(remerged: _Remerged, feed_id: str, quarantined: int) -> FeedRows:
    """A feed's rows among the touched keys; a late feed brings its quarantined rows as well."""
    now = remerged.now
    staged = now.published[feed_id] + now.superseded[feed_id]
    return FeedRows(
        rows_in=staged + quarantined,
        rows_staged=staged,
        rows_quarantined=quarantined,
        published=now.published[feed_id],
        superseded=now.superseded[feed_id],
        replaced=remerged.before.published.get(feed_id, 0),
    )


def _is_news(step: Step, history: History) -> bool:
    """Whether a version was published by an execution that died before it could say so."""
    told = [event.detail for event in step.store.timeline(step.run_key) if event.event == RECONCILED]
    return max((int(str(detail["version"])) for detail in told), default=1) < len(history.versions)


def _amend(step: Step, history: History) -> dict[str, Any]:
    """Record what the run has published now."""
    manifest = manifest_of(step, published=True, versions=history.versions)
    step.store.finish(step.fence, RunState(manifest["state"]), manifest)
    step.store.add_event(step.fence, RECONCILED, manifest["versions"][-1])
    return manifest
