"""What is wrong with the expressions of a pipeline, as far as it shows before the feeds are there?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb

from airflow_orchestration.domain.feed import Feed, FeedFormat
from airflow_orchestration.domain.run_spec import RunSpec
from airflow_orchestration.engine.aggregating import checked_where
from airflow_orchestration.engine.computing import TEXT, expressions_in
from airflow_orchestration.engine.expressions import checked_expression, named_columns
from airflow_orchestration.engine.sandbox import sandbox
from airflow_orchestration.exceptions import ExpressionError, Problem, ProblemCode


def expression_problems(spec: RunSpec) -> list[Problem]:
    """Every problem with its path. Whether a feed has the columns that are named shows when it is read."""
    with (
        TemporaryDirectory(prefix="orchestration-") as folder,
        sandbox(readable=[], scratch=Path(folder)) as connection,
    ):
        return [problem for feed in spec.feeds.values() for problem in _problems(connection, spec, feed)]


def _problems(connection: duckdb.DuckDBPyConnection, spec: RunSpec, feed: Feed) -> Iterator[Problem]:
    for name, text in expressions_in(feed):
        try:
            columns = named_columns(connection, text)
            if feed.format is not FeedFormat.PARQUET:  # whose types nobody knows yet
                checked_expression(connection, text, dict.fromkeys(columns, TEXT))
        except ExpressionError as error:
            yield Problem(
                code=ProblemCode.BAD_EXPRESSION,
                path=f"feeds.{feed.id}.columns.{name}.expression",
                message=str(error),
            )
    if feed.aggregate is not None:
        contracts = [spec.dataset_of(needed).contract for needed in feed.aggregate.feeds]
        for name, refused in checked_where(connection, feed.aggregate, contracts)[1].items():
            yield Problem(
                code=ProblemCode.BAD_EXPRESSION,
                path=f"feeds.{feed.id}.aggregate.measures.{name}.where",
                message=str(refused),
            )
