"""Merges what several sources say about the same keys into one table, with the origin of every value.

Strategy `primary`: for each key and attribute, the value of the heaviest source that has one; of sources
with the same weight, the first by feed id. The sources are joined on the key one after the other.
"""

# ruff: noqa: S608  # names and values become SQL through `sqltext` only
from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb

from airflow_orchestration.domain.contract import Column, ColumnType, Contract
from airflow_orchestration.engine.ingest import PARQUET
from airflow_orchestration.engine.sandbox import MEMORY_MB, THREADS, sandbox
from airflow_orchestration.engine.sqltext import identifier, identifiers, literal
from airflow_orchestration.exceptions import FeedError

_Entry = Callable[[int, Column], str]
_NUMERIC = (ColumnType.INTEGER, ColumnType.NUMBER)


@dataclass(frozen=True, slots=True, kw_only=True)
class FusionSource:
    """A feed's staged Parquet file, and how far it is trusted; `weight` is above 0."""

    feed_id: str
    path: Path
    weight: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Fused:
    """The merged table and what was found on the way.

    `path` is Parquet, ordered by key: the contract's columns; `_primary_source`, the heaviest source that
    has the key; `_sources`, a JSON array of all that have it, heaviest first; `_attribution`, a JSON
    object from attribute to the feed its value is from; `_agreement`, a JSON object from attribute to
    the share in 0..1 (4 digits) of the weight of the sources with a value that agree with the chosen one.
    The last two leave out attributes without a value.

    `published`: rows whose primary source a feed is; `superseded`: its other rows. `compared`: rows in
    which at least two sources have a value of an attribute; `disagreements`: rows in which one of them
    differs from the chosen one by more than the tolerance. `completeness`: share of attributes' cells
    that aren't null.
    """

    path: Path
    rows: int
    published: dict[str, int]
    superseded: dict[str, int]
    disagreements: dict[str, int]
    compared: dict[str, int]
    completeness: float


def fuse(
    sources: Sequence[FusionSource],
    *,
    contract: Contract,
    tolerance: Mapping[str, float],
    scratch: Path,
    only_keys: Path | None = None,
    memory_mb: int = MEMORY_MB,
    threads: int = THREADS,
) -> Fused:
    """Merge staged files into `merged.parquet` in `scratch`.

    `tolerance`: per numeric attribute, the difference up to which two values still agree. With
    `only_keys`, a file with the contract's key columns, only rows with these keys take part. Raises
    `ValueError` without sources, and `FeedError` for a source in which a key is null or stands twice.
    """
    if not sources:
        raise ValueError("there is nothing to merge: no sources were given")
    scratch = scratch.resolve()
    ordered = sorted(
        (replace(source, path=source.path.resolve()) for source in sources),
        key=lambda source: (-source.weight, source.feed_id),
    )
    readable = [source.path for source in ordered] + ([only_keys.resolve()] if only_keys else [])
    with sandbox(readable=readable, scratch=scratch, memory_mb=memory_mb, threads=threads) as connection:
        fusion = _Fusion(connection, ordered, contract, tolerance, only_keys)
        counts = {source.feed_id: fusion.count(source) for source in ordered}
        wide, merged = scratch / "wide.parquet", scratch / "merged.parquet"
        fusion.join(wide)
        rows = fusion.write(wide, merged)
        fused = fusion.report(wide, merged, rows, counts)
        wide.unlink()
    return fused


