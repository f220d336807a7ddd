"""What sources say of one attribute, and how a strategy makes one value of it: the border between both.

The merge has two forms with equal results. Few sources are joined: each key is a row with a column per
source, and a strategy writes expressions over these (`Strategy.across`). Many sources are stacked: each
opinion is a row, and a strategy writes a query over these (`Strategy.down`). Sources are numbered from 0,
the heaviest first, of equal weights the first by feed id: where nothing else decides, the lowest number does.
"""

# ruff: noqa: S608  # names and values become SQL through `sqltext` and `Cell` only
from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from airflow_orchestration.domain.contract import Column, ColumnType

WEIGHT_UNITS = 10**12
"""The heaviest source weighs so much, the others in proportion: sums of whole numbers have no order."""
_WIDEST_TOLERANCE = 2**65
"""More than any two integers differ."""


def whole_weights(weights: Sequence[float]) -> tuple[float, ...]:
    """Scale weights to whole numbers, at least 1; doubles hold the sums of 9,000 of them exactly.

    >>> whole_weights([3.0, 1.5])
    (1000000000000.0, 500000000000.0)
    """
    heaviest = max(weights)
    return tuple(float(max(1, round(weight / heaviest * WEIGHT_UNITS))) for weight in weights)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One attribute of one merge: `feeds` and `weights` by the sources' numbers.

    `number` is the attribute's place among the contract's attributes. `weights` are `whole_weights`.
    Joined, source `i` has its value in `value(i)` and the time of its row in `time(i)`; both may be null.
    Stacked, the table `opinions` has the columns `id` (of the key), `source` (its number), `weight`, `value`,
    which is never null, and `time`.
    """

    number: int
    column: Column
    tolerance: float
    feeds: tuple[str, ...]
    weights: tuple[float, ...]

    @property
    def sources(self) -> range:
        """The numbers of the sources."""
        return range(len(self.feeds))

    def value(self, source: int) -> str:
        """SQL for what a source says; null when it has no opinion."""
        return f"_a{self.number}_{source}"

    def time(self, source: int) -> str:
        """SQL for the `newest_by` of a source's row."""
        return f"_t_{source}"

    def says(self, source: int) -> str:
        """SQL for whether a source has an opinion: true or false."""
        return f"({self.value(source)} IS NOT NULL)"

    def helper(self, name: str, source: int | None = None) -> str:
        """A name for a column that a strategy adds; no other attribute has it."""
        return f"_{name}{self.number}" + ("" if source is None else f"_{source}")

    def supports(self, opinion: str, candidate: str) -> str:
        """SQL for whether an opinion is within the tolerance of a candidate; null when one of them is.

        Which is `candidate - tolerance <= opinion <= candidate + tolerance`; without a tolerance they are equal.
        """
        if not self.tolerant:
            return f"({opinion} = {candidate})"
        if self.column.type is ColumnType.INTEGER:
            candidate = f"{candidate}::HUGEINT"
        return f"({opinion} BETWEEN {candidate} - {self.margin} AND {candidate} + {self.margin})"

    @property
    def tolerant(self) -> bool:
        """Whether values that differ may support each other."""
        return self.tolerance > 0 and self.column.type in {ColumnType.INTEGER, ColumnType.NUMBER}

    @property
    def margin(self) -> str:
        """The tolerance as SQL, in the type in which it is added."""
        if self.column.type is ColumnType.INTEGER:
            return f"{math.floor(min(self.tolerance, _WIDEST_TOLERANCE))}::HUGEINT"
        return f"{float(self.tolerance)!r}::DOUBLE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """SQL for the value of an attribute, over the joined columns.

    `levels` are helper columns, each level over the ones before. `taken`: per source a condition; the value
    is that of the first source of which it holds, and it must hold of none without an opinion. Or `made`:
    a value of its own, in which every source with an opinion took part. `confidence` in 0..1 is left out where
    it is the share of the weight, of the sources with an opinion, that supports the value.
    """

    levels: tuple[Mapping[str, str], ...] = ()
    taken: tuple[str, ...] = ()
    made: str | None = None
    confidence: str | None = None


class Strategy(Protocol):
    """One way to make a value of opinions; both forms give the same, to the bit.

    `engine.strategies` has all of them; `engine.trusting` makes the one of strategy `trust`.
    """

    def across(self, cell: Cell) -> Choice:
        """Expressions over the columns of the joined form."""

    def down(self, cell: Cell) -> str:
        """A query over `opinions`, one row per `id` in it: `id`, `value`, `source`, `confidence`.

        `source` is the number of the source that the value is of, null for a made one; `confidence` is
        null where it is the share of the weight that supports the value.
        """


def weight_of_opinions(cell: Cell) -> str:
    """SQL for the weight of all joined sources that have an opinion."""
    return " + ".join(weight_if(cell.says(i), cell.weights[i]) for i in cell.sources)


def weight_of_support(cell: Cell, candidate: str) -> str:
    """SQL for the weight of all joined sources that support a value."""
    return " + ".join(
        weight_if(cell.supports(cell.value(i), candidate), cell.weights[i]) for i in cell.sources
    )


def first(conditions: Sequence[str], values: Sequence[str]) -> str:
    """SQL for the value whose condition is the first to hold; null when none does."""
    cases = " ".join(f"WHEN {c} THEN {v}" for c, v in zip(conditions, values, strict=True))
    return f"CASE {cases} END"


def weight_if(condition: str, weight: float) -> str:
    """SQL for a weight where a condition holds, and 0 where it does not or is null."""
    return f"CASE WHEN {condition} THEN {weight!r}::DOUBLE ELSE 0.0::DOUBLE END"


def of_source(chosen: str) -> str:
    """Look up the value of the chosen source of each key."""
    return (
        "SELECT id, value, source, NULL::DOUBLE AS confidence "
        f"FROM opinions JOIN ({chosen}) AS chosen USING (id, source)"
    )
