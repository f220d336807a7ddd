"""Is a table an outbox? Everything that would lose a row, or read a whole table for a few, is a problem."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import psycopg
from psycopg import sql
from psycopg.rows import tuple_row

from airflow_orchestration.domain.source import Outbox
from airflow_orchestration.domain.stream import Position

DRAWS_ITS_TRANSACTION = "pg_current_xact_id()"

_TABLE = """
SELECT oid, relkind IN ('r', 'p'), row_security_active(oid) FROM pg_class WHERE oid = to_regclass(%(table)s)"""
_COLUMNS = """
SELECT attname, format_type(atttypid, NULL), attnotnull, pg_get_expr(adbin, adrelid),
       has_column_privilege(attrelid, attnum, 'SELECT')
FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
WHERE attrelid = %(oid)s AND attnum > 0 AND NOT attisdropped"""
_INDEXES = """
SELECT index.indisunique, array_agg(attname::text ORDER BY place)
FROM pg_index AS index
CROSS JOIN unnest(index.indkey) WITH ORDINALITY AS part (attnum, place)
LEFT JOIN pg_attribute ON attrelid = index.indrelid AND pg_attribute.attnum = part.attnum
WHERE index.indrelid = %(oid)s AND index.indisvalid AND index.indpred IS NULL AND place <= index.indnkeyatts
GROUP BY index.indexrelid, index.indisunique"""

Cursor = psycopg.Cursor[tuple[Any, ...]]


class _Column(NamedTuple):
    type: str
    required: bool
    default: str | None
    readable: bool


def outbox_problems(connection: psycopg.Connection[Any], outbox: Outbox, start: Position) -> list[str]:
    """Say everything that keeps a table from being read as an outbox from `start` on, with the remedies."""
    with connection.cursor(row_factory=tuple_row) as cursor:
        found = cursor.execute(_TABLE, {"table": outbox.table}).fetchone()
        if found is None:
            return ["there is no such table"]
        oid, is_table, hides_rows = found
        if not is_table:
            return ["it is no table; name the one that the application writes to"]
        columns = {
            name: _Column(*about) for name, *about in cursor.execute(_COLUMNS, {"oid": oid}).fetchall()
        }
        problems = [*_hidden_rows(hides=hides_rows), *_column_problems(outbox, columns)]
        if not problems:
            problems = [*_index_problems(cursor, outbox, oid)]
        if not problems:
            problems = [*_foreign_rows(cursor, outbox), *_unknown_start(cursor, start)]
    return problems


def _hidden_rows(*, hides: bool) -> Iterator[str]:
    if hides:
        yield (
            "row-level security hides rows from the connection's user, which would never be read; give the user "
            "BYPASSRLS, or let it own the table"
        )


def _column_problems(outbox: Outbox, columns: dict[str, _Column]) -> Iterator[str]:
    wanted = {outbox.payload: ("json", "jsonb"), outbox.id: ("bigint",), outbox.transaction: ("xid8",)}
    for name, types in wanted.items():
        column = columns.get(name)
        if column is None:
            yield f"it has no column {name}"
            continue
        if column.type not in types:
            yield f"{name} is {column.type} and must be {' or '.join(types)}"
        if not column.readable:
            yield f"the connection's user may not read {name}; grant SELECT"
        if name != outbox.payload and not column.required:
            yield f"{name} may be empty, and such rows would never be read; set it NOT NULL"
    drawn = columns.get(outbox.transaction)
    if drawn is not None and drawn.default != DRAWS_ITS_TRANSACTION:
        yield f"{outbox.transaction} needs DEFAULT {DRAWS_ITS_TRANSACTION}"


def _index_problems(cursor: Cursor, outbox: Outbox, oid: int) -> Iterator[str]:
    order = [outbox.transaction, outbox.id]
    indexes = cursor.execute(_INDEXES, {"oid": oid}).fetchall()
    if not any(columns[:2] == order for _, columns in indexes):
        yield f"it has no index in the order of reading: CREATE INDEX ON {outbox.table} ({', '.join(order)})"
    if not any(unique and set(columns) <= set(order) for unique, columns in indexes):
        yield f"nothing keeps {outbox.id} unique: make it the primary key"


def _foreign_rows(cursor: Cursor, outbox: Outbox) -> Iterator[str]:
    """Rows of transactions that this server has yet to begin were copied from another one."""
    newest = sql.SQL(
        "SELECT 1 FROM (SELECT {transaction} AS newest FROM {table} ORDER BY 1 DESC LIMIT 1) AS last "
        "WHERE newest >= pg_snapshot_xmax(pg_current_snapshot())"
    ).format(transaction=sql.Identifier(outbox.transaction), table=sql.Identifier(*outbox.table.split(".")))
    if cursor.execute(newest).fetchone():
        yield (
            "it holds rows of transactions that this server has not begun: they were copied from another one. "
            f"Write them anew, so that {outbox.transaction} is drawn here"
        )


def _unknown_start(cursor: Cursor, start: Position) -> Iterator[str]:
    """A server whose transactions have not come so far yet is not the one that was read."""
    begun = "SELECT %(transaction)s::text::xid8 < pg_snapshot_xmax(pg_current_snapshot())"
    row = cursor.execute(begun, {"transaction": str(start[0])}).fetchone()
    if row is not None and not row[0]:
        yield (
            f"it was read up to transaction {start[0]}, which this server has not begun: it is another server than "
            "before, or a standby that is behind. Let the connection lead to the former one; if there is none any "
            "more, give the feed another id, and its outbox is read from its beginning"
        )
