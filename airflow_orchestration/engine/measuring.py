"""Measures the rules of a contract about many rows: all of them in one scan of the staged rows.

The rules of `checking.marked` count the rows that were put aside for a bad value as well; how many of
those break each rule is known since they were put aside. Every other rule is about the staged rows.
"""

# ruff: noqa: S608  # names and values become SQL through `sqltext` or `expressions` only
from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb

from airflow_orchestration.domain.contract import Contract
from airflow_orchestration.domain.quality_rule import Metric, QualityRule, RuleResult, Severity
from airflow_orchestration.engine.checking import MARKED, SQL_TYPES, marked
from airflow_orchestration.engine.expressions import Expression, checked_query
from airflow_orchestration.engine.sandbox import kind_of
from airflow_orchestration.engine.sqltext import identifier, identifiers, literal
from airflow_orchestration.engine.value_rules import is_broken
from airflow_orchestration.exceptions import ExpressionError, FeedCode, FeedError

_SHARES = MARKED | {Metric.DUPLICATE_VALUES}
"""Metrics that count rows which break the rule."""
_NUMBERS = re.compile(r"U?(TINY|SMALL|BIG|HUGE)?INT|U?INTEGER|FLOAT|DOUBLE|DECIMAL\(.*\)|BOOLEAN")
"""The engine's types of one number or truth."""
_DAY = 86400.0
_AHEAD = timedelta(days=1)
"""How far after the moment of the run a value may lie and still be news, for clocks and zones that differ."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Aside:
    """The rows that were put aside for a value of theirs, and how many break each of `checking.marked`."""

    judged: int = 0
    marks: tuple[int, ...] = ()


def check_rules(connection: duckdb.DuckDBPyConnection, feed_id: str, contract: Contract) -> None:
    """Refuse a query or a pattern of the contract that the engine can't run; raises `FeedError`."""
    for rule in contract.quality:
        if rule.pattern is not None:
            try:
                connection.execute(f"SELECT regexp_matches('', {literal(rule.pattern)})")
            except duckdb.Error:
                raise FeedError(
                    f"{feed_id}: the pattern of the contract's rule {rule.name!r} is no RE2 expression; "
                    "write it without look-around and back-references.",
                    code=FeedCode.EXPRESSION,
                ) from None
    _measurements(connection, feed_id, contract)


def measure(
    connection: duckdb.DuckDBPyConnection,
    feed_id: str,
    contract: Contract,
    staged: Path,
    *,
    aside: Aside,
    as_of: datetime | None,
    mapped: Collection[str],
) -> tuple[RuleResult, ...]:
    """Measure every rule over the staged file and what was put `aside`, in the contract's order.

    Freshness is the age at `as_of`. A rule about a column that isn't `mapped` is written down as that: the
    feed was never meant to fill it. Raises `FeedError` for rules that can't be measured.
    """
    if not contract.measured:
        return ()
    wanted = _measurements(connection, feed_id, contract, as_of)
    rows, *values = _scanned(connection, feed_id, [one.sql for one in wanted], contract, staged)
    marks = iter(aside.marks or (0,) * len(marked(contract)))
    results = [
        _result(rule, value, rows=int(rows), aside=_of(rule, aside, marks), as_of=as_of)
        for rule, value in zip(contract.measured, values, strict=True)
    ]
    return tuple(
        _if_mapped(result, tuple(name for name in one.columns if name not in mapped))
        for result, one in zip(results, wanted, strict=True)
    )


def _if_mapped(result: RuleResult, others: tuple[str, ...]) -> RuleResult:
    if not others:
        return result
    nothing = {"value": None, "rows": None, "share": 0.0, "passed": True, "not_mapped": others}
    return result.model_copy(update=nothing)


def _of(rule: QualityRule, aside: Aside, marks: Iterator[int]) -> tuple[int, int]:
    """How many rows that were put aside break a rule, and out of how many."""
    return (next(marks), aside.judged) if rule.metric in MARKED else (0, 0)


def broken_rules(results: Sequence[RuleResult]) -> str:
    """Every rule of severity error that is broken, with its value and its threshold; empty where none is."""
    broken = [result for result in results if result.severity is Severity.ERROR and not result.passed]
    return "; ".join(map(str, broken))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Aggregate:
    """What one rule measures: SQL, and the columns that it looks at."""

    sql: str
    columns: tuple[str, ...]


def _measurements(
    connection: duckdb.DuckDBPyConnection, feed_id: str, contract: Contract, as_of: datetime | None = None
) -> tuple[_Aggregate, ...]:
    """One aggregate for each measured rule."""
    types = {column.name: SQL_TYPES[column.type] for column in contract.columns}
    return tuple(
        _query(connection, feed_id, rule, types)
        if rule.metric is Metric.SQL
        else _Aggregate(sql=_counted(rule, contract, as_of), columns=rule.columns)
        for rule in contract.measured
    )


