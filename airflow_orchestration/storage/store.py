"""What the store keeps of a run, and the promises that every store makes.

Two stores keep them: PostgreSQL for deployments, and memory for one process without a scheduler.
All times are the store's own clock.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Protocol

from airflow_orchestration.domain.decision import Decision, Json
from airflow_orchestration.domain.outcome import FeedOutcome, OutcomeStatus, StagedFile
from airflow_orchestration.domain.pipeline import ALL_FEEDS
from airflow_orchestration.domain.plan import Plan
from airflow_orchestration.domain.profile import FeedProfile
from airflow_orchestration.domain.stream import StreamMarks, StreamRange
from airflow_orchestration.storage.agent_records import AgentRecords
from airflow_orchestration.storage.leases import Leases
from airflow_orchestration.storage.registry import Registry
from airflow_orchestration.storage.trust_history import TrustHistory


@dataclass(frozen=True, slots=True, kw_only=True)
class RunKey:
    """Names one Dag run."""

    dag_id: str
    run_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkUnit:
    """One piece of work of a run: `plan`, `branch:beta:b1`, `gate`, `merge`, `quality`, `publish`, ...

    `round` is 0 for work that stands outside the rounds.
    """

    run: RunKey
    round: int
    unit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """Who executes a work unit: Airflow's try number, the task instance's id, and the process."""

    try_number: int
    ti_id: str
    process: str
    began_at: datetime | None = None
    """When Airflow started it; None for one that begins with its claim."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fence:
    """The right to write for one work unit: a number that only grows, minted when an execution starts."""

    unit: WorkUnit
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GateTerms:
    """When the gate of a round must have decided: a time from the opening of the round, or a moment.

    `points` has the same for each named sync point; none of them waits longer than the gate.
    """

    deadline: timedelta | datetime
    points: Mapping[str, timedelta | datetime] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRun:
    """A run as `analyze_batches` recorded it. `spec` and `mode` are plain data."""

    key: RunKey
    spec: Mapping[str, Any]
    mode: Mapping[str, Any]
    started_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPoint:
    """A sync point of a round: its deadline was written once, and so was the moment of its floor."""

    deadline_at: datetime
    floor_reached_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRound:
    """One round: its plan and deadlines, written once when it was opened, and its gate's verdict."""

    round: int
    plan: Plan
    opened_at: datetime
    points: Mapping[str, StoredPoint]
    verdict: Mapping[str, Any] | None
    decided_at: datetime | None

    @property
    def deadline_at(self) -> datetime:
        """When the gate decides at the latest."""
        return self.points[ALL_FEEDS].deadline_at


