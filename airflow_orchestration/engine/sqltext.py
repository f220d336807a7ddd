"""Turns names and values into SQL text; nothing else in the engine puts quotes around anything."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


def identifier(name: str) -> str:
    """Quote a name.

    >>> identifier('a"b')
    '"a""b"'
    """
    return '"' + name.replace('"', '""') + '"'


def literal(value: str | float | Path | None) -> str:
    """Write a text, path, number or null as SQL.

    >>> literal("it's"), literal(None), literal(2)
    ("'it''s'", 'NULL', '2')
    """
    if value is None:
        return "NULL"
    if isinstance(value, int | float):
        return repr(value)
    return "'" + str(value).replace("'", "''") + "'"


def listed(values: Iterable[str]) -> str:
    """Write texts as an SQL list."""
    return "[" + ", ".join(literal(value) for value in values) + "]"


def identifiers(names: Iterable[str], *, prefix: str = "") -> str:
    """Quote names and put commas between them."""
    return ", ".join(prefix + identifier(name) for name in names)
