"""How did the runs of some Dags go over time, and the feeds of one Dag? Read-only, and bounded."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg

from airflow_orchestration.domain.pipeline import ALL_FEEDS
from airflow_orchestration.storage.sql_file import statements

_SQL = statements("overview.sql")

Cursor = psycopg.Cursor[dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class PastRun:
    """A run as a list of runs shows it; None where the run has not come so far, or was refused."""

    dag_id: str
    run_id: str
    state: str | None
    """None while it runs."""
    began: datetime
    """When it was analyzed, or when it was refused."""
    finished_at: datetime | None
    weight_share: float | None
    feeds_in: int | None
    feeds_expected: int | None
    version: int | None
    rounds: int
    """How many were opened."""
    action: str | None
    """What the gate of the last round said."""
    decided_at: datetime | None
    deadline_at: datetime | None
    quality: float | None
    """What the last quality gate looked at, else that of the worst merge of the last round."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedInRun:
    """A feed in one run, by its newest outcome in it; None where it has none."""

    feed_id: str
    run_id: str
    began: datetime
    state: str | None
    """As the manifest has it; None while the run goes on."""
    status: str | None
    """Of the outcome."""
    rows_staged: int | None
    quality_score: float | None
    registered_at: datetime | None
    opened_at: datetime | None
    """When the round of the outcome was opened."""
    decided_at: datetime | None
    """When its gate decided."""
    trust: float | None
    """Mean of the accuracies over attributes; None where the run learned none."""


class Overview:
    """Reads what happened in many runs. `transaction` opens one."""

    def __init__(self, transaction: Callable[[], AbstractContextManager[Cursor]]) -> None:
        self._transaction = transaction

    def runs(self, dag_ids: Collection[str], *, since: datetime, limit: int) -> Sequence[PastRun]:
        """The newest runs of these Dags that began at `since` or later, newest first, at most `limit`."""
        asked = {"dag_ids": list(dag_ids), "since": since, "limit": limit, "all_feeds": ALL_FEEDS}
        return [PastRun(**row) for row in self._read("runs_over_time", asked)]

    def feeds(self, dag_id: str, *, runs: int, feeds: int) -> Sequence[FeedInRun]:
        """The feeds of the newest `runs` runs of a Dag, by feed, each with its runs oldest first.

        At most `feeds` feeds: those that were missing in most of the runs come first, then the first by id.
        """
        asked = {"dag_id": dag_id, "runs": runs, "feeds": feeds}
        return [FeedInRun(**row) for row in self._read("feeds_over_time", asked)]

    def _read(self, name: str, asked: dict[str, Any]) -> list[dict[str, Any]]:
        with self._transaction() as cursor:
            return cursor.execute(_SQL[name], asked).fetchall()
