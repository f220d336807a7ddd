"""Where does a document hold characters that no database takes?"""

from __future__ import annotations

import re
from collections.abc import Iterator

from airflow_orchestration.domain.problems import first_problems, path_of
from airflow_orchestration.exceptions import Problem, ProblemCode

CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


def control_problems(document: object) -> Iterator[Problem]:
    """Where a document holds a character that no database takes."""
    message = "holds a control character, which no database takes; remove it"
    yield from first_problems(
        list(_control_characters(document, ())),
        lambda location: Problem(code=ProblemCode.CONTROL_CHARACTER, path=path_of(location), message=message),
    )


def _control_characters(value: object, where: tuple[str | int, ...]) -> Iterator[tuple[str | int, ...]]:
    if isinstance(value, str):
        if CONTROL.search(value):
            yield where
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from (
                [(*where, name)] if CONTROL.search(str(name)) else _control_characters(item, (*where, name))
            )
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _control_characters(item, (*where, index))
