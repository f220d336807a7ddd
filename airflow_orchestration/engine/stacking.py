"""The stacked form of a merge: one row per key and source. Right for many sources.

What it costs grows with the opinions, not with the pairs of sources.
"""

# ruff: noqa: S608  # names and values become SQL through `sqltext` only
from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import duckdb

from airflow_orchestration.engine.opinions import Cell
from airflow_orchestration.engine.rendering import share
from airflow_orchestration.engine.sqltext import identifier, identifiers
from airflow_orchestration.engine.terms import Terms


@dataclass(frozen=True, slots=True)
class Stacked:
    """Sets of sources are lists of their numbers."""

    over_memory: ClassVar[float] = 0.5
    terms: Terms
    _known: dict[int, int] = field(default_factory=dict)

    def fill(self, connection: duckdb.DuckDBPyConnection, within: str) -> None:
        """Merge the keys for which a condition holds, and append them to the table `merged` in their order."""
        keys = identifiers(self.terms.contract.key)
        for place, some in enumerate(self.terms.chunks()):
            into = "INSERT INTO stacked" if place else "CREATE OR REPLACE TEMP TABLE stacked AS"
            connection.execute(f"{into} {self._stacked(some, within)}")
        connection.execute(
            f"CREATE OR REPLACE TEMP TABLE numbered AS SELECT {keys}, row_number() OVER (ORDER BY {keys}) AS id, "
            f"min(source) AS _q, {_array()} AS _s FROM stacked GROUP BY {keys}"
        )
        for cell in self.terms.cells:
            connection.execute(f"CREATE OR REPLACE TEMP TABLE opinions AS {self._opinions(cell)}")
            connection.execute(f"CREATE OR REPLACE TEMP TABLE found_{cell.number} AS {self._found(cell)}")
        query = f"SELECT {', '.join(self._columns())} FROM {self._results()} ORDER BY id"
        connection.execute(f"CREATE TABLE IF NOT EXISTS merged AS FROM ({query}) LIMIT 0")
        connection.execute(f"INSERT INTO merged {query}")
        for number, rows in connection.execute(
            f"SELECT source, count(DISTINCT id) FROM stacked JOIN numbered USING ({keys}) GROUP BY source"
        ).fetchall():
            self._known[number] = self._known.get(number, 0) + rows

    def known(self, connection: duckdb.DuckDBPyConnection) -> list[int]:
        """Count the keys in `merged` that each source knows."""
        del connection
        return [self._known.get(number, 0) for number in range(len(self.terms.sources))]

    def listed(self, column: str, feeds: Sequence[str]) -> str:
        """SQL for the JSON array of a set of sources, given their texts as SQL."""
        texts = ", ".join(feeds)
        return f"'[' || array_to_string(list_transform({column}, lambda i: list_extract([{texts}], i + 1)), ',') || ']'"

    def _stacked(self, some: Iterable[int], within: str) -> str:
        columns = identifiers(column.name for column in self.terms.contract.columns)
        weights = self.terms.weights
        return " UNION ALL ".join(
            f"SELECT {columns}, {number}::USMALLINT AS source, {weights[number]!r}::DOUBLE AS weight, "
            f"{self.terms.time} AS time FROM {self.terms.rows(number, within)}"
            for number in some
        )

    def _opinions(self, cell: Cell) -> str:
        keys, name = identifiers(self.terms.contract.key), identifier(cell.column.name)
        return (
            f"SELECT id, source, weight, {name} AS value, time FROM stacked JOIN numbered USING ({keys}) "
            f"WHERE {name} IS NOT NULL"
        )

    def _found(self, cell: Cell) -> str:
        """The value of each key, and how the opinions stand to it."""
        origin = _array("opinions.source") if self.terms.makes(cell) else "any_value(chosen.source)"
        supporting = f"sum(weight) FILTER ({cell.supports('opinions.value', 'chosen.value')})"
        confidence = f"coalesce(any_value(confidence), coalesce({supporting}, 0.0::DOUBLE) / sum(weight))"
        return (
            f"SELECT id, any_value(chosen.value) AS value, {origin} AS origin, "
            f"{share(confidence)} AS share, coalesce({supporting}, 0.0::DOUBLE) < sum(weight) AS conflict, "
            f"count(*)::USMALLINT AS said FROM opinions JOIN ({self.terms.strategy(cell).down(cell)}) AS chosen USING (id) "
            "GROUP BY id"
        )

    def _results(self) -> str:
        found = (f" LEFT JOIN found_{cell.number} USING (id)" for cell in self.terms.cells)
        return f"numbered{''.join(found)}"

    def _columns(self) -> Iterator[str]:
        yield identifiers(self.terms.contract.key)
        yield "_q"
        yield "_s"
        for cell in self.terms.cells:
            j = cell.number
            yield f"found_{j}.value AS _c{j}"
            yield f"found_{j}.origin AS _o{j}"
            yield f"found_{j}.share AS _g{j}"
            yield f"coalesce(found_{j}.conflict, false) AS _d{j}"
            yield f"coalesce(found_{j}.said, 0)::USMALLINT AS _n{j}"


def _array(source: str = "source") -> str:
    return f"list({source} ORDER BY {source})"
