"""How are rows published exactly once, while attempts die, hang and overlap?

First the rows are copied into tables that belong to this attempt alone. No lock is held meanwhile: a client
that hangs inside a COPY keeps its locks for ever, and no timeout of the server ends it. Then one short
transaction on the server checks the fence, books the publication in a ledger beside the data, counts every
feed's rows, and writes. The ledger decides: what is booked there is published, whatever the client heard of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import psycopg
from psycopg import errors
from psycopg.rows import dict_row

from airflow_orchestration.domain.contract import Contract
from airflow_orchestration.domain.publish import Publish, PublishMode
from airflow_orchestration.exceptions import InputRefusedError, Problem, ProblemCode, StoreNotReadyError
from airflow_orchestration.storage.attempt import Attempt, booked_as
from airflow_orchestration.storage.faults import stays, turned_away
from airflow_orchestration.storage.migrating import check_ready
from airflow_orchestration.storage.preflight import target_problems
from airflow_orchestration.storage.publication import (
    FeedRows,
    History,
    Publication,
    Published,
    confirmed,
    published_as,
    version_of,
)
from airflow_orchestration.storage.quarantine import PublishedQuarantine
from airflow_orchestration.storage.store import RunKey
from airflow_orchestration.storage.target import SQL, Target

__all__ = ["FeedRows", "History", "Publication", "Published", "Publisher"]

Connection = psycopg.Connection[Any]
TOOK_TOO_LONG = (
    "; the limit is some minutes and 50 microseconds for each row: look for what slows the table (indexes, triggers, "
    "other work of the server), or publish fewer rows at a time, then try again"
)


class Publisher:
    """Publishes to the tables of one database; every call opens a connection of its own."""

    def __init__(self, connect: Callable[[], Connection]) -> None:
        self._connect = connect

    @property
    def quarantine(self) -> PublishedQuarantine:
        """The rows that were put aside of what was published."""
        return PublishedQuarantine(self._open)

    def preflight(self, publish: Publish, contract: Contract) -> None:
        """Raise `InputRefusedError` with everything that would keep a publication from its table.

        What passes by itself, as a server that does not answer or a lock, is raised as psycopg tells it.
        """
        target = Target.named(publish.table, contract, mode=publish.mode, partition_by=publish.partition_by)
        try:
            connection = self._connect()
        except psycopg.OperationalError as error:
            cause = turned_away(error)
            if cause is None:
                raise
            message = f"the server turns us away: {cause}; check database, user and password"
            raise InputRefusedError(
                f"target table {publish.table}",
                [Problem(code=ProblemCode.LOGIN_REFUSED, path="connection", message=message)],
            ) from None
        with closing(connection):
            connection.autocommit = True
            problems = list(_preflight_problems(connection, target))
        if problems:
            raise InputRefusedError(f"target table {publish.table}", problems)

    def publish(
        self, publication: Publication, merged: Iterable[bytes], quarantine: Iterable[bytes]
    ) -> Published:
        """Bring the rows to the table, once; a key that is booked with the same content changes nothing.

        `merged` and `quarantine` are CSV without a header. Raises `FencedError`, `PublishConflictError`,
        `LedgerMismatchError`, and `InputRefusedError` for rows that PostgreSQL refuses.
        """
        publication.check()
        try:
            with closing(self._open()) as connection:
                return Attempt(connection, publication).run(merged, quarantine)
        except (psycopg.OperationalError, errors.TransactionTimeout) as error:
            return self._look_up(publication, error)

    def ledger(self, table: str, publication_key: str) -> Published | None:
        """What was published under a key, if anything was."""
        with closing(self._open()) as connection:
            booked = booked_as(connection, {"target_table": table, "publication_key": publication_key})
        return published_as(booked, already=True) if booked else None

    def history(self, table: str, run: RunKey) -> History:
        """What the ledger knows of a run and of those after it, in one snapshot."""
        named = {"target_table": table, "publication_key": "", "dag_id": run.dag_id, "run_id": run.run_id}
        with (
            closing(self._open()) as connection,
            connection.transaction(),
            connection.cursor(row_factory=dict_row) as cursor,
        ):
            cursor.execute(SQL["one_snapshot"])
            newest = cursor.execute(SQL["newest"], named).fetchone()
            return History(
                versions=tuple(version_of(row) for row in cursor.execute(SQL["versions"], named)),
                later={
                    RunKey(dag_id=row["dag_id"], run_id=row["run_id"]): tuple(row["feeds"])
                    for row in cursor.execute(SQL["later_runs"], named).fetchall()
                },
                newest=newest["publication_key"] if newest else None,
            )

    def shut_out(self, table: str, publication_key: str, epoch: int) -> None:
        """Refuse older executions: what they have under way for this key is not committed any more."""
        claim = {"target_table": table, "publication_key": publication_key, "epoch": epoch}
        with closing(self._open()) as connection:
            connection.execute(SQL["claim"], claim)

    def _open(self) -> Connection:
        connection = self._connect()
        try:
            connection.autocommit = True
            check_ready(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _look_up(self, publication: Publication, lost: psycopg.DatabaseError) -> Published:
        """The server or the connection failed, perhaps after the commit: the ledger knows.

        The failure itself is told again without its context, in which PostgreSQL quotes the row in hand.
        """
        remedy = TOOK_TOO_LONG if isinstance(lost, (errors.TransactionTimeout, errors.QueryCanceled)) else ""
        told = type(lost)(f"{publication.place}: {str(lost).splitlines()[0]}{remedy}")
        try:
            with closing(self._open()) as connection, connection.cursor(row_factory=dict_row) as cursor:
                booked = booked_as(connection, publication.parameters())
                claim = cursor.execute(SQL["claimed_by"], publication.parameters()).fetchone()
        except psycopg.OperationalError:
            raise told from None
        if claim and claim["epoch"] > publication.epoch:
            raise publication.fenced() from None
        if booked:
            return confirmed(booked, publication, already=booked["epoch"] != publication.epoch)
        raise told from None


def _preflight_problems(connection: Connection, target: Target) -> Iterator[Problem]:
    with connection.transaction(), connection.cursor(row_factory=dict_row) as cursor:
        cursor.execute(SQL["plain_names"])
        problems = list(target_problems(cursor, target))
    yield from problems
    try:
        check_ready(connection)
    except StoreNotReadyError as error:
        yield Problem(code=ProblemCode.NOT_READY, path="orchestration", message=str(error))
        return
    if any(problem.path == "connection" for problem in problems):
        return
    try:
        tried = replace(target, mode=PublishMode.UPSERT) if problems else target
        Attempt(connection, _rehearsal(tried), rehearsing=True).rehearse(with_target=not problems)
    except InputRefusedError as refused:
        yield from refused.problems
    except psycopg.Error as error:
        if not stays(error):
            raise
        is_unprivileged = isinstance(error, errors.InsufficientPrivilege)
        yield Problem(
            code=ProblemCode.MISSING_PRIVILEGE if is_unprivileged else ProblemCode.OBSTACLE,
            path="orchestration",
            message=f"a rehearsal with no rows was refused ({error.sqlstate}): {error.diag.message_primary}",
        )


def _rehearsal(target: Target) -> Publication:
    return Publication(
        table=f"{target.schema}.{target.name}",
        publication_key="rehearsal",
        run=RunKey(dag_id="", run_id=""),
        round=0,
        epoch=0,
        content_sha256="",
        contract=target.contract,
        feeds={},
        mode=target.mode,
        partition_by=target.partition_by,
    )
