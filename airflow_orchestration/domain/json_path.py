"""Paths into nested JSON, as an author writes them: `$.position.latitude`, `$.names[0]`, `$."a.b".c`."""

from __future__ import annotations

import re

from airflow_orchestration.exceptions import ProblemCode, RefusedValueError

_STEP = re.compile(r'\.(?:"([^"]+)"|([^."\[\]]+))|\[([0-9]{1,6})\]')


def json_path(name: str) -> tuple[str, ...] | None:
    """The keys and places of a path from the outside in; None for the name of a column.

    Raises `ValueError` for what begins like a path and is none.

    >>> json_path("$.position.latitude"), json_path('$."a.b"[0]'), json_path("latitude")
    (('position', 'latitude'), ('a.b', '0'), None)
    """
    if not name.startswith("$"):
        return None
    steps, at = list[str](), 1
    while step := _STEP.match(name, at):
        steps.append(next(group for group in step.groups() if group is not None))
        at = step.end()
    if at < len(name) or name[1:2] != ".":
        raise RefusedValueError(
            f'{name!r} is no path; write $.key.key, $.key[0], or $."$key" for the key $key',
            code=ProblemCode.BAD_FORMAT,
        )
    return tuple(steps)
