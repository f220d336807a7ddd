"""Reads the rows that were put aside and are still in the staging area."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from airflow_orchestration.domain.quarantined_row import QuarantinedRow
from airflow_orchestration.engine.sandbox import sandbox
from airflow_orchestration.engine.sqltext import literal

_COLUMNS = ("feed_id", "rule", "origin", "position", "column_name", "reason", "raw")
_FETCH = 10_000


def staged_samples(
    files: Mapping[str, Path], wanted: Sequence[tuple[str, str]], *, each: int, scratch: Path
) -> list[QuarantinedRow]:
    """Return the first rows by position of each wanted feed and rule, at most so many `each`; `files` are by feed."""
    with sandbox(readable=list(files.values()), scratch=scratch) as connection:
        return [
            _row(values)
            for feed_id, rule in wanted
            for values in connection.execute(
                f"SELECT {', '.join(_COLUMNS)} {_rows_of(files[feed_id], rule)} ORDER BY position, origin "
                f"LIMIT {literal(each)}"
            ).fetchall()
        ]


def staged_rows(file: Path, *, rule: str | None, scratch: Path) -> Iterator[QuarantinedRow]:
    """Yield a feed's rows in the order of the file, all or those of a rule."""
    with sandbox(readable=[file], scratch=scratch) as connection:
        found = connection.execute(f"SELECT {', '.join(_COLUMNS)} {_rows_of(file, rule)}")
        while some := found.fetchmany(_FETCH):
            yield from map(_row, some)


def _rows_of(file: Path, rule: str | None) -> str:
    chosen = "" if rule is None else f" WHERE rule = {literal(rule)}"
    return f"FROM read_parquet({literal(file)}){chosen}"


def _row(values: Sequence[object]) -> QuarantinedRow:
    return QuarantinedRow(**dict(zip(_COLUMNS, values, strict=True)))  # type: ignore[arg-type]  # as the file was written
