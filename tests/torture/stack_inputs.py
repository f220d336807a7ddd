"""What comes in a run of a tortured pipeline: feeds of rows with an id each, and what may become of each of them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from random import Random
from typing import Any

FIRST_DAY = date(2000, 1, 1)
COLUMNS = ("day", "code", "size", "row_id")
NEGATIVE, KEYLESS, REPEATED = "minimum", "required", "duplicate_key"
"""The rules that bad rows break, by the words of the quarantine."""
CODES = 3000
"""Keys that the feeds draw from: they overlap, and disagree."""


class Comes(StrEnum):
    """When a feed comes."""

    IN_TIME = "in time"
    AFTERWARDS = "when the run has ended"
    NEVER = "never"


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed:
    """A feed of every tortured pipeline."""

    id: str
    rows: int
    weight: int
    bad: float = 0.0
    """The share of its rows that breaks a rule."""
    form: str = "csv"
    terms: Mapping[str, Any] = field(default_factory=dict)
    """What else the pipeline file says of it."""


LATE_AFTER_SECONDS = 40.0
"""The own deadline of the feed that comes late: nobody waits longer for it."""
MAIN = Feed(id="main", rows=2000, weight=22, terms={"required": True})
MIXED = Feed(id="mixed", rows=400, weight=14, bad=0.1)
STREAM = Feed(id="stream", rows=300, weight=8, form="ndjson", terms={"source_type": "streaming"})
FICKLE = Feed(id="fickle", rows=200, weight=4, terms={"source_type": "real_time"})
BROKEN = Feed(id="broken", rows=100, weight=2, form="json", terms={"depends_on": [MAIN.id]})
LATE = Feed(id="late", rows=150, weight=1, terms={"deadline": LATE_AFTER_SECONDS})
FEEDS = (MAIN, STREAM, MIXED, FICKLE, BROKEN, LATE)
"""The weight of a merge is a feed's own, times 0.63 (slow, a tenth of its rows bad) to 1 (SEED 16).

Each is so much heavier than the next that neither turns two around: whose value counts is known without asking.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row of a feed. `breaks` is the rule for which it must be put aside, if any."""

    row_id: str
    code: str
    size: float
    breaks: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """What is drawn for a run: which feed comes when, and in what state."""

    late: Comes
    is_broken: bool
    is_poor_first: bool
    """Feed `fickle` is below standard until its outcome stands, and delivered again then."""
    is_reconciled: bool
    """When the run has ended, everything is delivered in order, and the button is pressed."""


NOTHING_HAPPENS = Fate(late=Comes.IN_TIME, is_broken=False, is_poor_first=False, is_reconciled=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """What a run is given. `rows` are what each feed has to bring in the end."""

    number: int
    fate: Fate
    feeds: Sequence[Feed]
    rows: Mapping[str, tuple[Row, ...]]

    @property
    def day(self) -> date:
        """The date of the run: each has its own, so that no run touches another's files or keys."""
        return FIRST_DAY + timedelta(days=self.number)

    @property
    def logical_date(self) -> str:
        """The same as Airflow takes it."""
        return datetime(self.day.year, self.day.month, self.day.day, tzinfo=UTC).isoformat()

    def bad_rows(self, feed_id: str) -> int:
        """How many rows of a feed have to be put aside."""
        return sum(row.breaks is not None for row in self.rows[feed_id])

    def poor_rows(self, feed_id: str) -> int:
        """How many rows have to be put aside of the delivery that is below standard."""
        poor = feed_id == FICKLE.id and self.fate.is_poor_first
        return sum(map(_is_spoilt_first, range(len(self.rows[feed_id])))) if poor else 0

    def can_come(self, *, reconciled: bool) -> frozenset[str]:
        """The feeds that may be in, before and after a repair."""
        if reconciled:
            return frozenset(self.rows)
        out = {BROKEN.id} if self.fate.is_broken else set()
        return frozenset(self.rows) - out - ({LATE.id} if self.fate.late is not Comes.IN_TIME else set())


