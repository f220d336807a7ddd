"""Turns the rules about one value into SQL, and says in words what each of them wants."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

from airflow_orchestration.domain.contract import NUMERIC, TEMPORAL, Bound, Column, ColumnType, fits
from airflow_orchestration.domain.formats import NUMBER_BOUNDS, TEXT_FORMATS, time_format
from airflow_orchestration.domain.quality_rule import Metric, Plain, QualityRule
from airflow_orchestration.engine.sqltext import literal

INVALID_VALUE = "invalid_value"
MISSING_VALUE = "missing_value"
_COMPARED = {
    "minimum": (">=", "at least"),
    "exclusive_minimum": (">", "more than"),
    "maximum": ("<=", "at most"),
    "exclusive_maximum": ("<", "less than"),
}
_MIDNIGHT = re.compile(r"[ T]00:00(:00(\.0+)?)?$")
_WIDEST = frozenset({"i64", "f64"})
_HOSTNAME_LETTERS = 253
_SHOWN = 10


def condition(rule: str, column: Column, value: str) -> str | None:
    """SQL over the typed `value`, null where that is null; None for a rule that every value keeps."""
    bound = getattr(column, rule)
    match rule:
        case "pattern":
            return f"regexp_full_match({value}, {literal(str(bound))})"
        case "format":
            return _format(column, value)
        case "enum":
            return f"{value} IN ({_listed(bound, column.type)})"
        case "multiple_of":
            return _multiple(value, bound, column.type)
        case "min_length" | "max_length":
            return f"length({value}) {'>=' if rule == 'min_length' else '<='} {bound}"
        case _:
            return f"{value} {_COMPARED[rule][0]} {_typed(bound, column.type)}"


def reason(rule: str, column: Column) -> str:
    """What a row that breaks the rule is told."""
    bound = getattr(column, rule)
    match rule:
        case "pattern":
            return f"Must match {bound}."
        case "format":
            return f"Must be of the format {bound}."
        case "enum":
            return f"Must be one of {_shown(bound)}."
        case "multiple_of":
            return f"Must be a multiple of {bound:g}."
        case "min_length" | "max_length":
            return f"Must have at {'least' if rule == 'min_length' else 'most'} {bound} characters."
        case _:
            return f"Must be {_COMPARED[rule][1]} {_plain(bound)}."


def parsed(column: Column, text: str) -> str | None:
    """SQL of the value of a date or time that is written in the column's own format; None without one."""
    if column.format is None or column.type not in TEMPORAL:
        return None
    form = time_format(column.format, date_only=column.type is ColumnType.DATE)
    kind = "DATE" if column.type is ColumnType.DATE else "TIMESTAMP"
    return f"try_strptime({text}, {literal(form)})::{kind}"


def parsed_exactly(column: Column, text: str, value: str) -> str:
    """SQL that is true when a value, written in the column's own format, is the text again."""
    form = time_format(column.format or "", date_only=column.type is ColumnType.DATE)
    return f"strftime({value}, {literal(form)}) = {text}"


def is_invalid(rule: QualityRule, column: Column, value: str) -> str:
    """SQL that is true when a value that isn't empty is none of `validValues` or doesn't match."""
    wanted = []
    if rule.valid:
        wanted.append(f"{value} IN ({_listed(rule.valid, column.type)})")
    if rule.pattern is not None:
        wanted.append(f"regexp_full_match({value}::VARCHAR, {literal(rule.pattern)})")
    return f"NOT ({' AND '.join(wanted)})"


def is_missing(rule: QualityRule, column: Column, text: str, value: str) -> str | None:
    """SQL, null for an empty text, that is true when a value is one of those that mean "missing"; None without any.

    What isn't of the column's type is compared with the text, and with the value that it says in that type.
    """
    named = [one for one in rule.missing if one is not None and one != ""]
    strange = [str(one) for one in named if not fits(one, column.type)]
    if column.type is ColumnType.STRING:
        return f"{value} IN ({', '.join(literal(str(one)) for one in named)})" if named else None
    own = [_constant(one, column.type) for one in named if fits(one, column.type)]
    if not strange:
        return f"{value} IN ({', '.join(own)})" if own else None
    own += [said for one in strange if (said := _said(one, column)) is not None]
    words = f"{text}::VARCHAR IN ({', '.join(map(literal, strange))})"
    same = f"coalesce({value} IN ({', '.join(own)}), false) OR {words}" if own else words
    return f"CASE WHEN {text} IS NOT NULL THEN {same} END"


