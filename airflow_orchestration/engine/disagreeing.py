"""On which keys do sources disagree? A few of them for each attribute, with what each source says.

The keys are looked for in `merged`; of the sources' files only the rows with these few keys are read again.
"""

# ruff: noqa: S608  # names and values become SQL through `sqltext` only
from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable

import duckdb

from airflow_orchestration.domain.decision import Json
from airflow_orchestration.engine.opinions import Cell
from airflow_orchestration.engine.sqltext import identifier, identifiers
from airflow_orchestration.engine.terms import Terms

LONGEST = 200
"""Characters of a value that are kept."""
Examples = dict[str, list[dict[str, Json]]]


def disagreements(
    connection: duckdb.DuckDBPyConnection, terms: Terms, attributes: Collection[str], most: int
) -> Examples:
    """Return for each of these attributes its first conflicts by key, at most `most`.

    Each is plain data, with values as texts of at most `LONGEST` characters: `key`; `values`, what each source
    with an opinion says; `chosen`, the feed whose value was taken, None for a made value; and
    `value`, what came of it.
    """
    cells = {cell.number: cell for cell in terms.cells if cell.column.name in attributes}
    if not cells or not most:
        return {}
    connection.execute(f"CREATE TEMP TABLE in_conflict AS {_rows(terms, cells.values(), most)}")
    said: defaultdict[int, dict[str, Json]] = defaultdict(dict)
    for source, feed_id in enumerate(terms.feeds):
        for row, value in connection.execute(_opinions(terms, source, cells.values())).fetchall():
            said[row][feed_id] = _storable(value)
    examples: Examples = {cell.column.name: [] for cell in cells.values()}
    for row, number, origin, value, *key in connection.execute(_conflicts(terms)).fetchall():
        example: dict[str, Json] = {
            "key": dict(zip(terms.contract.key, map(_storable, key), strict=True)),
            "values": said[row],
            "chosen": None if origin is None else terms.feeds[origin],
            "value": _storable(value),
        }
        examples[cells[number].column.name].append(example)
    return examples


def _rows(terms: Terms, cells: Iterable[Cell], most: int) -> str:
    """The first conflicts of each attribute: `merged` is in the order of the keys."""
    keys = identifiers(terms.contract.key)
    found = (
        f"(SELECT {keys}, {cell.number} AS _number, {'NULL' if terms.makes(cell) else f'_o{cell.number}'}::INTEGER "
        f"AS _origin, {_text(f'_c{cell.number}')} AS _value FROM merged WHERE _d{cell.number} LIMIT {most})"
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
    return f"SELECT _row, _number, _origin, _value, {key} FROM in_conflict ORDER BY _row"


def _text(value: str) -> str:
    return f"left({value}::VARCHAR, {LONGEST})"


def _storable(text: str | None) -> str | None:
    """PostgreSQL keeps no text with a zero in it."""
    return None if text is None else text.replace("\0", "\N{REPLACEMENT CHARACTER}")
