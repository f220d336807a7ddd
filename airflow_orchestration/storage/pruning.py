"""Deletes whole runs that ended long ago, and what executions that died have left in the store.

Nothing here is needed for correctness: what it deletes counts for nobody any more. A run goes in one transaction,
which first writes down that it does; only then let the triggers of the audit tables go of its lines. Of these there
may be millions: they go a bounded number at a time, and what a prune that was ended leaves of them the next one
finds. A rehearsal does the same and takes it back; lines it only counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import psycopg

from airflow_orchestration.policies.agent_success import HISTORY_DAYS
from airflow_orchestration.policies.drift import RECENT_PROFILES
from airflow_orchestration.storage.shared import RECENT_SUCCESSES
from airflow_orchestration.storage.sql_file import statements
from airflow_orchestration.storage.store import RunKey
from airflow_orchestration.storage.trust_history import MOST_TAUGHT

_SQL = statements("pruning.sql")
_PRUNED = statements("queries.sql")["pruned"]
_LOCK_STREAM = statements("streams.sql")["lock_stream"]
"""The lock of who reads a stream: another one would keep nobody out."""

RUNS_AT_ONCE = 20
"""Ours: runs of one transaction."""
LINES_AT_ONCE = 20_000
"""Ours: rows of one transaction where there may be any number; they take half a second, and a minute is granted."""
LOST = timedelta(days=14)
"""Ours: a run without an end that nobody has worked on for so long is lost, see the trigger `ended_only`. Twice the
longest deadline that a gate may have."""
BY_RUN = (
    "waiting",
    "feed_profile",
    "feed_outcome",
    "merge",
    "sync_point",
    "round",
    "stream_closed",
    "agents_of_round",
    "run",
    "claim",
)
"""The tables of which a run's rows go with it, in the order in which they refer to each other."""

LINES = ("timeline", "decision")
"""The tables of the audit, whose lines of a run follow it."""

Cursor = psycopg.Cursor[dict[str, Any]]
Rows = Counter[str]
"""How many rows were deleted, by table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFiles:
    """What the store knows of a run's files: which count, and whether nobody works on others."""

    registered: frozenset[str]
    is_quiet: bool


