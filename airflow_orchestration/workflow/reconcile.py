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
from airflow_orchestration.domain.publish import PublishMode
from airflow_orchestration.domain.run_spec import Dataset
from airflow_orchestration.engine.fusing import Fused, FusionSource, fuse
from airflow_orchestration.engine.keys import rows_gone, touched_keys
from airflow_orchestration.exceptions import (
    FeedError,
    FencedError,
    OrchestrationError,
    PublicationOvertakenError,
    StreamTakenError,
)
from airflow_orchestration.policies.trust.model import TrustModel
from airflow_orchestration.storage.gate_facts import arrived
from airflow_orchestration.storage.publication import FeedRows, History, Publication
from airflow_orchestration.storage.publishing import Publisher
from airflow_orchestration.storage.store import RunKey, RunState
from airflow_orchestration.workflow.branch import bounds_of, staged_batch
from airflow_orchestration.workflow.drift import register_judged
from airflow_orchestration.workflow.fetching import is_there
from airflow_orchestration.workflow.merge import content_hash, fetch_rows, fusion_sources, merge_decision
from airflow_orchestration.workflow.publish import (
    Publishers,
    histories,
    last_merges,
    manifest_of,
    merged_rows,
    publication_key,
    quarantined_rows,
    standing_feeds,
)
from airflow_orchestration.workflow.step import Step
from airflow_orchestration.workflow.stopping import never, until
from airflow_orchestration.workflow.streams import settle_streams, still_held, stream_marks
from airflow_orchestration.workflow.trust import believed_in

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


def reconcile(step: Step, publishers: Publishers) -> dict[str, Any] | None:
    """Merge the run's late feeds, and return the new manifest; None when there is nothing to bring in.

    Raises `PublicationOvertakenError` when others publish to a table again and again meanwhile.
    """
    for dataset in step.spec.datasets.values():
        _bring_in(step, publishers(dataset.publish.conn_id), dataset)
    known = histories(step, publishers)
    settle_streams(step, known)
    return _amend(step, known) if _news(step, known) else None


def _bring_in(step: Step, publisher: Publisher, dataset: Dataset) -> None:
    """Publish a dataset's late feeds, again when somebody else has published to its table meanwhile."""
    pauses = iter(PAUSES_SECONDS)
    while True:
        history = publisher.history(dataset.publish.table, step.run_key)
        late = late_feeds(step, dataset, history) if history.versions else []
        late = still_held(step, late, standing_feeds(step))
        if not late:
            return
        try:
            _publish_version(step, publisher, dataset, history, late)
        except PublicationOvertakenError as overtaken:
            pause = next(pauses, None)
            if pause is None:
                raise
            log.info("%s", overtaken)
            time.sleep(pause)


def read_late_files(step: Step, publishers: Publishers, *, failed_too: bool = False) -> None:
    """Process the feeds whose file came after the run; with `failed_too` read those that failed again.

    A file that can't be used is not registered: it may still be on its way, and is read again the next time.
    """
    known = histories(step, publishers)
    if not any(history.versions for history in known.values()):
        return
    feeds, standing = step.spec.feeds, standing_feeds(step)
    for feed_id in in_order({feed_id: feed.depends_on for feed_id, feed in feeds.items()}):
        outcome = standing.get(feed_id)
        if outcome is not None and (arrived(outcome) or not failed_too):
            continue
        if _may_be_read(step, feed_id, standing, known[step.spec.dataset_of(feed_id).name]):
            _read(step, feed_id)
            standing = standing_feeds(step)


def late_feeds(step: Step, dataset: Dataset, history: History) -> list[str]:
    """The feeds of a dataset that arrived, are good enough, and are in no version."""
    approve_at = step.spec.pipeline.quality.approve_at
    return [
        feed_id
        for feed_id, outcome in standing_feeds(step).items()
        if feed_id in dataset.feeds
        and arrived(outcome)
        and feed_id not in history.feeds
        and outcome.quality_score >= approve_at
    ]


def _may_be_read(step: Step, feed_id: str, standing: Standing, history: History) -> bool:
    """Without a date in its name, a file that came after the next run's is the next run's.

    An aggregate is made of this run's rows, whenever that is.
    """
    feed = step.spec.feeds[feed_id]
    if history.later and feed.aggregate is None and DATE_PLACEHOLDER not in (feed.uri or ""):
        return False
    return all(needed in standing for needed in feed.depends_on) and is_there(step, feed_id)


def _read(step: Step, feed_id: str) -> None:
    snapshot = step.store.gate_snapshot(step.run_key, step.round)
    plan = snapshot.round.plan
    try:
        step.prepare(feed_id)
        branch_id, bounds = plan.branch_of(feed_id), bounds_of(step, feed_id, plan)
        marks = stream_marks(step, feed_id)
        outcome = until(
            never, lambda: staged_batch(step, feed_id, branch_id, snapshot, bounds.memory_mb, marks), bounds
        )
    except FeedError as error:
        log.warning("Feed %s can't be used: %s", feed_id, error)
        return
    if outcome.quality_score < step.spec.pipeline.quality.approve_at:
        log.warning("Feed %s stays outside: its quality is %.3f", feed_id, outcome.quality_score)
    try:
        register_judged(step, outcome, keep_success=True)
    except StreamTakenError as taken:
        log.warning("%s", taken)


