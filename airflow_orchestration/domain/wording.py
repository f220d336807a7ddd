"""How are very many names told in one line?"""

from __future__ import annotations

from collections.abc import Iterable

MOST_NAMES = 50
"""Ours: names in one line of a log; a run may have 10,000 feeds."""


def some_of(names: Iterable[str], most: int = MOST_NAMES, *, separator: str = ", ") -> str:
    """List the first names, and say how many more there are.

    >>> some_of(["north", "south", "east"], 2)
    'north, south and 1 more'
    """
    known = list(names)
    more = len(known) - most
    return separator.join(known[:most]) + (f" and {more:,} more" if more > 0 else "")
