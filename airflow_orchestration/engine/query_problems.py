"""What is wrong with the SQL rules of a contract, as far as it shows before there are rows?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from airflow_orchestration.domain.contract import Contract
from airflow_orchestration.domain.quality_rule import Metric
from airflow_orchestration.engine.checking import SQL_TYPES
from airflow_orchestration.engine.measuring import query_of
from airflow_orchestration.engine.sandbox import sandbox
from airflow_orchestration.exceptions import ExpressionError, Problem, ProblemCode


def query_problems(contracts: Sequence[Contract]) -> list[Problem]:
    """Every problem of the contracts' `type: sql` rules, with the schema object and the name of the rule."""
    found = []
    with (
        TemporaryDirectory(prefix="orchestration-") as folder,
        sandbox(readable=[], scratch=Path(folder)) as connection,
    ):
        for contract in contracts:
            types = {column.name: SQL_TYPES[column.type] for column in contract.columns}
            for rule in contract.measured:
                if rule.metric is not Metric.SQL:
                    continue
                try:
                    query_of(connection, rule, types)
                except ExpressionError as error:
                    found.append(
                        Problem(
                            code=ProblemCode.BAD_EXPRESSION,
                            path=f"{contract.name}: rule {rule.name!r}",
                            message=str(error),
                        )
                    )
    return found
