"""What sides do the sources take? Counts, for whom to believe, how often they agree in which way.

Keys about which the sources are divided in the same way are one ballot: millions of rows are few ballots.
"""

# ruff: noqa: S608  # names and values become SQL through `sqltext` only
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from airflow_orchestration.domain.contract import Column, ColumnType, Contract
from airflow_orchestration.domain.merge import Merge, Strategy
from airflow_orchestration.engine.sandbox import MEMORY_MB, THREADS, sandbox
from airflow_orchestration.engine.sqltext import identifier, identifiers, literal
from airflow_orchestration.engine.terms import FusionSource
from airflow_orchestration.policies.trust.ballot import Ballot

MOST_KEYS = 200_000
"""Keys that are looked at, chosen by their hash; keys with known values always are."""


def ballots_of(
    sources: Sequence[FusionSource],
    *,
    contract: Contract,
    merge: Merge,
    scratch: Path,
    probes: Path | None = None,
    memory_mb: int = MEMORY_MB,
    threads: int = THREADS,
) -> list[Ballot]:
    """Count the sides that staged files take, for each attribute that is merged by trust.

    `probes` is a Parquet file with the contract's columns: values that are known; null is not known.
    """
    ordered = sorted(sources, key=lambda source: source.feed_id)
    files = [source.path.resolve() for source in ordered] + ([probes.resolve()] if probes else [])
    attributes = [c for c in contract.attributes if merge.strategy_of(c.name) is Strategy.TRUST]
    with sandbox(
        readable=files, scratch=scratch.resolve(), memory_mb=memory_mb, threads=threads
    ) as connection:
        count = _Count(connection=connection, sources=ordered, contract=contract, probes=probes)
        return [
            ballot
            for column in attributes
            for ballot in count.of(column, merge.tolerance.get(column.name, 0.0))
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Count:
    """The statements over one set of sources."""

    connection: duckdb.DuckDBPyConnection
    sources: Sequence[FusionSource]
    contract: Contract
    probes: Path | None

    def of(self, column: Column, tolerance: float) -> list[Ballot]:
        """The ballots of an attribute."""
        feeds = [source.feed_id for source in self.sources]
        return [
            Ballot(
                attribute=column.name,
                sides=tuple(tuple(feeds[number] for number in side) for side in sides),
                truth=truth,
                count=float(count),
            )
            for sides, truth, count in self.connection.execute(self._query(column, tolerance)).fetchall()
        ]

    def _query(self, column: Column, tolerance: float) -> str:
        keys = identifiers(self.contract.key)
        tolerant = tolerance > 0 and column.type in {ColumnType.INTEGER, ColumnType.NUMBER}
        near = f"abs(value - known) <= {tolerance!r}::DOUBLE" if tolerant else "value = known"
        side = "value AS side"
        if tolerant:
            # Values between which no gap is wider than the tolerance stand on one side.
            before = f"lag(value) OVER (PARTITION BY {keys} ORDER BY value)"
            side = f"coalesce(value - {before} > {tolerance!r}::DOUBLE, false)::INTEGER AS step"
        told = f"SELECT *, {side}, coalesce({near}, false) AS is_right FROM ({self._opinions(column)})"
        if tolerant:
            told = f"SELECT *, sum(step) OVER (PARTITION BY {keys} ORDER BY value) AS side FROM ({told})"
        sides = (
            f"SELECT {keys}, list(source ORDER BY source) AS feeds, bool_or(is_right) AS is_right, "
            f"bool_or(known IS NOT NULL) AS labelled FROM ({told}) GROUP BY {keys}, side"
        )
        order = "ORDER BY len(feeds) DESC, feeds"
        ballots = (
            f"SELECT list(feeds {order}) AS sides, "
            f"CASE WHEN bool_or(labelled) THEN coalesce(list_position(list(is_right {order}), true), 0) - 1 END "
            f"AS truth FROM ({sides}) GROUP BY {keys}"
        )
        return f"SELECT sides, truth, count(*) FROM ({ballots}) GROUP BY ALL ORDER BY ALL"

    def _opinions(self, column: Column) -> str:
        keys, name = identifiers(self.contract.key), identifier(column.name)
        each = " UNION ALL ".join(
            f"SELECT {keys}, {number} AS source, {name} AS value FROM {literal(source.path.resolve())}"
            for number, source in enumerate(self.sources)
        )
        known = "NULL AS known"
        joined = f"({each})"
        if self.probes is not None:
            joined += f" LEFT JOIN (SELECT {keys}, {name} AS known FROM {literal(self.probes.resolve())}) USING ({keys})"
            known = "known"
        chosen = f"hash({keys}) % {self._sample()} = 0" + (" OR known IS NOT NULL" if self.probes else "")
        return f"SELECT {keys}, source, value, {known} FROM {joined} WHERE value IS NOT NULL AND ({chosen})"

    def _sample(self) -> int:
        """One of so many keys is looked at."""
        rows = 0
        for source in self.sources:
            found = self.connection.execute(
                f"SELECT count(*) FROM {literal(source.path.resolve())}"
            ).fetchone()
            rows = max(rows, int(found[0]) if found else 0)
        return max(1, -(-rows // MOST_KEYS))
