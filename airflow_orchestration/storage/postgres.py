"""The store for deployments: PostgreSQL, one short fenced transaction for each write."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Self, TypeVar, cast

import psycopg
from psycopg.rows import dict_row

from airflow_orchestration.domain.decision import Decision, Json
from airflow_orchestration.domain.outcome import FeedOutcome
from airflow_orchestration.domain.pipeline import ALL_FEEDS
from airflow_orchestration.domain.plan import Plan
from airflow_orchestration.domain.profile import FeedProfile, profile_of
from airflow_orchestration.policies.drift import RECENT_PROFILES
from airflow_orchestration.storage import events, rows
from airflow_orchestration.storage.agent_records_postgres import PostgresAgentRecords
from airflow_orchestration.storage.leases_postgres import PostgresLeases
from airflow_orchestration.storage.migrating import check_ready
from airflow_orchestration.storage.overview import Overview
from airflow_orchestration.storage.pruning import Pruning, when_pruned
from airflow_orchestration.storage.readings import Readings
from airflow_orchestration.storage.registry_postgres import PostgresRegistry
from airflow_orchestration.storage.shared import (
    ENOUGH_SUCCESSES,
    LEASE,
    RECENT_SUCCESSES,
    points_of,
    pruned_run,
    stale_attempt,
    taken_over,
    unknown_run,
)
from airflow_orchestration.storage.sql_file import statements
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
from airflow_orchestration.storage.streams_postgres import PostgresStreams, hold
from airflow_orchestration.storage.trust_postgres import PostgresTrust

_SQL = statements("queries.sql")

STATEMENT_LIMIT = timedelta(seconds=60)
"""Ours: nothing that a task asks the store takes a tenth of it."""

Cursor = psycopg.Cursor[dict[str, Any]]
Found = TypeVar("Found")


class PostgresStore:
    """Keeps runs in PostgreSQL.

    It opens one connection when it is first needed and keeps it, so it is for one thread at a time.

    :param statement_limit: how long the server may work on a statement.
    """

    def __init__(
        self,
        connect: Callable[[], psycopg.Connection[Any]],
        *,
        statement_limit: timedelta = STATEMENT_LIMIT,
    ) -> None:
        self._connect = connect
        self._statement_limit = statement_limit
        self._connection: psycopg.Connection[Any] | None = None
        self._opened_by = 0
        self.streams = PostgresStreams(self._fenced, self._transaction, _tell_by)
        self.trust = PostgresTrust(self._fenced, self._transaction)
        self.leases = PostgresLeases(self._transaction)
        self.registry = PostgresRegistry(self._transaction)
        self.agents = PostgresAgentRecords(self._fenced, self._transaction)
        self.readings = Readings(self._transaction)
        self.overview = Overview(self._transaction)
        self.pruning = Pruning(self._transaction)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; the next call opens a new one."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def claim(self, unit: WorkUnit, attempt: Attempt) -> Fence:
        """Take the right to write for a unit; raises `FencedError` when this attempt is the stale one.

        Raises `PrunedRunError` for a run that was pruned: what it has read of a stream is not known any more.
        """
        asked = {**rows.of_unit(unit), **asdict(attempt), "lease": LEASE}
        with self._transaction() as cursor:
            row = cursor.execute(_SQL["claim"], asked).fetchone()
            if row is None:
                raise stale_attempt(unit, attempt)
            _refuse_pruned(cursor, unit.run)  # afterwards: the claim has waited for who prunes
        return Fence(unit=unit, epoch=row["epoch"])

    def shut(self, fence: Fence, unit: WorkUnit) -> Fence:
        """Refuse a unit to all executions that have begun, and return a right to write newer than theirs."""
        with self._fenced(fence) as cursor:
            (row,) = cursor.execute(_SQL["shut"], rows.of_unit(unit)).fetchall()
        return Fence(unit=unit, epoch=row["epoch"])

    def save_run(self, fence: Fence, spec: Mapping[str, Any], mode: Decision) -> None:
        """Record what the run does; what was recorded first stays."""
        content = {"spec": rows.as_json(spec), "mode": rows.as_json(mode.as_json())}
        with self._fenced(fence) as cursor:
            if cursor.execute(_SQL["save_run"], {**rows.of_run(fence.unit.run), **content}).fetchone():
                _tell(cursor, fence, fence.unit.round, events.batches_analyzed(mode))

    def run(self, key: RunKey) -> StoredRun:
        """Read a run; raises `UnknownRunError` when `analyze_batches` has not recorded it."""
        row = self._one("run", rows.of_run(key))
        if row is None:
            raise unknown_run(key)
        return StoredRun(key=key, spec=row["spec"], mode=row["mode"], started_at=row["started_at"])

    def open_round(self, fence: Fence, plan: Plan, terms: GateTerms) -> StoredRound:
        """Open the round of the plan; a round that is already open is returned as it was first written."""
        at = rows.of_round(fence.unit.run, plan.round)
        with self._fenced(fence) as cursor:
            now = _found(cursor.execute(_SQL["clock"]).fetchone(), "clock", "")["now"]
            content = {**at, "plan": rows.as_json(rows.plan_as_json(plan)), "opened_at": now}
            if cursor.execute(_SQL["open_round"], content).fetchone():
                cursor.execute(_SQL["add_sync_points"], {**at, **rows.of_points(points_of(terms, now))})
                _tell(cursor, fence, plan.round, events.round_opened(plan, points_of(terms, now), now))
            opened = cursor.execute(_SQL["rounds"], at)
            return next(rows.round_of(row) for row in opened if row["round"] == plan.round)

    def rounds(self, key: RunKey) -> Sequence[StoredRound]:
        """All opened rounds in order."""
        return [rows.round_of(row) for row in self._all("rounds", rows.of_run(key))]

    def register(self, fence: Fence, outcome: FeedOutcome, *, keep_success: bool = False) -> None:
        """Record how a feed ended in its round; the newest epoch wins, and only once per epoch."""
        kept = rows.storable(outcome)
        content = {
            **rows.of_run(fence.unit.run),
            **rows.of_outcome(kept),
            "epoch": fence.epoch,
            "keep_success": keep_success,
        }
        with self._fenced(fence) as cursor:
            if cursor.execute(_SQL["register"], content).fetchone():
                if kept.ranges is not None:
                    hold(cursor, fence, kept.feed_id, kept.ranges)
                _keep_profile(cursor, fence, kept)
                _tell(cursor, fence, kept.round, events.feed_registered(kept))

    def set_waiting(self, fence: Fence, feeds: Sequence[str]) -> None:
        """Say which feeds a branch is waiting for; naming any ends the lease of this execution."""
        unit = rows.of_unit(fence.unit)
        with self._fenced(fence) as cursor:
            before = {row["feed_id"] for row in cursor.execute(_SQL["forget_waiting"], unit)}
            if not feeds:
                return
            cursor.execute(_SQL["add_waiting"], {**unit, "feeds": list(feeds)})
            cursor.execute(_SQL["end_lease"], unit)
            if before != set(feeds):
                _tell(cursor, fence, fence.unit.round, events.branch_waiting(fence.unit.unit, feeds))

    def end_lease(self, fence: Fence) -> None:
        """Let any execution of the unit begin at once: this one has let go of its work."""
        with self._fenced(fence) as cursor:
            cursor.execute(_SQL["end_lease"], rows.of_unit(fence.unit))

    def outcomes(self, key: RunKey) -> Sequence[FeedOutcome]:
        """Every registered outcome, by round and feed."""
        return [rows.outcome_of(row) for row in self._all("outcomes", rows.of_run(key))]

    def gate_snapshot(self, key: RunKey, round_number: int) -> GateSnapshot:
        """Read the facts of a round's gate; raises `KeyError` when the round is not open."""
        return _found(
            self.gate_snapshots([(key, round_number)]).get((key, round_number)), "round", round_number
        )

    def gate_snapshots(
        self, rounds: Collection[tuple[RunKey, int]]
    ) -> Mapping[tuple[RunKey, int], GateSnapshot]:
        """Read the facts of many gates in one statement; rounds that are not open are left out."""
        found = self._all("gate_snapshots", rows.of_rounds(rounds))
        return {
            (RunKey(dag_id=row["dag_id"], run_id=row["run_id"]), row["round"]): rows.snapshot_of(row)
            for row in found
        }

    def branch_snapshot(self, key: RunKey, known: StoredRound, feeds: Collection[str]) -> GateSnapshot:
        """Read again of a round what some of its feeds need to know of each other."""
        row = self._one("branch_snapshot", {**rows.of_round(key, known.round), "feeds": list(feeds)})
        return rows.branch_snapshot_of(_found(row, "round", known.round), known)

    def mark_floor_reached(self, key: RunKey, round_number: int, sync_point: str = ALL_FEEDS) -> datetime:
        """Keep the moment at which the floor was first reached, and return it."""
        named = {**rows.of_round(key, round_number), "name": sync_point}
        row = _found(self._one("mark_floor_reached", named), "round", round_number)
        return cast("datetime", row["floor_reached_at"])

    def record_verdict(self, key: RunKey, round_number: int, decision: Decision) -> Mapping[str, Any]:
        """Write the gate's verdict once; whoever comes second gets the first one back."""
        at, verdict = rows.of_round(key, round_number), rows.as_json(decision.as_json())
        gate = WorkUnit(run=key, round=round_number, unit=events.GATE_UNIT)
        with self._transaction() as cursor:
            if cursor.execute(_SQL["record_verdict"], {**at, "verdict": verdict}).fetchone():
                cursor.execute(_SQL["add_decision"], {**at, "decision": verdict})
                _tell(cursor, gate, round_number, events.checkpoint(decision))
            row = _found(cursor.execute(_SQL["verdict"], at).fetchone(), "round", round_number)
        return cast("Mapping[str, Any]", row["verdict"])

    def decided_gates(
        self, *, dag_id: str | None = None, since: datetime | None = None
    ) -> Sequence[DecidedGate]:
        """Every gate that has decided, oldest first: all, those of one Dag, those since a moment."""
        found = self._all("decided_gates", {"dag_id": dag_id, "since": since})
        return [rows.decided_gate_of(row) for row in found]

    def record_decision(self, fence: Fence, decision: Decision) -> None:
        """Append a decision to the audit table."""
        at = rows.of_round(fence.unit.run, fence.unit.round)
        with self._fenced(fence) as cursor:
            cursor.execute(_SQL["add_decision"], {**at, "decision": rows.as_json(decision.as_json())})

    def decisions(self, key: RunKey) -> Sequence[tuple[int, Mapping[str, Any]]]:
        """Every decision of a run with its round, oldest first; gate verdicts included."""
        return [(row["round"], row["decision"]) for row in self._all("decisions", rows.of_run(key))]

    def save_merge(self, fence: Fence, record: MergeRecord) -> None:
        """Record the merge of a dataset in a round; the newest epoch wins."""
        content = {**rows.of_run(fence.unit.run), **rows.of_merge(record), "epoch": fence.epoch}
        with self._fenced(fence) as cursor:
            if cursor.execute(_SQL["save_merge"], content).fetchone():
                _tell(cursor, fence, record.round, events.merge_completed(record))

    def merges(self, key: RunKey, round_number: int) -> Mapping[str, MergeRecord]:
        """Read the merges of a round by dataset; there are none before it was merged."""
        found = map(rows.merge_of, self._all("merges", rows.of_round(key, round_number)))
        return {record.dataset: record for record in found}

    def add_event(self, fence: Fence, event: str, detail: Mapping[str, Json]) -> None:
        """Append a line to the timeline."""
        with self._fenced(fence) as cursor:
            _tell(cursor, fence, fence.unit.round, events.Happening(event, dict(detail)))

    def timeline(self, key: RunKey) -> Sequence[Event]:
        """The timeline of a run, oldest first."""
        return [Event(**row) for row in self._all("timeline", rows.of_run(key))]

    def finish(self, fence: Fence, state: RunState, manifest: Mapping[str, Any]) -> None:
        """Record how the run ended. The first end stays, unless more is published than before."""
        content = {"state": state.value, "manifest": rows.as_json(manifest)}
        with self._fenced(fence) as cursor:
            if cursor.execute(_SQL["finish"], {**rows.of_run(fence.unit.run), **content}).fetchone():
                _tell(cursor, fence, fence.unit.round, events.run_finished(state))

    def degraded_runs(self, dag_id: str, within: timedelta) -> Sequence[RunKey]:
        """The runs of a Dag that ended degraded, not longer ago than `within`, oldest first."""
        found = self._all("degraded_runs", {"dag_id": dag_id, "within": within})
        return [RunKey(dag_id=dag_id, run_id=row["run_id"]) for row in found]

    def manifest(self, key: RunKey) -> Mapping[str, Any] | None:
        """The manifest that `finish` recorded, if it did."""
        row = self._one("manifest", rows.of_run(key))
        return row["manifest"] if row else None

    def usual_rows(self, dag_id: str, feeds: Sequence[str], before: datetime) -> Mapping[str, int]:
        """Median of the rows staged in each feed's last successes in ended runs, if there are enough."""
        asked = {
            "dag_id": dag_id,
            "feeds": list(feeds),
            "before": before,
            "successes": RECENT_SUCCESSES,
            "enough": ENOUGH_SUCCESSES,
        }
        return {row["feed_id"]: int(row["median"]) for row in self._all("usual_rows", asked)}

    def profiles(self, dag_id: str, feed_id: str, before: datetime) -> Sequence[FeedProfile]:
        """What a feed looked like in the last published runs that had started before, newest first."""
        asked = {"dag_id": dag_id, "feed_id": feed_id, "before": before, "recent": RECENT_PROFILES}
        return [profile_of(row["profile"]) for row in self._all("profiles", asked)]

    def observed_seconds(self, dag_id: str, feeds: Sequence[str]) -> Mapping[str, float]:
        """Median seconds of each feed's last successes, for the feeds that have any."""
        asked = {"dag_id": dag_id, "feeds": list(feeds), "successes": RECENT_SUCCESSES}
        return {row["feed_id"]: row["median"] for row in self._all("observed_seconds", asked)}

    def _one(self, name: str, parameters: Mapping[str, Any]) -> dict[str, Any] | None:
        with self._transaction() as cursor:
            return cursor.execute(_SQL[name], parameters).fetchone()

    def _all(self, name: str, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
        with self._transaction() as cursor:
            return cursor.execute(_SQL[name], parameters).fetchall()

    @contextmanager
    def _fenced(self, fence: Fence) -> Iterator[Cursor]:
        """Hold the claim for one transaction, if it is still ours."""
        with self._transaction() as cursor:
            row = cursor.execute(_SQL["fence"], rows.of_unit(fence.unit)).fetchone()
            if row is None or row["epoch"] != fence.epoch:
                raise taken_over(fence)
            yield cursor

    @contextmanager
    def _transaction(self) -> Iterator[Cursor]:
        connection = self._working_connection()
        with connection.transaction(), connection.cursor(row_factory=dict_row) as cursor:
            yield cursor

    def _working_connection(self) -> psycopg.Connection[Any]:
        """Return the connection after a round trip, or a new one when that fails.

        A process that was forked needs one of its own: on its parent's, two would speak at once.
        """
        if self._opened_by != os.getpid():
            self._connection = None
        if self._connection is not None:
            try:
                self._connection.execute("")
            except psycopg.OperationalError:
                self.close()
        if self._connection is None:
            self._connection, self._opened_by = self._opened(), os.getpid()
        return self._connection

    def _opened(self) -> psycopg.Connection[Any]:
        connection = self._connect()
        try:
            connection.autocommit = True
            limit = f"{self._statement_limit / timedelta(milliseconds=1):.0f}ms"
            connection.execute(_SQL["set_session"], {"statement_limit": limit})
            check_ready(connection)
        except BaseException:
            connection.close()
            raise
        return connection


def _found(row: Found | None, what: str, which: object) -> Found:
    if row is None:
        raise KeyError(f"{what} {which}")
    return row


def _refuse_pruned(cursor: Cursor, run: RunKey) -> None:
    moment = when_pruned(cursor, run)
    if moment is not None:
        raise pruned_run(run, moment)


def _keep_profile(cursor: Cursor, fence: Fence, outcome: FeedOutcome) -> None:
    """What an earlier execution said of the feed in this round counts no more."""
    about = {**rows.of_round(fence.unit.run, outcome.round), "feed_id": outcome.feed_id}
    cursor.execute(_SQL["forget_profile"], about)
    if outcome.profile is not None:
        cursor.execute(_SQL["keep_profile"], {**about, "profile": rows.as_json(outcome.profile.as_json())})


def _tell_by(cursor: Cursor, fence: Fence, happening: events.Happening) -> None:
    _tell(cursor, fence, fence.unit.round, happening)


def _tell(cursor: Cursor, by: Fence | WorkUnit, round_number: int, happening: events.Happening) -> None:
    unit, epoch = (by.unit, by.epoch) if isinstance(by, Fence) else (by, None)
    line = {
        **rows.of_unit(unit),
        "round": round_number,
        "epoch": epoch,
        "event": happening.event,
        "detail": rows.as_json(happening.detail),
    }
    cursor.execute(_SQL["add_event"], line)
