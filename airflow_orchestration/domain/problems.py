"""Turns pydantic's errors into problems with a path that a person can find: `feeds[3].uri`."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import ValidationError

from airflow_orchestration.exceptions import Problem

_PLAIN = {
    "extra_forbidden": "is not a known field; remove it or check its spelling",
    "missing": "is required",
}


def pydantic_problems(error: ValidationError, *, prefix: str = "") -> list[Problem]:
    """Every problem of one validation, in the order of the input. Values are never repeated."""
    problems: list[Problem] = []
    for found in error.errors(include_url=False, include_context=False, include_input=False):
        message = _PLAIN.get(found["type"], found["msg"].removeprefix("Value error, "))
        problem = Problem(path=path_of(found["loc"], prefix=prefix), message=message)
        if problem not in problems:
            problems.append(problem)
    return problems


def path_of(location: Iterable[str | int], *, prefix: str = "") -> str:
    """Write a location as it would be written in code.

    >>> path_of(("feeds", 3, "uri"))
    'feeds[3].uri'
    """
    path = prefix
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f"{'.' if path else ''}{part}"
    return path
