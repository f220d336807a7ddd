"""How does a table get new rows at one blow? Another table is made like it, filled, and takes its place.

The rows go straight into the new table and are frozen there, so that a reader with an older snapshot sees
them too. Keys and indexes follow when the rows are in. The lock that keeps readers out is taken last, for the
few statements of the exchange. A view is bound to the new table under its own identity: what reads the view,
its owner, grants, options, comments, triggers and rules stay as they are. The old table is dropped, which PostgreSQL
refuses while anything depends on it that was forgotten here.
"""

from __future__ import annotations

import time
from typing import Any

from psycopg import errors, sql

from airflow_orchestration.exceptions import PublicationOvertakenError
from airflow_orchestration.storage.publication import SCRATCH_SCHEMA, Publication
from airflow_orchestration.storage.target import SQL, Cursor, template
from airflow_orchestration.storage.writing import NOTHING_WRITTEN, Writer, run_statements, written_statements

LOCK_WAITS = ("800ms", "800ms", "800ms", "3s", "800ms", "800ms", "3s", "3s")
"""Whoever reads the table next waits as long as we wait for its lock. Below `deadlock_timeout` nobody is cancelled
for our sake; the longer waits make an autovacuum give way."""
LOCK_PAUSE_SECONDS = 1.0


class Swapper(Writer):
    """Puts a new table in the place of the old one; where the old one holds the same rows, nothing is written."""

    def __init__(self, publication: Publication, *, rehearsing: bool = False) -> None:
        super().__init__(publication, rehearsing=rehearsing)
        self._definition = ""
        self._last_steps: list[bytes] = []
        self._same_since: str | None = None
        self._is_same = False
        self.new_name = f"{SCRATCH_SCHEMA}.{self.scratch.merged_name}"

    def create(self, cursor: Cursor) -> None:
        """Make the new table like the old one, or as the contract describes it."""
        cursor.execute(SQL["plain_names"])
        if self.target.oid(cursor) is None:
            cursor.execute(self.target.creation(self.scratch.template))
        else:
            cursor.execute(template("read_lock", table=self.target.identifier))
        source = self._source(cursor)
        named = {**self._names(source), "run": self.publication.run_stamp}
        self._definition = self._described(cursor, source)
        run_statements(cursor, "building", named)
        self._last_steps = [
            statement
            for name in ("unstamping", "indexing")
            for statement in written_statements(cursor, name, named)
        ]

    def prepare(self, cursor: Cursor) -> None:
        """Look whether the rows are news."""
        cursor.execute(SQL["plain_names"])
        self.look_at_rows(cursor)
        if not self.rehearsing and self._holds_the_same(cursor):
            self._is_same, self._same_since = True, self._newest(cursor)

    def finish(self, cursor: Cursor) -> None:
        """Give the new table its keys, indexes and statistics."""
        if self._is_same:
            return
        for statement in self._last_steps:
            cursor.execute(statement)
        cursor.execute(template("analyze", table=self.scratch.merged))

    def write(self, cursor: Cursor, published_at: object) -> dict[str, Any]:
        """Exchange the tables."""
        del published_at  # the rows bear the time at which they were loaded
        if self._is_same:
            if self._newest(cursor) != self._same_since and not self._holds_the_same(cursor):
                raise self.publication.overtaken()
            return {**NOTHING_WRITTEN, "unchanged": self.publication.rows_published}
        cursor.execute(SQL["plain_names"])
        self.make_target(cursor)
        if not self._locked(cursor):
            return NOTHING_WRITTEN
        old = self._source(cursor)
        self._check_definition(cursor, old)
        self.exchange(cursor, old)
        return {**NOTHING_WRITTEN, "inserted": self.publication.rows_published}

    def look_at_rows(self, cursor: Cursor) -> None:
        """Check what only the rows can tell."""

    def kept(self, cursor: Cursor) -> sql.Identifier | None:
        """The table whose place is taken, if there is one."""
        return self.target.identifier if self.target.oid(cursor) is not None else None

    def exchange(self, cursor: Cursor, old: int) -> None:
        """Put the new table where the old one is."""
        new = self._oid(cursor, SCRATCH_SCHEMA, self.scratch.merged_name)
        final = self.target.identifier.as_string(cursor)
        named = {
            **self._names(old),
            "new_oid": new,
            "new_name": self.scratch.merged_name,
            "aside": self.scratch.aside,
            "final": final,
            "named": None,
        }
        steps = [
            statement
            for name in ("carrying", "swapping", "naming", "carrying_sequences")
            for statement in written_statements(cursor, name, named)
        ]
        for statement in steps:
            cursor.execute(statement)

    def lock(self, cursor: Cursor) -> None:
        """Keep everybody out of the old table, and before that out of the views that read it."""
        run_statements(cursor, "locking_views", {"old": self._source(cursor)})
        cursor.execute(template("lock", only=sql.SQL(""), table=self.target.identifier))

    def _locked(self, cursor: Cursor) -> bool:
        """Try to lock, in waits that are short for others; a rehearsal does without where it would disturb."""
        waits = LOCK_WAITS[:1] if self.rehearsing else LOCK_WAITS
        for number, wait in enumerate(waits, 1):
            try:
                with cursor.connection.transaction():
                    cursor.execute(SQL["patience"], {"wait": wait})
                    self.lock(cursor)
            except errors.LockNotAvailable:
                if number == len(waits) and not self.rehearsing:
                    raise
                time.sleep(LOCK_PAUSE_SECONDS if number < len(waits) else 0)
            else:
                return True
        return False

    def _holds_the_same(self, cursor: Cursor) -> bool:
        kept = self.kept(cursor)
        if kept is None:
            return False
        row = cursor.execute(self.target.same_rows(self.scratch.merged, kept)).fetchone()
        return bool(row and row["same"])

    def _newest(self, cursor: Cursor) -> str | None:
        row = cursor.execute(SQL["newest"], self.publication.parameters()).fetchone()
        return row["publication_key"] if row else None

    def _source(self, cursor: Cursor) -> int:
        """What the new table is made like: the old one, or else the template."""
        old = self.target.oid(cursor)
        return (
            old if old is not None else self._oid(cursor, SCRATCH_SCHEMA, f"t{self.scratch.merged_name[1:]}")
        )

    def _oid(self, cursor: Cursor, schema: str, name: str) -> int:
        row = cursor.execute(SQL["oid"], {"schema": schema, "name": name}).fetchone()
        if row is None:
            raise self._changed()
        return int(row["oid"])

    def _described(self, cursor: Cursor, table: int) -> str:
        row = cursor.execute(SQL["definition"], {"old": table}).fetchone()
        return str(row["definition"]) if row else ""

    def _check_definition(self, cursor: Cursor, table: int) -> None:
        if self._described(cursor, table) != self._definition:
            raise self._changed()

    def _changed(self) -> PublicationOvertakenError:
        return PublicationOvertakenError(
            f"{self.publication.place}: the table's definition was changed meanwhile; nothing was published, try again"
        )

    def _names(self, old: int) -> dict[str, Any]:
        return {"old": old, "new": self.new_name, "prefix": self.scratch.merged_name}
