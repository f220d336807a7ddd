"""Somebody who breaks a running stack: processes, connections, the database, one thing every few seconds.

What is broken, and in which order, is drawn by a seed: every kind once, shuffled, and then anew. Which process it hits
hangs on what runs at that moment, so a run is not repeated exactly by its seed; every blow is written down.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random

from tests.torture.monkey_strikes import STRIKES, Blow, was_succeeded
from tests.torture.stack_faults import Fault
from tests.torture.stack_machine import TorturedStack

KINDS = tuple(STRIKES)
HEAVY = frozenset(
    {
        "kill_scheduler", "kill_scheduler_group", "stop_scheduler", "kill_dag_processor", "kill_api_server",
        "stop_api_server", "crash_postgres", "stop_postgres", "kill_triggerer", "stop_triggerer",
    }
)  # fmt: skip
"""What takes a part down that all runs need."""
RECOVERY_SECONDS = 5.0
FLEETING = frozenset({"terminate_publishers"})
"""What can be hit for a moment only is tried again and again until it is."""


@dataclass(slots=True, kw_only=True)
class Struck:
    """A line of the monkey's diary."""

    at: float
    began: datetime
    kind: str
    blow: Blow
    ended: datetime | None = None
    was_zombie: bool = False
    """It worked on, and another attempt had begun, when it was continued."""

    def as_json(self) -> dict[str, object]:
        """Return it as plain data."""
        return {
            "at": round(self.at, 1),
            "began": self.began.isoformat(),
            "ended": self.ended and self.ended.isoformat(),
            "kind": self.kind,
            "to": self.blow.to,
            "pids": [process.pid for process in self.blow.processes],
            "ti_id": self.blow.ti_id,
            "zombie": self.was_zombie,
        }

    def as_fault(self) -> Fault:
        """Return what it can excuse."""
        pids = frozenset(process.pid for process in self.blow.processes)
        return Fault(kind=self.kind, began=self.began, ended=self.ended, ti_id=self.blow.ti_id, pids=pids)


class Deck:
    """Deals every kind once, shuffled, then all again. What can't be done now stays on top."""

    def __init__(self, kinds: Sequence[str], dice: Random) -> None:
        self.owed: set[str] = set()
        self._kinds, self._dice = list(kinds), dice
        self._cards: list[str] = []

    def cards(self) -> Iterator[str]:
        """Go through what is to be done, the longest owed first."""
        if self.owed.issuperset(self._cards):
            fresh = [kind for kind in self._kinds if kind not in self.owed]
            self._dice.shuffle(fresh)
            self._cards += fresh
        yield from list(self._cards)

    def done(self, kind: str) -> None:
        """Put a card away."""
        self._cards.remove(kind)
        self.owed.discard(kind)


class Monkey:
    """Strikes every few seconds; call `tick` often."""

    def __init__(
        self,
        machine: TorturedStack,
        dice: Random,
        *,
        every: tuple[float, float],
        kinds: Sequence[str],
        tell: Callable[[str], None],
    ) -> None:
        self.diary: list[Struck] = []
        self.kinds = tuple(kinds)
        self._machine, self._dice, self._every, self._tell = machine, dice, every, tell
        self._deck = Deck(kinds, dice)
        self.begun_at = self._next = time.monotonic()
        self._open: list[tuple[float, Struck]] = []

    def begin(self) -> None:
        """Strike for the first time soon."""
        self.begun_at = time.monotonic()
        self._next = self.begun_at + self._dice.uniform(*self._every)

    def tick(self, *, strikes: bool = True) -> None:
        """Make good what is due, and strike when it is time."""
        now = time.monotonic()
        for due, struck in list(self._open):
            if due <= now or (struck.blow.is_due and struck.blow.is_due()):
                self._open.remove((due, struck))
                self._heal(struck)
        if not strikes or not self._machine.is_whole:
            return
        for kind in sorted(self._deck.owed & FLEETING):
            self._deal(kind)
        if now >= self._next:
            self._strike()

    def rest(self) -> None:
        """Make everything good at once."""
        for _, struck in self._open:
            self._heal(struck)
        self._open.clear()

    def faults(self) -> list[Fault]:
        """Everything that was done, for those who have to judge what came of it."""
        return [struck.as_fault() for struck in self.diary]

    def counted(self) -> Counter[str]:
        """How often each kind was done, those that were never done as well."""
        found = Counter(dict.fromkeys(self.kinds, 0))
        found.update(struck.kind for struck in self.diary)
        return found

    @property
    def zombies(self) -> int:
        """Attempts that worked on when another had begun in their place."""
        return sum(struck.was_zombie for struck in self.diary)

    def strike(self, kind: str) -> Struck | None:
        """Do one thing now; None when there is nothing to do it to."""
        began = datetime.now(UTC)
        blow = STRIKES[kind](self._machine, self._dice)
        if blow is None:
            return None
        struck = Struck(at=time.monotonic() - self.begun_at, began=began, kind=kind, blow=blow)
        self.diary.append(struck)
        self._tell(f"{kind}: {blow.to}" + (f", for {blow.seconds:.0f} s at most" if blow.heal else ""))
        if blow.heal:
            self._open.append((time.monotonic() + blow.seconds, struck))
        else:
            struck.ended = datetime.now(UTC) + timedelta(seconds=blow.seconds)
        return struck

    def _strike(self) -> None:
        """While a part recovers, nothing else is taken down: there would be nobody to do anything to."""
        barred = frozenset() if self._machine.stack.is_up() else HEAVY
        cards = (kind for kind in self._deck.cards() if kind not in barred)
        dealt = next((kind for kind in cards if self._deal(kind)), None)
        pause = RECOVERY_SECONDS if dealt in HEAVY else 0.0
        self._next = time.monotonic() + pause + self._dice.uniform(*self._every)

    def _deal(self, kind: str) -> bool:
        if self.strike(kind) is None:
            self._deck.owed.add(kind)
            return False
        self._deck.done(kind)
        return True

    def _heal(self, struck: Struck) -> None:
        blow = struck.blow
        if blow.task is not None:
            is_taken_over = was_succeeded(self._machine.metadata, blow.ti_id)
            struck.was_zombie = blow.task.is_alive() and is_taken_over
        if blow.heal:
            blow.heal()
        struck.ended = datetime.now(UTC)
