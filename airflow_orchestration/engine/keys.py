"""Which keys does a late feed touch? Only these are merged again."""

# ruff: noqa: S608  # names and values become SQL through `sqltext` only
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from airflow_orchestration.domain.contract import Contract
from airflow_orchestration.engine.part import PARQUET
from airflow_orchestration.engine.sandbox import MEMORY_MB, THREADS, sandbox
from airflow_orchestration.engine.sqltext import identifiers, literal


def touched_keys(
    late: Sequence[Path],
    *,
    but_not_of: Sequence[Path],
    contract: Contract,
    scratch: Path,
    alike: Sequence[str] | None = None,
    memory_mb: int = MEMORY_MB,
    threads: int = THREADS,
) -> Path:
    """Write the keys that stand in one of the `late` files and in none of the others; return the file.

    `alike` are the columns by which a key stands in the others: all of the key, unless named.
    """
    scratch = scratch.resolve()
    keys, target = identifiers(contract.key), scratch / "keys.parquet"
    ours, theirs = ([path.resolve() for path in paths] for paths in (late, but_not_of))
    query = _distinct(keys, ours)
    if theirs:
        columns = identifiers(alike or contract.key)
        query = f"SELECT * FROM ({query}) ANTI JOIN ({_distinct(columns, theirs)}) USING ({columns})"
    with sandbox(
        readable=[*ours, *theirs], scratch=scratch, memory_mb=memory_mb, threads=threads
    ) as connection:
        connection.execute(f"COPY ({query}) TO {literal(target)} {PARQUET}")
    return target


def rows_gone(before: Path, after: Path, *, contract: Contract, scratch: Path) -> int:
    """Count the keys that stand in one merged file and not in its successor."""
    keys = identifiers(contract.key)
    with sandbox(readable=[before, after], scratch=scratch) as connection:
        row = connection.execute(
            f"SELECT count(*) FROM {literal(before)} ANTI JOIN {literal(after)} USING ({keys})"
        ).fetchone()
    return int(row[0]) if row else 0


def _distinct(keys: str, paths: Sequence[Path]) -> str:
    return " UNION ".join(f"SELECT {keys} FROM {literal(path)}" for path in paths)
