"""Processes the batches of one branch in one lane, and says what it has to wait for (SEED 11, 12)."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from airflow_orchestration.domain.batch import Lane
from airflow_orchestration.domain.feed import Feed
from airflow_orchestration.domain.outcome import FeedOutcome, OutcomeStatus, StagedFile
from airflow_orchestration.domain.pipeline import Late, Stragglers
from airflow_orchestration.domain.plan import Branch
from airflow_orchestration.engine.ingest import Ingested, ingest
from airflow_orchestration.exceptions import FeedError, OrchestrationError
from airflow_orchestration.policies.quality import QualityScore
from airflow_orchestration.policies.quorum_gate import GateAction
from airflow_orchestration.storage.store import GateSnapshot
from airflow_orchestration.workflow.members import arrived, is_over, standing_outcomes
from airflow_orchestration.workflow.step import Step
from airflow_orchestration.workflow.stopping import BRANCH_STOPPED, StoppedError, Worker, here

log = logging.getLogger(__name__)


class WaitsFor(StrEnum):
    """What keeps a batch from being processed."""

    FILE = "file"
    FEED = "feed"
    TURN = "turn"
    NOTHING = "nothing"
    """The gate has decided without it: it is late."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A batch that can't be processed yet. `on` is a path for a file, else the feed it waits for."""

    feed_id: str
    kind: WaitsFor
    on: str
    stopped: bool = False
    """It was being processed when the gate decided, and was stopped."""


def run_branch(
    step: Step, branch_id: str, lane: Lane, *, last_try: bool = True, worker: Worker = here
) -> tuple[Waiting, ...]:
    """Process every batch that can be processed; return what the others wait for, in branch order.

    Each batch is registered as soon as it is done, so an arrival counts at the gate even while
    its branch still waits for something else. Once the gate has decided nothing more is waited for, and what
    the `worker` stops is given up. What is there is still processed where late feeds are merged afterwards.

    A batch that ends in a fault of this machine (memory, disk, storage) does not keep the others from
    being processed. The fault is raised when they are done, for the task to be tried again; on the last
    try it becomes the batch's record instead.
    """
    faults: dict[str, Exception] = {}
    while True:
        snapshot = step.store.gate_snapshot(step.run_key, step.round)
        branch = snapshot.round.plan.branch(branch_id)
        open_batches = [name for name in _open_batches(branch, lane, snapshot) if name not in faults]
        over = is_over(snapshot)
        if over and not _late_ones_count(step, snapshot):
            return _late(open_batches)
        ready, found = _first_ready(step, open_batches, branch, snapshot)
        if ready is None:
            return _late(open_batches) if over and not faults else _wait(step, found, faults)
        try:
            process_batch(step, ready, branch_id, snapshot, worker=worker)
        except StoppedError:
            return _give_up(step, ready, open_batches)
        except OrchestrationError:
            raise
        except Exception as fault:
            log.exception("Feed %s met a fault", ready)
            if last_try:
                _register_failure(step, ready, branch_id, f"{ready}: {type(fault).__name__} on the last try")
            else:
                faults[ready] = fault


def _late(feeds: Iterable[str]) -> tuple[Waiting, ...]:
    return tuple(Waiting(feed_id=feed_id, kind=WaitsFor.NOTHING, on="") for feed_id in feeds)


def _late_ones_count(step: Step, snapshot: GateSnapshot) -> bool:
    """Whether a batch that is processed after the verdict is of use: the run goes on, and merges it later."""
    sync, verdict = step.spec.pipeline.sync, snapshot.round.verdict
    return (
        verdict is not None
        and verdict["action"] != GateAction.TIMEOUT_RECOVERY
        and sync.stragglers is Stragglers.LEAVE
        and sync.late is not Late.DISCARD
    )


def _wait(step: Step, found: tuple[Waiting, ...], faults: Mapping[str, Exception]) -> tuple[Waiting, ...]:
    if faults:
        raise next(iter(faults.values()))
    step.store.set_waiting(step.fence, [obstacle.feed_id for obstacle in found])
    return found


def _give_up(step: Step, stopped: str, open_batches: list[str]) -> tuple[Waiting, ...]:
    """Say in the timeline what was stopped, and let go of the work."""
    step.store.add_event(step.fence, BRANCH_STOPPED, {"unit": step.fence.unit.unit, "feeds": [stopped]})
    step.store.end_lease(step.fence)
    return tuple(
        Waiting(feed_id=feed_id, kind=WaitsFor.NOTHING, on="", stopped=feed_id == stopped)
        for feed_id in open_batches
    )


def failed_feeds(step: Step, branch_id: str, lane: Lane) -> list[str]:
    """Return the feeds of this branch and lane that failed in this round."""
    snapshot = step.store.gate_snapshot(step.run_key, step.round)
    standing = standing_outcomes(snapshot.round.plan, snapshot.outcomes)
    return [
        feed_id
        for feed_id in snapshot.round.plan.branch(branch_id).feeds_in(lane)
        if feed_id in standing and not arrived(standing[feed_id])
    ]


def _open_batches(branch: Branch, lane: Lane, snapshot: GateSnapshot) -> list[str]:
    standing = standing_outcomes(snapshot.round.plan, snapshot.outcomes)
    return [feed_id for feed_id in branch.feeds_in(lane) if feed_id not in standing]


