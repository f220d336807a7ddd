"""Groups the checked rows of other feeds, and computes the usual aggregates of each group.

The rows are read by one thread in their order, and sums of floats are compensated: the same rows give
the same result, bit for bit, whatever the memory and the machine. (With two threads the last digits differ
from run to run.) What does not fit into the memory spills, medians too: DuckDB's own `median` keeps all
values of all groups, and can't.
"""

# ruff: noqa: S608  # names and values become SQL through `sqltext` only
from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from airflow_orchestration.domain.aggregation import columns_used, united_types
from airflow_orchestration.domain.contract import ColumnType, Contract
from airflow_orchestration.domain.feed import Feed
from airflow_orchestration.domain.source import Aggregate, AggregateFunction, Measure
from airflow_orchestration.engine.checking import SQL_TYPES
from airflow_orchestration.engine.expressions import checked_condition
from airflow_orchestration.engine.part import PARQUET
from airflow_orchestration.engine.sandbox import MEMORY_MB, kind_of, sandbox
from airflow_orchestration.engine.sqltext import identifier, identifiers, literal
from airflow_orchestration.exceptions import ExpressionError, FeedCode, FeedError

THREADS = 1
"""More would add floats in an order of their own."""
_ROW_ERRORS = (duckdb.ConversionException, duckdb.InvalidInputException, duckdb.OutOfRangeException)
_OF_ANYTHING: Mapping[AggregateFunction, str] = {
    AggregateFunction.COUNT: "count({0})",
    AggregateFunction.COUNT_DISTINCT: "count(DISTINCT {0})",
    AggregateFunction.SUM: "sum({0})",
    AggregateFunction.MEAN: "avg({0})",
    AggregateFunction.MIN: "min({0})",
    AggregateFunction.MAX: "max({0})",
    AggregateFunction.STDDEV: "stddev_samp({0})",
}
_OF_FLOATS: Mapping[AggregateFunction, str] = {
    AggregateFunction.SUM: "fsum({0})",
    AggregateFunction.MEAN: "favg({0})",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedRows:
    """The checked rows of one feed, in the columns of its contract."""

    path: Path
    contract: Contract


def aggregate(
    feed: Feed, sources: Sequence[CheckedRows], *, scratch: Path, memory_mb: int = MEMORY_MB
) -> Path:
    """Write one row for each group, in the order of the groups, and return the Parquet file.

    Empty values make a group of their own. Raises `FeedError` when a condition can't be used, or can't be
    computed for a row.
    """
    if feed.aggregate is None:
        raise FeedError(f"{feed.id} is no aggregate", code=FeedCode.REFUSED)
    scratch = scratch.resolve()
    target = scratch / f"{feed.id}.groups.parquet"
    paths = [source.path.resolve() for source in sources]
    with sandbox(readable=paths, scratch=scratch, memory_mb=memory_mb, threads=THREADS) as connection:
        grouping = _grouping(connection, feed, feed.aggregate, sources)
        try:
            connection.execute(f"COPY ({grouping.query}) TO {literal(target)} {PARQUET}")
        except _ROW_ERRORS as error:
            raise FeedError(
                f"{feed.id}: a row can't be aggregated ({kind_of(error)}); change the where of "
                f"{_conditioned(feed.aggregate)}, with try_cast for instance, or the rules of the rows that it reads.",
                code=FeedCode.EXPRESSION,
            ) from None
    return target


def checked_where(
    connection: duckdb.DuckDBPyConnection, made: Aggregate, contracts: Sequence[Contract]
) -> tuple[dict[str, str], dict[str, ExpressionError]]:
    """Return the conditions of the measures as SQL, and what is wrong with the others, by measure."""
    columns = {name: SQL_TYPES[kind] for name, kind in united_types(contracts).items()}
    good: dict[str, str] = {}
    bad: dict[str, ExpressionError] = {}
    for name, measure in made.measures.items():
        try:
            if measure.where is not None:
                good[name] = checked_condition(connection, measure.where, columns).sql
        except ExpressionError as error:
            bad[name] = error
    return good, bad


@dataclass(frozen=True, slots=True, kw_only=True)
class _Grouping:
    """One aggregate as SQL."""

    made: Aggregate
    types: Mapping[str, ColumnType]
    conditions: Mapping[str, str]
    rows: str

    @property
    def query(self) -> str:
        """One scan for all measures but the medians, which need the values of a group in order."""
        keys = self.made.group_by
        medians = [name for name, measure in self.made.measures.items() if _is_median(measure)]
        others = [name for name in self.made.measures if name not in medians]
        computed = ", ".join([identifiers(keys), *map(self._computed, others)])
        joins = "".join(
            f" LEFT JOIN ({self._median(name)}) AS m{number} ON {_same_group(keys, f'm{number}')}"
            for number, name in enumerate(medians)
        )
        chosen = ", ".join(
            [identifiers(keys, prefix="g."), *(self._chosen(name) for name in self.made.measures)]
        )
        order = ", ".join(f"g.{identifier(name)} NULLS LAST" for name in keys)
        groups = f"SELECT {computed} FROM ({self.rows}) GROUP BY {identifiers(keys)}"
        return f"SELECT {chosen} FROM ({groups}) AS g{joins} ORDER BY {order}"

    def _computed(self, name: str) -> str:
        measure = self.made.measures[name]
        column = measure.column
        forms = _OF_ANYTHING
        if column is not None and self.types[column] is ColumnType.NUMBER:
            forms = {**_OF_ANYTHING, **_OF_FLOATS}
        value = forms[measure.function].format("*" if column is None else identifier(column))
        condition = self.conditions.get(name)
        filtered = f" FILTER (WHERE {condition})" if condition else ""
        whole = measure.function is AggregateFunction.SUM and forms is _OF_ANYTHING
        exact = (
            f"({value}{filtered})::DECIMAL(38, 0)" if whole else value + filtered
        )  # Parquet knows no HUGEINT
        return f"{exact} AS {identifier(name)}"

    def _median(self, name: str) -> str:
        """The mean of the one or two values in the middle of each group."""
        value, keys = identifier(self.made.measures[name].column or ""), identifiers(self.made.group_by)
        condition = f"{value} IS NOT NULL AND {self.conditions.get(name, 'true')}"
        placed = (
            f"SELECT {keys}, {value} AS _value, row_number() OVER (PARTITION BY {keys} ORDER BY {value}) AS _place, "
            f"count(*) OVER (PARTITION BY {keys}) AS _values FROM ({self.rows}) WHERE {condition}"
        )
        return (
            f"SELECT {keys}, avg(_value) AS _median FROM ({placed}) "
            f"WHERE _place IN ((_values + 1) // 2, (_values + 2) // 2) GROUP BY {keys}"
        )

    def _chosen(self, name: str) -> str:
        medians = [other for other, measure in self.made.measures.items() if _is_median(measure)]
        found = f"m{medians.index(name)}._median" if name in medians else f"g.{identifier(name)}"
        return f"{found} AS {identifier(name)}"


def _grouping(
    connection: duckdb.DuckDBPyConnection, feed: Feed, made: Aggregate, sources: Sequence[CheckedRows]
) -> _Grouping:
    contracts = [source.contract for source in sources]
    conditions, refused = checked_where(connection, made, contracts)
    for name, error in refused.items():
        raise FeedError(f"{feed.id}: aggregate.measures.{name}.where {error}", code=FeedCode.EXPRESSION)
    return _Grouping(
        made=made,
        types=united_types(contracts),
        conditions=conditions,
        rows=_selected(made, sources),
    )


def _selected(made: Aggregate, sources: Sequence[CheckedRows]) -> str:
    """The columns that the aggregate needs, of all feeds; a condition may need any.

    They are one scan: a union of several adds floats in one order today and in another tomorrow.
    """
    wanted = None if any(measure.where for measure in made.measures.values()) else columns_used(made)
    known = dict.fromkeys(name for source in sources for name in source.contract.by_name)
    names = [name for name in known if wanted is None or name in wanted]
    paths = ", ".join(literal(source.path.resolve()) for source in sources)
    return f"SELECT {identifiers(names)} FROM read_parquet([{paths}], union_by_name = true)"


def _conditioned(made: Aggregate) -> str:
    """The measures whose condition may be what can't be computed."""
    return ", ".join(name for name, measure in made.measures.items() if measure.where) or "no measure"


def _is_median(measure: Measure) -> bool:
    return measure.function is AggregateFunction.MEDIAN


def _same_group(keys: Sequence[str], other: str) -> str:
    return " AND ".join(_pairs(keys, other))


def _pairs(keys: Sequence[str], other: str) -> Iterator[str]:
    for key in keys:
        yield f"g.{identifier(key)} IS NOT DISTINCT FROM {other}.{identifier(key)}"
