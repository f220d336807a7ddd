"""Who read which records of a stream, in PostgreSQL: held in the transaction that registers the result."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import psycopg

from airflow_orchestration.domain.stream import StreamMark, StreamMarks, StreamRange
from airflow_orchestration.storage import events, rows
from airflow_orchestration.storage.shared import stream_taken
from airflow_orchestration.storage.sql_file import statements
from airflow_orchestration.storage.store import Fence, RunKey

_SQL = statements("streams.sql")

Cursor = psycopg.Cursor[dict[str, Any]]


class PostgresStreams:
    """Keeps the ranges of streams. `fenced` opens a transaction that holds a claim, `tell` writes the timeline."""

    def __init__(
        self,
        fenced: Callable[[Fence], AbstractContextManager[Cursor]],
        transaction: Callable[[], AbstractContextManager[Cursor]],
        tell: Callable[[Cursor, Fence, events.Happening], None],
    ) -> None:
        self._fenced = fenced
        self._transaction = transaction
        self._tell = tell

    def marks(self, key: RunKey, feed_id: str) -> StreamMarks:
        """What a run is to read of a stream: what it holds already, else what nobody holds."""
        stream = _of_stream(key, feed_id)
        with self._transaction() as cursor:
            again = _ranges(cursor, "held_ranges", stream)
            found = cursor.execute(_SQL["stream_marks"], stream).fetchall()
        return StreamMarks(again=tuple(again), marks={row["partition"]: _mark_of(row) for row in found})

    def holders(self, key: RunKey) -> Sequence[RunKey]:
        """The earlier runs of a Dag that hold records and, as far as the store knows, published nothing; oldest first."""
        with self._transaction() as cursor:
            found = cursor.execute(_SQL["holders"], rows.of_run(key)).fetchall()
        return [RunKey(dag_id=key.dag_id, run_id=row["run_id"]) for row in found]

    def give_back(self, fence: Fence, feeds: Collection[str], *, of: RunKey | None = None) -> None:
        """Let others read what a run holds of these streams, also what it may still register."""
        told_by = replace(fence, unit=replace(fence.unit, run=of or fence.unit.run))
        with self._fenced(fence) as cursor:
            for stream in _locked(cursor, told_by, feeds):
                cursor.execute(_SQL["close_stream"], stream)
                returned = _ranges(cursor, "give_back", stream)
                if returned:
                    self._tell(cursor, told_by, events.stream_returned(stream["feed_id"], returned))

    def take_again(self, fence: Fence, read: Mapping[str, Sequence[StreamRange]]) -> None:
        """Hold for the run what it `read` of streams and gave back; raises `StreamTakenError` when others have it."""
        with self._fenced(fence) as cursor:
            for stream in _locked(cursor, fence, read):
                ranges = read[stream["feed_id"]]
                _refuse_taken(cursor, fence, stream, ranges)
                cursor.execute(_SQL["reopen_stream"], stream)
                asked = rows.as_json(rows.ranges_as_json(ranges))
                cursor.execute(_SQL["take_again"], {**stream, "ranges": asked})


def hold(cursor: Cursor, fence: Fence, feed_id: str, ranges: Sequence[StreamRange]) -> None:
    """Hold ranges for the run of a fence, or raise `StreamTakenError` when another reader has any of it."""
    for stream in _locked(cursor, fence, [feed_id]):
        own = _ranges(cursor, "held_ranges", stream)
        if own and set(own) != set(ranges):
            raise stream_taken(fence.unit.run, feed_id, "this run itself", own)
        _refuse_taken(cursor, fence, stream, ranges)
        asked = rows.as_json(rows.ranges_as_json(ranges))
        cursor.execute(_SQL["hold_ranges"], {**stream, "ranges": asked, "epoch": fence.epoch})


def _locked(cursor: Cursor, fence: Fence, feeds: Collection[str]) -> Iterator[dict[str, Any]]:
    """Lock streams, always in the same order, and yield the parameters that name each."""
    for feed_id in sorted(feeds):
        stream = {**_of_stream(fence.unit.run, feed_id), "round": fence.unit.round}
        cursor.execute(_SQL["lock_stream"], stream)
        yield stream


def _refuse_taken(
    cursor: Cursor, fence: Fence, stream: dict[str, Any], ranges: Sequence[StreamRange]
) -> None:
    asked = rows.as_json(rows.ranges_as_json(ranges))
    taken = cursor.execute(_SQL["taken_ranges"], {**stream, "ranges": asked}).fetchall()
    if taken:
        others = f"run {taken[0]['run_id']}"
        raise stream_taken(fence.unit.run, stream["feed_id"], others, [rows.range_of(row) for row in taken])


def _ranges(cursor: Cursor, name: str, stream: dict[str, Any]) -> list[StreamRange]:
    return [rows.range_of(row) for row in cursor.execute(_SQL[name], stream)]


def _mark_of(row: rows.Row) -> StreamMark:
    before = row["before"]
    return StreamMark(start=tuple(row["start"]), before=None if before is None else tuple(before))


def _of_stream(key: RunKey, feed_id: str) -> dict[str, Any]:
    return {**rows.of_run(key), "feed_id": feed_id}
