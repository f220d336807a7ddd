"""What the engine's tests build their feeds from: real files, a small contract, and a way to read results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from airflow_orchestration.domain.contract import Contract
from airflow_orchestration.domain.feed import Feed
from airflow_orchestration.engine.ingest import Ingested, ingest
from airflow_orchestration.sources.fetched import Fetched, SourceFile

PLACES = Contract.model_validate(
    {
        "name": "places",
        "key": ["id"],
        "columns": [
            {"name": "id", "type": "string", "pattern": "[A-Z0-9]{1,8}"},
            {"name": "name", "type": "string"},
            {"name": "size", "type": "integer", "minimum": 0, "maximum": 1000},
        ],
    }
)
QUARANTINE = ["feed_id", "origin", "position", "rule", "column_name", "reason", "raw"]


def contract(*columns: dict[str, Any], key: str = "id") -> Contract:
    """A contract of text `id` and these columns."""
    return Contract.model_validate(
        {"name": "t", "key": [key], "columns": [{"name": "id", "type": "string"}, *columns]}
    )


def feed(**changes: Any) -> Feed:
    """A CSV feed of `PLACES` under the contract's own names."""
    return Feed.model_validate(
        {
            "id": "list",
            "uri": "in/list",
            "format": "csv",
            "columns": {"id": "id", "name": "name", "size": "size"},
            **changes,
        }
    )


@dataclass(frozen=True)
class Bench:
    """A folder to put a file in and ingest it."""

    folder: Path

    def write(self, data: bytes, name: str = "list.csv") -> Path:
        path = self.folder / "in" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        return path

    def scratch(self) -> Path:
        number = len(list(self.folder.glob("scratch-*")))
        path = self.folder / f"scratch-{number}"
        path.mkdir()
        return path

    def ingest(
        self, data: bytes, *, rules: Contract = PLACES, name: str = "list.csv", **changes: Any
    ) -> Ingested:
        path = self.write(data, name)
        described = feed(**changes)
        return ingest(
            described, fetched=self.fetched(described, path), contract=rules, scratch=self.scratch()
        )

    def ingest_files(
        self, files: Mapping[str, bytes], *, rules: Contract = PLACES, **changes: Any
    ) -> Ingested:
        """Ingest several files, in this order."""
        described = feed(**changes)
        paths = [self.write(data, name) for name, data in files.items()]
        return ingest(
            described, fetched=self.fetched(described, *paths), contract=rules, scratch=self.scratch()
        )

    def fetched(self, described: Feed, *paths: Path) -> Fetched:
        """These files as they were fetched for a feed."""
        root = self.folder / "in"
        files = (SourceFile(path=path, root=root, origin=f"in/{path.name}") for path in paths)
        assert described.format is not None
        return Fetched(files=tuple(files), format=described.format)


def source_file(path: Path) -> SourceFile:
    """A file whose root is the folder that it stands in."""
    return SourceFile(path=path, root=path.parent, origin=path.name)


def rows_of(path: Path | None, columns: str = "*") -> list[tuple[Any, ...]]:
    """The rows of a Parquet file in their order, none without a file."""
    if path is None:
        return []
    with duckdb.connect() as connection:
        return connection.execute(f"SELECT {columns} FROM read_parquet('{path}')").fetchall()


def rejected(done: Ingested) -> list[tuple[int, str]]:
    """Position and rule of every quarantined row."""
    return rows_of(done.quarantine, "position, rule")


def balanced(done: Ingested) -> bool:
    """Whether all rows are accounted for, in the counts and in the files."""
    staged, aside = rows_of(done.staged, "_position"), rows_of(done.quarantine, "position")
    positions = [position for (position,) in staged + aside]
    return (
        done.rows_in == done.rows_staged + done.rows_quarantined == len(positions)
        and done.rows_staged == len(staged)
        and len(set(positions)) == len(positions)
        and sum(done.rejects.values()) == done.rows_quarantined
    )
