"""Which cells of two merged files differ?"""

# ruff: noqa: S608  # names and values become SQL through `sqltext` only
from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from airflow_orchestration.domain.contract import Contract
from airflow_orchestration.engine.sandbox import sandbox
from airflow_orchestration.engine.sqltext import identifier, identifiers, literal


@dataclass(frozen=True, slots=True, kw_only=True)
class DifferingCell:
    """A value of one merged file that is another one in the other; all as text."""

    key: tuple[str, ...]
    attribute: str
    value: str | None
    other: str | None


def differing_cells(
    merged: Path, other: Path, *, contract: Contract, attributes: Sequence[str], most: int, scratch: Path
) -> dict[str, tuple[int, list[DifferingCell]]]:
    """Count, per attribute, the keys of both files with different values, and return the first of them."""
    files = [merged.resolve(), other.resolve()]
    found: dict[str, tuple[int, list[DifferingCell]]] = {}
    with sandbox(readable=files, scratch=scratch.resolve()) as connection:
        for attribute in attributes:
            query = _query(files, contract, attribute)
            row = connection.execute(f"SELECT count(*) FROM ({query})").fetchone()
            keys = identifiers(contract.key)
            rows = connection.execute(f"SELECT * FROM ({query}) ORDER BY {keys} LIMIT {most}").fetchall()
            found[attribute] = (int(row[0]) if row else 0, list(_cells(attribute, rows)))
    return found


def _query(files: Sequence[Path], contract: Contract, attribute: str) -> str:
    keys, name = identifiers(contract.key), identifier(attribute)
    both = " JOIN ".join(
        f"(SELECT {keys}, {name}::VARCHAR AS value_{number} FROM {literal(file)})"
        for number, file in enumerate(files)
    )
    return (
        f"SELECT {keys}, value_0, value_1 FROM {both} USING ({keys}) WHERE value_0 IS DISTINCT FROM value_1"
    )


def _cells(attribute: str, rows: Sequence[Sequence[object]]) -> Iterator[DifferingCell]:
    for *key, value, other in rows:
        yield DifferingCell(
            key=tuple(map(str, key)),
            attribute=attribute,
            value=None if value is None else str(value),
            other=None if other is None else str(other),
        )
