"""How do an attempt's rows get into the table? By key, unless the mode says otherwise."""

from __future__ import annotations

from typing import Any

from psycopg import errors, sql

from airflow_orchestration.exceptions import InputRefusedError, Problem, ProblemCode
from airflow_orchestration.storage.publication import Publication, Scratch
from airflow_orchestration.storage.target import SQL, Cursor, listed, template

KEY_TWICE = Problem(
    code=ProblemCode.ROW_REFUSED,
    path="key",
    message="stands in two of the merged rows; the merge must bring each key once",
)
WORTH_COUNTING = 10_000
"""From so many rows on the planner is told that their keys are unique, and hashes them, not the table."""
NOTHING_WRITTEN = {"inserted": 0, "updated": 0, "unchanged": 0}


class Writer:
    """Inserts and updates by key; a row that is there with the same values is not written.

    `create` runs before the rows come in, `prepare` and `finish` after that, each in a transaction of its own
    without a lock that anybody waits for; `write` runs in the transaction that publishes. A rehearsal has no
    rows and is taken back.
    """

    def __init__(self, publication: Publication, *, rehearsing: bool = False) -> None:
        self.publication = publication
        self.target = publication.target
        self.scratch = Scratch.of(publication)
        self.rehearsing = rehearsing

    def create(self, cursor: Cursor) -> None:
        """Make the table that the merged rows come into."""
        cursor.execute(
            template(
                "create_merged",
                merged=self.scratch.merged,
                columns=self.target.definitions(with_rules=False),
            )
        )

    def prepare(self, cursor: Cursor) -> None:
        """Look at the rows, beside those that are there."""

    def finish(self, cursor: Cursor) -> None:
        """Do with the rows what takes long and needs nothing else."""
        if self.publication.rows_published >= WORTH_COUNTING and self.target.oid(cursor) is not None:
            key = listed(self.target.contract.key)
            cursor.execute(template("analyze_key", table=self.scratch.merged, key=key))

    def write(self, cursor: Cursor, published_at: object) -> dict[str, Any]:
        """Bring the rows to the table, which is made when it is not there; count what was written."""
        if self.make_target(cursor):
            return self._first(cursor, published_at)
        return self._written(cursor, self.statement(cursor), published_at)

    def statement(self, cursor: Cursor) -> sql.Composed:
        """What brings the rows in."""
        return self.upsert_into(cursor, self.target.schema, self.target.name)

    def upsert_into(self, cursor: Cursor, schema: str, name: str) -> sql.Composed:
        """What brings the rows into a table by key; where triggers may keep rows out, each row is accounted for."""
        row = cursor.execute(SQL["has_filters"], {"schema": schema, "name": name}).fetchone()
        into = sql.Identifier(schema, name)
        return self.target.upsert(self.scratch.merged, into, counted=bool(row and row["found"]))

    def make_target(self, cursor: Cursor) -> bool:
        """Make the table as the contract describes it, unless it is there; was it made?"""
        place = self.target.place(cursor)
        if place is None or place["oid"] is not None:
            return False
        cursor.execute(self.target.creation())
        return True

    def _first(self, cursor: Cursor, published_at: object) -> dict[str, Any]:
        """Nothing can be there to be updated."""
        try:
            return self._written(cursor, self.target.append(self.scratch.merged), published_at)
        except errors.UniqueViolation:
            raise InputRefusedError(self.publication.place, [KEY_TWICE]) from None

    def _written(self, cursor: Cursor, statement: sql.Composed, published_at: object) -> dict[str, Any]:
        named = {
            "run": self.publication.run_stamp,
            "published_at": published_at,
            "rows": self.publication.rows_published,
        }
        return cursor.execute(statement, named).fetchone() or NOTHING_WRITTEN


class Appender(Writer):
    """Adds the rows of a run that has none in the table yet; rows of other runs are never touched."""

    def finish(self, cursor: Cursor) -> None:
        """The rows are compared with nothing."""

    def statement(self, cursor: Cursor) -> sql.Composed:
        """What adds the rows."""
        del cursor  # nothing is compared
        return self.target.append(self.scratch.merged)


def run_statements(cursor: Cursor, name: str, named: dict[str, Any]) -> None:
    """Let the catalog write statements, and execute them in their order."""
    for statement in written_statements(cursor, name, named):
        cursor.execute(statement)


def written_statements(cursor: Cursor, name: str, named: dict[str, Any]) -> list[bytes]:
    """The statements that the catalog writes; as bytes, in which nothing is a placeholder."""
    return [row["statement"].encode() for row in cursor.execute(SQL[name], named).fetchall()]
