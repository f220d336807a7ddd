"""Reads the rows that a run has put aside, from the database to which it published."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Any

import psycopg
from psycopg.rows import class_row

from airflow_orchestration.domain.quarantined_row import QuarantinedRow
from airflow_orchestration.storage.sql_file import statements
from airflow_orchestration.storage.store import RunKey

_SQL = statements("quarantine.sql")
_FETCH = 10_000


class PublishedQuarantine:
    """What stands in `orchestration.quarantined_row` of one database; every call opens a connection."""

    def __init__(self, connect: Callable[[], psycopg.Connection[Any]]) -> None:
        self._connect = connect

    def feeds(self, table: str, run: RunKey) -> frozenset[str]:
        """The feeds that a run has published to a table, with or without rows put aside."""
        with closing(self._connect()) as connection, connection.transaction():
            return frozenset(
                feed_id for (feed_id,) in connection.execute(_SQL["published_feeds"], _of(table, run))
            )

    def samples(
        self, table: str, run: RunKey, wanted: Sequence[tuple[str, str]], *, each: int
    ) -> list[QuarantinedRow]:
        """The first rows of each wanted feed and rule, at most so many `each`."""
        feeds, rules = [feed for feed, _ in wanted], [rule for _, rule in wanted]
        asked = {**_of(table, run), "feeds": feeds, "rules": rules, "each": each}
        with (
            closing(self._connect()) as connection,
            connection.transaction(),
            connection.cursor(row_factory=class_row(QuarantinedRow)) as cursor,
        ):
            return cursor.execute(_SQL["quarantine_samples"], asked).fetchall()

    def rows(
        self, table: str, run: RunKey, feeds: Sequence[str], *, rule: str | None = None
    ) -> Iterator[QuarantinedRow]:
        """Yield every row of these feeds that was put aside, by feed, rule and position, without holding them all."""
        asked = {**_of(table, run), "feeds": list(feeds), "rule": rule}
        with (
            closing(self._connect()) as connection,
            connection.transaction(),
            connection.cursor("quarantined_rows", row_factory=class_row(QuarantinedRow)) as cursor,
        ):
            cursor.itersize = _FETCH
            yield from cursor.execute(_SQL["quarantined_rows"], asked)


def _of(table: str, run: RunKey) -> dict[str, Any]:
    return {"target_table": table, "dag_id": run.dag_id, "run_id": run.run_id}
