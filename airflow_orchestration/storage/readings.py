"""What a person's page reads of a run, each in a statement that does not grow with the run's timeline."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg

from airflow_orchestration.domain.outcome import FeedOutcome
from airflow_orchestration.storage import rows
from airflow_orchestration.storage.gate_facts import standing_outcomes
from airflow_orchestration.storage.shared import unknown_run
from airflow_orchestration.storage.sql_file import statements
from airflow_orchestration.storage.store import RunKey, StoredRound

_SQL = statements("readings.sql")
_ROUNDS = statements("queries.sql")["rounds"]

MOST_DECISIONS = 1_000
"""Ours: decisions about rounds that are looked at: three rounds of a hundred datasets have fewer."""
MOST_BESIDES = 50
"""Ours: other decisions, for instance that a feed is not as usual; its line in the timeline stays."""
MOST_COUNTED = 10_000
"""Ours: events that are counted; beyond it a page says "more than"."""
NEWEST = 2**63 - 1
"""Before this id is every event."""

Cursor = psycopg.Cursor[dict[str, Any]]
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRead:
    """Everything about a run that is shown at once, as of one moment. Rows have the names of their columns."""

    key: RunKey
    run: Row
    """With `now`, the store's clock, and `has_agents`; its `spec` is JSON text."""
    rounds: tuple[StoredRound, ...]
    feeds: Sequence[Row]
    """Outcomes by round and feed."""
    rejects: Sequence[Row]
    """Rows put aside by rule, of each feed's newest outcome."""
    begun: Mapping[tuple[int, str], datetime]
    """When a work unit, `(round, name)`, was begun or resumed for the last time."""
    waiting: Mapping[tuple[int, str], tuple[str, ...]]
    """What a work unit waits for."""
    merges: Sequence[Row]
    decisions: Sequence[Row]
    """About the run and its rounds: oldest first, the newest `MOST_DECISIONS`."""
    besides: Sequence[Row]
    """About single feeds and the like, without those about agents: oldest first, the newest `MOST_BESIDES`."""
    questions: Sequence[Row]
    agents: Mapping[tuple[int, str, str], str]
    """Who has a branch: by round, branch and lane."""
    events: int
    """At most one more than `MOST_COUNTED`."""

    @property
    def now(self) -> datetime:
        """The store's clock when it was read."""
        moment: datetime = self.run["now"]
        return moment

    @property
    def finished_at(self) -> datetime | None:
        """When the run ended, by the newest of its versions; None while it goes on."""
        moment: datetime | None = self.run["finished_at"]
        return moment

    @property
    def versions(self) -> Sequence[Row]:
        """What was published, by the manifest, oldest first: each with its dataset, version, feeds and moment."""
        return (self.run["manifest"] or {}).get("versions") or ()


class Readings:
    """Reads for the page of a run. It changes nothing, and holds no claim."""

    def __init__(self, transaction: Callable[[], AbstractContextManager[Cursor]]) -> None:
        self._transaction = transaction

    def run(self, key: RunKey) -> RunRead:
        """Read a run; raises `UnknownRunError` for one that the store does not know."""
        named = rows.of_run(key)
        with self._transaction() as cursor:
            cursor.execute(_SQL["one_moment"])

            def read(name: str, **limits: int) -> list[dict[str, Any]]:
                return cursor.execute(_SQL[name], {**named, **limits}).fetchall()

            run = read("run_read")
            if not run:
                raise unknown_run(key)
            rounds = cursor.execute(_ROUNDS, named).fetchall()
            return RunRead(
                key=key,
                run=run[0],
                rounds=tuple(map(rows.round_of, rounds)),
                feeds=read("feeds_read"),
                rejects=read("rejects_read"),
                begun={(row["round"], row["unit"]): row["claimed_at"] for row in read("claims_read")},
                waiting=_by_unit(read("waiting_read")),
                merges=read("merges_read"),
                decisions=read("decisions_read", limit=MOST_DECISIONS)[::-1],
                besides=read("decisions_besides_read", limit=MOST_BESIDES)[::-1],
                questions=read("questions_read"),
                agents={
                    (row["round"], row["branch_id"], row["lane"]): row["agent_id"]
                    for row in read("agents_read")
                },
                events=read("events_counted", limit=MOST_COUNTED + 1)[0]["count"],
            )

    def spec(self, key: RunKey) -> str:
        """What a run does, as JSON text; raises `UnknownRunError` where nobody knows: of no run, or a refused one."""
        with self._transaction() as cursor:
            row = cursor.execute(_SQL["spec_read"], rows.of_run(key)).fetchone()
        if row is None or row["spec"] is None:
            raise unknown_run(key)
        return str(row["spec"])

    def standing(self, key: RunKey, feed: str | None = None) -> dict[str, FeedOutcome]:
        """What counts of each feed in the last round of a run, or of one of them, as the manifest has it."""
        with self._transaction() as cursor:
            rounds = cursor.execute(_ROUNDS, rows.of_run(key)).fetchall()
            found = cursor.execute(_SQL["newest_outcomes"], {**rows.of_run(key), "feed": feed}).fetchall()
        newest = {row["feed_id"]: rows.outcome_of(row) for row in found}
        return standing_outcomes(rows.round_of(rounds[-1]).plan, newest) if rounds else {}

    def newest(self, key: RunKey) -> Row:
        """What is newest of a run: its end, and the last event, decision and epoch; with `now`, the store's clock.

        Raises `UnknownRunError` for a run that the store does not know.
        """
        with self._transaction() as cursor:
            row = cursor.execute(_SQL["newest_read"], rows.of_run(key)).fetchone()
        if row is None:
            raise unknown_run(key)
        return row

    def knows(self, key: RunKey) -> bool:
        """Whether the store has heard of a run."""
        with self._transaction() as cursor:
            return cursor.execute(_SQL["run_read"], rows.of_run(key)).fetchone() is not None

    def events(
        self, key: RunKey, *, before: int | None, round_number: int | None, limit: int
    ) -> list[dict[str, Any]]:
        """The newest events of a run, or of one round of it, that are older than the event `before`; newest first."""
        name = "events_before" if round_number is None else "events_of_round_before"
        asked = {
            **rows.of_run(key),
            "before": NEWEST if before is None else before,
            "round": round_number,
            "limit": limit,
        }
        with self._transaction() as cursor:
            return cursor.execute(_SQL[name], asked).fetchall()


def _by_unit(found: Sequence[Row]) -> dict[tuple[int, str], tuple[str, ...]]:
    units: dict[tuple[int, str], list[str]] = {}
    for row in found:
        units.setdefault((row["round"], row["unit"]), []).append(row["feed_id"])
    return {unit: tuple(feeds) for unit, feeds in units.items()}
