"""The store for one process: the same promises, kept in memory and forgotten with it."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import count
from statistics import median
from threading import RLock
from typing import Any

from airflow_orchestration.domain.decision import Decision, Json
from airflow_orchestration.domain.outcome import FeedOutcome, OutcomeStatus
from airflow_orchestration.domain.pipeline import ALL_FEEDS
from airflow_orchestration.domain.plan import Plan
from airflow_orchestration.domain.profile import FeedProfile
from airflow_orchestration.storage import events, rows
from airflow_orchestration.storage.agent_records_memory import MemoryAgentRecords
from airflow_orchestration.storage.leases_memory import MemoryLeases
from airflow_orchestration.storage.memory_run import (
    Claim,
    Registered,
    Run,
    decided_gate,
    may_end,
    may_take_over,
    published_profiles,
    round_of,
    successes_in,
)
from airflow_orchestration.storage.registry_memory import MemoryRegistry
from airflow_orchestration.storage.shared import (
    ENOUGH_SUCCESSES,
    LEASE,
    RECENT_SUCCESSES,
    points_of,
    stale_attempt,
    taken_over,
    unknown_run,
)
from airflow_orchestration.storage.store import (
    Attempt,
    DecidedGate,
    Event,
    Fence,
    GateSnapshot,
    GateTerms,
    MergeRecord,
    RunKey,
    RunState,
    StoredRound,
    StoredRun,
    WorkUnit,
)
from airflow_orchestration.storage.streams_memory import MemoryStreams
from airflow_orchestration.storage.trust_memory import MemoryTrust


class MemoryStore:
    """Keeps runs in memory; `clock` is its idea of now."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._lock = RLock()
        self._epochs = count(1)
        self._registrations = count(1)
        self._claims: dict[WorkUnit, Claim] = {}
        self._runs: defaultdict[RunKey, Run] = defaultdict(Run)
        self.streams = MemoryStreams(self._fenced, self._tell_by, self._unpublished_before)
        self.trust = MemoryTrust(self._fenced, self.run)
        self.leases = MemoryLeases(clock)
        self.registry = MemoryRegistry(clock)
        self.agents = MemoryAgentRecords(self._fenced, clock, self.decisions, self.timeline)

    def claim(self, unit: WorkUnit, attempt: Attempt) -> Fence:
        """Take the right to write for a unit; raises `FencedError` when this attempt is the stale one."""
        with self._lock:
            now = self._clock()
            held = self._claims.get(unit)
            if held and not may_take_over(held, attempt, now):
                raise stale_attempt(unit, attempt)
            fence = Fence(unit=unit, epoch=next(self._epochs))
            self._claims[unit] = Claim(fence.epoch, attempt, now + LEASE, held.shut_at if held else None)
            return fence

    def shut(self, fence: Fence, unit: WorkUnit) -> Fence:
        """Refuse a unit to all executions that have begun, and return a right to write newer than theirs."""
        with self._fenced(fence):
            now = self._clock()
            held = self._claims.get(unit)
            last = held.attempt if held else Attempt(try_number=0, ti_id="", process="")
            shut = Fence(unit=unit, epoch=next(self._epochs))
            self._claims[unit] = Claim(shut.epoch, last, None, shut_at=now)
            return shut

    def save_run(self, fence: Fence, spec: Mapping[str, Any], mode: Decision) -> None:
        """Record what the run does; what was recorded first stays."""
        with self._fenced(fence) as run:
            if run.saved:
                return
            run.saved = StoredRun(
                key=fence.unit.run,
                spec=_plain(spec),
                mode=_plain(mode.as_json()),
                started_at=self._clock(),
            )
            run.state = run.manifest = run.ended_at = None  # what was refused begins after all
            self._tell(run, fence.unit.round, events.batches_analyzed(mode))

    def run(self, key: RunKey) -> StoredRun:
        """Read a run; raises `UnknownRunError` when `analyze_batches` has not recorded it."""
        with self._reading(key) as run:
            if run.saved is None:
                raise unknown_run(key)
            return replace(run.saved, spec=_plain(run.saved.spec), mode=_plain(run.saved.mode))

    def open_round(self, fence: Fence, plan: Plan, terms: GateTerms) -> StoredRound:
        """Open the round of the plan; a round that is already open is returned as it was first written."""
        with self._fenced(fence) as run:
            if plan.round not in run.rounds:
                now = self._clock()
                points = points_of(terms, now)
                run.rounds[plan.round] = StoredRound(
                    round=plan.round,
                    plan=plan,
                    opened_at=now,
                    points=points,
                    verdict=None,
                    decided_at=None,
                )
                self._tell(run, plan.round, events.round_opened(plan, points, now))
            return run.rounds[plan.round]

    def rounds(self, key: RunKey) -> Sequence[StoredRound]:
        """All opened rounds in order."""
        with self._reading(key) as run:
            return [run.rounds[number] for number in sorted(run.rounds)]

    def register(self, fence: Fence, outcome: FeedOutcome, *, keep_success: bool = False) -> None:
        """Record how a feed ended in its round; the newest epoch wins, and only once per epoch."""
        kept = rows.storable(outcome)
        with self._fenced(fence) as run:
            known = run.outcomes.get((kept.round, kept.feed_id))
            stays = known is not None and keep_success and known.outcome.status is OutcomeStatus.SUCCESS
            if known is None or (known.epoch < fence.epoch and not stays):
                if kept.ranges is not None:
                    self.streams.hold(fence.unit.run, kept.feed_id, kept.ranges)
                bare, order = replace(kept, profile=None, error_code=None), next(self._registrations)
                registered = Registered(fence.epoch, order, bare, self._clock(), outcome.profile)
                run.outcomes[kept.round, kept.feed_id] = registered
                self._tell(run, kept.round, events.feed_registered(kept))

    def set_waiting(self, fence: Fence, feeds: Sequence[str]) -> None:
        """Say which feeds a branch is waiting for; naming any ends the lease of this execution."""
        with self._fenced(fence) as run:
            before = run.waiting.pop(fence.unit, frozenset())
            if not feeds:
                return
            run.waiting[fence.unit] = frozenset(feeds)
            self._claims[fence.unit].lease_until = None
            if before != set(feeds):
                self._tell(run, fence.unit.round, events.branch_waiting(fence.unit.unit, feeds))

    def end_lease(self, fence: Fence) -> None:
        """Let any execution of the unit begin at once: this one has let go of its work."""
        with self._fenced(fence):
            self._claims[fence.unit].lease_until = None

    def outcomes(self, key: RunKey) -> Sequence[FeedOutcome]:
        """Every registered outcome, by round and feed."""
        with self._reading(key) as run:
            return [run.outcomes[at].outcome for at in sorted(run.outcomes)]

    def gate_snapshot(self, key: RunKey, round_number: int) -> GateSnapshot:
        """Read the facts of a round's gate; raises `KeyError` when the round is not open."""
        with self._reading(key) as run:
            waiting = [feeds for unit, feeds in run.waiting.items() if unit.round == round_number]
            known = round_of(run, round_number)
            return GateSnapshot(
                now=self._clock(),
                run_started_at=run.saved.started_at if run.saved else known.opened_at,
                round=known,
                outcomes={feed_id: run.outcomes[n, feed_id].outcome for n, feed_id in sorted(run.outcomes)},
                waiting=frozenset().union(*waiting),
            )

    def gate_snapshots(
        self, rounds: Collection[tuple[RunKey, int]]
    ) -> Mapping[tuple[RunKey, int], GateSnapshot]:
        """Read the facts of many gates at once; rounds that are not open are left out."""
        with self._lock:
            return {
                (key, number): self.gate_snapshot(key, number)
                for key, number in rounds
                if number in self._runs.get(key, Run()).rounds
            }

    def branch_snapshot(self, key: RunKey, known: StoredRound, feeds: Collection[str]) -> GateSnapshot:
        """Read again of a round what some of its feeds need to know of each other."""
        now = self.gate_snapshot(key, known.round)
        outcomes = {feed_id: outcome for feed_id, outcome in now.outcomes.items() if feed_id in feeds}
        return replace(now, outcomes=outcomes, waiting=now.waiting.intersection(feeds))

    def mark_floor_reached(self, key: RunKey, round_number: int, sync_point: str = ALL_FEEDS) -> datetime:
        """Keep the moment at which the floor was first reached, and return it."""
        with self._reading(key) as run:
            known = round_of(run, round_number)
            point = known.points[sync_point]
            reached = point.floor_reached_at or self._clock()
            points = {**known.points, sync_point: replace(point, floor_reached_at=reached)}
            run.rounds[round_number] = replace(known, points=points)
            return reached

    def record_verdict(self, key: RunKey, round_number: int, decision: Decision) -> Mapping[str, Any]:
        """Write the gate's verdict once; whoever comes second gets the first one back."""
        with self._reading(key) as run:
            known = round_of(run, round_number)
            if known.verdict is not None:
                return known.verdict
            verdict: dict[str, Any] = _plain(decision.as_json())
            run.rounds[round_number] = replace(known, verdict=verdict, decided_at=self._clock())
            run.decisions.append((round_number, verdict))
            self._tell(run, round_number, events.checkpoint(decision))
            return verdict

    def decided_gates(
        self, *, dag_id: str | None = None, since: datetime | None = None
    ) -> Sequence[DecidedGate]:
        """Every gate that has decided, oldest first: all, those of one Dag, those since a moment."""
        with self._lock:
            found = [
                (known.decided_at, decided_gate(key, run, known))
                for key, run in self._runs.items()
                for known in run.rounds.values()
                if known.decided_at is not None
                and dag_id in {None, key.dag_id}
                and (since is None or known.decided_at >= since)
            ]
        return [gate for _, gate in sorted(found, key=lambda pair: pair[0])]

    def record_decision(self, fence: Fence, decision: Decision) -> None:
        """Append a decision to the audit table."""
        with self._fenced(fence) as run:
            run.decisions.append((fence.unit.round, _plain(decision.as_json())))

    def decisions(self, key: RunKey) -> Sequence[tuple[int, Mapping[str, Any]]]:
        """Every decision of a run with its round, oldest first; gate verdicts included."""
        with self._reading(key) as run:
            return list(run.decisions)

    def save_merge(self, fence: Fence, record: MergeRecord) -> None:
        """Record the merge of a dataset in a round; the newest epoch wins."""
        with self._fenced(fence) as run:
            known = run.merges.get((record.round, record.dataset))
            if known is None or known[0] < fence.epoch:
                kept = replace(record, decision=_plain(record.decision))
                run.merges[record.round, record.dataset] = (fence.epoch, kept)
                self._tell(run, record.round, events.merge_completed(record))

    def merges(self, key: RunKey, round_number: int) -> Mapping[str, MergeRecord]:
        """Read the merges of a round by dataset; there are none before it was merged."""
        with self._reading(key) as run:
            found = sorted(item for item in run.merges.items() if item[0][0] == round_number)
            return {dataset: record for (_, dataset), (_, record) in found}

    def add_event(self, fence: Fence, event: str, detail: Mapping[str, Json]) -> None:
        """Append a line to the timeline."""
        with self._fenced(fence) as run:
            self._tell(run, fence.unit.round, events.Happening(event, dict(detail)))

    def timeline(self, key: RunKey) -> Sequence[Event]:
        """The timeline of a run, oldest first."""
        with self._reading(key) as run:
            return list(run.timeline)

    def finish(self, fence: Fence, state: RunState, manifest: Mapping[str, Any]) -> None:
        """Record how the run ended. The first end stays, unless more is published than before."""
        with self._fenced(fence) as run:
            if may_end(run, state, manifest):
                run.state, run.manifest, run.ended_at = state, _plain(manifest), self._clock()
                self._tell(run, fence.unit.round, events.run_finished(state))

    def degraded_runs(self, dag_id: str, within: timedelta) -> Sequence[RunKey]:
        """The runs of a Dag that ended degraded, not longer ago than `within`, oldest first."""
        with self._lock:
            since = self._clock() - within
            found = [
                (run.saved.started_at, key.run_id, key)
                for key, run in self._runs.items()
                if key.dag_id == dag_id
                and run.state is RunState.PUBLISHED_DEGRADED
                and run.saved
                and run.ended_at
                and run.ended_at > since
            ]
            return [key for _, _, key in sorted(found, key=lambda one: one[:2])]

    def manifest(self, key: RunKey) -> Mapping[str, Any] | None:
        """The manifest that `finish` recorded, if it did."""
        with self._reading(key) as run:
            return run.manifest

    def usual_rows(self, dag_id: str, feeds: Sequence[str], before: datetime) -> Mapping[str, int]:
        """Median of the rows staged in each feed's last successes in ended runs, if there are enough."""
        found: dict[str, int] = {}
        for feed_id in feeds:
            recent = [known.outcome for known in self._successes(dag_id, feed_id, before)]
            if len(recent) >= ENOUGH_SUCCESSES:
                found[feed_id] = int(median(outcome.rows_staged for outcome in recent))
        return found

    def observed_seconds(self, dag_id: str, feeds: Sequence[str]) -> Mapping[str, float]:
        """Median seconds of each feed's last successes in ended runs, for the feeds that have any."""
        found: dict[str, float] = {}
        for feed_id in feeds:
            recent = self._successes(dag_id, feed_id)
            if recent:
                found[feed_id] = median(known.outcome.elapsed.total_seconds() for known in recent)
        return found

    def profiles(self, dag_id: str, feed_id: str, before: datetime) -> Sequence[FeedProfile]:
        """What a feed looked like in the last published runs that had started before, newest first."""
        with self._lock:
            runs = [run for key, run in self._runs.items() if key.dag_id == dag_id]
            return published_profiles(runs, feed_id, before)

    def _successes(self, dag_id: str, feed_id: str, before: datetime | None = None) -> Sequence[Registered]:
        """The newest successes of a feed in ended runs, newest first; with `before` the last of each that had started then."""
        with self._lock:
            runs = [run for key, run in self._runs.items() if key.dag_id == dag_id]
            found = [known for run in runs for known in successes_in(run, feed_id, before)]
        return sorted(found, key=lambda known: known.order, reverse=True)[:RECENT_SUCCESSES]

    def _unpublished_before(self, key: RunKey) -> Sequence[RunKey]:
        with self._lock:
            moment = self.run(key).started_at
            found = [
                (run.saved.started_at, other)
                for other, run in self._runs.items()
                if other.dag_id == key.dag_id and run.saved and run.state in {None, RunState.NOT_PUBLISHED}
            ]
        return [other for started_at, other in sorted(found, key=lambda one: one[0]) if started_at < moment]

    @contextmanager
    def _fenced(self, fence: Fence) -> Iterator[Run]:
        with self._lock:
            held = self._claims.get(fence.unit)
            if held is None or held.epoch != fence.epoch:
                raise taken_over(fence)
            yield self._runs[fence.unit.run]

    @contextmanager
    def _reading(self, key: RunKey) -> Iterator[Run]:
        with self._lock:
            yield self._runs.get(key) or Run()

    def _tell_by(self, fence: Fence, happening: events.Happening) -> None:
        self._tell(self._runs[fence.unit.run], fence.unit.round, happening)

    def _tell(self, run: Run, round_number: int, happening: events.Happening) -> None:
        detail = _plain(happening.detail)
        run.timeline.append(Event(at=self._clock(), round=round_number, event=happening.event, detail=detail))


def _plain(value: object) -> Any:
    """A copy that holds what a database would have kept."""
    return json.loads(rows.json_text(value))