@dataclass(frozen=True, slots=True)
class _Fusion:
    """The statements of one merge. Source number `i` has `_p{i}` where it knows a key, `_a{j}_{i}` its values."""

    connection: duckdb.DuckDBPyConnection
    sources: Sequence[FusionSource]
    contract: Contract
    tolerance: Mapping[str, float]
    only_keys: Path | None

    def rows_of(self, source: FusionSource) -> str:
        """SQL for the rows of a source that take part."""
        if self.only_keys is None:
            return literal(source.path)
        keys = identifiers(self.contract.key)
        return f"(SELECT * FROM {literal(source.path)} SEMI JOIN {literal(self.only_keys.resolve())} USING ({keys}))"

    def count(self, source: FusionSource) -> int:
        """The rows of a source; raises `FeedError` unless each has a key of its own."""
        keys, source_rows = identifiers(self.contract.key), self.rows_of(source)
        empty = " OR ".join(f"{identifier(name)} IS NULL" for name in self.contract.key)
        rows = self._one(f"SELECT count(*) FROM {source_rows}")
        nulls = self._one(f"SELECT count(*) FROM {source_rows} WHERE {empty}")
        groups = self._one(f"SELECT count(*) FROM (SELECT {keys} FROM {source_rows} GROUP BY ALL)")
        if nulls or groups != rows:
            raise FeedError(
                f"{source.feed_id}: {rows - groups} staged rows repeat a key and {nulls} have none; "
                "stage the feed again with `ingest`."
            )
        return rows

    def join(self, target: Path) -> None:
        """Write one unordered row per key with everything that is counted later."""
        self._copy(f"SELECT {', '.join(self._derived())} FROM ({self._chosen()})", target)

    def write(self, wide: Path, target: Path) -> int:
        """Write the rows in the order of their keys."""
        names = [column.name for column in self.contract.columns]
        names += ["_primary_source", "_sources", "_attribution", "_agreement"]
        keys = identifiers(self.contract.key)
        return self._copy(f"SELECT {identifiers(names)} FROM {literal(wide)} ORDER BY {keys}", target)

    def report(self, wide: Path, merged: Path, rows: int, counts: Mapping[str, int]) -> Fused:
        """Count what happened."""
        primary = self.connection.execute(
            f"SELECT _primary_source, count(*) FROM {literal(merged)} GROUP BY 1"
        ).fetchall()
        published = {feed_id: dict(primary).get(feed_id, 0) for feed_id in counts}
        attributes = [column.name for column in self.contract.attributes]
        filled = self._sums(wide, (f"_n{j} > 0" for j in range(len(attributes))))
        return Fused(
            path=merged,
            rows=rows,
            published=published,
            superseded={feed_id: counts[feed_id] - published[feed_id] for feed_id in counts},
            disagreements=dict(
                zip(attributes, self._sums(wide, (f"_d{j}" for j in range(len(attributes)))), strict=True)
            ),
            compared=dict(
                zip(attributes, self._sums(wide, (f"_n{j} > 1" for j in range(len(attributes)))), strict=True)
            ),
            completeness=sum(filled) / (rows * len(attributes)) if rows and attributes else 1.0,
        )

    def _joined(self) -> str:
        keys = identifiers(self.contract.key)
        joined = self._source(0)
        for number in range(1, len(self.sources)):
            joined = f"{joined} FULL JOIN {self._source(number)} USING ({keys})"
        return f"SELECT * FROM {joined}"

    def _source(self, number: int) -> str:
        values = [
            f"{identifier(column.name)} AS _a{j}_{number}"
            for j, column in enumerate(self.contract.attributes)
        ]
        chosen = ", ".join([identifiers(self.contract.key), f"true AS _p{number}", *values])
        return f"(SELECT {chosen} FROM {self.rows_of(self.sources[number])})"

    def _chosen(self) -> str:
        chosen = [
            f"coalesce({', '.join(f'_a{j}_{i}' for i in self._numbers)}) AS _c{j}"
            for j in range(len(self.contract.attributes))
        ]
        return f"SELECT {', '.join(['*', *chosen])} FROM ({self._joined()})"

    def _derived(self) -> list[str]:
        """The columns of the wide file: result, and per attribute `_n{j}` values and `_d{j}` disagreement."""
        attributes = self.contract.attributes
        positions = {column.name: j for j, column in enumerate(attributes)}
        columns = [
            f"_c{positions[column.name]} AS {identifier(column.name)}"
            if column.name in positions
            else identifier(column.name)
            for column in self.contract.columns
        ]
        knows = [f"_p{i}" for i in self._numbers]
        ids = [source.feed_id for source in self.sources]
        columns.append(f"{_first(knows, [literal(feed_id) for feed_id in ids])} AS _primary_source")
        listed = [f"CASE WHEN _p{i} THEN {literal(json.dumps(ids[i]))} END" for i in self._numbers]
        columns.append(f"'[' || concat_ws(',', {', '.join(listed)}) || ']' AS _sources")
        columns.append(f"{self._object(self._attributed)} AS _attribution")
        columns.append(f"{self._object(self._agreed)} AS _agreement")
        for j, column in enumerate(attributes):
            columns.append(
                f"{' + '.join(f'(_a{j}_{i} IS NOT NULL)::INTEGER' for i in self._numbers)} AS _n{j}"
            )
            differs = (f"coalesce(NOT ({self._agrees(j, i, column)}), false)" for i in self._numbers)
            columns.append(f"({' OR '.join(differs)}) AS _d{j}")
        return columns

    def _object(self, entry: _Entry) -> str:
        """SQL for a JSON object with one entry for each attribute that has a value."""
        entries = [
            f"CASE WHEN _c{j} IS NOT NULL THEN {literal(json.dumps(column.name) + ':')} || {entry(j, column)} END"
            for j, column in enumerate(self.contract.attributes)
        ]
        return f"'{{' || concat_ws(',', {', '.join(entries)}) || '}}'" if entries else "'{}'"

    def _attributed(self, j: int, column: Column) -> str:
        feeds = [literal(json.dumps(source.feed_id)) for source in self.sources]
        return _first([f"_a{j}_{i} IS NOT NULL" for i in self._numbers], feeds)

    def _agreed(self, j: int, column: Column) -> str:
        agreeing, having = [], []
        for i, source in enumerate(self.sources):
            weight = f"{source.weight!r}::DOUBLE"
            having.append(f"CASE WHEN _a{j}_{i} IS NOT NULL THEN {weight} ELSE 0 END")
            agreeing.append(f"CASE WHEN {self._agrees(j, i, column)} THEN {weight} ELSE 0 END")
        return f"round(({' + '.join(agreeing)}) / ({' + '.join(having)}), 4)::VARCHAR"

    def _agrees(self, j: int, i: int, column: Column) -> str:
        """SQL that is null when source `i` has no value."""
        allowed = self.tolerance.get(column.name, 0.0)
        if not allowed or column.type not in _NUMERIC:
            return f"_a{j}_{i} = _c{j}"
        wider = "::HUGEINT" if column.type is ColumnType.INTEGER else ""
        return f"abs(_a{j}_{i}{wider} - _c{j}{wider}) <= {float(allowed)!r}::DOUBLE"

    @property
    def _numbers(self) -> range:
        return range(len(self.sources))

    def _sums(self, wide: Path, conditions: Iterable[str]) -> list[int]:
        counted = [f"count(*) FILTER ({condition})" for condition in conditions]
        if not counted:
            return []
        row = self.connection.execute(f"SELECT {', '.join(counted)} FROM {literal(wide)}").fetchone()
        return [int(count) for count in row or ()]

    def _copy(self, query: str, target: Path) -> int:
        return self._one(f"COPY ({query}) TO {literal(target)} {PARQUET}")

    def _one(self, statement: str) -> int:
        row = self.connection.execute(statement).fetchone()
        return int(row[0]) if row else 0


def _first(conditions: Sequence[str], values: Sequence[str]) -> str:
    cases = " ".join(f"WHEN {c} THEN {v}" for c, v in zip(conditions, values, strict=True))
    return f"CASE {cases} END"