def _counted(rule: QualityRule, contract: Contract, as_of: datetime | None) -> str:
    match rule.metric:
        case Metric.ROW_COUNT:
            return "count(*)"
        case Metric.FRESHNESS:
            return _newest(identifier(rule.columns[0]), as_of)
        case Metric.DUPLICATE_VALUES:
            return _repeated(rule.columns)
        case _:
            name = identifier(rule.columns[0])
            return f"count_if({is_broken(rule, contract.by_name[rule.columns[0]], name, name)})"


def _newest(name: str, as_of: datetime | None) -> str:
    """The newest value that can have come: one slip in a year must not make the rows fresh for ever."""
    if as_of is None:
        return f"max({name})"
    last = (as_of.astimezone(UTC) + _AHEAD).replace(tzinfo=None)
    return f"max({name}) FILTER ({name} <= TIMESTAMP {literal(last.isoformat())})"


def _repeated(columns: Sequence[str]) -> str:
    """Rows that repeat a value of an earlier row; an empty value repeats nothing."""
    names = identifiers(columns)
    together = names if len(columns) == 1 else f"({names})"
    filled = " AND ".join(f"{identifier(name)} IS NOT NULL" for name in columns)
    return f"(count(*) FILTER ({filled}) - count(DISTINCT {together}) FILTER ({filled}))"


def query_of(
    connection: duckdb.DuckDBPyConnection, rule: QualityRule, types: Mapping[str, str]
) -> Expression:
    """Check the query of a rule over columns of these types; raises `ExpressionError`."""
    found = checked_query(
        connection, rule.query or "", types, column=rule.columns[0] if rule.columns else None
    )
    if not _NUMBERS.fullmatch(found.type):
        raise ExpressionError(f"gives a {found.type}; write one that gives a number, or true or false.")
    return found


def _query(
    connection: duckdb.DuckDBPyConnection, feed_id: str, rule: QualityRule, types: Mapping[str, str]
) -> _Aggregate:
    try:
        found = query_of(connection, rule, types)
    except ExpressionError as error:
        raise FeedError(
            f"{feed_id}: the query of the contract's rule {rule.name!r} {error}", code=FeedCode.EXPRESSION
        ) from None
    return _Aggregate(sql=f"{found.sql}::DOUBLE", columns=found.columns)


def _scanned(
    connection: duckdb.DuckDBPyConnection,
    feed_id: str,
    wanted: Sequence[str],
    contract: Contract,
    staged: Path,
) -> tuple[Any, ...]:
    source = f"read_parquet({literal(staged)})"
    try:
        row = connection.execute(f"SELECT count(*), {', '.join(wanted)} FROM {source}").fetchone()
    except duckdb.OutOfMemoryException:
        raise
    except duckdb.Error:
        for rule, aggregate in zip(contract.measured, wanted, strict=True):
            _run_alone(connection, feed_id, rule, f"SELECT {aggregate} FROM {source}")
        raise
    return row or (0,)


def _run_alone(connection: duckdb.DuckDBPyConnection, feed_id: str, rule: QualityRule, query: str) -> None:
    """Find out which of the rules couldn't be computed."""
    try:
        connection.execute(query)
    except (duckdb.ConversionException, duckdb.OutOfRangeException, duckdb.InvalidInputException) as error:
        raise FeedError(
            f"{feed_id}: the contract's rule {rule.name!r} can't be computed on these rows ({kind_of(error)}); use "
            "try_cast or try_strptime in its query, or leave rows out in WHERE.",
            code=FeedCode.EXPRESSION,
        ) from None


def _result(
    rule: QualityRule,
    value: Any,
    *,
    rows: int,
    aside: tuple[int, int],
    as_of: datetime | None,
) -> RuleResult:
    measured = _age(value, as_of) if rule.metric is Metric.FRESHNESS else _number(value)
    broken = whole = None
    if rule.metric in _SHARES:
        broken, whole = int(measured or 0) + aside[0], rows + aside[1]
        share = broken / whole if whole else 0.0
        measured = 100.0 * share if rule.percent else float(broken)
    passed = rule.threshold.is_met(measured)
    return RuleResult(
        name=rule.name,
        column=", ".join(rule.columns) or None,
        severity=rule.severity,
        value=measured,
        threshold=f"{rule.threshold}{_unit(rule)}",
        passed=passed,
        rows=broken,
        share=0.0 if passed else 1.0 if broken is None or not whole else broken / whole,
        dimension=rule.dimension,
    )


def _unit(rule: QualityRule) -> str:
    if rule.metric is Metric.FRESHNESS:
        return " seconds old"
    return " percent" if rule.percent else ""


def _number(value: Any) -> float | None:
    """A finite number, or None: a share of nothing is no number that could be compared."""
    return None if value is None or not math.isfinite(value) else float(value)


def _age(newest: date | datetime | None, as_of: datetime | None) -> float | None:
    """Seconds from the newest value to `as_of`: of dates whole days, since a date lasts until its end."""
    if newest is None or as_of is None:
        return None
    moment = as_of.astimezone(UTC)
    if isinstance(newest, datetime):
        return (moment - newest.replace(tzinfo=UTC)).total_seconds()
    return (moment.date() - newest).days * _DAY
