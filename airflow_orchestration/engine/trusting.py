"""Strategy `trust` in SQL: the value with the highest score, by what a model knows of each feed.

What a source adds to a value is its weight, less what it copies from a heavier source that says the same.
Weights are whole numbers here, so that sums have no order. The confidence is the probability of the value
among those that differ from it and those that nobody has, brought to the scale that is right so often.
"""

# ruff: noqa: S608  # there are no names or values in it but those of `Cell`
from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from airflow_orchestration.engine.opinions import Cell, Choice
from airflow_orchestration.policies.trust.model import TrustModel

UNITS = 10**9
"""A weight of 1, which is the logarithm of the odds e, as a whole number."""


@dataclass(frozen=True, slots=True)
class Trusting:
    """The most probable value, by what the model knows of each feed."""

    model: TrustModel

    def across(self, cell: Cell) -> Choice:
        """Add up each value's score; the best one is taken."""
        own = {cell.helper("v", i): self._own(cell, i) for i in cell.sources}
        scores = {cell.helper("s", i): _score(cell, i) for i in cell.sources}
        best = cell.helper("b")
        given = ", ".join(scores)
        rivals = {cell.helper("k", i): self._rival(cell, i) for i in cell.sources}
        raw = cell.helper("r")
        certain = {raw: self._raw(cell, best, " + ".join(rivals), _different(cell))}
        return Choice(
            levels=(own, scores, {best: f"greatest({given})"}, rivals, certain),
            taken=tuple(f"({name} = {best})" for name in scores),
            confidence=_calibrated(raw, self.model.calibration),
        )

    def down(self, cell: Cell) -> str:
        """The same over the stacked opinions; lists keep the order of the additions."""
        own = f"SELECT id, source, value, round(units * own) AS own FROM ({self._weighed(cell)})"
        window = "PARTITION BY id, value"
        if cell.tolerant:
            window = f"PARTITION BY id ORDER BY ordered RANGE BETWEEN {cell.margin} PRECEDING AND {cell.margin} FOLLOWING"
            wider = "::HUGEINT" if cell.margin.endswith("HUGEINT") else ""
            own = f"SELECT *, value{wider} AS ordered FROM ({own})"
        scored = f"SELECT id, source, value, sum(own) OVER ({window}) AS score FROM ({own})"
        first = f"SELECT *, source = min(source) OVER (PARTITION BY id, value) AS first FROM ({scored})"
        chosen = (
            "SELECT *, max(score) OVER (PARTITION BY id) AS best, "
            f"first_value(value) OVER (PARTITION BY id ORDER BY score DESC, source) AS chosen FROM ({first})"
        )
        odds = f"CASE WHEN first AND NOT {cell.supports('value', 'chosen')} THEN {_odds('score', 'best')} ELSE 0.0::DOUBLE END"
        summed = "list_reduce(list(odds ORDER BY source), lambda one, other: one + other)"
        raw = self._raw(cell, "max(best)", summed, "count(*) FILTER (first)")
        found = (
            "SELECT id, arg_min(value, (-score, source)) AS value, arg_min(source, (-score, source)) AS source, "
            f"{raw} AS raw FROM (SELECT *, {odds} AS odds FROM ({chosen})) GROUP BY id"
        )
        return f"SELECT id, value, source, {_calibrated('raw', self.model.calibration)} AS confidence FROM ({found})"

    def _weights(self, cell: Cell) -> list[float]:
        name = cell.column.name
        return [float(round(self.model.weight(feed, name) * UNITS)) for feed in cell.feeds]

    def _copies(self, cell: Cell) -> list[tuple[int, int, float]]:
        """Source, heavier source, and what part of the first one's word is the second one's."""
        weights, feeds = self._weights(cell), cell.feeds
        ordered = sorted(cell.sources, key=lambda i: (-weights[i], feeds[i]))
        place = {source: at for at, source in enumerate(ordered)}
        return [
            (i, k, self.model.copying[feeds[i]][feeds[k]])
            for i in cell.sources
            for k in cell.sources
            if place[k] < place[i] and self.model.copying.get(feeds[i], {}).get(feeds[k], 0.0) > 0
        ]

    def _own(self, cell: Cell, source: int) -> str:
        """What a source adds to the values that it supports."""
        weight = f"{self._weights(cell)[source]!r}::DOUBLE"
        said = cell.value(source)
        parts = [
            f"CASE WHEN {cell.supports(cell.value(k), said)} THEN {1 - share!r}::DOUBLE ELSE 1.0::DOUBLE END"
            for i, k, share in self._copies(cell)
            if i == source
        ]
        return f"round({weight} * ({' * '.join(parts)}))" if parts else weight

    def _weighed(self, cell: Cell) -> str:
        """Opinions with `units`, their source's weight, and `own`, the share that is its own word."""
        listed = ", ".join(f"{weight!r}::DOUBLE" for weight in self._weights(cell))
        plain = f"SELECT id, source, value, ([{listed}])[source + 1] AS units FROM opinions"
        copies = self._copies(cell)
        if not copies:
            return f"SELECT *, 1.0::DOUBLE AS own FROM ({plain})"
        rows = ", ".join(f"({i}, {k}, {1 - share!r}::DOUBLE)" for i, k, share in copies)
        parts = "list_reduce(list(left_over ORDER BY heavier), lambda one, other: one * other)"
        copied = (
            f"SELECT mine.id, mine.source, {parts} AS own FROM opinions AS mine "
            f"JOIN (VALUES {rows}) AS copies (source, heavier, left_over) ON copies.source = mine.source "
            "JOIN opinions AS theirs ON theirs.id = mine.id AND theirs.source = copies.heavier "
            f"WHERE {cell.supports('theirs.value', 'mine.value')} GROUP BY ALL"
        )
        return (
            f"SELECT plain.*, coalesce(copied.own, 1.0::DOUBLE) AS own FROM ({plain}) AS plain "
            f"LEFT JOIN ({copied}) AS copied USING (id, source)"
        )

    def _rival(self, cell: Cell, source: int) -> str:
        """The odds of a source's value, if it differs from the best one and no source before has it."""
        score, best = cell.helper("s", source), cell.helper("b")
        said = cell.value(source)
        supports = " OR ".join(
            f"({cell.helper('s', i)} = {best} AND {cell.supports(said, cell.value(i))})" for i in cell.sources
        )
        counts = f"{_is_first(cell, source)} AND NOT coalesce({supports}, false)"
        return f"CASE WHEN {counts} THEN {_odds(score, best)} ELSE 0.0::DOUBLE END"

    def _raw(self, cell: Cell, best: str, rivals: str, different: str) -> str:
        """The probability of the best value."""
        spread = f"{self.model.spread_of(cell.column.name)!r}::DOUBLE"
        unseen = f"greatest(0.0::DOUBLE, {spread} + 1 - ({different})) * exp(-({best}) / {UNITS}.0::DOUBLE)"
        return f"(1.0::DOUBLE / (1.0::DOUBLE + ({rivals}) + {unseen}))"


