"""Turns pydantic's errors into problems with a path that a person can find: `feeds[3].uri`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, TypeVar, get_args

from annotated_types import Le
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from airflow_orchestration.domain.strict import IDENTIFIER, QUALIFIED_TABLE
from airflow_orchestration.exceptions import Problem, ProblemCode, RefusedValueError

MAX_PROBLEMS = 100
"""Ours: problems of one kind that are told; who has more has another kind of problem."""

Found = TypeVar("Found")

_PLAIN = {
    "extra_forbidden": "is not a known field; remove it or check its spelling",
    "missing": "is required",
    "too_short": "must not be empty",
}


_CODES = {
    "extra_forbidden": ProblemCode.UNKNOWN_FIELD,
    "missing": ProblemCode.REQUIRED,
    "too_short": ProblemCode.EMPTY,
    "string_too_short": ProblemCode.EMPTY,
    "too_long": ProblemCode.TOO_MANY,
    "string_too_long": ProblemCode.TOO_LARGE,
    "finite_number": ProblemCode.NOT_FINITE,
    "int_from_float": ProblemCode.WRONG_TYPE,
    "int_parsing_size": ProblemCode.OUT_OF_RANGE,
    "greater_than": ProblemCode.OUT_OF_RANGE,
    "greater_than_equal": ProblemCode.OUT_OF_RANGE,
    "less_than": ProblemCode.OUT_OF_RANGE,
    "less_than_equal": ProblemCode.OUT_OF_RANGE,
    "multiple_of": ProblemCode.OUT_OF_RANGE,
    "literal_error": ProblemCode.UNKNOWN_CHOICE,
    "enum": ProblemCode.UNKNOWN_CHOICE,
    "union_tag_invalid": ProblemCode.UNKNOWN_CHOICE,
    "string_pattern_mismatch": ProblemCode.BAD_FORMAT,
    "string_unicode": ProblemCode.CONTROL_CHARACTER,
}
"""What pydantic's other kinds have in common is that the type is wrong."""
_OF_A_NAME = "[key]"
"""What pydantic adds to the place of a name in an object that is wrong itself."""
_NO_SHARE = {"float_type", "less_than_equal"}
_PERCENT = re.compile(r"\s*(\d{1,3}(?:\.\d{1,6})?)\s*%\s*", re.ASCII)


def pydantic_problems(
    error: ValidationError, *, prefix: str = "", model: type[BaseModel] | None = None
) -> list[Problem]:
    """The problems of one validation, in the order of the input, as `first_problems` has them.

    Values are never repeated, but for shares written as percents: they are told how to write them.

    :param model: what was validated: then a field that is spelt nearly right is told how it is spelt.
    """
    everything = error.errors(include_url=False)
    parents = {found["loc"][:depth] for found in everything for depth in range(len(found["loc"]))}
    problems = first_problems(
        # pydantic counts only the items that were valid
        [found for found in everything if found["type"] != "too_short" or found["loc"] not in parents],
        lambda found: Problem(
            code=_code(found), path=path_of(found["loc"], prefix=prefix), message=_message(found, model)
        ),
    )
    return list(dict.fromkeys(problems))


def first_problems(found: Sequence[Found], told: Callable[[Found], Problem]) -> list[Problem]:
    """Tell the first `MAX_PROBLEMS` of what was found, and how many more there are: a file may have a problem a word."""
    more = len(found) - MAX_PROBLEMS
    problems = [told(one) for one in found[:MAX_PROBLEMS]]
    if more > 0:
        problems.append(
            Problem(
                code=ProblemCode.MORE_PROBLEMS,
                path="",
                message=f"{more} more problems are not shown; mend these first",
            )
        )
    return problems


def _code(found: Mapping[str, Any]) -> ProblemCode:
    """What pydantic says where a value is only of the wrong type ends in `type`, in `parsing` or in its parts."""
    kind = str(found["type"])
    if kind == "value_error":
        cause = found["ctx"]["error"]
        return cause.code if isinstance(cause, RefusedValueError) else ProblemCode.BAD_FORMAT
    if kind == "string_pattern_mismatch" and found["ctx"]["pattern"] == IDENTIFIER:
        return ProblemCode.BAD_NAME
    return _CODES.get(kind, ProblemCode.WRONG_TYPE)


def _message(found: Mapping[str, Any], model: type[BaseModel] | None) -> str:
    kind, written = str(found["type"]), str(found["msg"])
    fields = _fields_at(model, found["loc"][:-1]) if model else {}
    name = str(found["loc"][-1]) if found["loc"] else ""
    if kind == "extra_forbidden" and (close := get_close_matches(name, fields, n=1)):
        return f"is not a known field; did you mean {close[0]}?"
    if kind in _NO_SHARE and (percent := _share(found["input"])) and _is_share(fields.get(name)):
        return f"must be a share from 0 to 1: write {percent}"
    if kind == "string_pattern_mismatch" and IDENTIFIER in written:
        return "must be lower case letters, digits and _, 63 at most, and begin with a letter"
    if kind == "string_pattern_mismatch" and QUALIFIED_TABLE in written:
        return "must be a schema and a table in lower case: write schema.table"
    plain = written.removeprefix("Value error, ").replace("Input should", "must")
    return _PLAIN.get(kind, plain.replace("String should", "must"))


def _share(value: object) -> str | None:
    """What percents should have been: `75%`, or 75."""
    if isinstance(value, int) and 1 < value <= 100:  # noqa: PLR2004  # percents
        return f"{value / 100:g}"
    percent = _PERCENT.fullmatch(value) if isinstance(value, str) else None
    return f"{float(percent[1]) / 100:g}" if percent else None


def _is_share(field: FieldInfo | None) -> bool:
    return field is not None and any(isinstance(one, Le) and one.le == 1 for one in _bounds(field))


def _bounds(field: FieldInfo) -> Iterator[object]:
    """What a number must be, where it may be left out too."""
    yield from field.metadata
    for part in get_args(field.annotation):
        for one in getattr(part, "__metadata__", ()):
            yield from getattr(one, "metadata", ())


def _fields_at(model: type[BaseModel], location: Sequence[str | int]) -> Mapping[str, FieldInfo]:
    """The fields that may stand at a place of what a model describes; none where that can't be known."""
    models = [model]
    for part in location:
        known = [one.model_fields[str(part)] for one in models if part in one.model_fields]
        if known:
            models = [one for field in known for one in _models_in(field.annotation)]
    return {name: field for one in models for name, field in one.model_fields.items()}


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models_in(part)


def path_of(location: Iterable[str | int], *, prefix: str = "") -> str:
    """Write a location as it would be written in code.

    >>> path_of(("feeds", 3, "uri"))
    'feeds[3].uri'
    """
    path = prefix
    for part in location:
        if part != _OF_A_NAME:
            path += f"[{part}]" if isinstance(part, int) else f"{'.' if path else ''}{part}"
    return path