@dataclass(frozen=True, slots=True, kw_only=True)
class GateSnapshot:
    """Everything that the gate's facts are made of, read in one statement at `now`.

    `outcomes` is the newest outcome of each feed of the run, whatever its round;
    `waiting` names the feeds that a branch is waiting for.
    """

    now: datetime
    run_started_at: datetime
    round: StoredRound
    outcomes: Mapping[str, FeedOutcome]
    waiting: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """How a feed ended, when the store was told, and how many rows were staged."""

    status: OutcomeStatus
    at: datetime
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DecidedGate:
    """The verdict of a round's gate, and when each feed came.

    `registered` holds the outcomes that count in the round, also those that came after the verdict.
    `feed_deadlines` are the feeds' own, as they were declared.
    """

    run: RunKey
    round: int
    run_started_at: datetime
    opened_at: datetime
    verdict: Mapping[str, Any]
    registered: Mapping[str, Registration]
    feed_deadlines: Mapping[str, float | str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One line of the timeline, append-only."""

    at: datetime
    round: int
    event: str
    detail: Mapping[str, Json]


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeRecord:
    """The merge of a dataset in one round: the staged file, and what the publish transaction must find in it.

    `content_sha256` names the content for the ledger: equal inputs give equal hashes. `examples`: a few keys of
    which sources differ, by attribute, each as `{"key": ..., "values": ..., "chosen": ..., "value": ...}`.
    """

    round: int
    dataset: str
    staged: StagedFile
    content_sha256: str
    decision: Mapping[str, Any]
    published: Mapping[str, int]
    superseded: Mapping[str, int]
    disagreements: Mapping[str, int]
    compared: Mapping[str, int]
    completeness: float
    examples: Mapping[str, Sequence[Mapping[str, Json]]]


class RunState(StrEnum):
    """How a run ended."""

    PUBLISHED = "published"
    PUBLISHED_DEGRADED = "published_degraded"
    NOT_PUBLISHED = "not_published"


class Streams(Protocol):
    """Who read which records of a stream. `Store.register` holds an outcome's ranges for its run."""

    def marks(self, key: RunKey, feed_id: str) -> StreamMarks:
        """What a run is to read of a stream: what it holds already, else what nobody holds."""
        ...

    def holders(self, key: RunKey) -> Sequence[RunKey]:
        """The earlier runs of a Dag that hold records and, as far as the store knows, published nothing; oldest first."""
        ...

    def give_back(self, fence: Fence, feeds: Collection[str], *, of: RunKey | None = None) -> None:
        """Let others read what the run holds of these streams, also what it may still register.

        With `of` it is what that other run holds.
        """
        ...

    def take_again(self, fence: Fence, read: Mapping[str, Sequence[StreamRange]]) -> None:
        """Hold for the run what it `read` of streams and gave back; raises `StreamTakenError` when others have it."""
        ...


class Store(Protocol):
    """Where runs are kept. Writes that carry a fence raise `FencedError` once a newer epoch exists."""

    @property
    def streams(self) -> Streams:
        """Who read which records of a stream."""
        ...

    @property
    def trust(self) -> TrustHistory:
        """What runs taught about the reliability of feeds."""
        ...

    @property
    def agents(self) -> AgentRecords:
        """Who was made for a round, how their work ended, and what that teaches."""
        ...

    @property
    def leases(self) -> Leases:
        """What agents hold while they work."""
        ...

    @property
    def registry(self) -> Registry:
        """The jobs of tenants, with every revision of their specifications."""
        ...

    def claim(self, unit: WorkUnit, attempt: Attempt) -> Fence:
        """Take the right to write for a unit; raises `FencedError` when this attempt is the stale one.

        Raises `PrunedRunError` where runs are pruned, for one that was.
        """
        ...

    def shut(self, fence: Fence, unit: WorkUnit) -> Fence:
        """Refuse a unit to all executions that have begun, also to those that have not claimed it yet.

        Return a right to write that is newer than any of theirs. Who begins later, as a cleared task, may claim.
        """
        ...

    def save_run(self, fence: Fence, spec: Mapping[str, Any], mode: Decision) -> None:
        """Record what the run does. Repeating it with the same content changes nothing."""
        ...

    def run(self, key: RunKey) -> StoredRun:
        """Read a run; raises `UnknownRunError` when `analyze_batches` has not recorded it."""
        ...

    def open_round(self, fence: Fence, plan: Plan, terms: GateTerms) -> StoredRound:
        """Open the round of the plan; a round that is already open is returned as it was first written."""
        ...

    def rounds(self, key: RunKey) -> Sequence[StoredRound]:
        """All opened rounds in order."""
        ...

    def register(self, fence: Fence, outcome: FeedOutcome, *, keep_success: bool = False) -> None:
        """Record how a feed ended in its round; the newest epoch wins, and only once per epoch.

        Its profile is kept apart, for `profiles`, and no other method gives it back.
        With `keep_success` a success that stands there stays: it may have been published. What was read of a
        stream is held by the run in the same transaction; raises `StreamTakenError` when others hold it.
        """
        ...

    def set_waiting(self, fence: Fence, feeds: Sequence[str]) -> None:
        """Say which feeds a branch is waiting for; replaces what the same unit said before.

        Naming any feed ends the lease of this execution: the same attempt may be resumed by another
        process at once, as Airflow does after a deferral.
        """
        ...

    def end_lease(self, fence: Fence) -> None:
        """Let any execution of the unit begin at once: this one has let go of its work."""
        ...

    def outcomes(self, key: RunKey) -> Sequence[FeedOutcome]:
        """Every registered outcome, by round and feed."""
        ...

    def gate_snapshot(self, key: RunKey, round_number: int) -> GateSnapshot:
        """Read the facts of a round's gate; raises `KeyError` when the round is not open."""
        ...

    def gate_snapshots(
        self, rounds: Collection[tuple[RunKey, int]]
    ) -> Mapping[tuple[RunKey, int], GateSnapshot]:
        """Read the facts of many gates at one moment; rounds that are not open are left out."""
        ...

    def branch_snapshot(self, key: RunKey, known: StoredRound, feeds: Collection[str]) -> GateSnapshot:
        """Read again of a round what some of its feeds need to know of each other, and of no others.

        What is written once is taken from `known`: to read the plan of ten thousand batches for each of them is dear.
        """
        ...

    def mark_floor_reached(self, key: RunKey, round_number: int, sync_point: str = ALL_FEEDS) -> datetime:
        """Keep the moment at which the floor was first reached, and return it."""
        ...

    def record_verdict(self, key: RunKey, round_number: int, decision: Decision) -> Mapping[str, Any]:
        """Write the gate's verdict once; whoever comes second gets the first one back."""
        ...

    def decided_gates(
        self, *, dag_id: str | None = None, since: datetime | None = None
    ) -> Sequence[DecidedGate]:
        """Every gate that has decided, oldest first: all, those of one Dag, those since a moment."""
        ...

    def record_decision(self, fence: Fence, decision: Decision) -> None:
        """Append a decision to the audit table."""
        ...

    def decisions(self, key: RunKey) -> Sequence[tuple[int, Mapping[str, Any]]]:
        """Every decision of a run with its round, oldest first; gate verdicts included."""
        ...

    def save_merge(self, fence: Fence, record: MergeRecord) -> None:
        """Record the merge of a dataset in a round; the newest epoch wins."""
        ...

    def merges(self, key: RunKey, round_number: int) -> Mapping[str, MergeRecord]:
        """Read the merges of a round by dataset; there are none before it was merged."""
        ...

    def add_event(self, fence: Fence, event: str, detail: Mapping[str, Json]) -> None:
        """Append a line to the timeline."""
        ...

    def timeline(self, key: RunKey) -> Sequence[Event]:
        """The timeline of a run, oldest first."""
        ...

    def finish(self, fence: Fence, state: RunState, manifest: Mapping[str, Any]) -> None:
        """Record how the run ended. Repeating it keeps the first end.

        It may end once more when what was not published is published after all, and with a manifest of a
        higher `version`: late feeds were merged into what it had published.
        """
        ...

    def degraded_runs(self, dag_id: str, within: timedelta) -> Sequence[RunKey]:
        """The runs of a Dag that ended degraded, not longer ago than `within`, oldest first."""
        ...

    def manifest(self, key: RunKey) -> Mapping[str, Any] | None:
        """The manifest that `finish` recorded, if it did."""
        ...

    def usual_rows(self, dag_id: str, feeds: Sequence[str], before: datetime) -> Mapping[str, int]:
        """Median of the rows staged in each feed's last 10 successes, from 3 successes on.

        Only runs that started before that moment and have ended count, each once: a run does not judge itself.
        """
        ...

    def profiles(self, dag_id: str, feed_id: str, before: datetime) -> Sequence[FeedProfile]:
        """What a feed looked like in the last 30 published runs that had started before, newest first.

        Each run counts once, by the feed's last success in it.
        """
        ...

    def observed_seconds(self, dag_id: str, feeds: Sequence[str]) -> Mapping[str, float]:
        """Median seconds of each feed's last 10 successes in ended runs, for the feeds that have any."""
        ...
