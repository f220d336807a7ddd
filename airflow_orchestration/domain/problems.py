"""Turns pydantic's errors into problems with a path that a person can find: `feeds[3].uri`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from pydantic import ValidationError

from airflow_orchestration.exceptions import Problem

MAX_PROBLEMS = 100
"""Ours: problems of one kind that are told; who has more has another kind of problem."""

Found = TypeVar("Found")

_PLAIN = {
    "extra_forbidden": "is not a known field; remove it or check its spelling",
    "missing": "is required",
    "too_short": "must not be empty",
}


def pydantic_problems(error: ValidationError, *, prefix: str = "") -> list[Problem]:
    """The problems of one validation, in the order of the input, as `first_problems` has them.

    Values are never repeated.
    """
    everything = error.errors(include_url=False, include_context=False, include_input=False)
    parents = {found["loc"][:depth] for found in everything for depth in range(len(found["loc"]))}
    problems = first_problems(
        # pydantic counts only the items that were valid
        [found for found in everything if found["type"] != "too_short" or found["loc"] not in parents],
        lambda found: Problem(
            path=path_of(found["loc"], prefix=prefix), message=_message(found["type"], found["msg"])
        ),
    )
    return list(dict.fromkeys(problems))


def first_problems(found: Sequence[Found], told: Callable[[Found], Problem]) -> list[Problem]:
    """Tell the first `MAX_PROBLEMS` of what was found, and how many more there are: a file may have a problem a word."""
    more = len(found) - MAX_PROBLEMS
    problems = [told(one) for one in found[:MAX_PROBLEMS]]
    if more > 0:
        problems.append(Problem(path="", message=f"{more} more problems are not shown; mend these first"))
    return problems


def _message(kind: str, written: str) -> str:
    plain = written.removeprefix("Value error, ").replace("Input should", "must")
    return _PLAIN.get(kind, plain.replace("String should", "must"))


def path_of(location: Iterable[str | int], *, prefix: str = "") -> str:
    """Write a location as it would be written in code.

    >>> path_of(("feeds", 3, "uri"))
    'feeds[3].uri'
    """
    path = prefix
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f"{'.' if path else ''}{part}"
    return path
