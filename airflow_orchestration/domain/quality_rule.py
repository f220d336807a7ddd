"""A rule of a contract about many rows: what is measured, what it must be, and what it means if it isn't."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Annotated

from pydantic import Field, model_validator

from airflow_orchestration.domain.strict import Strict
from airflow_orchestration.exceptions import ProblemCode, RefusedValueError

Plain = bool | int | float | str
"""A value as a contract writes it."""


class Severity(StrEnum):
    """What a broken rule does."""

    ERROR = "error"
    """The row is quarantined, or the feed fails."""
    WARNING = "warning"
    """The rows stay, and the feed's score is lowered."""
    INFO = "info"
    """It is only written down."""


class Metric(StrEnum):
    """What is measured: the library of the standard, the author's SQL, and freshness."""

    NULL_VALUES = "nullValues"
    MISSING_VALUES = "missingValues"
    INVALID_VALUES = "invalidValues"
    DUPLICATE_VALUES = "duplicateValues"
    ROW_COUNT = "rowCount"
    SQL = "sql"
    FRESHNESS = "freshness"


_LEAST_SHARE = 1e-12
ROW_METRICS = frozenset({Metric.MISSING_VALUES, Metric.INVALID_VALUES})
"""Those that a row breaks by itself and that no other rule of a column says."""


class Operator(StrEnum):
    """How the measured value is compared, in the words of the standard."""

    MUST_BE = "mustBe"
    MUST_NOT_BE = "mustNotBe"
    GREATER_THAN = "mustBeGreaterThan"
    GREATER_OR_EQUAL = "mustBeGreaterOrEqualTo"
    LESS_THAN = "mustBeLessThan"
    LESS_OR_EQUAL = "mustBeLessOrEqualTo"
    BETWEEN = "mustBeBetween"
    NOT_BETWEEN = "mustNotBeBetween"


_MET: Mapping[Operator, Callable[[float, float, float], bool]] = {
    Operator.MUST_BE: lambda value, low, _: value == low,
    Operator.MUST_NOT_BE: lambda value, low, _: value != low,
    Operator.GREATER_THAN: lambda value, low, _: value > low,
    Operator.GREATER_OR_EQUAL: lambda value, low, _: value >= low,
    Operator.LESS_THAN: lambda value, low, _: value < low,
    Operator.LESS_OR_EQUAL: lambda value, low, _: value <= low,
    Operator.BETWEEN: lambda value, low, high: low <= value <= high,
    Operator.NOT_BETWEEN: lambda value, low, high: not low <= value <= high,
}


def plain_number(value: float) -> str:
    """Write a number for a person: whole ones in full, others with six digits.

    >>> plain_number(1234567.0), plain_number(2 / 3)
    ('1234567', '0.666667')
    """
    return str(int(value)) if float(value).is_integer() else f"{value:.6g}"


class Threshold(Strict):
    """What a measured value must be. Both ends of an interval belong to it."""

    operator: Operator
    low: float
    high: float = 0.0
    """The upper end, where the operator has one."""

    @model_validator(mode="after")
    def _ends_in_order(self) -> Threshold:
        if self.operator in {Operator.BETWEEN, Operator.NOT_BETWEEN} and self.low > self.high:
            raise RefusedValueError(
                f"{self.operator} wants the smaller number first", code=ProblemCode.CONFLICT
            )
        return self

    def is_met(self, value: float | None) -> bool:
        """Whether a value is as it must be; no value never is.

        >>> Threshold(operator=Operator.LESS_THAN, low=5).is_met(4)
        True
        """
        return value is not None and _MET[self.operator](value, self.low, self.high)

    def tolerates(self, least: float) -> bool:
        """Whether the value may be as much as the `least` that is more than nothing."""
        at_most = {Operator.MUST_BE, Operator.LESS_THAN, Operator.LESS_OR_EQUAL, Operator.BETWEEN}
        return self.operator not in at_most or not self.is_met(0) or self.is_met(least)

    def __str__(self) -> str:
        if self.operator in {Operator.BETWEEN, Operator.NOT_BETWEEN}:
            return f"{self.operator} [{plain_number(self.low)}, {plain_number(self.high)}]"
        return f"{self.operator} {plain_number(self.low)}"


class QualityRule(Strict):
    """One rule of a contract that is measured over the rows of a feed."""

    name: Annotated[str, Field(min_length=1)]
    metric: Metric
    threshold: Threshold
    severity: Severity = Severity.ERROR
    columns: tuple[str, ...] = ()
    """The column it is about; for duplicates several together, for SQL the one of `${property}`."""
    percent: bool = False
    """The value is a share of the rows, 0..100."""
    query: str | None = None
    missing: tuple[Plain | None, ...] = ()
    """What means "no value", beside what the feed calls so."""
    valid: tuple[Plain, ...] = ()
    pattern: str | None = None
    description: str | None = None
    dimension: str | None = None

    @property
    def is_row_rule(self) -> bool:
        """Whether a row that breaks it is quarantined, instead of the feed being measured."""
        return self.is_about_rows and self.metric in ROW_METRICS

    @property
    def is_about_rows(self) -> bool:
        """Whether not a single row may break it, on pain of an error."""
        return self.severity is Severity.ERROR and not self.threshold.tolerates(
            _LEAST_SHARE if self.percent else 1
        )


class RuleResult(Strict):
    """What came of one rule."""

    name: str
    column: str | None
    severity: Severity
    value: float | None
    """What was measured; None where there was nothing to measure, or no finite number came of it."""
    threshold: str
    passed: bool
    rows: int | None = None
    """How many rows break it, for rules that count rows."""
    share: float = 0.0
    """Which share of the rows that is, 0..1; 1 for a broken rule that counts none."""
    dimension: str | None = None
    not_mapped: tuple[str, ...] | None = None
    """The columns that it is about and the feed doesn't map: it was not measured, and counts as kept."""

    @property
    def warns(self) -> bool:
        """Whether it lowers the score."""
        return self.severity is Severity.WARNING and not self.passed

    def __str__(self) -> str:
        return result_words(self.name, self.value, self.threshold)


def result_words(name: str, value: float | None, threshold: str) -> str:
    """Say what came of a rule.

    >>> result_words("rowCount", 3.0, "mustBeGreaterThan 100")
    'rowCount is 3, mustBeGreaterThan 100'
    """
    return f"{name} is {'not measurable' if value is None else plain_number(value)}, {threshold}"