def _publish_version(
    step: Step, publisher: Publisher, dataset: Dataset, history: History, late: Sequence[str]
) -> None:
    """Publish the late feeds as the next version of the run's dataset.

    Nobody judges the whole again: what is in was approved, and a feed that meets the standard makes it no worse.
    """
    standing = standing_feeds(step)
    inputs = [standing[feed_id] for feed_id in dataset.feeds if feed_id in {*history.feeds, *late}]
    decision = merge_decision(step, dataset, inputs, standing)
    step.store.record_decision(step.fence, replace(decision, policy=POLICY))
    remerged = _remerge(step, dataset, history, fusion_sources(step, decision, standing), late)
    late_ones = {feed_id: standing[feed_id] for feed_id in late}
    try:
        publisher.publish(
            _publication(
                step,
                dataset,
                history,
                remerged,
                late_ones,
                content_hash(inputs, decision, _believed(step, dataset)),
            ),
            merged_rows(step, dataset.contract, remerged.now.path),
            quarantined_rows(step, sorted(late), dict(standing)),
        )
    except FencedError as fenced:
        raise PublicationOvertakenError(str(fenced)) from fenced


@dataclass(frozen=True, slots=True, kw_only=True)
class _Remerged:
    """The touched rows as they are with the late feeds, and as they were without them."""

    now: Fused
    replaced: Mapping[str, int]
    """How many of them each feed had brought before."""
    withdrawn: int


def _remerge(
    step: Step, dataset: Dataset, history: History, sources: Sequence[FusionSource], late: Sequence[str]
) -> _Remerged:
    keys = _touched(step, dataset, history, [source.path for source in sources if source.feed_id in late])
    now = _fused(step, dataset, sources, keys, "now")
    earlier = [source for source in sources if source.feed_id not in late]
    if not earlier:
        return _Remerged(now=now, replaced={}, withdrawn=0)
    before = _fused(step, dataset, earlier, keys, "before")
    gone = rows_gone(before.path, now.path, contract=dataset.contract, scratch=step.folder("gone"))
    return _Remerged(now=now, replaced=before.published, withdrawn=gone)


def _touched(step: Step, dataset: Dataset, history: History, late: Sequence[Path]) -> Path:
    """The keys that late feeds can still change: what a later run has written since is that run's.

    By key, where rows are updated by key; the whole of a partition or of a table that a later run has replaced;
    nothing where runs only add rows.
    """
    mode, partition_by = dataset.publish.mode, dataset.publish.partition_by
    later: list[Path] = []
    if mode is PublishMode.REPLACE and history.later:
        later = list(late)
    elif mode is not PublishMode.APPEND:
        later = [path for run, feeds in history.later.items() for path in _rows_of(step, dataset, run, feeds)]
    return touched_keys(
        late,
        but_not_of=later,
        alike=[partition_by] if partition_by else dataset.contract.key,
        contract=dataset.contract,
        scratch=step.folder("keys"),
    )


def _fused(step: Step, dataset: Dataset, sources: Sequence[FusionSource], keys: Path, name: str) -> Fused:
    return fuse(
        sources,
        contract=dataset.contract,
        merge=dataset.merge,
        trust=_believed(step, dataset),
        scratch=step.folder(name),
        only_keys=keys,
    )


def _believed(step: Step, dataset: Dataset) -> TrustModel | None:
    """What the run's own merge believed: rows that are not touched rest on it as well."""
    record = last_merges(step).get(dataset.name)
    return believed_in(record.decision) if record else None


def _rows_of(step: Step, dataset: Dataset, run: RunKey, feeds: Sequence[str]) -> list[Path]:
    """The checked rows of the feeds that another run published."""
    other = step.reading(run)
    standing = standing_feeds(other)
    unknown = [feed_id for feed_id in feeds if feed_id not in standing]
    if unknown:
        raise OrchestrationError(
            f"{run.dag_id}/{run.run_id} has published to {dataset.publish.table} since, and this store "
            f"does not know its rows of {', '.join(unknown)}; give one table to one store"
        )
    return [fetch_rows(other, standing[feed_id]) for feed_id in feeds]


def _publication(
    step: Step, dataset: Dataset, history: History, remerged: _Remerged, late: Standing, content_sha256: str
) -> Publication:
    """The touched rows. Equal late feeds make an equal key: a version is published once, whoever makes it."""
    counts = {
        feed_id: _feed_rows(remerged, feed_id, late[feed_id].rows_quarantined if feed_id in late else 0)
        for feed_id in remerged.now.published
    }
    return Publication(
        table=dataset.publish.table,
        publication_key=f"{publication_key(step.run_key)}@{content_sha256[:16]}",
        run=step.run_key,
        round=step.round,
        epoch=step.fence.epoch,
        content_sha256=content_sha256,
        contract=dataset.contract,
        mode=dataset.publish.mode,
        partition_by=dataset.publish.partition_by,
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
        replaced=remerged.replaced.get(feed_id, 0),
    )


def _news(step: Step, known: Mapping[str, History]) -> set[tuple[str, int]]:
    """The later versions, by dataset, that nobody has told yet: who published one may have died before."""
    first = next(iter(step.spec.datasets))  # lines of older runs, which had one dataset, don't name it
    told = {
        (str(event.detail.get("dataset", first)), int(str(event.detail["version"])))
        for event in step.store.timeline(step.run_key)
        if event.event == RECONCILED
    }
    published = {
        (name, one.version) for name, history in known.items() for one in history.versions if one.version > 1
    }
    return published - told


def _amend(step: Step, known: Mapping[str, History]) -> dict[str, Any]:
    """Record what the run has published now."""
    manifest = manifest_of(step, published=True, known=known)
    step.store.finish(step.fence, RunState(manifest["state"]), manifest)
    news = _news(step, known)
    for version in manifest["versions"]:
        if (version["dataset"], version["version"]) in news:
            step.store.add_event(step.fence, RECONCILED, version)
    return manifest
