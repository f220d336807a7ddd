"""The strategies of a merge: a closed table, one small member for each.

Ties go to the heavier source, of equal weights to the first by feed id. A null is no opinion.
"""

# ruff: noqa: S608  # there are no names or values in it but those of `Cell`
from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from airflow_orchestration.domain.merge import Strategy as Name
from airflow_orchestration.engine.opinions import (
    Cell,
    Choice,
    Strategy,
    of_source,
    weight_if,
    weight_of_opinions,
)
from airflow_orchestration.engine.trusting import Trusting
from airflow_orchestration.policies.trust.model import TrustModel


@dataclass(frozen=True, slots=True)
class Primary:
    """The value of the heaviest source that has one."""

    def across(self, cell: Cell) -> Choice:
        """The first that is not null."""
        return Choice(taken=tuple(cell.says(i) for i in cell.sources))

    def down(self, cell: Cell) -> str:
        """The opinion with the lowest number."""
        return of_source("SELECT id, min(source) AS source FROM opinions GROUP BY id")


@dataclass(frozen=True, slots=True)
class Vote:
    """The value that most weight supports: its own source's and that of all within the tolerance."""

    def across(self, cell: Cell) -> Choice:
        """Add up the support of each source's value."""
        support = {cell.helper("s", i): self._support(cell, i) for i in cell.sources}
        best = cell.helper("b")
        return Choice(
            levels=(support, {best: f"greatest({', '.join(support)})"}),
            taken=tuple(f"({name} = {best})" for name in support),
        )

    def _support(self, cell: Cell, candidate: int) -> str:
        said = cell.value(candidate)
        support = " + ".join(
            weight_if(cell.supports(cell.value(i), said), cell.weights[i]) for i in cell.sources
        )
        return f"CASE WHEN {cell.says(candidate)} THEN {support} END"

    def down(self, cell: Cell) -> str:
        """Add up the weight of equal values, or of a window around each value."""
        window = "PARTITION BY id, value"
        if cell.tolerant:
            window = f"PARTITION BY id ORDER BY ordered RANGE BETWEEN {cell.margin} PRECEDING AND {cell.margin} FOLLOWING"
        supported = f"SELECT id, source, sum(weight) OVER ({window}) AS support FROM ({_ordered(cell)})"
        return of_source(
            f"SELECT id, arg_min(source, (-support, source)) AS source FROM ({supported}) GROUP BY id"
        )


@dataclass(frozen=True, slots=True)
class Median:
    """The weighted median, of two in the middle the lower one: always a value that somebody said.

    It is the smallest value such that values up to it have at least half of the weight.
    """

    def across(self, cell: Cell) -> Choice:
        """Compare with the weight of all that is not above."""
        total, middle = cell.helper("h"), cell.helper("m")
        candidates = (
            f"CASE WHEN {cell.says(i)} AND 2.0 * ({self._up_to(cell, i)}) >= {total} THEN {cell.value(i)} END"
            for i in cell.sources
        )
        return Choice(
            levels=({total: weight_of_opinions(cell)}, {middle: f"least({', '.join(candidates)})"}),
            taken=tuple(f"({cell.value(i)} = {middle})" for i in cell.sources),
        )

    def _up_to(self, cell: Cell, candidate: int) -> str:
        said = cell.value(candidate)
        return " + ".join(weight_if(f"{cell.value(i)} <= {said}", cell.weights[i]) for i in cell.sources)

    def down(self, cell: Cell) -> str:
        """Add up the weights in the order of the values."""
        running = (
            "SELECT id, source, value, sum(weight) OVER (PARTITION BY id ORDER BY value) AS up_to, "
            "sum(weight) OVER (PARTITION BY id) AS total FROM opinions"
        )
        chosen = f"SELECT id, arg_min(source, (value, source)) AS source FROM ({running}) WHERE 2.0 * up_to >= total"
        return of_source(f"{chosen} GROUP BY id")


@dataclass(frozen=True, slots=True)
class Mean:
    """The weighted mean: additions in the sources' order, and never outside of what was said."""

    def across(self, cell: Cell) -> Choice:
        """Multiply by shares of the weight, so that no sum is larger than the largest value."""
        total = cell.helper("h")
        terms = (
            f"coalesce({cell.value(i)} * ({cell.weights[i]!r}::DOUBLE / {total}), 0.0::DOUBLE)"
            for i in cell.sources
        )
        values = ", ".join(cell.value(i) for i in cell.sources)
        return Choice(
            levels=({total: weight_of_opinions(cell)},),
            made=(
                f"CASE WHEN {total} > 0 THEN "
                f"greatest(least({' + '.join(terms)}, greatest({values})), least({values})) END"
            ),
        )

    def down(self, cell: Cell) -> str:
        """Lists keep the order of the additions."""
        terms = "SELECT id, source, value, value * (weight / sum(weight) OVER (PARTITION BY id)) AS term FROM opinions"
        summed = "list_reduce(list(term ORDER BY source), lambda one, other: one + other)"
        return (
            f"SELECT id, greatest(least({summed}, max(value)), min(value)) AS value, "
            f"NULL::INTEGER AS source, NULL::DOUBLE AS confidence FROM ({terms}) GROUP BY id"
        )


@dataclass(frozen=True, slots=True)
class Newest:
    """The value of the row with the latest `newest_by`; a row without one is older than all others."""

    def across(self, cell: Cell) -> Choice:
        """Look for the latest time of a source with an opinion."""
        latest = cell.helper("l")
        times = (f"CASE WHEN {cell.says(i)} THEN {cell.time(i)} END" for i in cell.sources)
        return Choice(
            levels=({latest: f"greatest({', '.join(times)})"},),
            taken=tuple(
                f"({cell.says(i)} AND {cell.time(i)} IS NOT DISTINCT FROM {latest})" for i in cell.sources
            ),
        )

    def down(self, cell: Cell) -> str:
        """Rank by time, then by number."""
        latest = "SELECT id, source, time, max(time) OVER (PARTITION BY id) AS latest FROM opinions"
        chosen = f"SELECT id, min(source) AS source FROM ({latest}) WHERE time IS NOT DISTINCT FROM latest"
        return of_source(f"{chosen} GROUP BY id")


STRATEGIES: Mapping[Name, Callable[[TrustModel], Strategy]] = {
    Name.PRIMARY: lambda _: Primary(),
    Name.VOTE: lambda _: Vote(),
    Name.MEDIAN: lambda _: Median(),
    Name.MEAN: lambda _: Mean(),
    Name.NEWEST: lambda _: Newest(),
    Name.TRUST: Trusting,
}
"""By the name that stands in the pipeline file; only `trust` looks at what was learned."""


def _ordered(cell: Cell) -> str:
    """Opinions with `ordered`, in a type to which a margin can be added."""
    wider = "::HUGEINT" if cell.tolerant and cell.margin.endswith("HUGEINT") else ""
    return f"SELECT *, value{wider} AS ordered FROM opinions"
