"""On which keys do sources disagree? A few of them for each attribute, with what each source says.

The keys are looked for in `merged`; of the sources' files only the rows with these few keys are read again, the
heaviest sources first, and no more of them than are told.
"""

# ruff: noqa: S608  # names and values become SQL through `sqltext` only
from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

import duckdb

from airflow_orchestration.domain.decision import Json
from airflow_orchestration.engine.opinions import Cell
from airflow_orchestration.engine.sqltext import identifier, identifiers
from airflow_orchestration.engine.terms import Terms

LONGEST = 200
"""Characters of a value that are kept."""
MOST_OPINIONS = 10
"""Ours: what a person compares; the chosen one and the heaviest others."""
MOST_ATTRIBUTES = 20
"""Ours: with so many in conflict, the rules are to be looked at and not the examples."""
Examples = dict[str, list[dict[str, Json]]]


@dataclass(slots=True)
class _Conflict:
    """One key and attribute: the source whose value was taken if it was one's, and how many have a value."""

    number: int
    origin: int | None
    value: str | None
    opinions: int
    key: Sequence[str]
    said: dict[int, str | None] = field(default_factory=dict)

    def asks(self, source: int) -> bool:
        """Whether what a source says is told; sources are asked the heaviest first."""
        if self.origin is not None and self.origin >= source:
            return self.origin == source or len(self.said) < MOST_OPINIONS - 1
        return len(self.said) < min(self.opinions, MOST_OPINIONS)


def disagreements(
    connection: duckdb.DuckDBPyConnection, terms: Terms, attributes: Collection[str], most: int
) -> Examples:
    """Return for the first `MOST_ATTRIBUTES` of these attributes its first conflicts by key, at most `most`.

    Each is plain data, with values as texts of at most `LONGEST` characters: `key`; `values`, what sources
    with an opinion say, the heaviest first, at most `MOST_OPINIONS` with the chosen one among them; `more`, how many
    others have an opinion; `chosen`, the feed whose value was taken, None for a made value; and `value`, what
    came of it.
    """
    asked = set(list(attributes)[:MOST_ATTRIBUTES])
    cells = {cell.number: cell for cell in terms.cells if cell.column.name in asked}
    if not cells or not most:
        return {}
    connection.execute(f"CREATE TEMP TABLE in_conflict AS {_rows(terms, cells.values(), most)}")
    conflicts = {
        row: _Conflict(number, origin, value, opinions, key)
        for row, number, origin, value, opinions, *key in connection.execute(_conflicts(terms)).fetchall()
    }
    for source in range(len(terms.feeds)):
        if any(one.asks(source) for one in conflicts.values()):
            for row, value in connection.execute(_opinions(terms, source, cells.values())).fetchall():
                if conflicts[row].asks(source):
                    conflicts[row].said[source] = value
    examples: Examples = {cell.column.name: [] for cell in cells.values()}
    for one in conflicts.values():
        examples[cells[one.number].column.name].append(_example(terms, one))
    return examples


def _example(terms: Terms, one: _Conflict) -> dict[str, Json]:
    return {
        "key": dict(zip(terms.contract.key, map(_storable, one.key), strict=True)),
        "values": {terms.feeds[source]: _storable(value) for source, value in one.said.items()},
        "more": one.opinions - len(one.said),
        "chosen": None if one.origin is None else terms.feeds[one.origin],
        "value": _storable(one.value),
    }


def _rows(terms: Terms, cells: Iterable[Cell], most: int) -> str:
    """The first conflicts of each attribute: `merged` is in the order of the keys."""
    keys = identifiers(terms.contract.key)
    found = (
        f"(SELECT {keys}, {cell.number} AS _number, {'NULL' if terms.makes(cell) else f'_o{cell.number}'}::INTEGER "
        f"AS _origin, {_text(f'_c{cell.number}')} AS _value, _n{cell.number} AS _opinions FROM merged WHERE _d{cell.number} LIMIT {most})"
        for cell in cells
    )
    return (
        f"SELECT *, row_number() OVER (ORDER BY _number, {keys}) AS _row FROM ({' UNION ALL '.join(found)})"
    )


def _opinions(terms: Terms, source: int, cells: Iterable[Cell]) -> str:
    """What a source says about the attribute of each conflict whose key it knows."""
    names = ((cell.number, _text(identifier(cell.column.name))) for cell in cells)
    cases = " ".join(f"WHEN {number} THEN {text}" for number, text in names)
    return (
        f"SELECT _row, CASE _number {cases} END AS _said FROM {terms.rows(source)} "
        f"JOIN in_conflict USING ({identifiers(terms.contract.key)}) WHERE _said IS NOT NULL"
    )


def _conflicts(terms: Terms) -> str:
    key = ", ".join(_text(identifier(name)) for name in terms.contract.key)
    return f"SELECT _row, _number, _origin, _value, _opinions, {key} FROM in_conflict ORDER BY _row"


def _text(value: str) -> str:
    return f"left({value}::VARCHAR, {LONGEST})"


def _storable(text: str | None) -> str | None:
    """PostgreSQL keeps no text with a zero in it."""
    return None if text is None else text.replace("\0", "\N{REPLACEMENT CHARACTER}")
