"""What an aggregate of a pipeline file asks of the feeds that it reads, and of its own dataset, in vain."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from airflow_orchestration.domain.batch import BatchType
from airflow_orchestration.domain.contract import ColumnType, Contract
from airflow_orchestration.domain.feed import Feed
from airflow_orchestration.domain.source import Aggregate, AggregateFunction, Measure
from airflow_orchestration.exceptions import Problem, ProblemCode

TYPES = (BatchType.DATA_AGGREGATION, BatchType.QUALITY_MONITORING)
NUMERIC = frozenset({ColumnType.INTEGER, ColumnType.NUMBER})
_NUMBERS_ONLY = frozenset(
    {AggregateFunction.SUM, AggregateFunction.MEAN, AggregateFunction.MEDIAN, AggregateFunction.STDDEV}
)
_WHOLE = frozenset({AggregateFunction.COUNT, AggregateFunction.COUNT_DISTINCT})
_FRACTIONS = frozenset({AggregateFunction.MEAN, AggregateFunction.MEDIAN, AggregateFunction.STDDEV})


def columns_used(made: Aggregate) -> set[str]:
    """The columns that an aggregate names, but for those in its conditions."""
    return {*made.group_by, *(measure.column for measure in made.measures.values() if measure.column)}


def united_types(contracts: Sequence[Contract]) -> dict[str, ColumnType]:
    """The columns of several contracts put together by name; whole numbers and others are numbers."""
    types: dict[str, ColumnType] = {}
    for contract in contracts:
        for column in contract.columns:
            known = types.setdefault(column.name, column.type)
            if {known, column.type} == NUMERIC:
                types[column.name] = ColumnType.NUMBER
    return types


def feed_problems(feeds: Sequence[Feed]) -> Iterator[Problem]:
    """What the aggregates say of other feeds that isn't so; whether these exist is known without a contract."""
    known = {feed.id for feed in feeds}
    for index, feed in enumerate(feeds):
        if feed.aggregate is None:
            continue
        for place, needed in enumerate(feed.aggregate.feeds):
            path = f"feeds[{index}].aggregate.feeds[{place}]"
            if needed not in known:
                yield Problem(
                    code=ProblemCode.UNKNOWN_NAME, path=path, message=f"there is no feed {needed!r}"
                )
            elif needed not in feed.depends_on:
                yield Problem(
                    code=ProblemCode.REQUIRED,
                    path=path,
                    message=f"{needed!r} must stand in depends_on too, to be there first",
                )
            if needed in feed.aggregate.feeds[:place]:
                yield Problem(
                    code=ProblemCode.DUPLICATE,
                    path=path,
                    message=f"{needed!r} stands here twice; its rows would count twice",
                )
        yield from _name_problems(feed.aggregate, f"feeds[{index}].aggregate")
        if feed.type not in TYPES:
            message = f"is {feed.type}; an aggregate is {' or '.join(TYPES)}"
            yield Problem(code=ProblemCode.CONFLICT, path=f"feeds[{index}].type", message=message)


def _name_problems(made: Aggregate, path: str) -> Iterator[Problem]:
    for name in made.measures:
        if name in made.group_by:
            yield Problem(
                code=ProblemCode.DUPLICATE,
                path=f"{path}.measures.{name}",
                message="is the name of a group_by column already",
            )
    for place, name in enumerate(made.group_by):
        if name in made.group_by[:place]:
            yield Problem(
                code=ProblemCode.DUPLICATE,
                path=f"{path}.group_by[{place}]",
                message=f"{name!r} stands here twice",
            )


def aggregate_problems(
    feed: Feed, path: str, contract: Contract, sources: Mapping[str, Contract]
) -> Iterator[Problem]:
    """What one aggregate asks of the datasets of its feeds, and of its own, in vain; `sources` are by feed."""
    made = feed.aggregate
    if made is None:
        return
    types = united_types(list(sources.values()))
    for name in sorted(columns_used(made) & types.keys()):
        yield from _type_problems(name, types[name], sources, path)
    for place, name in enumerate(made.group_by):
        for feed_id, source in sources.items():
            if name not in source.by_name:
                message = f"{name!r} is no column of the rows of {feed_id}"
                yield Problem(
                    code=ProblemCode.UNKNOWN_NAME, path=f"{path}.aggregate.group_by[{place}]", message=message
                )
    for name, measure in made.measures.items():
        yield from _measure_problems(measure, f"{path}.aggregate.measures.{name}", types)
    yield from _key_problems(feed, made, path, contract)
    yield from _result_problems(feed, made, path, contract, types)