def _score(cell: Cell, candidate: int) -> str:
    said = cell.value(candidate)
    terms = (
        f"CASE WHEN {cell.supports(cell.value(i), said)} THEN {cell.helper('v', i)} ELSE 0.0::DOUBLE END"
        for i in cell.sources
    )
    return f"CASE WHEN {cell.says(candidate)} THEN {' + '.join(terms)} END"


def _is_first(cell: Cell, source: int) -> str:
    """SQL for whether a source has a value that no source before it has."""
    before = [f"coalesce({cell.value(i)} = {cell.value(source)}, false)" for i in range(source)]
    return f"({cell.says(source)} AND NOT ({' OR '.join(before) or 'false'}))"


def _different(cell: Cell) -> str:
    return " + ".join(f"{_is_first(cell, i)}::INTEGER" for i in cell.sources)


def _odds(score: str, best: str) -> str:
    return f"exp(({score} - {best}) / {UNITS}.0::DOUBLE)"


def _calibrated(raw: str, points: tuple[tuple[float, float], ...]) -> str:
    """The line from raw to true confidence; digits that differ between the two forms are rounded off."""
    if not points:
        return f"round({raw}, 9)"
    cases = [f"WHEN {raw} <= {points[0][0]!r} THEN {points[0][1]!r}::DOUBLE"]
    for (left, low), (right, high) in pairwise(points):
        slope = (high - low) / (right - left) if right > left else 0.0
        line = f"{low!r}::DOUBLE + {slope!r}::DOUBLE * ({raw} - {left!r}::DOUBLE)"
        cases.append(f"WHEN {raw} <= {right!r} THEN {line}")
    return f"round(CASE {' '.join(cases)} ELSE {points[-1][1]!r}::DOUBLE END, 9)"
