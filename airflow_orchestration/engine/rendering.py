"""The table `merged`, which both forms of a merge fill, and the file that it becomes.

`merged` holds, in the order of the keys: the key; `_q`, the number of the heaviest source that has it; `_s`,
the set of all that have it; and for attribute `j` the value `_c{j}`, its origin `_o{j}` (a number; for a made value
a set), its confidence `_g{j}` in 1 / `SHARES`, `_d{j}` for a conflict, and how many have a value, `_n{j}`.
Numbers instead of texts keep it small.
"""

# ruff: noqa: S608  # names and values become SQL through `sqltext` only
from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import ClassVar, Protocol

import duckdb

from airflow_orchestration.engine.opinions import Cell
from airflow_orchestration.engine.sqltext import identifier, literal
from airflow_orchestration.engine.terms import Terms

SHARES = 10_000
"""A confidence has four digits."""
MOST_CASES = 12
"""Ours: each case is tried on each row; with more a list of them all is faster."""


class Form(Protocol):
    """A way to fill `merged`.

    `over_memory` is how many times larger than the memory the rows of one `fill` may be.
    """

    over_memory: ClassVar[float]

    def fill(self, connection: duckdb.DuckDBPyConnection, within: str) -> None:
        """Merge the keys for which a condition holds, and append them to the table `merged` in their order."""

    def known(self, connection: duckdb.DuckDBPyConnection) -> list[int]:
        """Count the keys in `merged` that each source knows."""

    def listed(self, column: str, feeds: Sequence[str]) -> str:
        """SQL for the JSON array of a set of sources, given their texts as SQL."""


def share(confidence: str) -> str:
    """SQL for a confidence as `merged` has it."""
    return f"round(({confidence}) * {SHARES})::USMALLINT"


def array(texts: Iterable[str]) -> str:
    """SQL for a JSON array of the texts that are not null."""
    return f"'[' || concat_ws(',', {', '.join(texts)}) || ']'"


def rendered(terms: Terms, form: Form) -> str:
    """The query of the merged file's rows."""
    return f"SELECT {', '.join(_columns(terms, form))} FROM merged"


def _columns(terms: Terms, form: Form) -> Iterator[str]:
    cells = {cell.column.name: cell for cell in terms.cells}
    feeds = [literal(json.dumps(feed)) for feed in terms.feeds]
    for column in terms.contract.columns:
        name = identifier(column.name)
        yield f"_c{cells[column.name].number} AS {name}" if column.name in cells else name
    yield f"{_picked('_q', [literal(feed) for feed in terms.feeds])} AS _primary_source"
    yield f"{form.listed('_s', feeds)} AS _sources"
    yield f"{_object(_origin(terms, form, cell, feeds) for cell in cells.values())} AS _attribution"
    yield f"{_object(_confidence(cell) for cell in cells.values())} AS _confidence"
    conflicts = (f"CASE WHEN _d{cell.number} THEN {_name(cell)} END" for cell in cells.values())
    yield f"{array(['NULL', *conflicts])} AS _conflicts"


def _object(entries: Iterable[str]) -> str:
    return f"'{{' || concat_ws(',', {', '.join(['NULL', *entries])}) || '}}'"


def _name(cell: Cell, after: str = "") -> str:
    return literal(json.dumps(cell.column.name) + after)


def _origin(terms: Terms, form: Form, cell: Cell, feeds: Sequence[str]) -> str:
    column, name = f"_o{cell.number}", _name(cell, ":")
    text = form.listed(column, feeds) if terms.makes(cell) else _picked(column, feeds)
    return f"CASE WHEN _n{cell.number} > 0 THEN {name} || {text} END"


def _confidence(cell: Cell) -> str:
    """To write a number is the dearest part of a row, and most feeds agree most of the time."""
    part = f"_g{cell.number}"
    return (
        f"CASE WHEN {part} = {SHARES} THEN {_name(cell, ':1.0')} "
        f"WHEN {part} IS NOT NULL THEN {_name(cell, ':')} || ({part}::DOUBLE / {SHARES}) END"
    )


def _picked(column: str, texts: Sequence[str]) -> str:
    if len(texts) > MOST_CASES:
        return f"list_extract([{', '.join(texts)}], {column}::INTEGER + 1)"
    cases = " ".join(f"WHEN {number} THEN {text}" for number, text in enumerate(texts))
    return f"CASE {column} {cases} END"
