"""A DuckDB connection that can read what it was given, write its scratch folder, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb

from airflow_orchestration.engine.sqltext import listed, literal

MEMORY_MB = 512
THREADS = 2
MAX_TEMP_GB = 50


@contextmanager
def sandbox(
    *,
    readable: Sequence[Path],
    scratch: Path,
    memory_mb: int = MEMORY_MB,
    threads: int = THREADS,
    trusts_statistics: bool = True,
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Yield a connection that reads files or folders in `readable`, and reads and writes below `scratch`.

    No other file, no network, no extension, and no way to change that: the configuration is locked.
    `memory_mb` bounds the buffers of the engine in MiB; more spills to a private folder below `scratch`.
    `trusts_statistics` lets it leave out rows and conditions by what a Parquet file says about its values; the
    file of a stranger may say anything.
    """
    with TemporaryDirectory(prefix="spill-", dir=scratch) as spill:
        connection = duckdb.connect()
        try:
            for statement in _settings(readable, scratch, Path(spill), memory_mb, threads):
                connection.execute(statement)
            if not trusts_statistics:
                # A condition that stands at the scan skips row groups, wherever it came from.
                connection.execute("SET disabled_optimizers = 'statistics_propagation,filter_pushdown'")
            connection.execute("SET lock_configuration = true")
            yield connection
        finally:
            connection.close()


def kind_of(error: duckdb.Error) -> str:
    """Say what kind of error the engine told, and no more: its sentences repeat values of rows."""
    return str(error).split(":", 1)[0].splitlines()[0]


def _settings(
    readable: Sequence[Path], scratch: Path, spill: Path, memory_mb: int, threads: int
) -> Iterator[str]:
    """The order matters: closing the door comes after naming who may pass."""
    folders = [path.resolve() for path in (scratch, *readable) if path.is_dir()]
    files = [path.resolve() for path in readable if not path.is_dir()]
    yield "SET enable_progress_bar = false"
    yield "SET enable_profiling = 'no_output'"  # how `ingest` learns how many rows the engine read
    yield "SET TimeZone = 'UTC'"
    # What an author's expression means must not depend on the defaults of a version of the engine.
    yield "SET error_on_division_by_zero = false"
    yield "SET ieee_floating_point_ops = true"
    yield "SET integer_division = false"
    yield "SET regex_match_operator_semantics = 'partial'"
    yield "SET autoinstall_known_extensions = false"
    yield "SET autoload_known_extensions = false"
    yield "SET allow_community_extensions = false"
    yield "SET allow_persistent_secrets = false"
    yield "SET python_enable_replacements = false"
    yield f"SET memory_limit = '{memory_mb}MiB'"
    yield f"SET threads = {threads}"
    yield f"SET temp_directory = {literal(spill.resolve())}"
    yield f"SET max_temp_directory_size = '{MAX_TEMP_GB}GiB'"
    yield f"SET allowed_directories = {listed(f'{folder}/' for folder in folders)}"
    yield f"SET allowed_paths = {listed(str(file) for file in files)}"
    yield "SET enable_external_access = false"
