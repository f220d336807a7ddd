"""Which faults meet which run? All that there is to try, dealt out so that each is tried soon."""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count, zip_longest
from typing import Self

from airflow_orchestration.domain.publish import PublishMode
from tests.torture.path_processes import ALTERING, SECOND, STAGING_KINDS, STATEMENT_KINDS, Fault, Kind
from tests.torture.world import Extra, Shape

FAULTS_PER_RUN = 3
ONLY_FOR = {
    Kind.LIMIT: ("branch", "merge"),
    Kind.FLIP: ("merge", "publish"),
    Kind.REWRITE: ("merge", "publish"),
    Kind.SWALLOW: ("publish",),
}
"""The tasks that have to do with staged files, or with the table."""
DIFFERENT = (
    (PublishMode.UPSERT, Shape.LATE, Extra.STREAM),
    (PublishMode.APPEND, Shape.ROUNDS, Extra.STREAM),
    (PublishMode.PARTITION, Shape.REPAIRED, Extra.STREAM),
    (PublishMode.UPSERT, Shape.REPAIRED, Extra.PAIR),
    (PublishMode.REPLACE, Shape.LATE, Extra.PAIR),
    (PublishMode.PARTITION, Shape.ROUNDS, Extra.PAIR),
    (PublishMode.UPSERT, Shape.ROUNDS, Extra.APART),
    (PublishMode.APPEND, Shape.LATE, Extra.APART),
    (PublishMode.REPLACE, Shape.REPAIRED, Extra.APART),
)
"""The runs in which something else is different, too."""
LONELY = (*ALTERING, Kind.ABANDON)
"""What ends a run early: other faults would not be reached."""
DIFFERENT_SHARE = 1 / 2
BY_MODE = re.compile(r"publish\.|swap\.|written\.")
"""The statements that are others in each mode, or among others."""

Points = Mapping[str, Sequence[str]]
"""Unit -> the points that it comes to."""
Where = tuple[PublishMode, Shape, bool, Extra]
"""Mode, shape, whether the table was there before, and what else is different."""
Catalog = Mapping[Where, Points]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One run: its number, from which all of it is drawn, its kind, and its faults."""

    number: int
    mode: PublishMode
    shape: Shape
    has_past: bool
    extra: Extra = Extra.NOTHING
    faults: tuple[Fault, ...] = ()

    @property
    def where(self) -> Where:
        """What decides to which points it comes."""
        return self.mode, self.shape, self.has_past, self.extra

    def __str__(self) -> str:
        past = "past" if self.has_past else "new"
        extra = "" if self.extra is Extra.NOTHING else f" {self.extra}"
        return " | ".join([f"{self.number} {self.mode} {self.shape} {past}{extra}", *map(str, self.faults)])

    @classmethod
    def read(cls, text: str) -> Self:
        """Read what `str` wrote."""
        first, *faults = text.split("|")
        number, mode, shape, past, *extra = first.split()
        return cls(
            number=int(number),
            mode=PublishMode(mode),
            shape=Shape(shape),
            has_past=past == "past",
            extra=Extra(*extra or [Extra.NOTHING]),
            faults=tuple(map(Fault.read, faults)),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A fault that is to be tried, in one of the runs that come to it."""

    fault: Fault
    where: Where

    @property
    def name(self) -> tuple[str, str, Kind]:
        """What makes it another one: the task, the mode where that matters, the point, the kind."""
        task = task_of(self.fault.unit)
        mode = f" {self.where[0]}" if BY_MODE.search(self.fault.point) else ""
        return f"{task}{mode}", self.fault.place, self.fault.kind


def task_of(unit: str) -> str:
    """The task of a unit: `branch+` of `1/branch:beta:b3+`."""
    return re.sub(r":[^+]*", "", unit.partition("/")[2])


def recordings(within: str = "") -> list[Job]:
    """Runs without faults that come to every point, numbered below 0.

    `within` is a pattern for mode and shape, and for what else is different.
    """
    shapes = (Shape.LATE, Shape.REPAIRED, Shape.ROUNDS)
    usual = [(mode, shape) for mode in PublishMode for shape in shapes]
    has_past = {kind: number % 2 == 0 for number, kind in enumerate(usual)}
    kinds = [*((*kind, Extra.NOTHING) for kind in usual), *DIFFERENT]
    return [
        Job(number=-1 - number, mode=mode, shape=shape, has_past=has_past[mode, shape], extra=extra)
        for number, (mode, shape, extra) in enumerate(kinds)
        if re.search(within, f"{mode} {shape}" + ("" if extra is Extra.NOTHING else f" {extra}"))
    ]