class Pruning:
    """What is deleted of a store. `transaction` opens one."""

    def __init__(self, transaction: Callable[[], AbstractContextManager[Cursor]]) -> None:
        self._transaction = transaction

    def cut(self, age: timedelta) -> datetime:
        """The moment that is so long ago by the store's clock."""
        with self._transaction() as cursor:
            row = cursor.execute(_SQL["cut"], {"age": age}).fetchone()
        moment: datetime = (row or {})["cut"]
        return moment

    def expired(self, cut: datetime, *, dag_id: str | None = None) -> list[RunKey]:
        """The runs that ended, or were lost, before a moment and on which nothing rests that is kept, oldest first."""
        asked = {
            "cut": cut,
            "lost": LOST,
            "dag_id": dag_id,
            "successes": RECENT_SUCCESSES,
            "profiles": RECENT_PROFILES,
        }
        with self._transaction() as cursor:
            found = cursor.execute(_SQL["expired_runs"], asked).fetchall()
        return [RunKey(dag_id=row["dag_id"], run_id=row["run_id"]) for row in found]

    def delete_runs(
        self, runs: Sequence[RunKey], cut: datetime, *, rehearse: bool = False
    ) -> Iterator[tuple[list[RunKey], Rows]]:
        """Delete runs, some at a time, and yield which and with how many rows; their audit is for `delete_lines`.

        What was deleted or worked on meanwhile is left out.
        """
        for start in range(0, len(runs), RUNS_AT_ONCE):
            some = runs[start : start + RUNS_AT_ONCE]
            with self._undone(rehearse=rehearse) as cursor:
                done = _delete(cursor, some, cut)
            yield done

    def delete_lines(
        self, gone: Sequence[RunKey], *, dag_id: str | None = None, rehearse: bool = False
    ) -> Iterator[Rows]:
        """Delete the audit of runs that were pruned, also by a prune that was ended; yield how many lines at a time.

        A rehearsal counts them, with those of the runs that are `gone` then.
        """
        with self._transaction() as cursor:
            cursor.execute(_SQL["by_index"])
            found = cursor.execute(_SQL["runs_with_lines"], {"dag_id": dag_id}).fetchall()
        left = {RunKey(dag_id=row["dag_id"], run_id=row["run_id"]): row["pruned_at"] for row in found}
        runs = list(dict.fromkeys([*left, *gone])) if rehearse else list(left)
        for start in range(0, len(runs), RUNS_AT_ONCE):
            some = runs[start : start + RUNS_AT_ONCE]
            if rehearse:
                yield self._counted_lines(some)
            else:
                yield from self._deleted_lines(some, [left[run] for run in some])

    def delete_rests(
        self, gone: Sequence[RunKey], cut: datetime, *, dag_id: str | None = None, rehearse: bool = False
    ) -> Rows:
        """Delete what outlives a run for a while: of those that are `gone`, and of those that were before."""
        asked = {
            **_keys(gone),
            "cut": cut,
            "dag_id": dag_id,
            "learned_for": timedelta(days=HISTORY_DAYS),
            "taught_runs": MOST_TAUGHT,
        }
        rows = self._delete_ranges(asked, rehearse=rehearse)
        for table in ("agent_outcome", "trust"):
            for deleted in self._bounded(f"prune_{table}", asked, rehearse=rehearse):
                rows[table] += deleted
        return rows

    def delete_leases(self, quiet: timedelta, *, rehearse: bool = False) -> Rows:
        """Delete the leases that expired so long ago."""
        with self._undone(rehearse=rehearse) as cursor:
            return Counter(lease=cursor.execute(_SQL["prune_lease"], {"quiet": quiet}).rowcount)

    def pruned_at(self, run: RunKey) -> datetime | None:
        """When a run was deleted; None for one that was not."""
        with self._transaction() as cursor:
            return when_pruned(cursor, run)

    def knows_dag(self, dag_id: str) -> bool:
        """Whether there is, or was, a run of a Dag."""
        with self._transaction() as cursor:
            row = cursor.execute(_SQL["knows_dag"], {"dag_id": dag_id}).fetchone()
        return bool(row and row["knows"])

    def forget_staging(self, staging: str) -> None:
        """Look no more for files in a place that is gone, unless a run begins there after now."""
        with self._transaction() as cursor:
            cursor.execute(_SQL["forget_staging"], {"staging": staging})

    def forgotten_places(self) -> frozenset[str]:
        """The places that somebody said are gone."""
        with self._transaction() as cursor:
            return frozenset(row["staging"] for row in cursor.execute(_SQL["forgotten_places"]))

    def staging_areas(self, *, dag_id: str | None = None) -> Mapping[str, list[str]]:
        """Where runs have kept files, and which Dags did there; without the places that were forgotten."""
        with self._transaction() as cursor:
            found = cursor.execute(_SQL["staging_areas"], {"dag_id": dag_id}).fetchall()
        return {row["staging"]: sorted(row["dag_ids"]) for row in found}

    def runs_with_files(self, dag_id: str) -> list[str]:
        """The runs of a Dag that may have files, pruned ones too."""
        with self._transaction() as cursor:
            found = cursor.execute(_SQL["runs_with_files"], {"dag_id": dag_id}).fetchall()
        return [row["run_id"] for row in found]

    def files(self, dag_id: str, run_ids: Sequence[str], quiet: timedelta) -> Mapping[str, RunFiles]:
        """What is known of the files of some runs, all of one moment."""
        asked = {"dag_id": dag_id, "run_ids": list(run_ids), "quiet": quiet}
        with self._transaction() as cursor:
            found = cursor.execute(_SQL["registered_files"], asked).fetchall()
        return {
            row["run_id"]: RunFiles(
                registered=frozenset(uri for uri in row["uris"] if uri is not None), is_quiet=row["is_quiet"]
            )
            for row in found
        }

    def _delete_ranges(self, asked: Mapping[str, Any], *, rehearse: bool) -> Rows:
        with self._transaction() as cursor:
            streams = cursor.execute(_SQL["streams"], asked).fetchall()
        rows: Rows = Counter()
        for stream in streams:
            with self._undone(rehearse=rehearse) as cursor:
                cursor.execute(_LOCK_STREAM, stream)
                found = cursor.execute(_SQL["prune_stream_range"], {**asked, **stream})
                rows["stream_range"] += found.rowcount
        return rows

    def _counted_lines(self, runs: Sequence[RunKey]) -> Rows:
        rows: Rows = Counter()
        with self._transaction() as cursor:
            for table in LINES:
                counted = cursor.execute(_SQL[f"count_{table}"], _keys(runs)).fetchone()
                rows[table] += (counted or {})["lines"]
        return rows

    def _deleted_lines(self, runs: Sequence[RunKey], moments: Sequence[datetime]) -> Iterator[Rows]:
        asked = {**_keys(runs), "pruned_at": list(moments)}
        for table in LINES:
            for deleted in self._bounded(f"prune_{table}", asked, by_index=True):
                yield Counter({table: deleted})

    def _bounded(
        self, name: str, asked: Mapping[str, Any], *, rehearse: bool = False, by_index: bool = False
    ) -> Iterator[int]:
        """Delete a bounded number of rows at a time, each in a transaction of its own; a rehearsal, all at once."""
        most = None if rehearse else LINES_AT_ONCE
        while True:
            with self._undone(rehearse=rehearse) as cursor:
                if by_index:
                    cursor.execute(_SQL["by_index"])
                deleted = cursor.execute(_SQL[name], {**asked, "most": most}).rowcount
            yield deleted
            if most is None or deleted < most:
                return

    @contextmanager
    def _undone(self, *, rehearse: bool) -> Iterator[Cursor]:
        """Open a transaction, and take back what a rehearsal did in it."""
        with self._transaction() as cursor:
            yield cursor
            if rehearse:
                raise psycopg.Rollback


def when_pruned(cursor: Cursor, run: RunKey) -> datetime | None:
    """When a run was deleted; None for one that was not."""
    row = cursor.execute(_PRUNED, {"dag_id": run.dag_id, "run_id": run.run_id}).fetchone()
    moment: datetime | None = (row or {}).get("pruned_at")
    return moment


def _delete(cursor: Cursor, runs: Sequence[RunKey], cut: datetime) -> tuple[list[RunKey], Rows]:
    asked = {**_keys(runs), "cut": cut}
    cursor.execute(_SQL["lock_claims"], asked)
    cursor.execute(_SQL["lock_runs"], asked)
    noted = cursor.execute(_SQL["note_pruned"], asked).fetchall()
    done = [RunKey(dag_id=row["dag_id"], run_id=row["run_id"]) for row in noted]
    pruned = _keys(done)
    return done, Counter({table: cursor.execute(_SQL[f"prune_{table}"], pruned).rowcount for table in BY_RUN})


def _keys(runs: Sequence[RunKey]) -> dict[str, Any]:
    return {"dag_ids": [run.dag_id for run in runs], "run_ids": [run.run_id for run in runs]}
