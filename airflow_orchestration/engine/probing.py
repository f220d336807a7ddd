"""Reads labelled probes: rows of which the values are known, to learn from whom to believe."""

# ruff: noqa: S608  # names and values become SQL through `sqltext` only
from __future__ import annotations

from pathlib import Path

import duckdb

from airflow_orchestration.domain.contract import Contract
from airflow_orchestration.engine.checking import SQL_TYPES
from airflow_orchestration.engine.part import PARQUET
from airflow_orchestration.engine.sandbox import sandbox
from airflow_orchestration.engine.sqltext import identifier, identifiers, literal
from airflow_orchestration.exceptions import InputRefusedError, Problem, ProblemCode


def read_probes(file: Path, *, contract: Contract, scratch: Path) -> Path:
    """Write the probes of a CSV file as Parquet with the contract's columns; an empty cell is not known.

    Raises `InputRefusedError` when the file is missing, lacks a key column, repeats a key, or when a value is
    none of its column's type.
    """
    if not file.exists():
        raise _refused(
            file, "is not there; put the file there, or leave out merge.trust.probes", ProblemCode.NOT_FOUND
        )
    target = scratch / "probes.parquet"
    with sandbox(readable=[file.resolve()], scratch=scratch.resolve()) as connection:
        try:
            _load(connection, file.resolve())
            known = {str(row[0]) for row in connection.execute("DESCRIBE probes").fetchall()}
            _check(connection, file, contract, known)
            connection.execute(f"COPY ({_typed(contract, known)}) TO {literal(target)} {PARQUET}")
        except duckdb.Error as error:
            raise _refused(file, f"can't be read as probes: {error}", ProblemCode.UNREADABLE) from None
    return target


def _load(connection: duckdb.DuckDBPyConnection, file: Path) -> None:
    source = f"read_csv({literal(file)}, header = true, all_varchar = true, nullstr = '')"
    connection.execute(f"CREATE TABLE probes AS SELECT * FROM {source}")


def _check(connection: duckdb.DuckDBPyConnection, file: Path, contract: Contract, known: set[str]) -> None:
    missing = [name for name in contract.key if name not in known]
    if missing:
        raise _refused(file, f"lacks the key column {', '.join(missing)}", ProblemCode.REQUIRED)
    if not known & {column.name for column in contract.attributes}:
        raise _refused(
            file,
            "has no attribute of the contract; name its columns as the contract does",
            ProblemCode.MISMATCH,
        )
    keys = identifiers(contract.key)
    row = connection.execute(
        f"SELECT count(*) - (SELECT count(*) FROM (SELECT DISTINCT {keys} FROM probes)) FROM probes"
    ).fetchone()
    if row and row[0]:
        raise _refused(file, f"repeats {row[0]} keys; keep one row of each", ProblemCode.DUPLICATE)


def _typed(contract: Contract, known: set[str]) -> str:
    columns = (
        f"CAST({identifier(c.name) if c.name in known else 'NULL'} AS {SQL_TYPES[c.type]}) AS {identifier(c.name)}"
        for c in contract.columns
    )
    return f"SELECT {', '.join(columns)} FROM probes"


def _refused(file: Path, message: str, code: ProblemCode) -> InputRefusedError:
    return InputRefusedError(file.name, [Problem(code=code, path="", message=message)])
