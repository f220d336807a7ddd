"""Reads the `quality` entries and `slaProperties` of a contract as quality rules."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any, TypeGuard

from airflow_orchestration.domain.contract import Column, ColumnType, check_pattern
from airflow_orchestration.domain.odcs_parts import AGREEMENTS, FRESHNESS, QUALITY, SLA_PROPERTY
from airflow_orchestration.domain.quality_rule import Metric, Operator, QualityRule, Severity, Threshold
from airflow_orchestration.exceptions import InputRefusedError, Problem, ProblemCode

_OLDER = {
    "duplicateCount": Metric.DUPLICATE_VALUES,
    "nullCheck": Metric.NULL_VALUES,
    "nullCount": Metric.NULL_VALUES,
    "missingCount": Metric.MISSING_VALUES,
    "invalidCount": Metric.INVALID_VALUES,
}
"""Names that contracts of v3.0 give to the metrics of v3.1."""
_ARGUMENTS: Mapping[Metric, frozenset[str]] = {
    Metric.MISSING_VALUES: frozenset({"missingValues"}),
    Metric.INVALID_VALUES: frozenset({"validValues", "pattern"}),
    Metric.DUPLICATE_VALUES: frozenset({"properties"}),
}
_SECONDS = {
    "s": 1, "second": 1, "seconds": 1, "min": 60, "minute": 60, "minutes": 60, "h": 3600, "hr": 3600, "hour": 3600,
    "hours": 3600, "d": 86400, "day": 86400, "days": 86400, "w": 604800, "week": 604800, "weeks": 604800,
}  # fmt: skip


def _refuse(path: str, message: str, code: ProblemCode) -> InputRefusedError:
    return InputRefusedError("dataset contract", [Problem(code=code, path=path, message=message)])


def quality_rules(
    entries: object, path: str, *, column: str | None, columns: tuple[str, ...], problems: list[Problem]
) -> Iterator[QualityRule]:
    """Yield the rules of a property or, without `column`, of a schema object; put what is wrong into `problems`."""
    if not isinstance(entries, list):
        return
    for index, entry in enumerate(entries):
        place = f"{path}.quality[{index}]"
        refused = list(QUALITY.refusals(entry, place))
        problems.extend(refused)
        if refused or entry.get("type") == "text":  # a text is for people
            continue
        try:
            yield _rule(entry, place, column, columns)
        except InputRefusedError as error:
            problems.extend(error.problems)


def _rule(entry: Mapping[str, Any], path: str, column: str | None, columns: tuple[str, ...]) -> QualityRule:
    metric = _metric(entry, path)
    named = _columns(entry, path, metric, column, columns)
    arguments = entry.get("arguments") or {}
    label = entry.get("name") or f"{metric}{' of ' + ', '.join(named) if named else ''}"
    try:
        pattern = check_pattern(arguments.get("pattern"))
    except ValueError as error:
        raise _refuse(f"{path}.arguments.pattern", str(error), ProblemCode.BAD_FORMAT) from None
    return QualityRule(
        name=str(label),
        metric=metric,
        threshold=_threshold(entry, path, metric),
        severity=_severity(entry.get("severity"), f"{path}.severity"),
        columns=named,
        percent=_percent(entry, path, metric),
        query=entry.get("query"),
        missing=_missing(arguments, path, metric),
        valid=tuple(
            value
            for value in _values(arguments.get("validValues"), f"{path}.arguments.validValues")
            if value is not None
        ),
        pattern=pattern,
        description=entry.get("description"),
        dimension=entry.get("dimension"),
    )


def _metric(entry: Mapping[str, Any], path: str) -> Metric:
    kind = entry.get("type") or ("sql" if "query" in entry else "library")
    if kind == "sql":
        if not entry.get("query"):
            raise _refuse(f"{path}.query", "is required for type: sql", ProblemCode.REQUIRED)
        return Metric.SQL
    if kind != "library":
        raise _refuse(
            f"{path}.type", f"{kind!r} isn't supported; write library, sql or text", ProblemCode.UNSUPPORTED
        )
    field = "metric" if entry.get("metric") else "rule"
    name = entry.get(field)
    known = [metric.value for metric in Metric if metric not in {Metric.SQL, Metric.FRESHNESS}]
    if name not in {*known, *_OLDER}:
        raise _refuse(
            f"{path}.{field}",
            f"{name!r} isn't supported; use one of: {', '.join(known)}",
            ProblemCode.UNKNOWN_CHOICE,
        )
    metric = _OLDER.get(str(name)) or Metric(str(name))
    _check_arguments(entry, path, metric)
    return metric


def _check_arguments(entry: Mapping[str, Any], path: str, metric: Metric) -> None:
    arguments = entry.get("arguments") or {}
    known = _ARGUMENTS.get(metric, frozenset())
    for name in arguments:
        if name not in known:
            these = f"; these are: {', '.join(sorted(known))}" if known else ""
            raise _refuse(
                f"{path}.arguments.{name}", f"isn't an argument of {metric}{these}", ProblemCode.UNKNOWN_FIELD
            )
    if metric is Metric.INVALID_VALUES and not arguments:
        raise _refuse(
            f"{path}.arguments",
            "needs validValues or pattern; other rules stand at the property",
            ProblemCode.REQUIRED,
        )
    if "query" in entry:
        raise _refuse(f"{path}.query", "goes with type: sql", ProblemCode.CONFLICT)


def _columns(
    entry: Mapping[str, Any], path: str, metric: Metric, column: str | None, columns: tuple[str, ...]
) -> tuple[str, ...]:
    named = (entry.get("arguments") or {}).get("properties")
    if metric is Metric.DUPLICATE_VALUES and named is not None:
        if not isinstance(named, list) or not named or not all(name in columns for name in named):
            raise _refuse(
                f"{path}.arguments.properties",
                "must be a list of properties of this object",
                ProblemCode.UNKNOWN_NAME,
            )
        return tuple(named)
    if metric is Metric.ROW_COUNT and column is not None:
        raise _refuse(
            f"{path}.metric",
            "rowCount is about all rows; write it at the schema object",
            ProblemCode.CONFLICT,
        )
    if column is None and metric not in {Metric.ROW_COUNT, Metric.SQL}:
        remedy = (
            "name arguments.properties" if metric is Metric.DUPLICATE_VALUES else "write it at a property"
        )
        raise _refuse(f"{path}.metric", f"{metric} is about a column; {remedy}", ProblemCode.CONFLICT)
    return () if column is None else (column,)


def _threshold(entry: Mapping[str, Any], path: str, metric: Metric) -> Threshold:
    named = [operator for operator in Operator if entry.get(operator) is not None]
    if len(named) != 1:
        raise _refuse(path, f"needs one of {', '.join(Operator)}; it has {len(named)}", ProblemCode.REQUIRED)
    operator = named[0]
    value = entry[operator]
    # The standard's model sees to it that an interval has two ends.
    ends = value if operator in {Operator.BETWEEN, Operator.NOT_BETWEEN} else [value]
    logical = metric is Metric.SQL and operator in {Operator.MUST_BE, Operator.MUST_NOT_BE}
    if not all(_is_number(end, logical=logical) for end in ends):
        raise _refuse(f"{path}.{operator}", f"{value!r} is no number", ProblemCode.WRONG_TYPE)
    try:
        return Threshold(operator=operator, low=float(ends[0]), high=float(ends[-1]))
    except ValueError:
        raise _refuse(
            f"{path}.{operator}", "wants the smaller number first", ProblemCode.OUT_OF_RANGE
        ) from None


def _is_number(value: object, *, logical: bool) -> TypeGuard[float]:
    if isinstance(value, bool):
        return logical
    return isinstance(value, int | float) and _is_finite(value)


def _is_finite(value: float) -> bool:
    """YAML has words for infinities and for no number, and whole numbers that no double can hold."""
    return abs(value) <= sys.float_info.max


def _percent(entry: Mapping[str, Any], path: str, metric: Metric) -> bool:
    unit = entry.get("unit")
    if metric is Metric.SQL or unit is None:
        return False  # the unit of a query's result is the author's word for it
    if unit not in {"rows", "percent"} or (unit == "percent" and metric is Metric.ROW_COUNT):
        raise _refuse(
            f"{path}.unit",
            f"{unit!r} isn't supported for {metric}; write rows or percent",
            ProblemCode.UNSUPPORTED,
        )
    return bool(unit == "percent")


def _severity(written: object, path: str) -> Severity:
    if written is None:
        return Severity.ERROR
    try:
        return Severity(str(written).lower())
    except ValueError:
        raise _refuse(
            path, f"{written!r} isn't supported; write {', '.join(Severity)}", ProblemCode.UNKNOWN_CHOICE
        ) from None


def _values(written: object, path: str) -> tuple[bool | int | float | str | None, ...]:
    if written is None:
        return ()
    if not isinstance(written, list) or not written:
        raise _refuse(path, "must be a list of values", ProblemCode.WRONG_TYPE)
    values = [value.isoformat() if isinstance(value, date) else value for value in written]
    for value in values:
        if value is not None and not isinstance(value, bool | int | float | str):
            raise _refuse(path, f"{value!r} is no single value", ProblemCode.WRONG_TYPE)
        if isinstance(value, float) and not _is_finite(value):
            raise _refuse(path, f"{value!r} is no finite number", ProblemCode.NOT_FINITE)
    return tuple(values)


def _missing(
    arguments: Mapping[str, Any], path: str, metric: Metric
) -> tuple[bool | int | float | str | None, ...]:
    named = _values(arguments.get("missingValues"), f"{path}.arguments.missingValues")
    return (None,) if metric is Metric.MISSING_VALUES and not named else named


def freshness_rules(
    document: Mapping[str, Any], table: str, columns: Mapping[str, Column], problems: list[Problem]
) -> Iterator[QualityRule]:
    """Yield the rules about the age of this table's newest values; put what is wrong into `problems`."""
    for index, entry in enumerate(document.get("slaProperties") or []):
        path = f"slaProperties[{index}]"
        if str(entry.get("property", "")).lower() not in FRESHNESS:
            continue
        element = entry.get("element") or document.get("slaDefaultElement") or ""
        for part in str(element).split(","):
            owner, _, name = part.strip().rpartition(".")
            if owner not in {"", table} or (not owner and name not in columns):
                continue
            try:
                yield _freshness(entry, path, columns.get(name), name)
            except InputRefusedError as error:
                problems.extend(error.problems)