def _type_problems(
    name: str, kind: ColumnType, sources: Mapping[str, Contract], path: str
) -> Iterator[Problem]:
    for feed_id, source in sources.items():
        found = source.by_name[name].type if name in source.by_name else kind
        if found is not kind and {found, kind} != NUMERIC:
            message = f"{name!r} has type {kind} in one feed and {found} in {feed_id}; aggregate them apart"
            yield Problem(code=ProblemCode.MISMATCH, path=f"{path}.aggregate.feeds", message=message)


def _measure_problems(measure: Measure, path: str, types: Mapping[str, ColumnType]) -> Iterator[Problem]:
    if measure.column is None:
        return
    if measure.column not in types:
        message = f"{measure.column!r} is no column of the feeds that are aggregated"
        yield Problem(code=ProblemCode.UNKNOWN_NAME, path=f"{path}.column", message=message)
    elif measure.function in _NUMBERS_ONLY and types[measure.column] not in NUMERIC:
        message = f"{measure.function} is for numbers, {measure.column!r} has type {types[measure.column]}"
        yield Problem(code=ProblemCode.MISMATCH, path=f"{path}.function", message=message)


def _key_problems(feed: Feed, made: Aggregate, path: str, contract: Contract) -> Iterator[Problem]:
    """A key that is less than the group would make rows of several groups one another's duplicates."""
    key = {feed.columns[name].column for name in contract.key if name in feed.columns}
    for name in made.group_by:
        if name not in key:
            message = f"{name!r} fills no column of the key of {contract.name}: a key would stand for several groups"
            yield Problem(code=ProblemCode.MISMATCH, path=f"{path}.aggregate.group_by", message=message)
    for name in made.measures:
        if name in key:
            message = f"fills a column of the key of {contract.name}; group by it instead"
            yield Problem(
                code=ProblemCode.CONFLICT, path=f"{path}.aggregate.measures.{name}", message=message
            )


def _result_problems(
    feed: Feed, made: Aggregate, path: str, contract: Contract, types: Mapping[str, ColumnType]
) -> Iterator[Problem]:
    """Columns of the result that the dataset's contract has no room for, or that do not exist."""
    for name, source in feed.columns.items():
        column, measure = contract.by_name.get(name), made.measures.get(source.column or "")
        if source.column is None:
            message = "is computed; compute it in a column of the feeds that are aggregated"
            yield Problem(code=ProblemCode.CONFLICT, path=f"{path}.columns.{name}", message=message)
        elif measure is None and source.column not in made.group_by:
            message = f"{source.column!r} is neither in group_by nor in measures"
            yield Problem(code=ProblemCode.UNKNOWN_NAME, path=f"{path}.columns.{name}", message=message)
        elif column is not None and measure is not None:
            kind = _result_type(measure, types)
            if not _fits(kind, column.type):
                message = (
                    f"{measure.function} makes type {kind}, the contract's column has type {column.type}"
                )
                yield Problem(code=ProblemCode.MISMATCH, path=f"{path}.columns.{name}", message=message)


def _result_type(measure: Measure, types: Mapping[str, ColumnType]) -> ColumnType:
    if measure.function in _WHOLE:
        return ColumnType.INTEGER
    if measure.function in _FRACTIONS:
        return ColumnType.NUMBER
    return types.get(measure.column or "", ColumnType.NUMBER)


def _fits(kind: ColumnType, wanted: ColumnType) -> bool:
    return (
        kind is wanted
        or wanted is ColumnType.STRING
        or (kind, wanted) == (ColumnType.INTEGER, ColumnType.NUMBER)
    )
