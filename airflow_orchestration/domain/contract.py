"""The dataset contract: which columns a row has, and what makes it valid."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date, datetime
from enum import StrEnum
from functools import cached_property
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from airflow_orchestration.domain.formats import NUMBER_BOUNDS, TEXT_FORMATS, time_format
from airflow_orchestration.domain.quality_rule import Plain, QualityRule
from airflow_orchestration.exceptions import ProblemCode, RefusedValueError

COLUMN_NAME = r"^[a-z][a-z0-9_]{0,62}$"
MAX_COLUMNS = 1000
MAX_VALUES = 1000
_NOT_LINEAR = re.compile(r"\(\?<?[=!]|\\[1-9]")
"""What a matcher in linear time has not: `(?=`, `(?!`, `(?<=`, `(?<!` and `\\1`."""


class ColumnType(StrEnum):
    """The logical types of the Open Data Contract Standard that a column may have here."""

    STRING = "string"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"
    DATE = "date"
    TIMESTAMP = "timestamp"


NUMERIC = frozenset({ColumnType.INTEGER, ColumnType.NUMBER})
TEMPORAL = frozenset({ColumnType.DATE, ColumnType.TIMESTAMP})
Bound = int | float | str
"""A number, or a date or time as ISO 8601 writes it."""
VALUE_RULES = (
    "pattern",
    "format",
    "enum",
    "minimum",
    "exclusive_minimum",
    "maximum",
    "exclusive_maximum",
    "multiple_of",
    "min_length",
    "max_length",
)
"""The row rules about a value, in the order in which they are looked at."""
_BOUNDS = ("minimum", "exclusive_minimum", "maximum", "exclusive_maximum")


def check_pattern(pattern: str | None) -> str | None:
    """Return a pattern that both Python and the engine know; raises `ValueError` for others."""
    try:
        re.compile(pattern or "")
    except re.error as error:
        raise RefusedValueError(
            f"is not a regular expression: {error}", code=ProblemCode.BAD_FORMAT
        ) from None
    if pattern and _NOT_LINEAR.search(pattern):
        raise RefusedValueError(
            "uses look-around or a back-reference, which the engine does not know",
            code=ProblemCode.UNSUPPORTED,
        )
    return pattern


class Column(BaseModel):
    """One column and the row rules that the contract puts on it."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    name: Annotated[str, Field(pattern=COLUMN_NAME)]
    type: ColumnType
    description: str | None = None
    required: bool = False
    unique: bool = False
    """A value may stand in one row only; empty ones don't count."""
    pattern: str | None = None
    format: str | None = None
    """Of texts and numbers a name of `domain.formats`; of dates and times how they are written."""
    enum: Annotated[tuple[Plain, ...], Field(max_length=MAX_VALUES)] | None = None
    minimum: Bound | None = None
    exclusive_minimum: Bound | None = None
    maximum: Bound | None = None
    exclusive_maximum: Bound | None = None
    multiple_of: Annotated[float, Field(gt=0)] | None = None
    min_length: Annotated[int, Field(ge=0)] | None = None
    max_length: Annotated[int, Field(ge=0)] | None = None

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        return check_pattern(pattern)

    @model_validator(mode="after")
    def _rules_fit_the_type(self) -> Column:
        texts = (self.pattern, self.min_length, self.max_length)
        if self.type is not ColumnType.STRING and any(rule is not None for rule in texts):
            raise RefusedValueError(
                "pattern, minLength and maxLength are for strings", code=ProblemCode.CONFLICT
            )
        if self.type not in NUMERIC and self.multiple_of is not None:
            raise RefusedValueError("multipleOf is for integers and numbers", code=ProblemCode.CONFLICT)
        for name in _BOUNDS:
            self._check_bound(name, getattr(self, name))
        self._check_format()
        for value in self.enum or ():
            if not fits(value, self.type):
                raise RefusedValueError(
                    f"its enum holds {value!r}, which is no {self.type}", code=ProblemCode.MISMATCH
                )
        return self

    @model_validator(mode="after")
    def _bounds_in_order(self) -> Column:
        for low, high, is_exclusive in (
            (self.minimum, self.maximum, False),
            (self.minimum, self.exclusive_maximum, True),
            (self.exclusive_minimum, self.maximum, True),
            (self.exclusive_minimum, self.exclusive_maximum, True),
            (self.min_length, self.max_length, False),
        ):
            if low is None or high is None:
                continue
            least, most = self._comparable(low), self._comparable(high)
            if least > most:
                raise RefusedValueError(
                    f"its minimum {low} is above its maximum {high}", code=ProblemCode.CONFLICT
                )
            if is_exclusive and least == most:
                raise RefusedValueError(
                    f"its minimum {low} and its maximum {high} leave no value: one is exclusive",
                    code=ProblemCode.CONFLICT,
                )
        return self

    def _check_bound(self, name: str, bound: Bound | None) -> None:
        if bound is None:
            return
        if self.type not in NUMERIC | TEMPORAL:
            raise RefusedValueError(
                "minimum and maximum are for integers, numbers, dates and timestamps",
                code=ProblemCode.CONFLICT,
            )
        if not fits(bound, self.type):
            written = "a number" if self.type in NUMERIC else "a text such as '2026-11-22'"
            raise RefusedValueError(
                f"{name} {bound!r} is no {self.type}; write {written}", code=ProblemCode.WRONG_TYPE
            )

    def _check_format(self) -> None:
        if self.format is None:
            return
        if self.type in TEMPORAL:
            time_format(self.format, date_only=self.type is ColumnType.DATE)
            return
        known = [*TEXT_FORMATS] if self.type is ColumnType.STRING else _number_formats(self.type)
        if self.format not in known:
            raise RefusedValueError(
                f"format {self.format!r} isn't supported here; use one of: {', '.join(known)}",
                code=ProblemCode.UNSUPPORTED,
            )

    def _comparable(self, bound: Bound) -> float:
        if isinstance(bound, str):
            return datetime.fromisoformat(bound).timestamp()
        return bound


