"""Which partition do the rows belong to, and how does a new one take its place?"""

from __future__ import annotations

import hashlib
import re
from typing import Any

import psycopg
from psycopg import errors, sql

from airflow_orchestration.exceptions import InputRefusedError, Problem, ProblemCode
from airflow_orchestration.storage.publication import SCRATCH_SCHEMA, Publication
from airflow_orchestration.storage.swapping import Swapper
from airflow_orchestration.storage.target import SQL, Cursor, template
from airflow_orchestration.storage.writing import NOTHING_WRITTEN, Writer, written_statements

PLACE_TAKEN = (errors.InvalidObjectDefinition, errors.CheckViolation)
LONGEST_NAME = 50
"""PostgreSQL cuts names at 63 bytes; the names of indexes begin with the partition's."""
_PLAIN_VALUE = re.compile(r"[a-z0-9]{1,20}|[0-9]{4}-[0-9]{2}-[0-9]{2}")


def partition_name(table: str, value: str) -> str:
    """Name the partition of a value, for ever and legally; no two values have one name.

    >>> partition_name("departures", "2026-11-22")
    'departures_2026_11_22'
    >>> partition_name("departures", "New York")
    'departures_new_york_815eca97'
    """
    clean = f"{table}_{re.sub('[^a-z0-9]+', '_', value.lower()).strip('_')}"
    if _PLAIN_VALUE.fullmatch(value) and len(clean) <= LONGEST_NAME:
        return clean
    return f"{clean[: LONGEST_NAME - 9]}_{_checksum(value)}"


def index_prefix(partition: str) -> str:
    """Begin the names of a partition's indexes; no two partitions share it.

    >>> index_prefix("departures_2026_11_22")
    'departures_2026_11_22'
    """
    name = partition.encode()
    if len(name) <= LONGEST_NAME:
        return partition
    return f"{name[: LONGEST_NAME - 9].decode(errors='ignore')}_{_checksum(partition)}"


def _checksum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def the_value(
    cursor: Cursor, publication: Publication, merged: sql.Identifier, table: int | None = None
) -> str | None:
    """The one value of the partitioned column; None without rows. Raises `InputRefusedError` for several.

    `table` is the partitioned table, when its column may be of another type than that of the rows.
    """
    column = publication.partition_by or ""
    value: sql.Composable = sql.Identifier(column)
    if table is not None:
        value = template("cast", value=value, type=sql.SQL(_type(cursor, table, column)))
    query = template("values", value=value, new=merged)
    values = [row["value"] for row in cursor.execute(query).fetchall()]
    if len(values) > 1:
        named = ", ".join(sorted(map(str, values))[:5])
        message = (
            f"has several values among the rows ({named}): one publication exchanges one partition; bring the"
        )
        raise InputRefusedError(
            publication.place,
            [
                Problem(
                    code=ProblemCode.ROW_REFUSED,
                    path=column,
                    message=f"{message} others in runs of their own, or use upsert",
                )
            ],
        )
    return values[0] if values else None


class Exchanger(Swapper):
    """Puts a new partition in the place of the old one, or beside the others."""

    def __init__(self, publication: Publication, *, rehearsing: bool = False) -> None:
        super().__init__(publication, rehearsing=rehearsing)
        self._value: str | None = None

    def look_at_rows(self, cursor: Cursor) -> None:
        """Find the one partition, and spare the server the search for rows of others."""
        self._value = the_value(cursor, self.publication, self.scratch.merged)
        if self._value is None:
            return
        column = sql.Identifier(self.publication.partition_by or "")
        cursor.execute(
            template("one_value", new=self.scratch.merged, column=column, value=sql.Literal(self._value))
        )

    def kept(self, cursor: Cursor) -> sql.Identifier | None:
        """The partition whose place is taken, if there is one."""
        old = self.target.oid(cursor)
        partition = None if old is None or self._value is None else _partition(cursor, old, self._value)
        return sql.Identifier(partition["schema"], partition["name"]) if partition else None

    def write(self, cursor: Cursor, published_at: object) -> dict[str, Any]:
        """Exchange the partition; without rows there is none to exchange."""
        if self._value is None:
            self.make_target(cursor)
            return NOTHING_WRITTEN
        return super().write(cursor, published_at)

    def lock(self, cursor: Cursor) -> None:
        """Keep everybody out of the table, before anybody has one of its partitions."""
        cursor.execute(template("lock", only=sql.SQL("ONLY"), table=self.target.identifier))

    def exchange(self, cursor: Cursor, old: int) -> None:
        """Put the new partition where the old one is."""
        value = self._value or ""
        gone = _partition(cursor, old, value)
        name = gone["name"] if gone else partition_name(self.target.name, value)
        named = {
            **self._names(old),
            "new_oid": self._oid(cursor, SCRATCH_SCHEMA, self.scratch.merged_name),
            "new_name": self.scratch.merged_name,
            "name": name,
            "named": index_prefix(name),
            "value": value,
            "gone": gone["full_name"] if gone else None,
            "final": sql.Identifier(self.target.schema, name).as_string(cursor),
        }
        carried = written_statements(cursor, "carrying", {**named, "old": gone["oid"] if gone else old})
        exchanged = written_statements(cursor, "exchanging", named)
        try:
            for statement in [*carried, *exchanged, *written_statements(cursor, "naming", named)]:
                cursor.execute(statement)
        except PLACE_TAKEN as error:
            raise InputRefusedError(self.publication.place, [_place_taken(error, value)]) from None


class PartitionUpserter(Writer):
    """Brings the rows of a later version into the partition that the first one made."""

    def write(self, cursor: Cursor, published_at: object) -> dict[str, Any]:
        """Insert and update by key, in one partition."""
        self.make_target(cursor)
        old = self.target.oid(cursor)
        if old is None:
            return NOTHING_WRITTEN
        value = the_value(cursor, self.publication, self.scratch.merged, old)
        if value is None:
            return NOTHING_WRITTEN
        partition = _partition(cursor, old, value)
        if partition is None:
            raise InputRefusedError(
                self.publication.place,
                [
                    Problem(
                        code=ProblemCode.NOT_FOUND,
                        path=value,
                        message="has no partition any more; run the pipeline again for it",
                    )
                ],
            )
        statement = self.upsert_into(cursor, partition["schema"], partition["name"])
        return self._written(cursor, statement, published_at)


def _place_taken(error: psycopg.Error, value: str) -> Problem:
    """Somebody made a partition since the preflight, for this value and others."""
    message = f"belongs to a partition that is not its own ({error.diag.message_primary})"
    return Problem(
        code=ProblemCode.OBSTACLE,
        path=value,
        message=f"{message}; detach that, and divide its rows by their values",
    )


def _type(cursor: Cursor, table: int, column: str) -> str:
    found = cursor.execute(SQL["column_type"], {"old": table, "column": column}).fetchone()
    return str(found["type"]) if found else "text"


def _partition(cursor: Cursor, parent: int, value: str) -> dict[str, Any] | None:
    return cursor.execute(SQL["partition"], {"old": parent, "value": value}).fetchone()
