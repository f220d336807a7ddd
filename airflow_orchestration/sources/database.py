"""Fetches a table, or what a query of the author's gives, from PostgreSQL: one snapshot, read-only, within bounds."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, LiteralString, cast

import psycopg
from psycopg import sql
from psycopg.postgres import types

from airflow_orchestration.domain.feed import Feed, FeedFormat
from airflow_orchestration.domain.source import Database
from airflow_orchestration.exceptions import FeedCode, FeedError
from airflow_orchestration.sources.fetched import Fetched, SourceFile
from airflow_orchestration.sources.outside import Outside

FILLER = "_"
"""A second column beside a single one: its empty values would be blank lines."""
MAX_NAMES_SHOWN = 40
_TIMESTAMPTZ = types["timestamptz"].oid
_AUTHORS_CLASSES = ("21", "22", "25", "42", "0A")
"""Classes of SQLSTATE that the same statement would meet again: of its own form, or of the data it reads."""


@dataclass(kw_only=True)
class _Copied:
    """How much was copied."""

    rows: int = 0
    bytes: int = 0
    multiline: bool = False


def fetch_rows(feed: Feed, database: Database, outside: Outside, scratch: Path) -> Fetched:
    """Copy the feed's columns into a CSV file in `scratch`; a row's position is its place in the result.

    Times with a time zone are written in UTC, arrays as JSON. Raises `FeedError` when the table or query
    can't be read, has not the feed's columns, or gives more than the feed's limits.
    """
    path, origin = scratch / "rows.csv", f"{database.conn_id}:{database.table or 'query'}"
    started = time.monotonic()
    connection = outside.postgres(database.conn_id)
    try:
        connection.read_only = True
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.autocommit = False
        with connection, connection.cursor() as cursor:
            _settle(cursor, feed.limits.seconds)
            relation = _relation(database)
            names, selected = _columns(cursor, feed, relation, origin)
            copied = _copy(cursor, feed, sql.SQL("SELECT {} FROM {}").format(selected, relation), path)
    except psycopg.errors.QueryCanceled:
        if time.monotonic() - started < feed.limits.seconds:
            raise  # a person cancelled it, and the next try may succeed
        raise FeedError(
            f"{feed.id}: {origin} took more than {feed.limits.seconds:g} s, the feed's limits.seconds; "
            "raise it, or read less.",
            code=FeedCode.TOO_LONG,
        ) from None
    except psycopg.Error as error:
        if (error.sqlstate or "")[:2] not in _AUTHORS_CLASSES:
            raise
        raise FeedError(f"{feed.id}: {origin} can't be read: {_told(error)}.", code=FeedCode.SOURCE) from None
    return Fetched(
        files=(SourceFile(path=path, root=scratch, origin=origin),) if copied.rows else (),
        format=FeedFormat.CSV,
        columns=names,
        multiline=copied.multiline,
        rows=copied.rows,
    )


def _told(error: psycopg.Error) -> str:
    """What is wrong and what to do about it; messages of bad data (class 22) hold the data."""
    if isinstance(error, psycopg.DataError):
        return f"{type(error).__name__} ({error.sqlstate}); correct the rows, or how the query computes with them"
    said = error.diag.message_primary or type(error).__name__
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        return f"{said}; let the connection's role read all of its rows"
    return f"{said}; change it, or its rights"


def _settle(cursor: psycopg.Cursor[Any], seconds: float) -> None:
    """What the texts of values look like must not depend on the database's settings.

    Rows that row-level security would hide are refused: nobody would miss them.
    """
    settings = {
        "statement_timeout": str(round(seconds * 1000)),
        "TimeZone": "UTC",
        "DateStyle": "ISO, YMD",
        "IntervalStyle": "iso_8601",
        "bytea_output": "hex",
        "extra_float_digits": "1",
        "row_security": "off",
    }
    for name, value in settings.items():
        cursor.execute("SELECT set_config(%s, %s, true)", [name, value])


def _relation(database: Database) -> sql.Composable:
    if database.table is not None:
        return sql.Identifier(*database.table.split("."))
    query = cast("LiteralString", database.query)  # the author's, from the pipeline file
    return sql.SQL("(\n{}\n) AS source").format(sql.SQL(query))


def _columns(
    cursor: psycopg.Cursor[Any], feed: Feed, relation: sql.Composable, origin: str
) -> tuple[tuple[str, ...], sql.Composable]:
    """The names of the columns that the feed needs, and the expressions to select them by.

    The statement is prepared, so that it is one statement: anything behind it is refused.
    """
    cursor.execute(sql.SQL("SELECT * FROM {} LIMIT 0").format(relation), prepare=True)
    found = {column.name: column.type_code for column in cursor.description or ()}
    wanted = {source.column for source in feed.columns.values() if source.column is not None}
    if missing := sorted(wanted - set(found)):
        raise FeedError(
            f"{feed.id}: {origin} has no column {_shown(missing)}. Got {_shown(sorted(found))}; "
            "change the feed's columns.",
            code=FeedCode.COLUMNS,
        )
    computed = any(source.expression is not None for source in feed.columns.values())
    names = [name for name in found if computed or name in wanted]
    arrays = _arrays(cursor, list(found.values()))
    selected = [_selected(name, found[name], arrays) for name in names]
    if len(names) == 1:
        names.append(FILLER)
        selected.append(sql.SQL("1"))
    return tuple(names), sql.SQL(", ").join(selected)


def _arrays(cursor: psycopg.Cursor[Any], oids: Sequence[int]) -> set[int]:
    cursor.execute("SELECT oid FROM pg_catalog.pg_type WHERE oid = ANY(%s) AND typcategory = 'A'", [oids])
    return {oid for (oid,) in cursor.fetchall()}


def _selected(name: str, oid: int, arrays: set[int]) -> sql.Composable:
    column = sql.Identifier(name)
    if oid == _TIMESTAMPTZ:
        return sql.SQL("{} AT TIME ZONE 'UTC'").format(column)
    if oid in arrays:
        return sql.SQL("pg_catalog.array_to_json({})").format(column)
    return column


def _copy(cursor: psycopg.Cursor[Any], feed: Feed, query: sql.Composable, path: Path) -> _Copied:
    """Write the rows as they come: the server sends each in a message of its own."""
    copied = _Copied()
    statement = sql.SQL("COPY ({}) TO STDOUT (FORMAT csv, ENCODING 'UTF8')").format(query)
    with path.open("wb") as file, cursor.copy(statement) as copy:
        for message in copy:
            row = bytes(message)
            copied.rows += 1
            copied.bytes += len(row)
            if b"\r" in row or row.find(b"\n") != len(row) - 1:
                copied.multiline = True
            file.write(row)
            if copied.rows > feed.limits.rows or copied.bytes > feed.limits.bytes:
                raise _too_much(feed, copied)
    return copied


def _too_much(feed: Feed, copied: _Copied) -> FeedError:
    limit = f"{feed.limits.rows:,} rows, the feed's limits.rows"
    if copied.bytes > feed.limits.bytes:
        limit = f"{feed.limits.bytes:,} bytes, the feed's limits.bytes"
    return FeedError(
        f"{feed.id}: its source gives more than {limit}; raise it, or read less.", code=FeedCode.TOO_LARGE
    )


def _shown(names: list[str]) -> str:
    more = f" and {len(names) - MAX_NAMES_SHOWN} more" if len(names) > MAX_NAMES_SHOWN else ""
    return ", ".join(repr(name[:80]) for name in names[:MAX_NAMES_SHOWN]) + more
