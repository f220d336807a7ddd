"""One execution of a publication: rows into private tables, then one short transaction that publishes."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import psycopg
from psycopg import errors, sql
from psycopg.rows import dict_row

from airflow_orchestration.domain.publish import PublishMode
from airflow_orchestration.exceptions import InputRefusedError, LedgerMismatchError, Problem, ProblemCode
from airflow_orchestration.storage.partitioning import Exchanger, PartitionUpserter
from airflow_orchestration.storage.preflight import target_problems
from airflow_orchestration.storage.publication import Publication, Published, Scratch, confirmed, published_as
from airflow_orchestration.storage.swapping import Swapper
from airflow_orchestration.storage.target import SQL, Cursor, listed, template
from airflow_orchestration.storage.writing import KEY_TWICE, NOTHING_WRITTEN, Appender, Writer

PAUSES_SECONDS = (0.2, 0.8, 2.4)
STAGING_LIMIT, SETTLING_LIMIT = timedelta(minutes=15), timedelta(minutes=2)
"""How long a statement that stages and the transaction that publishes may take, besides `TIME_PER_ROW`."""
TIME_PER_ROW = timedelta(microseconds=50)
PASSING = (errors.SerializationFailure, errors.DeadlockDetected, errors.LockNotAvailable)
ROWS_REFUSED = (psycopg.DataError, psycopg.IntegrityError, errors.CardinalityViolation)
PLACE_REFUSED = (errors.DependentObjectsStillExist, errors.DuplicateTable)
PLACE_IN_COPY = re.compile(r"COPY [^,]+, line (\d+)(?:, column (\w+))?")
QUARANTINE_COLUMNS = ("feed_id", "origin", "position", "rule", "column_name", "reason", "raw")

Connection = psycopg.Connection[Any]
Result = TypeVar("Result")
FIRST_WRITERS: dict[PublishMode, type[Writer]] = {
    PublishMode.UPSERT: Writer,
    PublishMode.APPEND: Appender,
    PublishMode.REPLACE: Swapper,
    PublishMode.PARTITION: Exchanger,
}
LATER_WRITERS: dict[PublishMode, type[Writer]] = {PublishMode.PARTITION: PartitionUpserter}
"""A later version brings only the rows that it changes: they are inserted and updated by key."""


class Attempt:
    """One execution of a publication over one connection."""

    def __init__(self, connection: Connection, publication: Publication, *, rehearsing: bool = False) -> None:
        self._connection = connection
        self._publication = publication
        self._parameters = publication.parameters()
        self._scratch = Scratch.of(publication)
        self._writer = writer_of(publication, rehearsing=rehearsing)

    def run(self, merged: Iterable[bytes], quarantine: Iterable[bytes]) -> Published:
        """Publish, unless it was done already."""
        self._introduce()
        patiently(self._claim)
        booked = booked_as(self._connection, self._parameters)
        if booked:
            return confirmed(booked, self._publication)
        patiently(self._drop_superseded)
        try:
            with self._rows_refused():
                self._stage(merged, quarantine)
                return patiently(self._settle)
        except Exception as error:
            self._drop_scratch()
            if isinstance(error, psycopg.ProgrammingError):
                self._refuse_table()
            raise

    def rehearse(self, *, with_target: bool) -> None:
        """Try everything with no rows, and take it back."""
        self._introduce()
        with self._rows_refused(), self._transaction() as cursor:
            cursor.execute(SQL["claim"], self._parameters)
            self._create(cursor)
            self._fill(cursor, (), ())
            self._writer.prepare(cursor)
            self._writer.finish(cursor)
            self._book(cursor, with_target=with_target)
            raise psycopg.Rollback

    def _introduce(self) -> None:
        named = {
            "application_name": self._scratch.application_name,
            "statement_limit": time_limit(self._publication, STAGING_LIMIT),
        }
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
        patiently(lambda: self._within(self._create))
        with self._transaction() as cursor:
            counts = self._fill(cursor, merged, quarantine)
        declared = (self._publication.rows_published, self._publication.rows_quarantined)
        if counts != declared:
            raise LedgerMismatchError(
                f"{self._publication.place}: {counts[0]} merged and {counts[1]} quarantined rows came, "
                f"{declared[0]} and {declared[1]} were announced; nothing was published"
            )
        patiently(lambda: self._within(self._writer.prepare))
        self._within(self._writer.finish)

    def _within(self, work: Callable[[Cursor], None]) -> None:
        with self._transaction() as cursor:
            work(cursor)

    def _create(self, cursor: Cursor) -> None:
        """Make the private tables; a table that another one is made like is locked no longer than this takes."""
        self._drop_scratch_in(cursor)
        cursor.execute(template("create_quarantined", quarantined=self._scratch.quarantined))
        self._writer.create(cursor)

    def _fill(self, cursor: Cursor, merged: Iterable[bytes], quarantine: Iterable[bytes]) -> tuple[int, int]:
        """Copy the rows into the private tables."""
        names = {"merged": self._scratch.merged, "quarantined": self._scratch.quarantined}
        cursor.execute(template("truncate", **names))
        merged_rows = _copied(cursor, names["merged"], self._publication.target.written, merged)
        return merged_rows, _copied(cursor, names["quarantined"], QUARANTINE_COLUMNS, quarantine)

    def _settle(self) -> Published:
        """Phase B: fence, ledger, counts, rows; one short transaction on the server."""
        with self._transaction() as cursor:
            cursor.execute(SQL["begin_settling"], {"limit": time_limit(self._publication, SETTLING_LIMIT)})
            claim = cursor.execute(SQL["fence"], self._parameters).fetchone()
            if claim is None or claim["epoch"] != self._publication.epoch:
                raise self._publication.fenced()
            cursor.execute(SQL["queue"], self._parameters)
            return self._book(cursor, with_target=self._publication.rows_published > 0)

    def _book(self, cursor: Cursor, *, with_target: bool) -> Published:
        opened = cursor.execute(SQL["open_ledger"], self._parameters).fetchone()
        if opened is None:
            booked = _row(cursor.execute(SQL["ledger"], self._parameters))
            self._drop_scratch_in(cursor)
            return confirmed(booked, self._publication)
        self._check_newest(cursor)
        self._check_counts(cursor)
        cursor.execute(template("keep_quarantined", quarantined=self._scratch.quarantined), self._parameters)
        cursor.execute(SQL["book_feeds"], self._parameters)
        written = self._writer.write(cursor, opened["published_at"]) if with_target else NOTHING_WRITTEN
        self._check_written(written)
        closed = _row(cursor.execute(SQL["close_ledger"], {**self._parameters, **written}))
        self._drop_scratch_in(cursor)
        return published_as(closed, already=False)

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

    def _check_written(self, written: Mapping[str, int]) -> None:
        """A trigger may keep a row out without an error."""
        missing = self._publication.rows_published - sum(written.values())
        if missing:
            raise LedgerMismatchError(
                f"{self._publication.place}: the table kept out {missing} of "
                f"{self._publication.rows_published} rows; nothing was published: look for triggers and rules of "
                f"{self._publication.table} that drop rows, and disable them"
            )

    def _drop_scratch(self) -> None:
        """Tidy up where that is possible; the next attempt does it otherwise."""
        if not self._connection.closed:
            with self._transaction() as cursor:
                self._drop_scratch_in(cursor)

    def _drop_scratch_in(self, cursor: Cursor) -> None:
        for table in (self._scratch.merged, self._scratch.quarantined, self._scratch.template):
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
        except PLACE_REFUSED as error:
            raise InputRefusedError(self._publication.place, [self._place_refusal(error)]) from None

    def _refuse_table(self) -> None:
        """Raise `InputRefusedError` with what the table lacks since the run began, if that is found."""
        with self._transaction() as cursor:
            cursor.execute(SQL["plain_names"])
            problems = list(target_problems(cursor, self._publication.target))
        if problems:
            raise InputRefusedError(f"target table {self._publication.table}", problems) from None

    def _place_refusal(self, error: psycopg.Error) -> Problem:
        """Tell what is in the way, by the name that the table had before it was put aside."""
        told = error.diag.message_detail or error.diag.message_primary or ""
        told = told.replace(self._scratch.aside, self._publication.target.name)
        message = (
            f"its place can't be taken ({error.sqlstate}): {told}; drop that, or publish with mode upsert"
        )
        return Problem(code=ProblemCode.OBSTACLE, path=self._publication.table, message=message)


def writer_of(publication: Publication, *, rehearsing: bool = False) -> Writer:
    """What brings the rows of a publication to its table."""
    writers = FIRST_WRITERS if publication.version == 1 else LATER_WRITERS
    return writers.get(publication.mode, Writer)(publication, rehearsing=rehearsing)


def time_limit(publication: Publication, at_least: timedelta) -> str:
    """How long a publication may take, as PostgreSQL reads it: the more rows, the longer."""
    limit = at_least + publication.rows_published * TIME_PER_ROW
    return f"{limit // timedelta(milliseconds=1)}ms"


def _row(cursor: Cursor) -> dict[str, Any]:
    """The row of a statement that always has one."""
    row = cursor.fetchone()
    if row is None:
        raise LookupError("a statement of publish.sql returned no row; look for triggers on the ledger")
    return row


def booked_as(connection: Connection, named: dict[str, Any]) -> dict[str, Any] | None:
    """What the ledger holds under a key, if anything."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(SQL["ledger"], named).fetchone()


def _copied(cursor: Cursor, table: sql.Identifier, columns: Iterable[str], chunks: Iterable[bytes]) -> int:
    with cursor.copy(template("copy", table=table, columns=listed(columns))) as copy:
        for chunk in chunks:
            copy.write(chunk)
    return cursor.rowcount


def patiently(work: Callable[[], Result]) -> Result:
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
            code=ProblemCode.ROW_REFUSED,
            path=where,
            message=f"was refused ({error.sqlstate}); its value does not fit the contract",
        )
    if isinstance(error, errors.CardinalityViolation):
        return KEY_TWICE
    named = error.diag.constraint_name or error.diag.column_name or "rows"
    return Problem(
        code=ProblemCode.ROW_REFUSED,
        path=named,
        message=f"refused a row ({error.sqlstate}); adapt the table or the contract",
    )
