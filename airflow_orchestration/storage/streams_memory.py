"""Who read which records of a stream, in memory."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

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
    """Keeps the ranges of streams. `fenced` holds a claim, `tell` writes the timeline.

    `unpublished` names the runs that began before another one and are not known to have published.
    """

    def __init__(
        self,
        fenced: Callable[[Fence], AbstractContextManager[object]],
        tell: Callable[[Fence, events.Happening], None],
        unpublished: Callable[[RunKey], Sequence[RunKey]],
    ) -> None:
        self._fenced = fenced
        self._tell = tell
        self._unpublished = unpublished
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

    def holders(self, key: RunKey) -> Sequence[RunKey]:
        """The earlier runs of a Dag that hold records and, as far as the store knows, published nothing; oldest first."""
        holding = {one.run for one in list(self._known) if one.held}
        return [run for run in self._unpublished(key) if run in holding]

    def give_back(self, fence: Fence, feeds: Collection[str], *, of: RunKey | None = None) -> None:
        """Let others read what a run holds of these streams, also what it may still register."""
        run = of or fence.unit.run
        with self._fenced(fence):
            for feed_id in sorted(feeds):
                self._closed.add((run, feed_id))
                returned = [one for one in self._of(run, feed_id) if one.held]
                for one in returned:
                    one.held = False
                if returned:
                    told_by = replace(fence, unit=replace(fence.unit, run=run))
                    self._tell(told_by, events.stream_returned(feed_id, _in_order(returned)))

    def take_again(self, fence: Fence, read: Mapping[str, Sequence[StreamRange]]) -> None:
        """Hold for the run what it `read` of streams and gave back; raises `StreamTakenError` when others have it."""
        run = fence.unit.run
        with self._fenced(fence):
            for feed_id, ranges in read.items():
                self._refuse_taken(run, feed_id, ranges)
            for feed_id, ranges in read.items():
                self._closed.discard((run, feed_id))
                for one in self._of(run, feed_id):
                    one.held = one.held or one.range in ranges

    def _of(self, key: RunKey, feed_id: str) -> list[_Known]:
        return [one for one in self._known if (one.run, one.feed_id) == (key, feed_id)]

    def _held(self, key: RunKey, feed_id: str) -> list[StreamRange]:
        return _in_order([one for one in self._of(key, feed_id) if one.held])

    def _refuse_taken(self, key: RunKey, feed_id: str, ranges: Sequence[StreamRange]) -> None:
        for one in self._known:
            others = one.held and one.run.dag_id == key.dag_id and one.run != key and one.feed_id == feed_id
            if others and any(one.range.overlaps(asked) for asked in ranges):
                raise stream_taken(key, feed_id, f"run {one.run.run_id}", [one.range])


def _in_order(known: Sequence[_Known]) -> list[StreamRange]:
    return sorted((one.range for one in known), key=lambda one: (one.partition, one.start))
