"""How are rows published exactly once, while attempts die, hang and overlap?

First the rows are copied into tables that belong to this attempt alone. No lock is held meanwhile: a client
that hangs inside a COPY keeps its locks for ever, and no timeout of the server ends it. Then one short
transaction on the server checks the fence, books the publication in a ledger beside the data, counts every
feed's rows, and writes. The ledger decides: what is booked there is published, whatever the client heard of it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from typing import Any, TypeVar

import psycopg
from psycopg import errors, sql
from psycopg.rows import dict_row

from airflow_orchestration.domain.contract import Contract
from airflow_orchestration.exceptions import (
    InputRefusedError,
    LedgerMismatchError,
    Problem,
    StoreNotReadyError,
)
from airflow_orchestration.storage.faults import stays, turned_away
from airflow_orchestration.storage.migrating import check_ready
from airflow_orchestration.storage.publication import (
    FeedRows,
    History,
    Publication,
    Published,
    Scratch,
    confirmed,
    published_as,
    version_of,
)
from airflow_orchestration.storage.store import RunKey
from airflow_orchestration.storage.target import SQL, Cursor, Target, template

__all__ = ["FeedRows", "History", "Publication", "Published", "Publisher"]

PAUSES_SECONDS = (0.2, 0.8, 2.4)
PASSING = (errors.SerializationFailure, errors.DeadlockDetected, errors.LockNotAvailable)
ROWS_REFUSED = (psycopg.DataError, psycopg.IntegrityError, errors.CardinalityViolation)
PLACE_IN_COPY = re.compile(r"COPY [^,]+, line (\d+)(?:, column (\w+))?")

Connection = psycopg.Connection[Any]
Result = TypeVar("Result")


class Publisher:
    """Publishes to the tables of one database; every call opens a connection of its own."""

    def __init__(self, connect: Callable[[], Connection]) -> None:
        self._connect = connect

    def preflight(self, table: str, contract: Contract) -> None:
        """Raise `InputRefusedError` with everything that would keep a publication from this table.

        What passes by itself, as a server that does not answer or a lock, is raised as psycopg tells it.
        """
        try:
            connection = self._connect()
        except psycopg.OperationalError as error:
            cause = turned_away(error)
            if cause is None:
                raise
            message = f"the server turns us away: {cause}; check database, user and password"
            raise InputRefusedError(
                f"target table {table}", [Problem(path="connection", message=message)]
            ) from None
        with closing(connection):
            connection.autocommit = True
            problems = list(_preflight_problems(connection, Target.named(table, contract)))
        if problems:
            raise InputRefusedError(f"target table {table}", problems)

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
                return _Attempt(connection, publication).run(merged, quarantine)
        except psycopg.OperationalError as error:
            return self._look_up(publication, error)

    def ledger(self, table: str, publication_key: str) -> Published | None:
        """What was published under a key, if anything was."""
        with closing(self._open()) as connection:
            booked = _booked(connection, {"target_table": table, "publication_key": publication_key})
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

    def _open(self) -> Connection:
        connection = self._connect()
        try:
            connection.autocommit = True
            check_ready(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _look_up(self, publication: Publication, lost: psycopg.OperationalError) -> Published:
        """The server or the connection failed, perhaps after the commit: the ledger knows.

        The failure itself is told again without its context, in which PostgreSQL quotes the row in hand.
        """
        told = type(lost)(f"{publication.place}: {str(lost).splitlines()[0]}")
        try:
            with closing(self._open()) as connection, connection.cursor(row_factory=dict_row) as cursor:
                booked = _booked(connection, publication.parameters())
                claim = cursor.execute(SQL["claimed_by"], publication.parameters()).fetchone()
        except psycopg.OperationalError:
            raise told from None
        if claim and claim["epoch"] > publication.epoch:
            raise publication.fenced() from None
        if booked:
            return confirmed(booked, publication, already=booked["epoch"] != publication.epoch)
        raise told from None


class _Attempt:
    """One execution of a publication over one connection."""

    def __init__(self, connection: Connection, publication: Publication) -> None:
        self._connection = connection
        self._publication = publication
        self._parameters = publication.parameters()
        self._target = publication.target
        self._scratch = Scratch.of(publication)

    def run(self, merged: Iterable[bytes], quarantine: Iterable[bytes]) -> Published:
        self._introduce()
        _patiently(self._claim)
        booked = _booked(self._connection, self._parameters)
        if booked:
            return confirmed(booked, self._publication)
        _patiently(self._drop_superseded)
        try:
            with self._rows_refused():
                self._stage(merged, quarantine)
                return _patiently(self._settle)
        except Exception:
            self._drop_scratch()
            raise

    def rehearse(self, *, with_target: bool) -> None:
        """Try everything with no rows, and take it back."""
        self._introduce()
        with self._transaction() as cursor:
            cursor.execute(SQL["claim"], self._parameters)
            self._fill(cursor, (), ())
            self._book(cursor, with_target=with_target)
            raise psycopg.Rollback

    def _introduce(self) -> None:
        named = {"application_name": self._scratch.application_name}
        self._connection.execute(SQL["set_session"], named)

    def _claim(self) -> None:
        """Claim first: an older execution that is ended afterwards finds out why."""
        if self._connection.execute(SQL["claim"], self._parameters).fetchone() is None:
            raise self._publication.fenced()
        self._connection.execute(SQL["end_superseded"], self._scratch.parameters())

    def _drop_superseded(self) -> None:
        with self._transaction() as cursor:
            rows = cursor.execute(SQL["superseded_scratch"], self._scratch.parameters()).fetchall()
            for row in rows:
                cursor.execute(
                    template("drop_table", table=sql.Identifier("orchestration_scratch", row["name"]))
                )

    def _stage(self, merged: Iterable[bytes], quarantine: Iterable[bytes]) -> None:
        """Phase A: the rows into our own tables, without holding a lock that anybody waits for."""
        with self._transaction() as cursor:
            counts = self._fill(cursor, merged, quarantine)
        declared = (self._publication.rows_published, self._publication.rows_quarantined)
        if counts != declared:
            raise LedgerMismatchError(
                f"{self._publication.place}: {counts[0]} merged and {counts[1]} quarantined rows came, "
                f"{declared[0]} and {declared[1]} were announced; nothing was published"
            )

    def _fill(self, cursor: Cursor, merged: Iterable[bytes], quarantine: Iterable[bytes]) -> tuple[int, int]:
        """Make the scratch tables and copy the rows into them."""
        self._drop_scratch_in(cursor)
        cursor.execute(
            template(
                "create_scratch",
                merged=self._scratch.merged,
                quarantined=self._scratch.quarantined,
                columns=self._target.definitions(with_rules=False),
            )
        )
        merged_rows = _copied(cursor, self._scratch.merged, merged)
        return merged_rows, _copied(cursor, self._scratch.quarantined, quarantine)

    def _settle(self) -> Published:
        """Phase B: fence, ledger, counts, rows; one short transaction on the server."""
        with self._transaction() as cursor:
            cursor.execute(SQL["begin_settling"])
            claim = cursor.execute(SQL["fence"], self._parameters).fetchone()
            if claim is None or claim["epoch"] != self._publication.epoch:
                raise self._publication.fenced()
            cursor.execute(SQL["queue"], self._parameters)
            return self._book(cursor, with_target=True)

    def _book(self, cursor: Cursor, *, with_target: bool) -> Published:
        opened = cursor.execute(SQL["open_ledger"], self._parameters).fetchone()
        if opened is None:
            booked = _row(cursor.execute(SQL["ledger"], self._parameters))
            self._drop_scratch_in(cursor)
            return confirmed(booked, self._publication)
        self._check_newest(cursor)
        self._check_counts(cursor)
        written = {"inserted": 0, "updated": 0}
        if with_target:
            written = self._write(cursor, opened["published_at"])
        cursor.execute(template("keep_quarantined", quarantined=self._scratch.quarantined), self._parameters)
        cursor.execute(SQL["book_feeds"], self._parameters)
        closed = _row(cursor.execute(SQL["close_ledger"], {**self._parameters, **written}))
        self._drop_scratch_in(cursor)
        return published_as(closed, already=False)

    def _write(self, cursor: Cursor, published_at: object) -> dict[str, Any]:
        """Insert and update, in a table that is made when it is not there."""
        place = self._target.place(cursor)
        if place and place["oid"] is None:
            cursor.execute(self._target.creation())
        stamps = {"run_id": self._publication.run.run_id, "published_at": published_at}
        return _row(cursor.execute(self._target.upsert(self._scratch.merged), stamps))

    def _check_newest(self, cursor: Cursor) -> None:
        """A later version rests on what the table held when its rows were merged."""
        if self._publication.version == 1:
            return
        newest = cursor.execute(SQL["newest"], self._parameters).fetchone()
        if newest is None or newest["publication_key"] != self._publication.after:
            raise self._publication.overtaken()

    def _check_counts(self, cursor: Cursor) -> None:
        query = template("count_feeds", merged=self._scratch.merged, quarantined=self._scratch.quarantined)
        wrong = [row for row in cursor.execute(query, self._parameters) if not row["agrees"]]
        if wrong:
            raise LedgerMismatchError(
                f"{self._publication.place}: rows in, published + superseded + quarantined don't add up; "
                f"nothing was published: {'; '.join(map(_feed_line, wrong))}"
            )

    def _drop_scratch(self) -> None:
        """Tidy up where that is possible; the next attempt does it otherwise."""
        if not self._connection.closed:
            with self._transaction() as cursor:
                self._drop_scratch_in(cursor)

    def _drop_scratch_in(self, cursor: Cursor) -> None:
        for table in (self._scratch.merged, self._scratch.quarantined):
            cursor.execute(template("drop_table", table=table))

    @contextmanager
    def _transaction(self) -> Iterator[Cursor]:
        with self._connection.transaction(), self._connection.cursor(row_factory=dict_row) as cursor:
            yield cursor

    @contextmanager
    def _rows_refused(self) -> Iterator[None]:
        """PostgreSQL quotes the row that it refuses: say where it is, not what it holds."""
        try:
            yield
        except ROWS_REFUSED as error:
            raise InputRefusedError(self._publication.place, [_refusal(error)]) from None


def _preflight_problems(connection: Connection, target: Target) -> Iterator[Problem]:
    with connection.cursor(row_factory=dict_row) as cursor:
        problems = list(target.problems(cursor))
    yield from problems
    try:
        check_ready(connection)
    except StoreNotReadyError as error:
        yield Problem(path="orchestration", message=str(error))
        return
    if any(problem.path == "connection" for problem in problems):
        return
    try:
        _Attempt(connection, _rehearsal(target)).rehearse(with_target=not problems)
    except psycopg.Error as error:
        if not stays(error):
            raise
        yield Problem(
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
    )


def _row(cursor: Cursor) -> dict[str, Any]:
    """The row of a statement that always has one."""
    row = cursor.fetchone()
    if row is None:
        raise LookupError("a statement of publish.sql returned no row; look for triggers on the ledger")
    return row


def _booked(connection: Connection, named: dict[str, Any]) -> dict[str, Any] | None:
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(SQL["ledger"], named).fetchone()


def _copied(cursor: Cursor, table: sql.Identifier, chunks: Iterable[bytes]) -> int:
    with cursor.copy(template("copy", table=table)) as copy:
        for chunk in chunks:
            copy.write(chunk)
    return cursor.rowcount


def _patiently(work: Callable[[], Result]) -> Result:
    """Do it again, a few times, after faults that pass by themselves."""
    for pause in PAUSES_SECONDS:
        try:
            return work()
        except PASSING:
            time.sleep(pause)
    return work()


def _feed_line(row: dict[str, Any]) -> str:
    return (
        f"{row['feed_id']}: counted {row['published']} + {row['superseded']} + {row['quarantined']}, announced "
        f"{row['declared_in']} = {row['declared_published']} + {row['declared_superseded']} + "
        f"{row['declared_quarantined']}"
    )


def _refusal(error: psycopg.Error) -> Problem:
    place = PLACE_IN_COPY.search(error.diag.context or "")
    if place:
        where = f"row {place[1]}, column {place[2]}" if place[2] else f"row {place[1]}"
        return Problem(
            path=where, message=f"was refused ({error.sqlstate}); its value does not fit the contract"
        )
    if isinstance(error, errors.CardinalityViolation):
        return Problem(
            path="key", message="stands in two of the merged rows; the merge must bring each key once"
        )
    named = error.diag.constraint_name or error.diag.column_name or "rows"
    return Problem(path=named, message=f"refused a row ({error.sqlstate}); adapt the table or the contract")
