"""Reads an outbox: a table that an application appends its events to, in its own transactions.

Ids are drawn before transactions commit, so that a row may appear below others that were read already. Rows are
therefore ordered by their transaction, and read only below the oldest transaction that still runs: nothing can
appear there any more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
from psycopg import IsolationLevel, errors, sql
from psycopg.rows import tuple_row

from airflow_orchestration.domain.feed import FeedFormat
from airflow_orchestration.domain.source import Outbox
from airflow_orchestration.domain.stream import Position, Span, StreamMarks
from airflow_orchestration.exceptions import FeedCode, FeedError
from airflow_orchestration.sources.fetched import Fetched
from airflow_orchestration.sources.micro_batch import Bound, PartitionFile, line_of
from airflow_orchestration.sources.outbox_checks import outbox_problems

BEGINNING: Position = (0, -(2**63))
"""Below every transaction and id."""
ROWS_AT_ONCE = 5000

Connection = psycopg.Connection[Any]
Row = tuple[str, int, bytes | None]


def read_outbox(
    feed_id: str, outbox: Outbox, marks: StreamMarks, *, connect: Callable[[], Connection], scratch: Path
) -> Fetched:
    """Write the next rows of the outbox into `scratch`, up to the bounds of a batch.

    Raises `FeedError` when the table is no outbox, with everything that is wrong with it.
    """
    (span,) = marks.spans([outbox.table])
    file = PartitionFile(
        partition=outbox.table, path=scratch / "outbox.ndjson", start=span.start or BEGINNING
    )
    with connect() as connection:
        connection.isolation_level = IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        _refuse_problems(connection, feed_id, outbox, file.start)
        try:
            first, stop = _read(connection, outbox, span, file)
        finally:
            file.close()
    source, taken = file.source(scratch, "/".join(map(str, first))), file.range(stop)
    return Fetched(
        files=(source,) if source else (), format=FeedFormat.NDJSON, ranges=(taken,) if taken else ()
    )


def _refuse_problems(connection: Connection, feed_id: str, outbox: Outbox, start: Position) -> None:
    connection.execute(
        "SELECT set_config('lock_timeout', '10s', true), set_config('row_security', 'off', true)"
    )
    try:
        problems = outbox_problems(connection, outbox, start)
    except errors.InsufficientPrivilege as error:
        problems = [error.diag.message_primary or "permission denied"]
    if problems:
        raise FeedError(
            f"{feed_id}: {outbox.table} can't be read as an outbox: {'; '.join(problems)}.",
            code=FeedCode.SOURCE,
        )


def _read(
    connection: Connection, outbox: Outbox, span: Span, file: PartitionFile
) -> tuple[Position, Position | None]:
    """Write the rows of a span, and return the first one's position and where the reading ended.

    A gap that was read to its end is closed: what was free in it belongs to this batch.
    """
    bound, first, next_one = Bound(batch=outbox.batch), file.start, span.start
    for transaction, number, payload in _rows(connection, outbox, span, file.start):
        line = line_of(payload)
        if not span.exact and not bound.allows(len(line)):
            return first, next_one
        if bound.records == 0:
            first = (int(transaction), number)
        bound.count(len(line))
        file.add(line)
        next_one = (int(transaction), number + 1)
    return first, span.before or next_one


def _rows(connection: Connection, outbox: Outbox, span: Span, start: Position) -> Iterator[Row]:
    with connection.cursor("outbox", row_factory=tuple_row) as cursor:
        cursor.itersize = ROWS_AT_ONCE
        cursor.execute(*query_of(outbox, span, start))
        yield from cursor


def query_of(outbox: Outbox, span: Span, start: Position) -> tuple[sql.Composed, dict[str, str | int]]:
    """The committed rows of a span that no transaction under way can come between, in their order."""
    until = sql.SQL("AND ({transaction}, {id}) < (%(stop_transaction)s::xid8, %(stop_id)s::bigint)")
    query = sql.SQL(
        "SELECT {transaction}::text, {id}, convert_to({payload}::text, 'UTF8') FROM {table} AS event "
        "WHERE ({transaction}, {id}) >= (%(transaction)s::xid8, %(id)s::bigint) {until} "
        "AND {transaction} < pg_snapshot_xmin(pg_current_snapshot()) "
        "ORDER BY event.{transaction}, event.{id}"  # without `event.` the text of the transaction, 10 before 9
    )
    names: dict[str, sql.Composable] = {
        "transaction": sql.Identifier(outbox.transaction),
        "id": sql.Identifier(outbox.id),
        "payload": sql.Identifier(outbox.payload),
        "table": sql.Identifier(*outbox.table.split(".")),
    }
    stop = span.before or (0, 0)
    names["until"] = until.format(**names) if span.before else sql.SQL("")
    values: dict[str, str | int] = {
        "transaction": str(start[0]),
        "id": start[1],
        "stop_transaction": str(stop[0]),
        "stop_id": stop[1],
    }
    return query.format(**names), values