def draw(seed: int, number: int) -> Inputs:
    """Draw what comes in a run; the same seed and number always give the same."""
    dice = Random(f"{seed}/{number}")
    fate = Fate(
        late=dice.choice((Comes.IN_TIME, Comes.IN_TIME, Comes.AFTERWARDS, Comes.NEVER)),
        is_broken=dice.random() < 0.6,
        is_poor_first=dice.random() < 0.25,
        is_reconciled=dice.random() < 0.4,
    )
    return of(seed, number, fate, FEEDS)


def of(seed: int, number: int, fate: Fate, feeds: Sequence[Feed]) -> Inputs:
    """Draw the rows of a run whose fate is known."""
    dice = Random(f"rows of {seed}/{number}")
    rows = {feed.id: tuple(_rows(dice, feed, number)) for feed in feeds}
    return Inputs(number=number, fate=fate, feeds=feeds, rows=rows)


def _rows(dice: Random, feed: Feed, number: int) -> Iterator[Row]:
    codes = dice.sample(range(CODES), feed.rows)
    for place, code in enumerate(codes):
        row = Row(row_id=f"{feed.id}-{number}-{place}", code=f"k{code:04}", size=float(dice.randint(0, 99)))
        breaks = dice.choice((NEGATIVE, KEYLESS, REPEATED)) if place and dice.random() < feed.bad else None
        yield _spoilt(row, breaks, first=f"k{codes[0]:04}")


def _spoilt(row: Row, breaks: str | None, *, first: str) -> Row:
    match breaks:
        case "minimum":
            return Row(row_id=row.row_id, code=row.code, size=-1.0, breaks=breaks)
        case "required":
            return Row(row_id=row.row_id, code="", size=row.size, breaks=breaks)
        case "duplicate_key":
            return Row(row_id=row.row_id, code=first, size=row.size, breaks=breaks)
        case _:
            return row


def _is_spoilt_first(place: int) -> bool:
    return bool(place % 5)


class Landing:
    """The folder in which the files of one pipeline arrive."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def begin(self, inputs: Inputs) -> None:
        """Deliver what is there when the run starts."""
        fate = inputs.fate
        for feed in inputs.feeds:
            if feed is LATE and fate.late is not Comes.IN_TIME:
                continue
            content = _content(feed, inputs)
            if feed is BROKEN and fate.is_broken:
                content = content[: len(content) // 2]
            if feed is FICKLE and fate.is_poor_first:
                content = _content(feed, inputs, poor=True)
            self._deliver(feed, inputs, content)

    def mend(self, inputs: Inputs) -> None:
        """Deliver the poor feed again, in order."""
        self._deliver(FICKLE, inputs, _content(FICKLE, inputs))

    def complete(self, inputs: Inputs) -> None:
        """Deliver what was missing or broken."""
        for feed in (BROKEN, LATE):
            self._deliver(feed, inputs, _content(feed, inputs))

    def clear(self, inputs: Inputs) -> None:
        """Take the files of a run away."""
        for feed in inputs.feeds:
            self._place(feed, inputs).unlink(missing_ok=True)

    def _place(self, feed: Feed, inputs: Inputs) -> Path:
        return self._folder / f"{inputs.day}-{feed.id}.{feed.form}"

    def _deliver(self, feed: Feed, inputs: Inputs, content: bytes) -> None:
        place = self._place(feed, inputs)
        draft = place.with_name(f".{place.name}.part")
        draft.write_bytes(content)
        draft.replace(place)


def _content(feed: Feed, inputs: Inputs, *, poor: bool = False) -> bytes:
    rows = [
        {
            "day": inputs.day.isoformat(),
            "code": row.code,
            "size": -1.0 if poor and _is_spoilt_first(place) else row.size,
            "row_id": row.row_id,
        }
        for place, row in enumerate(inputs.rows[feed.id])
    ]
    match feed.form:
        case "json":
            return json.dumps(rows).encode()
        case "ndjson":
            return "".join(f"{json.dumps(row)}\n" for row in rows).encode()
        case _:
            text = io.StringIO()
            writer = csv.DictWriter(text, COLUMNS)
            writer.writeheader()
            writer.writerows(rows)
            return text.getvalue().encode()