def _first_ready(
    step: Step, open_batches: list[str], branch: Branch, snapshot: GateSnapshot
) -> tuple[str | None, tuple[Waiting, ...]]:
    """Return the first batch that can be processed, and what the ones before it wait for."""
    standing = standing_outcomes(snapshot.round.plan, snapshot.outcomes)
    found: list[Waiting] = []
    for feed_id in open_batches:
        obstacle = _obstacle(step, feed_id, branch, snapshot.waiting, standing)
        if obstacle is None:
            return feed_id, tuple(found)
        found.append(obstacle)
    return None, tuple(found)


def _obstacle(
    step: Step, feed_id: str, branch: Branch, waited_for: Collection[str], standing: Mapping[str, FeedOutcome]
) -> Waiting | None:
    feed = step.spec.feeds[feed_id]
    for needed in feed.depends_on:
        if needed not in standing:
            return Waiting(feed_id=feed_id, kind=WaitsFor.FEED, on=needed)
    for earlier in _before(feed_id, branch):
        if earlier not in standing and earlier not in waited_for:
            return Waiting(feed_id=feed_id, kind=WaitsFor.TURN, on=earlier)
    _, path = step.spec.location(feed_id)
    if not path.exists() and not _failed_needs(feed, standing):
        return Waiting(feed_id=feed_id, kind=WaitsFor.FILE, on=str(path))
    return None


def _before(feed_id: str, branch: Branch) -> Iterator[str]:
    """The batches of other lanes that come earlier on the branch; those of the same lane run in this task."""
    lane = next(batch.lane for batch in branch.batches if batch.feed_id == feed_id)
    for batch in branch.batches:
        if batch.feed_id == feed_id:
            return
        if batch.lane is not lane:
            yield batch.feed_id


def _failed_needs(feed: Feed, standing: Mapping[str, FeedOutcome]) -> list[str]:
    return [needed for needed in feed.depends_on if needed in standing and not arrived(standing[needed])]


def _refuse_failed_needs(feed: Feed, snapshot: GateSnapshot) -> None:
    failed = _failed_needs(feed, standing_outcomes(snapshot.round.plan, snapshot.outcomes))
    if failed:
        raise FeedError(f"{feed.id} depends on {', '.join(failed)}, which failed")


def process_batch(
    step: Step, feed_id: str, branch_id: str, snapshot: GateSnapshot, *, worker: Worker = here
) -> None:
    """Read, check and stage one feed, and register what came of it.

    Raises `StoppedError` when the `worker` stopped it; then nothing of it is kept.
    """
    started = time.monotonic()
    try:
        outcome = worker(lambda: staged_batch(step, feed_id, branch_id, snapshot))
    except StoppedError:
        for key in _staged_keys(step, feed_id):
            step.staging.discard(key)
        raise
    except FeedError as error:
        log.warning("Feed %s failed: %s", feed_id, error)
        _register_failure(step, feed_id, branch_id, str(error), _since(started))
    else:
        step.store.register(step.fence, outcome)


def _register_failure(
    step: Step, feed_id: str, branch_id: str, error: str, elapsed: timedelta = timedelta(0)
) -> None:
    outcome = FeedOutcome(
        feed_id=feed_id,
        round=step.round,
        branch_id=branch_id,
        status=OutcomeStatus.FAILED,
        elapsed=elapsed,
        error=error,
    )
    step.store.register(step.fence, outcome)


def staged_batch(step: Step, feed_id: str, branch_id: str, snapshot: GateSnapshot) -> FeedOutcome:
    """Read, check and stage one feed; raises `FeedError` when it can't be used. Nothing is registered."""
    feed, plan, started = step.spec.feeds[feed_id], snapshot.round.plan, time.monotonic()
    _refuse_failed_needs(feed, snapshot)
    root, path = step.spec.location(feed.id)
    ingested = ingest(feed, root=root, path=path, contract=step.spec.contract, scratch=step.folder(feed.id))
    staged, quarantine = _store(step, feed.id, ingested)
    log.info(
        "Feed %s: %d rows in, %d staged, %d quarantined",
        feed.id,
        ingested.rows_in,
        ingested.rows_staged,
        ingested.rows_quarantined,
    )
    return FeedOutcome(
        feed_id=feed.id,
        round=step.round,
        branch_id=branch_id,
        status=OutcomeStatus.SUCCESS,
        elapsed=_since(started),
        cluster_utilization=plan.branch(branch_id).cost / (sum(b.cost for b in plan.branches) or 1.0),
        rows_in=ingested.rows_in,
        rows_staged=ingested.rows_staged,
        rows_quarantined=ingested.rows_quarantined,
        rows_out_of_scope=ingested.rows_out_of_scope,
        staged=staged,
        quarantine=quarantine,
        measures=ingested.measures,
        quality_score=QualityScore().score(ingested.measures),
        rejects=ingested.rejects,
    )


def _store(step: Step, feed_id: str, ingested: Ingested) -> tuple[StagedFile, StagedFile | None]:
    rows, quarantine = _staged_keys(step, feed_id)
    staged = step.staging.store(ingested.staged, rows, rows=ingested.rows_staged)
    if ingested.quarantine is None:
        return staged, None
    return staged, step.staging.store(ingested.quarantine, quarantine, rows=ingested.rows_quarantined)


def _staged_keys(step: Step, feed_id: str) -> tuple[str, str]:
    """Where this execution stages a feed's rows, and those that it puts aside."""
    prefix = f"{step.staging_prefix}/{feed_id}/e{step.fence.epoch}"
    return f"{prefix}-rows.parquet", f"{prefix}-quarantine.parquet"


def _since(started: float) -> timedelta:
    return timedelta(seconds=time.monotonic() - started)
