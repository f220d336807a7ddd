"""Processes the batches of one branch in one lane, and says what it has to wait for (SEED 11, 12)."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum

from airflow_orchestration.domain.batch import Lane
from airflow_orchestration.domain.feed import Feed
from airflow_orchestration.domain.outcome import FeedOutcome, OutcomeStatus
from airflow_orchestration.domain.pipeline import Late, Stragglers
from airflow_orchestration.domain.plan import Branch, Plan
from airflow_orchestration.domain.stream import StreamMarks
from airflow_orchestration.engine.ingest import BrokenRulesError, Ingested, ingest
from airflow_orchestration.engine.profiling import profile
from airflow_orchestration.exceptions import FeedCode, FeedError, OrchestrationError, StreamTakenError
from airflow_orchestration.policies.quorum_gate import GateAction
from airflow_orchestration.storage.gate_facts import arrived, is_over, look_again, standing_outcomes
from airflow_orchestration.storage.store import GateSnapshot
from airflow_orchestration.workflow.aggregate import grouped, with_quality
from airflow_orchestration.workflow.capacity import branch_memory_mb
from airflow_orchestration.workflow.drift import register_judged
from airflow_orchestration.workflow.fetching import fetched, is_there
from airflow_orchestration.workflow.judging import as_of, judged
from airflow_orchestration.workflow.keeping import (
    discard_kept,
    kept_quarantine,
    kept_rows,
    with_what_broke,
)
from airflow_orchestration.workflow.output import discard_output, write_output
from airflow_orchestration.workflow.step import Step
from airflow_orchestration.workflow.stopping import (
    BRANCH_STOPPED,
    Bounds,
    StoppedError,
    Worker,
    here,
    kept_words,
)
from airflow_orchestration.workflow.streams import TRIES, stream_marks

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
    """A batch that can't be processed yet. `on` is the path or URI of a file, or its pattern, else the feed it waits for."""

    feed_id: str
    kind: WaitsFor
    on: str
    stopped: bool = False
    """It was being processed when the gate decided, and was stopped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ready:
    """A batch that waits for nothing. `unseen` is the fault that its file could not be looked for with."""

    feed_id: str
    unseen: Exception | None = None


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
    stored = step.store.rounds(step.run_key)[step.round - 1]
    branch = stored.plan.branch(branch_id)
    known: Mapping[str, FeedOutcome] = {}
    while True:
        snapshot = look_again(step.store, step.run_key, step.spec, stored, branch, known)
        known = snapshot.outcomes
        open_batches = [name for name in _open_batches(branch, lane, snapshot) if name not in faults]
        over = is_over(snapshot)
        if over and not late_ones_count(step, snapshot):
            return _late(open_batches)
        ready, found = _first_ready(step, open_batches, branch, snapshot)
        if ready is None:
            return _late(open_batches) if over and not faults else _wait(step, found, faults)
        try:
            _process_ready(step, ready, branch_id, snapshot, worker)
        except StoppedError:
            return _give_up(step, ready.feed_id, open_batches)
        except OrchestrationError:
            raise
        except Exception as fault:
            log.exception("Feed %s met a fault", ready.feed_id)
            if last_try:
                _register_failure(step, ready.feed_id, branch_id, _last_fault(ready.feed_id, fault))
            else:
                faults[ready.feed_id] = fault


def _process_ready(step: Step, ready: _Ready, branch_id: str, snapshot: GateSnapshot, worker: Worker) -> None:
    if ready.unseen is not None:
        raise ready.unseen
    process_batch(step, ready.feed_id, branch_id, snapshot, worker=worker)


def _last_fault(feed_id: str, fault: Exception) -> FeedError:
    words = kept_words(fault).removeprefix(f"{feed_id}: ")
    told = "on the last try; see the log of its task, and mend the cause before the next run."
    return FeedError(f"{feed_id}: {words}, {told}", code=FeedCode.FAULT)


def _late(feeds: Iterable[str]) -> tuple[Waiting, ...]:
    return tuple(Waiting(feed_id=feed_id, kind=WaitsFor.NOTHING, on="") for feed_id in feeds)


def late_ones_count(step: Step, snapshot: GateSnapshot) -> bool:
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
    stored = step.store.rounds(step.run_key)[step.round - 1]
    feeds = stored.plan.branch(branch_id).feeds_in(lane)
    snapshot = step.store.branch_snapshot(step.run_key, stored, feeds)
    standing = standing_outcomes(stored.plan, snapshot.outcomes)
    return [feed_id for feed_id in feeds if feed_id in standing and not arrived(standing[feed_id])]


def _open_batches(branch: Branch, lane: Lane, snapshot: GateSnapshot) -> list[str]:
    standing = standing_outcomes(snapshot.round.plan, snapshot.outcomes)
    return [feed_id for feed_id in branch.feeds_in(lane) if feed_id not in standing]


def _first_ready(
    step: Step, open_batches: list[str], branch: Branch, snapshot: GateSnapshot
) -> tuple[_Ready | None, tuple[Waiting, ...]]:
    """Return the first batch that can be processed, and what the ones before it wait for."""
    standing = standing_outcomes(snapshot.round.plan, snapshot.outcomes)
    found: list[Waiting] = []
    for feed_id in open_batches:
        try:
            obstacle = _obstacle(step, feed_id, branch, snapshot.waiting, standing)
        except OrchestrationError:
            obstacle = None  # processing it is refused with the same words, and registers them
        except Exception as unseen:  # noqa: BLE001  # it is raised again where faults of a batch are handled
            return _Ready(feed_id=feed_id, unseen=unseen), tuple(found)
        if obstacle is None:
            return _Ready(feed_id=feed_id), tuple(found)
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
    if not failed_needs(feed, standing) and not is_there(step, feed_id):
        return Waiting(feed_id=feed_id, kind=WaitsFor.FILE, on=str(step.spec.location(feed_id)))
    return None


def _before(feed_id: str, branch: Branch) -> Iterator[str]:
    """The batches of other lanes that come earlier on the branch; those of the same lane run in this task."""
    lane = next(batch.lane for batch in branch.batches if batch.feed_id == feed_id)
    for batch in branch.batches:
        if batch.feed_id == feed_id:
            return
        if batch.lane is not lane:
            yield batch.feed_id


def failed_needs(feed: Feed, standing: Mapping[str, FeedOutcome]) -> list[str]:
    """Return the feeds that a feed depends on and that failed."""
    return [needed for needed in feed.depends_on if needed in standing and not arrived(standing[needed])]


def _refuse_failed_needs(feed: Feed, snapshot: GateSnapshot) -> None:
    failed = failed_needs(feed, standing_outcomes(snapshot.round.plan, snapshot.outcomes))
    if failed:
        raise FeedError(f"{feed.id} depends on {', '.join(failed)}, which failed", code=FeedCode.DEPENDENCY)


def process_batch(
    step: Step, feed_id: str, branch_id: str, snapshot: GateSnapshot, *, worker: Worker = here
) -> None:
    """Read, check and stage one feed, and register what came of it.

    Raises `StoppedError` when the `worker` stopped it; then nothing of it is kept. A stream whose records
    another run has registered meanwhile is read again, from behind them.
    """
    for number in range(1, TRIES + 1):
        again = step if number == 1 else replace(step, scratch=step.folder(f"{feed_id}-try-{number}"))
        try:
            _process(again, feed_id, branch_id, snapshot, worker)
        except StreamTakenError as taken:
            if number == TRIES:
                raise
            log.info("%s", taken)
        else:
            return


def _process(step: Step, feed_id: str, branch_id: str, snapshot: GateSnapshot, worker: Worker) -> None:
    started = time.monotonic()
    try:
        step.prepare(feed_id)
        bounds = bounds_of(step, feed_id, snapshot.round.plan)
        marks = stream_marks(step, feed_id)
        outcome = worker(
            lambda: _staged_or_failed(step, feed_id, branch_id, snapshot, bounds.memory_mb, marks), bounds
        )
    except StoppedError:
        _discard(step, feed_id)
        raise
    except FeedError as error:
        log.warning("Feed %s failed: %s", feed_id, error)
        _discard(step, feed_id)
        _register_failure(step, feed_id, branch_id, error, _since(started))
    else:
        if outcome.error is None:
            register_judged(step, outcome)
        else:
            log.warning("Feed %s failed: %s", feed_id, outcome.error)
            step.register(outcome)


def _discard(step: Step, feed_id: str) -> None:
    """Delete what this execution may have staged of a feed."""
    discard_kept(step, feed_id)
    discard_output(step, feed_id)


def bounds_of(step: Step, feed_id: str, plan: Plan) -> Bounds:
    """What the work on a feed may take: the author's seconds, and its branch's share of the memory."""
    seconds = step.spec.feeds[feed_id].limits.seconds
    return Bounds(feed_id=feed_id, seconds=seconds, memory_mb=branch_memory_mb(step, plan))


def _register_failure(
    step: Step, feed_id: str, branch_id: str, error: FeedError, elapsed: timedelta = timedelta(0)
) -> None:
    step.register(_failure(step, feed_id, branch_id, error, elapsed))


def _failure(step: Step, feed_id: str, branch_id: str, error: FeedError, elapsed: timedelta) -> FeedOutcome:
    return FeedOutcome(
        feed_id=feed_id,
        round=step.round,
        branch_id=branch_id,
        status=OutcomeStatus.FAILED,
        elapsed=elapsed,
        error=str(error),
        error_code=error.code,
    )


def _staged_or_failed(
    step: Step,
    feed_id: str,
    branch_id: str,
    snapshot: GateSnapshot,
    memory_mb: int,
    marks: StreamMarks | None,
) -> FeedOutcome:
    """Like `staged_batch`; rows that break the rules of many rows become a failure that says where they went."""
    started = time.monotonic()
    try:
        return staged_batch(step, feed_id, branch_id, snapshot, memory_mb, marks)
    except BrokenRulesError as broken:
        failed = _failure(step, feed_id, branch_id, broken, _since(started))
        return with_what_broke(step, failed, broken)


def staged_batch(
    step: Step,
    feed_id: str,
    branch_id: str,
    snapshot: GateSnapshot,
    memory_mb: int,
    marks: StreamMarks | None = None,
) -> FeedOutcome:
    """Read, check and stage one feed; raises `FeedError` when it can't be used. Nothing is registered.

    `marks` say what to read of a stream.
    """
    feed, plan, started = step.spec.feeds[feed_id], snapshot.round.plan, time.monotonic()
    _refuse_failed_needs(feed, snapshot)
    standing = standing_outcomes(plan, snapshot.outcomes)
    found = fetched(step, feed, marks) if feed.aggregate is None else grouped(step, feed, standing, memory_mb)
    contract = step.spec.dataset_of(feed.id).contract
    ingested = ingest(
        feed,
        fetched=found,
        contract=contract,
        scratch=step.folder(feed.id),
        memory_mb=memory_mb,
        as_of=as_of(step),
    )
    outcome = _outcome(step, feed, branch_id, plan, ingested)
    write_output(step, feed, ingested.staged, memory_mb)
    looks = profile(
        ingested,
        contract=contract,
        columns=feed.columns,
        moment=step.run.started_at,
        scratch=step.folder(f"{feed.id}-profile"),
        memory_mb=memory_mb,
    )
    ranges = None if marks is None else found.ranges
    outcome = replace(outcome, elapsed=_since(started), ranges=ranges, profile=looks)
    return with_quality(step, feed, outcome, standing)


def _outcome(step: Step, feed: Feed, branch_id: str, plan: Plan, ingested: Ingested) -> FeedOutcome:
    """Judge what was ingested and store its files; the time that it took is not known yet."""
    quality = judged(step, feed, ingested)
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
        elapsed=timedelta(0),
        cluster_utilization=plan.branch(branch_id).cost / (sum(b.cost for b in plan.branches) or 1.0),
        rows_in=ingested.rows_in,
        rows_staged=ingested.rows_staged,
        rows_quarantined=ingested.rows_quarantined,
        rows_out_of_scope=ingested.rows_out_of_scope,
        staged=kept_rows(step, feed.id, ingested),
        quarantine=kept_quarantine(step, feed.id, ingested),
        measures=ingested.measures,
        quality_score=quality.score,
        rejects=ingested.rejects,
        rules=quality.rules,
    )


def _since(started: float) -> timedelta:
    return timedelta(seconds=time.monotonic() - started)
