"""Deletes what publications that died have left in a target database, and rows that were put aside long ago.

The ledger and the claims are never touched: they are what keeps a publication from happening twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from typing import Any

import psycopg
from psycopg import errors, sql
from psycopg.rows import dict_row

from airflow_orchestration.storage.migrating import check_ready
from airflow_orchestration.storage.publication import SCRATCH_SCHEMA
from airflow_orchestration.storage.sql_file import statements
from airflow_orchestration.storage.target import template

_SQL = statements("pruning.sql")

Cursor = psycopg.Cursor[dict[str, Any]]


class TargetPruning:
    """What is deleted of one target database; every call opens a connection."""

    def __init__(self, connect: Callable[[], psycopg.Connection[Any]]) -> None:
        self._connect = connect

    def check(self) -> None:
        """Raise what a call would raise for a database that can't be reached, or was not migrated."""
        with self._connected():
            pass

    def drop_scratch(self, quiet: timedelta, *, rehearse: bool = False) -> list[str]:
        """Drop the private tables of publications that are done, taken over, or were begun so long ago; name them.

        One that somebody still works with is left to the next time.
        """
        with self._connected() as connection:
            with connection.transaction(), connection.cursor(row_factory=dict_row) as cursor:
                found = cursor.execute(_SQL["leftover_scratch"], {"quiet": quiet}).fetchall()
            names = [row["name"] for row in found]
            return names if rehearse else [name for name in names if _dropped(connection, name)]

    def delete_quarantined(
        self, age: timedelta, *, dag_id: str | None = None, rehearse: bool = False
    ) -> Iterator[int]:
        """Delete the rows that were put aside by publications that are so old; yield for each how many."""
        with self._connected() as connection, connection.cursor(row_factory=dict_row) as cursor:
            row = cursor.execute(_SQL["cut"], {"age": age}).fetchone()
            cut: datetime = (row or {})["cut"]
            asked = {"cut": cut, "dag_id": dag_id}
            for publication in cursor.execute(_SQL["publications_with_quarantine"], asked).fetchall():
                with connection.transaction(force_rollback=rehearse):
                    deleted = cursor.execute(_SQL["prune_quarantined_row"], publication).rowcount
                yield deleted

    @contextmanager
    def _connected(self) -> Iterator[psycopg.Connection[Any]]:
        with closing(self._connect()) as connection:
            connection.autocommit = True
            check_ready(connection)
            connection.execute(_SQL["session_of_targets"])
            yield connection


def _dropped(connection: psycopg.Connection[Any], name: str) -> bool:
    table = sql.Identifier(SCRATCH_SCHEMA, name)
    try:
        with connection.transaction():
            connection.execute(template("drop_table", table=table))
    except errors.LockNotAvailable:
        return False
    return True