def _freshness(entry: Mapping[str, Any], path: str, column: Column | None, name: str) -> QualityRule:
    if column is None or column.type not in {ColumnType.DATE, ColumnType.TIMESTAMP}:
        raise _refuse(
            f"{path}.element", f"{name!r} must be a date or a timestamp of the schema", ProblemCode.MISMATCH
        )
    value, unit = entry.get("value"), str(entry.get("unit") or "d").lower()
    if unit not in _SECONDS:
        raise _refuse(
            f"{path}.unit",
            f"{unit!r} isn't supported; write seconds, minutes, h, d or weeks",
            ProblemCode.UNKNOWN_CHOICE,
        )
    if not _is_number(value, logical=False) or not _is_finite(age := value * _SECONDS[unit]) or age < 0:
        raise _refuse(f"{path}.value", f"{value!r} is no number of {unit}", ProblemCode.OUT_OF_RANGE)
    return QualityRule(
        name=f"{entry['property']} of {name}",
        metric=Metric.FRESHNESS,
        threshold=Threshold(operator=Operator.LESS_OR_EQUAL, low=float(age)),
        severity=_severity(_own_severity(entry), f"{path}.customProperties"),
        columns=(name,),
        description=entry.get("description"),
        dimension="timeliness",
    )


def _own_severity(entry: Mapping[str, Any]) -> object:
    """The standard has no severity for agreements; a custom property of this name gives one."""
    own = entry.get("customProperties") or []
    return next((one.get("value") for one in own if one.get("property") == "severity"), None)


def sla_problems(document: Mapping[str, Any], elements: set[str]) -> Iterator[Problem]:
    """What agreements ask for in vain; `elements` are `column` and `table.column` of the whole contract."""
    default = document.get("slaDefaultElement") or ""
    for index, entry in enumerate(document.get("slaProperties") or []):
        path = f"slaProperties[{index}]"
        yield from SLA_PROPERTY.refusals(entry, path)
        name = str(entry.get("property", "")).lower()
        if name in AGREEMENTS:
            continue
        if name not in FRESHNESS:
            known = "freshness, latency or frequency"
            yield Problem(
                code=ProblemCode.UNSUPPORTED,
                path=f"{path}.property",
                message=f"{entry.get('property')!r} isn't supported; use {known}",
            )
            continue
        named = [part.strip() for part in str(entry.get("element") or default).split(",")]
        if strange := [part for part in named if part not in elements]:
            yield Problem(
                code=ProblemCode.UNKNOWN_NAME,
                path=f"{path}.element",
                message=f"{', '.join(map(repr, strange))} must name a date or a timestamp of the schema, "
                "as table.column",
            )
