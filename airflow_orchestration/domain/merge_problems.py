"""What a pipeline file's `merge` asks of its data contract in vain."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from airflow_orchestration.domain.contract import Column, ColumnType, Contract
from airflow_orchestration.domain.merge import Merge, Strategy
from airflow_orchestration.exceptions import Problem, ProblemCode

TIMES = frozenset({ColumnType.DATE, ColumnType.TIMESTAMP})
NUMERIC = frozenset({ColumnType.INTEGER, ColumnType.NUMBER})
ONLY_FOR: Mapping[Strategy, frozenset[ColumnType]] = {
    Strategy.MEAN: frozenset({ColumnType.NUMBER}),
    Strategy.MEDIAN: NUMERIC | TIMES,
}
"""The types of which a strategy makes something; a mean of integers would be none."""


def merge_problems(merge: Merge, contract: Contract, prefix: str) -> Iterator[Problem]:
    """Yield each problem with its path, which begins with `prefix`."""
    attributes = {column.name: column for column in contract.attributes}
    for name in merge.tolerance:
        if name not in attributes or attributes[name].type not in NUMERIC:
            yield Problem(
                code=ProblemCode.MISMATCH,
                path=f"{prefix}merge.tolerance.{name}",
                message="is no numeric attribute of the dataset contract",
            )
    for name, strategy in merge.attributes.items():
        path = f"{prefix}merge.attributes.{name}"
        if name not in attributes:
            yield Problem(
                code=ProblemCode.UNKNOWN_NAME, path=path, message="is no attribute of the dataset contract"
            )
        elif not _fits(strategy, attributes[name]):
            yield Problem(
                code=ProblemCode.MISMATCH,
                path=path,
                message=f"is {attributes[name].type}, and {_is_for(strategy)}",
            )
    others = [name for name, one in attributes.items() if name not in merge.attributes]
    unfit = [name for name in others if not _fits(merge.strategy, attributes[name])]
    if unfit:
        message = f"{_is_for(merge.strategy)}; name another one in merge.attributes for {', '.join(unfit)}"
        yield Problem(code=ProblemCode.MISMATCH, path=f"{prefix}merge.strategy", message=message)
    yield from _newest_problems(merge, attributes, prefix)


def _newest_problems(merge: Merge, attributes: Mapping[str, Column], prefix: str) -> Iterator[Problem]:
    """A column of the key would be the same in every feed."""
    if merge.newest_by is not None and (
        merge.newest_by not in attributes or attributes[merge.newest_by].type not in TIMES
    ):
        yield Problem(
            code=ProblemCode.MISMATCH,
            path=f"{prefix}merge.newest_by",
            message=f"{merge.newest_by!r} is no date or timestamp outside the key of the dataset contract",
        )


def _fits(strategy: Strategy, column: Column) -> bool:
    return strategy not in ONLY_FOR or column.type in ONLY_FOR[strategy]


def _is_for(strategy: Strategy) -> str:
    return f"{strategy} is for columns of type {', '.join(sorted(ONLY_FOR[strategy]))}"