def _number_formats(kind: ColumnType) -> list[str]:
    letters = {ColumnType.INTEGER: "iu", ColumnType.NUMBER: "f"}.get(kind, "")
    return [name for name in NUMBER_BOUNDS if name[0] in letters]


def fits(value: Plain, kind: ColumnType) -> bool:
    """Whether a value that a person wrote is one of this type; dates and times are ISO texts without a zone."""
    match kind:
        case ColumnType.STRING:
            return isinstance(value, str)
        case ColumnType.BOOLEAN:
            return isinstance(value, bool)
        case ColumnType.INTEGER | ColumnType.NUMBER:
            return isinstance(value, int | float) and not isinstance(value, bool)
        case ColumnType.DATE | ColumnType.TIMESTAMP:
            return isinstance(value, str) and _is_time(value, date_only=kind is ColumnType.DATE)


def _can_stand_for(value: Plain | None, kind: ColumnType) -> bool:
    """Whether a feed can be seen to write a value: texts and whole numbers are written in one way only."""
    return value is None or isinstance(value, str) or type(value) is int or fits(value, kind)


def _is_time(text: str, *, date_only: bool) -> bool:
    try:
        if date_only:
            return date.fromisoformat(text).isoformat() == text
        return datetime.fromisoformat(text).tzinfo is None
    except ValueError:
        return False


class Contract(BaseModel):
    """The columns of the dataset in order, its key, and the rules about many rows."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    description: str | None = None
    key: Annotated[tuple[str, ...], Field(min_length=1)]
    columns: Annotated[tuple[Column, ...], Field(min_length=1, max_length=MAX_COLUMNS)]
    unique_together: tuple[tuple[str, ...], ...] = ()
    """Columns whose values together stand in one row only, beside the key."""
    quality: tuple[QualityRule, ...] = ()

    @model_validator(mode="after")
    def _names_agree(self) -> Contract:
        names = [column.name for column in self.columns]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise RefusedValueError(f"column declared twice: {', '.join(twice)}", code=ProblemCode.DUPLICATE)
        unknown = [name for name in self.key if name not in names]
        if unknown:
            raise RefusedValueError(
                f"key names a column that is not declared: {', '.join(unknown)}",
                code=ProblemCode.UNKNOWN_NAME,
            )
        named = {name for group in self.unique_together for name in group}
        named |= {name for rule in self.quality for name in rule.columns}
        if strange := sorted(named - set(names)):
            raise RefusedValueError(
                f"a quality rule names a column that is not declared: {', '.join(strange)}",
                code=ProblemCode.UNKNOWN_NAME,
            )
        return self

    @model_validator(mode="after")
    def _names_are_no_words_of_airflow(self) -> Contract:
        """Names become keys of what tasks hand on, and there Airflow takes some of these for objects of its own."""
        for name in (self.name, *(rule.name for rule in self.quality)):
            if name.startswith("__"):
                raise RefusedValueError(
                    f"{name!r} begins with two underscores, as Airflow's own words do; name it otherwise",
                    code=ProblemCode.RESERVED,
                )
        return self

    @model_validator(mode="after")
    def _rules_fit_their_columns(self) -> Contract:
        for rule in self.quality:
            for name in rule.columns:
                kind = self.by_name[name].type
                if strange := [value for value in rule.valid if not fits(value, kind)]:
                    raise RefusedValueError(
                        f"{rule.name}: validValues holds {strange[0]!r}, which is no {kind}",
                        code=ProblemCode.MISMATCH,
                    )
                if unsaid := [value for value in rule.missing if not _can_stand_for(value, kind)]:
                    raise RefusedValueError(
                        f"{rule.name}: missingValues holds {unsaid[0]!r}, which is no {kind}; write it in quotes, as the "
                        "feed does",
                        code=ProblemCode.MISMATCH,
                    )
        return self

    @property
    def attributes(self) -> tuple[Column, ...]:
        """The columns outside the key: what sources can disagree about."""
        return tuple(column for column in self.columns if column.name not in self.key)

    @cached_property
    def by_name(self) -> dict[str, Column]:
        """The columns by their names."""
        return {column.name: column for column in self.columns}

    @property
    def unique(self) -> tuple[tuple[str, ...], ...]:
        """Each group of columns, beside the key, whose values a row may not repeat."""
        single = ((column.name,) for column in self.columns if column.unique and self.key != (column.name,))
        return tuple(dict.fromkeys((*single, *self.unique_together)))

    @property
    def measured(self) -> tuple[QualityRule, ...]:
        """The rules that are measured over the rows of a feed."""
        return tuple(rule for rule in self.quality if not rule.is_row_rule)

    def row_rules(self, column: str) -> tuple[QualityRule, ...]:
        """The quality rules that each row of this column must keep."""
        return tuple(rule for rule in self.quality if rule.is_row_rule and rule.columns == (column,))

    def rules(self) -> Iterator[tuple[Column, str]]:
        """Every row rule, as the column and the name that a quarantined row carries as its reason."""
        for column in self.columns:
            if column.required or column.name in self.key:
                yield column, "required"
            if column.type is not ColumnType.STRING:
                yield column, "type"
            for rule in VALUE_RULES:
                if getattr(column, rule) is not None:
                    yield column, rule
            if column.unique:
                yield column, "unique"
            for row_rule in self.row_rules(column.name):
                yield column, row_rule.name
