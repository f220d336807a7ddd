"""The joined form of a merge: one row per key, a column per source and attribute. Right for few sources.

Source `i` has `_p_{i}` where it knows a key, and `Cell.value(i)` for each attribute. The sources are joined on
the key one after the other.
"""

# ruff: noqa: S608  # names and values become SQL through `sqltext` only
from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import ClassVar

import duckdb

from airflow_orchestration.engine.opinions import (
    Cell,
    Choice,
    first,
    weight_of_opinions,
    weight_of_support,
)
from airflow_orchestration.engine.rendering import array, share
from airflow_orchestration.engine.sqltext import identifier, identifiers
from airflow_orchestration.engine.terms import Terms


@dataclass(frozen=True, slots=True)
class Joined:
    """Sets of sources are masks: bit `i` for source `i`.

    Measured: to spill a join of `over_memory` times the memory is no slower than to read everything more often.
    """

    over_memory: ClassVar[float] = 2.0
    terms: Terms

    def fill(self, connection: duckdb.DuckDBPyConnection, within: str) -> None:
        """Merge the keys for which a condition holds, and append them to the table `merged` in their order."""
        keys = identifiers(self.terms.contract.key)
        query = f"{self._query(within)} ORDER BY {keys}"
        connection.execute(f"CREATE TABLE IF NOT EXISTS merged AS FROM ({query}) LIMIT 0")
        connection.execute(f"INSERT INTO merged {query}")

    def known(self, connection: duckdb.DuckDBPyConnection) -> list[int]:
        """Count the keys in `merged` that each source knows."""
        counted = ", ".join(f"count(*) FILTER ({_has('_s', i)})" for i in self._numbers)
        return list(connection.execute(f"SELECT {counted} FROM merged").fetchone() or ())

    def listed(self, column: str, feeds: Sequence[str]) -> str:
        """SQL for the JSON array of a set of sources, given their texts as SQL."""
        return array(f"CASE WHEN {_has(column, i)} THEN {feeds[i]} END" for i in self._numbers)

    @property
    def _numbers(self) -> range:
        return range(len(self.terms.sources))

    def _query(self, within: str) -> str:
        cells = self.terms.cells
        choices = [self.terms.strategy(cell).across(cell) for cell in cells]
        query = f"SELECT * FROM {self._joined(within)}"
        for level in _levels(choices):
            query = _with(query, level)
        values = {
            f"_c{cell.number}": choice.made or first(choice.taken, [cell.value(i) for i in cell.sources])
            for cell, choice in zip(cells, choices, strict=True)
        }
        weights = {f"_h{cell.number}": weight_of_opinions(cell) for cell in cells}
        weights |= {f"_w{cell.number}": weight_of_support(cell, f"_c{cell.number}") for cell in cells}
        found = _with(_with(query, values), weights)
        return f"SELECT {', '.join(self._columns(cells, choices))} FROM ({found})"

    def _joined(self, within: str) -> str:
        keys = identifiers(self.terms.contract.key)
        joined = self._source(0, within)
        for number in self._numbers[1:]:
            joined = f"{joined} FULL JOIN {self._source(number, within)} USING ({keys})"
        return joined

    def _source(self, number: int, within: str) -> str:
        columns = [identifiers(self.terms.contract.key), f"true AS _p_{number}"]
        columns.append(f"{self.terms.time} AS _t_{number}")
        columns += [f"{identifier(cell.column.name)} AS {cell.value(number)}" for cell in self.terms.cells]
        return f"(SELECT {', '.join(columns)} FROM {self.terms.rows(number, within)})"

    def _columns(self, cells: Sequence[Cell], choices: Sequence[Choice]) -> Iterator[str]:
        knows = [f"_p_{i}" for i in self._numbers]
        yield identifiers(self.terms.contract.key)
        yield f"{first(knows, [f'{i}::USMALLINT' for i in self._numbers])} AS _q"
        yield f"{_mask(knows)} AS _s"
        for cell, choice in zip(cells, choices, strict=True):
            j = cell.number
            yield f"_c{j}"
            yield f"{_origin(cell, choice)} AS _o{j}"
            yield f"{share(choice.confidence or f'_w{j} / nullif(_h{j}, 0.0::DOUBLE)')} AS _g{j}"
            yield f"(_w{j} < _h{j}) AS _d{j}"
            yield f"({' + '.join(f'{cell.says(i)}::USMALLINT' for i in cell.sources)}) AS _n{j}"


def _has(column: str, number: int) -> str:
    return f"{column} & {1 << number} <> 0"


def _mask(conditions: Sequence[str]) -> str:
    bits = (f"CASE WHEN {condition} THEN {1 << i} ELSE 0 END" for i, condition in enumerate(conditions))
    return f"({' | '.join(bits)})::USMALLINT"


def _origin(cell: Cell, choice: Choice) -> str:
    """The number of the source, or for a made value the set of all that took part."""
    if choice.made is None:
        return first(choice.taken, [f"{i}::USMALLINT" for i in cell.sources])
    return _mask([cell.says(i) for i in cell.sources])


def _levels(choices: Sequence[Choice]) -> Iterator[Mapping[str, str]]:
    """The helper columns of all attributes, level by level."""
    for together in zip_longest(*(choice.levels for choice in choices), fillvalue={}):
        yield {name: expression for level in together for name, expression in level.items()}


def _with(query: str, columns: Mapping[str, str]) -> str:
    added = "".join(f", {expression} AS {name}" for name, expression in columns.items())
    return f"SELECT *{added} FROM ({query})"
