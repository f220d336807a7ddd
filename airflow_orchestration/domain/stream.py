"""Where was a stream read, and from where is it read next? Positions, ranges of them, and the marks between.

A position is a row of whole numbers, compared from left to right: of Kafka the offset, of an outbox the
transaction and the id. A range holds its `start` and ends before its `stop`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

Position = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamRange:
    """The records of a partition from `start` on, and before `stop`."""

    partition: str
    start: Position
    stop: Position

    def __post_init__(self) -> None:
        if not self.start < self.stop:
            raise ValueError(f"{self.partition}: a range from {self.start} to {self.stop} holds nothing")

    def overlaps(self, other: StreamRange) -> bool:
        """Whether both hold a position.

        >>> first = StreamRange(partition="t[0]", start=(0,), stop=(5,))
        >>> first.overlaps(StreamRange(partition="t[0]", start=(5,), stop=(9,)))
        False
        """
        return self.partition == other.partition and self.start < other.stop and other.start < self.stop


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamMark:
    """The lowest position of a partition that no run holds, and the next one after it that a run holds."""

    start: Position
    before: Position | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """What to read of a partition: from `start`, or its beginning, up to `before`, or its end.

    An `exact` span was read before by the same run, and is read again whole, whatever the bounds say.
    """

    partition: str
    start: Position | None = None
    before: Position | None = None
    exact: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamMarks:
    """What the store knows of a stream: the ranges that the run itself holds, and a mark for each partition."""

    again: tuple[StreamRange, ...] = ()
    marks: Mapping[str, StreamMark] = field(default_factory=dict)

    def spans(self, partitions: Sequence[str]) -> tuple[Span, ...]:
        """What the run is to read of a stream with these partitions: what it holds, else what nobody holds.

        >>> marks = StreamMarks(marks={"t[0]": StreamMark(start=(7,))})
        >>> [span.start for span in marks.spans(["t[0]", "t[1]"])]
        [(7,), None]
        """
        if self.again:
            return tuple(
                Span(partition=held.partition, start=held.start, before=held.stop, exact=True)
                for held in self.again
            )
        known = ((name, self.marks.get(name)) for name in partitions)
        return tuple(
            Span(partition=name, start=mark.start, before=mark.before) if mark else Span(partition=name)
            for name, mark in known
        )


def marks_of(held: Iterable[StreamRange], returned: Iterable[StreamRange]) -> dict[str, StreamMark]:
    """The mark of each partition, out of the ranges that runs hold and those that they gave back.

    >>> night = [StreamRange(partition="t[0]", start=(n,), stop=(n + 5,)) for n in (0, 5, 10)]
    >>> marks_of([night[0], night[2]], [night[1]])["t[0]"]
    StreamMark(start=(5,), before=(10,))
    """
    by_partition: dict[str, list[StreamRange]] = {}
    edges: dict[str, set[Position]] = {}
    for taken in held:
        by_partition.setdefault(taken.partition, []).append(taken)
        edges.setdefault(taken.partition, set()).add(taken.stop)
    for free in returned:
        edges.setdefault(free.partition, set()).add(free.start)
    return {
        partition: _mark(sorted(positions), by_partition.get(partition, []))
        for partition, positions in edges.items()
    }


def _mark(edges: Sequence[Position], held: Sequence[StreamRange]) -> StreamMark:
    start = next(edge for edge in edges if not any(one.start <= edge < one.stop for one in held))
    later = [one.start for one in held if one.start > start]
    return StreamMark(start=start, before=min(later, default=None))