def items(catalog: Catalog, among: str = "") -> list[Item]:
    """Everything that can be tried, each once; `among` is a pattern for the texts of faults."""
    wanted, known = re.compile(among), {}
    for where, points in catalog.items():
        for unit, reached in points.items():
            for fault in _faults(unit, dict.fromkeys(reached)):
                item = Item(fault=fault, where=where)
                if fault.kind is Kind.SWALLOW and where[0] not in (PublishMode.UPSERT, PublishMode.APPEND):
                    continue  # the others fill a table that has no triggers yet
                if wanted.search(f"{where[0]} {where[1]} {fault}"):
                    known.setdefault(item.name, item)
    return [*known.values()]


def _faults(unit: str, points: Iterable[str]) -> Iterator[Fault]:
    task = task_of(unit)
    for point in points:
        for kind in _kinds(task, point):
            yield Fault(unit=unit, kind=kind, point=point)
    for kind in (Kind.KILL_SOON, Kind.DOUBLE, *(kind for kind, tasks in ONLY_FOR.items() if task in tasks)):
        yield Fault(unit=unit, kind=kind)


def _kinds(task: str, point: str) -> Iterator[Kind]:
    staging = "staging." in point
    for kind in STAGING_KINDS if staging else STATEMENT_KINDS:
        lost_before = kind is Kind.LOSE and not point.startswith("after")
        cut_after = kind is Kind.CUT and point.startswith("after")
        no_worker = kind is Kind.KILL_WORK and not task.startswith("branch")
        goes_on = kind is Kind.ABANDON and task != "publish"
        if not (lost_before or cut_after or no_worker or goes_on):
            yield kind


def jobs(catalog: Catalog, seed: int, among: str = "") -> Iterator[Job]:
    """Runs without end: first each item once, some at a time, then again in other company."""
    dice = random.Random(seed)
    everything = items(catalog, among)
    if not everything:
        return
    left: dict[Where, list[Item]] = defaultdict(list)
    numbers = count(1)
    while True:
        for batch in _batches(dice.sample(everything, len(everything))):
            for item in batch:
                left[item.where].append(item)
            while any(left.values()):
                where = dice.choice([where for where, rest in left.items() if rest])
                faults = tuple(_company(left[where]))
                yield _varied(next(numbers), where, faults, catalog, dice)


def _batches(everything: Iterable[Item]) -> Iterator[list[Item]]:
    """First what strikes at no point, then each point once with one kind of fault, then each with another."""
    by_point: dict[tuple[str, str], list[Item]] = defaultdict(list)
    anywhere: list[Item] = []
    for item in everything:
        (by_point[item.name[:2]] if item.fault.point else anywhere).append(item)
    yield anywhere
    for batch in zip_longest(*by_point.values()):
        yield [item for item in batch if item is not None]


def _varied(
    number: int, where: Where, faults: tuple[Fault, ...], catalog: Catalog, dice: random.Random
) -> Job:
    """A run for these faults: every other time one in which something else is different, where that comes to their points."""
    mode, shape, has_past, extra = where
    others = [
        other
        for *kind, other in catalog
        if kind == [mode, shape, has_past] and other is not Extra.NOTHING and extra is Extra.NOTHING
    ]
    if others and dice.random() < DIFFERENT_SHARE:
        other = dice.choice(others)
        points = catalog[mode, shape, has_past, other]
        if all(_comes_to(points, fault) for fault in faults):
            extra = other
            faults = (
                tuple(_second(points, fault, dice) for fault in faults) if extra is Extra.PAIR else faults
            )
    return Job(number=number, mode=mode, shape=shape, has_past=has_past, extra=extra, faults=faults)


def _comes_to(points: Points, fault: Fault) -> bool:
    return fault.unit in points and (not fault.point or fault.point in points[fault.unit])


def _second(points: Points, fault: Fault, dice: random.Random) -> Fault:
    """Every other fault strikes at the second of two tables."""
    twice = BY_MODE.search(fault.point) and points[fault.unit].count(fault.point) > 1
    return replace(fault, point=f"{fault.point}{SECOND}") if twice and dice.random() < 1 / 2 else fault


def _company(rest: list[Item]) -> Iterator[Fault]:
    """Take some items that can meet one run: of different tasks; a run with a spoilt file ends early, so it is alone."""
    taken: set[str] = set()
    for item in list(rest):
        alone = item.fault.kind in LONELY
        if item.fault.unit in taken or (alone and taken):
            continue
        taken.add(item.fault.unit)
        rest.remove(item)
        yield item.fault
        if alone or len(taken) == FAULTS_PER_RUN:
            return
