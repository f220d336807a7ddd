"""Who read which records of a stream, in memory."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from airflow_orchestration.domain.stream import StreamMarks, StreamRange, marks_of
from airflow_orchestration.storage import events
from airflow_orchestration.storage.shared import stream_taken
from airflow_orchestration.storage.store import Fence, RunKey


@dataclass(slots=True)
class _Known:
    run: RunKey
    feed_id: str
    range: StreamRange
    held: bool


class MemoryStreams:
    """Keeps the ranges of streams. `fenced` holds a claim, `tell` writes the timeline."""

    def __init__(
        self,
        fenced: Callable[[Fence], AbstractContextManager[object]],
        tell: Callable[[Fence, events.Happening], None],
    ) -> None:
        self._fenced = fenced
        self._tell = tell
        self._known: list[_Known] = []
        self._closed: set[tuple[RunKey, str]] = set()

    def marks(self, key: RunKey, feed_id: str) -> StreamMarks:
        """What a run is to read of a stream: what it holds already, else what nobody holds."""
        known = [one for one in list(self._known) if one.run.dag_id == key.dag_id and one.feed_id == feed_id]
        marks = marks_of(
            [one.range for one in known if one.held], [one.range for one in known if not one.held]
        )
        return StreamMarks(again=tuple(self._held(key, feed_id)), marks=marks)

    def hold(self, key: RunKey, feed_id: str, ranges: Sequence[StreamRange]) -> None:
        """Hold ranges for a run, or raise `StreamTakenError` when another reader has any of it."""
        own = self._held(key, feed_id)
        if own and set(own) != set(ranges):
            raise stream_taken(key, feed_id, "this run itself", own)
        self._refuse_taken(key, feed_id, ranges)
        if not own:
            held, returned = (key, feed_id) not in self._closed, self._of(key, feed_id)
            self._known = [one for one in self._known if one not in returned or one.range not in ranges]
            self._known += [_Known(run=key, feed_id=feed_id, range=one, held=held) for one in ranges]

    def give_back(self, fence: Fence, feeds: Collection[str]) -> None:
        """Let others read what the run holds of these streams, also what it may still register."""
        with self._fenced(fence):
            for feed_id in sorted(feeds):
                self._closed.add((fence.unit.run, feed_id))
                returned = self._held(fence.unit.run, feed_id)
                self._switch(fence.unit.run, feed_id, held=False)
                if returned:
                    self._tell(fence, events.stream_returned(feed_id, returned))

    def take_again(self, fence: Fence, feeds: Collection[str]) -> None:
        """Hold for the run what it gave back; raises `StreamTakenError` when others read it since."""
        run = fence.unit.run
        with self._fenced(fence):
            for feed_id in feeds:
                self._refuse_taken(run, feed_id, [one.range for one in self._of(run, feed_id)])
            for feed_id in feeds:
                self._closed.discard((run, feed_id))
                self._switch(run, feed_id, held=True)

    def _of(self, key: RunKey, feed_id: str) -> list[_Known]:
        return [one for one in self._known if (one.run, one.feed_id) == (key, feed_id)]

    def _held(self, key: RunKey, feed_id: str) -> list[StreamRange]:
        held = [one.range for one in self._of(key, feed_id) if one.held]
        return sorted(held, key=lambda one: (one.partition, one.start))

    def _switch(self, key: RunKey, feed_id: str, *, held: bool) -> None:
        for one in self._of(key, feed_id):
            one.held = held

    def _refuse_taken(self, key: RunKey, feed_id: str, ranges: Sequence[StreamRange]) -> None:
        for one in self._known:
            others = one.held and one.run.dag_id == key.dag_id and one.run != key and one.feed_id == feed_id
            if others and any(one.range.overlaps(asked) for asked in ranges):
                raise stream_taken(key, feed_id, f"run {one.run.run_id}", [one.range])
