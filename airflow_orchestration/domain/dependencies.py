"""Order among feeds: who must come before whom, and is there a circle?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter


def cycle_in(depends_on: Mapping[str, Sequence[str]]) -> list[str] | None:
    """Return one circle as the ids along it, first and last the same, or `None`.

    >>> cycle_in({"a": ["b"], "b": ["a"]})
    ['a', 'b', 'a']
    >>> cycle_in({"a": [], "b": ["a"]}) is None
    True
    """
    try:
        TopologicalSorter(depends_on).prepare()
    except CycleError as error:
        circle = [str(name) for name in error.args[1]][::-1]
        start = circle.index(min(circle))
        return [*circle[start:-1], *circle[:start], min(circle)]
    return None


def in_order(depends_on: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the ids so that each comes after what it depends on; among equals, by name."""
    sorter = TopologicalSorter({name: depends_on[name] for name in sorted(depends_on)})
    sorter.prepare()
    ordered: list[str] = []
    while sorter.is_active():
        ready = sorted(sorter.get_ready())
        ordered.extend(ready)
        sorter.done(*ready)
    return ordered
