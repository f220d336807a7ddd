"""How much of a stream is one batch, and where does it stand: a file of JSON lines for each partition."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from airflow_orchestration.domain.source import MicroBatch
from airflow_orchestration.domain.stream import Position, StreamRange
from airflow_orchestration.sources.fetched import SourceFile

NO_OBJECT = b'""'
"""The line of a record without a value: one that is put aside, with its position."""


@dataclass(kw_only=True)
class Bound:
    """The bounds of a batch, and how much of them is used up. The clock counts seconds."""

    batch: MicroBatch
    clock: Callable[[], float] = time.monotonic
    records: int = 0
    bytes: int = 0
    _started: float = field(init=False)

    def __post_init__(self) -> None:
        self._started = self.clock()

    def allows(self, size: int) -> bool:
        """Whether a record of so many bytes still belongs to the batch; the first one always does."""
        if self.records == 0:
            return True
        return (
            self.records < self.batch.records
            and self.bytes + size <= self.batch.bytes
            and not self.time_is_over
        )

    @property
    def time_is_over(self) -> bool:
        """Whether the seconds of the batch are used up."""
        return self.clock() - self._started >= self.batch.seconds

    def count(self, size: int) -> None:
        """Note that a record was taken."""
        self.records += 1
        self.bytes += size


@dataclass(kw_only=True)
class PartitionFile:
    """The records of one partition, as they come: a line each."""

    partition: str
    path: Path
    start: Position
    """Where the reading begins, whether a record stands there or not."""
    records: int = 0
    _file: IO[bytes] | None = None

    def add(self, line: bytes) -> None:
        """Append a record, as `line_of` writes it."""
        if self._file is None:
            self._file = self.path.open("wb")
        self._file.write(line)
        self.records += 1

    def close(self) -> None:
        """Write out what is still in memory."""
        if self._file is not None:
            self._file.close()

    def source(self, root: Path, words: str) -> SourceFile | None:
        """The file, if there is a record in it; `words` say where its first line is from."""
        if not self.records:
            return None
        return SourceFile(path=self.path, root=root, origin=f"{self.partition} from {words}")

    def range(self, stop: Position | None) -> StreamRange | None:
        """What was read when reading ended before `stop`; None when nothing was."""
        if stop is None or stop <= self.start:
            return None
        return StreamRange(partition=self.partition, start=self.start, stop=stop)


def line_of(value: bytes | None) -> bytes:
    r"""A record as one line with its end: line ends between the tokens of JSON become spaces.

    What is no JSON stays recognisable as such.

    >>> line_of(b'{\n  "id": 1\n}')
    b'{   "id": 1 }\n'
    >>> line_of(b"two\nlines")
    b'"two\\nlines"\n'
    """
    return _without_ends(value) + b"\n"


def _without_ends(value: bytes | None) -> bytes:
    if value is None or not value.strip():
        return NO_OBJECT
    if b"\n" not in value and b"\r" not in value:
        return value
    try:
        json.loads(value)
    except (ValueError, RecursionError):
        return json.dumps(value.decode("utf-8", "replace")).encode()
    return value.replace(b"\n", b" ").replace(b"\r", b" ")
