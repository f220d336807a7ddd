"""The dataset contract: which columns a row has, and what makes it valid."""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import StrEnum
from functools import cached_property
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

COLUMN_NAME = r"^[a-z][a-z0-9_]{0,62}$"
MAX_COLUMNS = 1000
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


class Column(BaseModel):
    """One column and the row rules that the contract puts on it."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    name: Annotated[str, Field(pattern=COLUMN_NAME)]
    type: ColumnType
    required: bool = False
    pattern: str | None = None
    minimum: float | None = None
    maximum: float | None = None
    min_length: Annotated[int, Field(ge=0)] | None = None
    max_length: Annotated[int, Field(ge=1)] | None = None

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        try:
            re.compile(pattern or "")
        except re.error as error:
            raise ValueError(f"is not a regular expression: {error}") from None
        if pattern and _NOT_LINEAR.search(pattern):
            raise ValueError("uses look-around or a back-reference, which the engine does not know")
        return pattern

    @model_validator(mode="after")
    def _rules_fit_the_type(self) -> Column:
        texts = (self.pattern, self.min_length, self.max_length)
        if self.type is not ColumnType.STRING and any(rule is not None for rule in texts):
            raise ValueError("pattern, minLength and maxLength are for strings")
        numbers = (self.minimum, self.maximum)
        is_number = self.type in {ColumnType.INTEGER, ColumnType.NUMBER}
        if not is_number and any(rule is not None for rule in numbers):
            raise ValueError("minimum and maximum are for integers and numbers")
        return self

    @model_validator(mode="after")
    def _bounds_in_order(self) -> Column:
        for low, high in ((self.minimum, self.maximum), (self.min_length, self.max_length)):
            if low is not None and high is not None and low > high:
                raise ValueError(f"its minimum {low} is above its maximum {high}")
        return self


class Contract(BaseModel):
    """The columns of the dataset in order, and its key."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    key: Annotated[tuple[str, ...], Field(min_length=1)]
    columns: Annotated[tuple[Column, ...], Field(min_length=1, max_length=MAX_COLUMNS)]

    @model_validator(mode="after")
    def _names_agree(self) -> Contract:
        names = [column.name for column in self.columns]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"column declared twice: {', '.join(twice)}")
        unknown = [name for name in self.key if name not in names]
        if unknown:
            raise ValueError(f"key names a column that is not declared: {', '.join(unknown)}")
        return self

    @property
    def attributes(self) -> tuple[Column, ...]:
        """The columns outside the key: what sources can disagree about."""
        return tuple(column for column in self.columns if column.name not in self.key)

    @cached_property
    def by_name(self) -> dict[str, Column]:
        """The columns by their names."""
        return {column.name: column for column in self.columns}

    def rules(self) -> Iterator[tuple[Column, str]]:
        """Every row rule, as the column and the name that a quarantined row carries as its reason."""
        for column in self.columns:
            if column.required or column.name in self.key:
                yield column, "required"
            if column.type is not ColumnType.STRING:
                yield column, "type"
            for rule in ("pattern", "minimum", "maximum", "min_length", "max_length"):
                if getattr(column, rule) is not None:
                    yield column, rule
