"""What runs taught about the reliability of feeds, in PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from itertools import groupby
from typing import Any

import psycopg

from airflow_orchestration.storage import rows
from airflow_orchestration.storage.sql_file import statements
from airflow_orchestration.storage.store import Fence
from airflow_orchestration.storage.trust_history import Taught, TaughtRun

_SQL = statements("trust.sql")

Cursor = psycopg.Cursor[dict[str, Any]]


class PostgresTrust:
    """Keeps what runs taught. `fenced` opens a transaction that holds a claim."""

    def __init__(
        self,
        fenced: Callable[[Fence], AbstractContextManager[Cursor]],
        transaction: Callable[[], AbstractContextManager[Cursor]],
    ) -> None:
        self._fenced = fenced
        self._transaction = transaction

    def teach(self, fence: Fence, dataset: str, method: str, taught: Sequence[Taught]) -> None:
        """Keep what the fence's run teaches, instead of what it taught before."""
        run = {**rows.of_run(fence.unit.run), "dataset": dataset}
        with self._fenced(fence) as cursor:
            cursor.execute(_SQL["forget_trust"], run)
            lines = rows.as_json([_line(one) for one in taught])
            cursor.execute(_SQL["teach_trust"], {**run, "method": method, "taught": lines})

    def history(
        self, dag_id: str, dataset: str, *, runs: int, before: datetime | None = None
    ) -> Sequence[TaughtRun]:
        """What the newest runs taught, oldest first."""
        asked = {"dag_id": dag_id, "dataset": dataset, "before": before, "runs": runs}
        with self._transaction() as cursor:
            found = cursor.execute(_SQL["trust_history"], asked).fetchall()
        return [
            TaughtRun(
                run_id=run_id,
                started_at=started_at,
                method=method,
                taught=tuple(_taught(row) for row in lines),
            )
            for (run_id, started_at, method), lines in groupby(
                found, key=lambda row: (row["run_id"], row["started_at"], row["method"])
            )
        ]


def _line(one: Taught) -> dict[str, Any]:
    return {
        "attribute": one.attribute,
        "feed_id": one.feed_id,
        "right_count": one.right,
        "total_count": one.total,
        "accuracy": one.accuracy,
    }


def _taught(row: dict[str, Any]) -> Taught:
    return Taught(
        attribute=row["attribute"],
        feed_id=row["feed_id"],
        right=row["right_count"],
        total=row["total_count"],
        accuracy=row["accuracy"],
    )
