"""What came of all runs, as figures with goals; a goal is asked for from so many runs on that it can be reached."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.torture.path_account import Account
from tests.torture.path_jobs import Item, Job
from tests.torture.path_processes import Fault, Kind

ASKED_FROM = 200
"""Runs after which goals are asked for that take many; ours: what CI could play. Violations are asked for always."""
TRIES_A_RUN = 1.5
"""Points that a run strikes for the first time, on average; ours: 2.2 faults strike a run, some of them at no point."""
NEARLY_ALL = 0.95
"""Ours: some points come only with some rows, or in some order, and are not reached when they are dealt to a run with others."""
HIT = 0.9
"""The share of dealt faults that have to strike; ours: SIGKILL at any moment may find that all is done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A run that was played."""

    job: Job
    account: Account
    log: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A figure over `n` things. Its goal is None where none is asked for."""

    name: str
    value: float | None
    goal: float | None = None
    n: int
    is_floor: bool = False
    """Whether more is better."""

    @property
    def is_missed(self) -> bool:
        """Whether the goal is not reached; what was never measured has no value, and misses nothing."""
        if self.goal is None or self.value is None:
            return False
        return self.value < self.goal if self.is_floor else self.value > self.goal

    def line(self, seed: int) -> dict[str, Any]:
        """The figure as a line of JSON has it."""
        return {
            "figure": f"path: {self.name}",
            "value": self.value,
            "goal": self.goal,
            "n": self.n,
            "seed": seed,
        }


@dataclass
class Tally:
    """What came of all runs. `is_whole` when nothing was left out of what there is to try."""

    seed: int
    is_whole: bool = True
    began: float = field(default_factory=time.monotonic)
    runs: int = 0
    violating: list[Ended] = field(default_factory=list)
    struck: Counter[tuple[str, str, Kind]] = field(default_factory=Counter)
    missed: list[str] = field(default_factory=list)
    met: set[str] = field(default_factory=set)
    """The statements that some run has executed."""
    recoveries: list[float] = field(default_factory=list)
    zombies: int = 0
    zombies_that_changed: int = 0
    unknown_commits: int = 0
    wrong_commits: int = 0

    def add(self, ended: Ended) -> None:
        """Count a run."""
        account = ended.account
        self.runs += 1
        self.met |= account.met
        if account.violations:
            self.violating.append(ended)
        for text, _ in account.struck:
            item = Item(fault=Fault.read(text), where=ended.job.where)
            self.struck[item.name] += 1
        self.missed += account.missed
        self.recoveries += account.recoveries
        self.zombies += account.zombies
        self.zombies_that_changed += account.zombies_that_changed
        self.unknown_commits += account.unknown_commits
        self.wrong_commits += account.unknown_commits if account.violations else 0

    def figures(self, everything: Sequence[Item], unexplained: Sequence[str]) -> list[Figure]:
        """All figures; `unexplained` are statements that are met or not met against what is written of them."""
        return [*self._promises(), *self._coverage(everything, unexplained), *self._times()]

    @property
    def _is_asked(self) -> bool:
        return self.is_whole and self.runs >= ASKED_FROM

    def _asked(self, goal: float) -> float | None:
        return goal if self._is_asked else None

    def _promises(self) -> Iterator[Figure]:
        yield Figure(name="runs with a violation", value=len(self.violating), goal=0, n=self.runs)
        yield Figure(
            name="zombies that changed anything", value=self.zombies_that_changed, goal=0, n=self.zombies
        )
        yield Figure(
            name="unknown commits in runs with a violation",
            value=self.wrong_commits,
            goal=0,
            n=self.unknown_commits,
        )

    def _coverage(self, everything: Sequence[Item], unexplained: Sequence[str]) -> Iterator[Figure]:
        defined = {item.name for item in everything}
        points = {name[:2] for name in defined if name[1]}
        struck = {name[:2] for name in self.struck}
        kinds = {name[2] for name in self.struck}
        faults = sum(self.struck.values())
        for name, done, whole, goal in (
            ("faults that struck, of those dealt", faults, faults + len(self.missed), HIT),
            ("points struck, of those defined", len(points & struck), len(points), self._dealt(len(points))),
            (
                "points and kinds tried, of all",
                len(defined & self.struck.keys()),
                len(defined),
                self._dealt(len(defined)),
            ),
            ("kinds of fault that struck, of all", len(kinds), len(Kind), 1.0),
        ):
            yield Figure(name=name, value=_share(done, whole), goal=self._asked(goal), n=whole, is_floor=True)
        yield Figure(
            name="statements met or not met against the list",
            value=len(unexplained),
            goal=self._asked(0),
            n=len(self.met),
        )

    def _dealt(self, whole: int) -> float:
        """The share of so many things that so many runs have to have tried: each is dealt before one is dealt again."""
        return round(min(NEARLY_ALL, TRIES_A_RUN * self.runs / whole), 4) if whole else 0.0

    def _times(self) -> Iterator[Figure]:
        minutes = (time.monotonic() - self.began) / 60
        yield Figure(
            name="fault runs a minute",
            value=round(self.runs / minutes, 1),
            goal=self._asked(20),
            n=self.runs,
            is_floor=True,
        )
        for told, share, goal in (("p95", 0.95, 5.0), ("longest", 1.0, 15.0)):
            yield Figure(
                name=f"seconds until a killed task's work was done, {told}",
                value=_quantile(self.recoveries, share),
                goal=self._asked(goal),
                n=len(self.recoveries),
            )


def _share(part: int, whole: int) -> float:
    return round(part / whole, 4) if whole else 1.0


def _quantile(values: Sequence[float], share: float) -> float | None:
    return round(sorted(values)[math.ceil(share * len(values)) - 1], 2) if values else None