def _said(text: str, column: Column) -> str | None:
    """SQL of the value, perhaps null, that a text says in the column's type; None where it says none."""
    match column.type:
        case ColumnType.INTEGER | ColumnType.NUMBER:
            number = _number(text)
            return None if number is None else _typed(number, column.type)
        case ColumnType.DATE:
            day = literal(_MIDNIGHT.sub("", text))
            return parsed(column, literal(text)) or (None if ":" in day else f"TRY_CAST({day} AS DATE)")
        case ColumnType.TIMESTAMP:
            return parsed(column, literal(text)) or f"TRY_CAST({literal(text)} AS TIMESTAMP)"
        case _:
            return f"TRY_CAST({literal(text)} AS {column.type})"


def _number(text: str) -> int | float | None:
    if "_" in text:  # Python reads 1_000, the engine here doesn't
        return None
    for kind in (int, float):
        try:
            number = kind(text)
            if math.isfinite(number):
                return number
        except (ValueError, OverflowError):
            continue
    return None


def row_rule(rule: QualityRule, column: Column, text: str, value: str) -> tuple[str, str | None]:
    """The name of a quality rule in the quarantine, and SQL that is true for a value that breaks it."""
    if rule.metric is Metric.INVALID_VALUES:
        return INVALID_VALUE, is_invalid(rule, column, value)
    return MISSING_VALUE, is_missing(rule, column, text, value)


def counts_empty(rule: QualityRule) -> bool:
    """Whether an empty value breaks the rule; an empty text is no value here."""
    return rule.metric is Metric.NULL_VALUES or (
        rule.metric is Metric.MISSING_VALUES and not {None, ""}.isdisjoint(rule.missing)
    )


def is_broken(rule: QualityRule, column: Column, text: str, value: str) -> str:
    """SQL, never null, that is true for a row that breaks a rule about one column.

    `text` is null for an empty value only, `value` also for one that isn't of the column's type.
    """
    if rule.metric is Metric.NULL_VALUES:
        return f"({text} IS NULL)"
    if rule.metric is Metric.MISSING_VALUES:
        filled = f"coalesce({is_missing(rule, column, text, value) or 'false'}, false)"
        return f"({text} IS NULL OR {filled})" if counts_empty(rule) else filled
    return f"({text} IS NOT NULL AND ({is_invalid(rule, column, value)}) IS NOT FALSE)"


def rule_reason(rule: QualityRule) -> str:
    """What a row that breaks a quality rule is told."""
    if rule.description:
        return rule.description
    if rule.metric is Metric.MISSING_VALUES:
        return f"Must not be missing: {_shown(rule.missing)}."
    wanted = [f"be one of {_shown(rule.valid)}"] if rule.valid else []
    if rule.pattern is not None:
        wanted.append(f"match {rule.pattern}")
    return f"Must {' and '.join(wanted)}."


def _format(column: Column, value: str) -> str | None:
    name = column.format or ""
    if column.type in TEMPORAL or name in _WIDEST:
        return None  # a date in its own format is read by it
    if column.type in NUMERIC:
        low, high = NUMBER_BOUNDS[name]
        return f"{value} BETWEEN {_typed(low, column.type)} AND {_typed(high, column.type)}"
    pattern = TEXT_FORMATS[name]
    if pattern is None:
        return None
    matches = f"regexp_full_match({value}, {literal(pattern)})"
    return f"(length({value}) <= {_HOSTNAME_LETTERS} AND {matches})" if name == "hostname" else matches


def _multiple(value: str, step: float, kind: ColumnType) -> str:
    """A quotient of doubles is off by its last bits: 0.07 / 0.01 is 7.000000000000001."""
    if kind is ColumnType.INTEGER and step.is_integer() and step < 2**53:
        return f"{value} % {int(step)}::BIGINT = 0"
    times = f"({value}::DOUBLE / {step!r}::DOUBLE)"
    return f"abs({times} - round({times})) <= 1e-15 * greatest(1, abs({times}))"


def _typed(bound: Bound, kind: ColumnType) -> str:
    """A bound in the type it is compared with, so that the engine doesn't cast the column."""
    if isinstance(bound, str):
        return f"{'DATE' if kind is ColumnType.DATE else 'TIMESTAMP'} {literal(bound)}"
    if kind is ColumnType.INTEGER and float(bound).is_integer() and -(2**63) < bound < 2**63:
        return f"{int(bound)}::BIGINT"
    return f"{float(bound)!r}::DOUBLE"


def _listed(values: Iterable[Plain | None], kind: ColumnType) -> str:
    return ", ".join(_constant(value, kind) for value in values if value is not None)


def _constant(value: Plain, kind: ColumnType) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if kind is ColumnType.STRING:
        return literal(str(value))
    return _typed(value, kind)


def _plain(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _shown(values: Iterable[object]) -> str:
    texts = ["empty" if value in {None, ""} else _plain(value) for value in values]
    return ", ".join(texts[:_SHOWN]) + (f" and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else "")
