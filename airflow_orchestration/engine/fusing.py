"""Merges what several sources say about the same keys into one table, with the origin of every value.

How each value is chosen or made stands in `strategies`; few sources are merged in one form (`joining`), many in
another (`stacking`), with the same result. It depends on the sources, their weights and the rules alone: not on the
order in which the sources are given, the number of threads, or the memory.
"""

# ruff: noqa: S608  # names and values become SQL through `sqltext` only
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb

from airflow_orchestration.domain.contract import Contract
from airflow_orchestration.domain.merge import Merge
from airflow_orchestration.engine.disagreeing import Examples, disagreements
from airflow_orchestration.engine.joining import Joined
from airflow_orchestration.engine.key_ranges import key_ranges
from airflow_orchestration.engine.part import PARQUET
from airflow_orchestration.engine.rendering import Form, rendered
from airflow_orchestration.engine.sandbox import MEMORY_MB, THREADS, sandbox
from airflow_orchestration.engine.sqltext import identifier, identifiers, literal
from airflow_orchestration.engine.stacking import Stacked
from airflow_orchestration.engine.terms import FusionSource, Terms
from airflow_orchestration.exceptions import FeedCode, FeedError
from airflow_orchestration.policies.trust.model import TrustModel

__all__ = ["JOINED_SOURCES", "Fused", "FusionSource", "fuse"]

JOINED_SOURCES = 12
"""More are stacked. Measured: comparing each with each is then dearer, and the statements become very long."""
MOST_NAMED = 50
"""Ours: files that the engine is let read by name."""
SMALLER = 4
"""How many times smaller the parts of the next try are, after one has not fitted into the memory."""
SMALLEST_PART_MB = 4
"""If parts of this size don't fit, smaller ones won't either."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fused:
    """The merged table and what was found on the way.

    `path` is Parquet, ordered by key: the contract's columns; `_primary_source`, the heaviest source that
    has the key; `_sources`, a JSON array of all that have it, heaviest first; `_attribution`, a JSON object from
    attribute to the feed its value is from, or for a made value to the list of the feeds that took part;
    `_confidence`, a JSON object from attribute to the confidence in its value in 0..1 (4 digits): the
    share of the weight, of the sources with a value, that is within the tolerance of it, and for strategy
    `trust` the probability that it is right; `_conflicts`, a JSON array of the attributes in which a source's value
    differs from it by more than the tolerance. The objects leave out attributes without a value.

    `published`: rows whose primary source a feed is; `superseded`: its other rows. `compared`: rows in
    which at least two sources have a value of an attribute; `disagreements`: rows in which it is in conflict.
    `completeness`: share of attributes' cells that aren't null. `examples`: the first conflicts by key of the
    attributes with most of them, as `engine.disagreeing` tells them.
    """

    path: Path
    rows: int
    published: dict[str, int]
    superseded: dict[str, int]
    disagreements: dict[str, int]
    compared: dict[str, int]
    completeness: float
    examples: Examples


def fuse(
    sources: Sequence[FusionSource],
    *,
    contract: Contract,
    merge: Merge,
    scratch: Path,
    trust: TrustModel | None = None,
    only_keys: Path | None = None,
    examples: int = 0,
    memory_mb: int = MEMORY_MB,
    threads: int = THREADS,
) -> Fused:
    """Merge staged files into `merged.parquet` in `scratch`.

    `trust` is what strategy `trust` knows of the sources. With `only_keys`, a file with the contract's key
    columns, only rows with these keys take part. `examples` is how many conflicts are told of an attribute.
    Raises `ValueError` without sources, and `FeedError` for a source in which a key is null or stands twice.
    """
    if not sources:
        raise ValueError("there is nothing to merge: no sources were given")
    scratch = scratch.resolve()
    ordered = sorted(
        (replace(source, path=source.path.resolve()) for source in sources),
        key=lambda source: (-source.weight, source.feed_id),
    )
    terms = Terms(
        sources=tuple(ordered),
        contract=contract,
        merge=merge,
        trust=trust or TrustModel(),
        only_keys=only_keys.resolve() if only_keys else None,
    )
    form: Callable[[Terms], Form] = Joined if len(ordered) <= JOINED_SOURCES else Stacked
    with sandbox(
        readable=_readable(terms), scratch=scratch, memory_mb=memory_mb, threads=threads
    ) as connection:
        return _Fusion(connection, terms, form, examples).run(scratch / "merged.parquet", memory_mb)


def _readable(terms: Terms) -> list[Path]:
    """The files of the sources. Of very many the folders: the engine looks through all that is named at each opening."""
    files = [source.path for source in terms.sources]
    places = files if len(files) <= MOST_NAMED else sorted({file.parent for file in files})
    return places + ([terms.only_keys] if terms.only_keys else [])


@dataclass(frozen=True, slots=True)
class _Fusion:
    connection: duckdb.DuckDBPyConnection
    terms: Terms
    form: Callable[[Terms], Form]
    examples: int

    def run(self, target: Path, memory_mb: int) -> Fused:
        """Fill the table, see that nobody's rows were lost or doubled, count, and write the file."""
        numbers = range(len(self.terms.sources))
        rows_in = [self._one(f"SELECT count(*) FROM {self.terms.rows(number)}") for number in numbers]
        form = self._filled(sum(rows_in), memory_mb)
        if rows_in != form.known(self.connection) or self._repeated():
            raise self._unfit()
        fused = self._counted(target, dict(zip(self.terms.feeds, rows_in, strict=True)))
        self._one(f"COPY ({rendered(self.terms, form)}) TO {literal(target)} {PARQUET}")
        return replace(fused, examples=self._examples(fused))

    def _filled(self, rows: int, memory_mb: float) -> Form:
        """Merge part by part, and anew in smaller parts when one was larger than it looked."""
        form = self.form(self.terms)
        part_mb = memory_mb * form.over_memory
        try:
            for within in list(key_ranges(self.connection, self.terms, rows=rows, part_mb=part_mb)):
                form.fill(self.connection, within)
        except duckdb.OutOfMemoryException:
            if memory_mb < SMALLEST_PART_MB:
                raise
            self.connection.execute("DROP TABLE IF EXISTS merged")
            return self._filled(rows, memory_mb / SMALLER)
        return form

    def _repeated(self) -> int:
        """Rows of `merged` with the key of the row before: a join multiplies a key that a source has twice."""
        keys = self.terms.contract.key
        before = ", ".join(f"lag({identifier(name)}) OVER () AS _before_{n}" for n, name in enumerate(keys))
        same = " AND ".join(f"{identifier(name)} = _before_{n}" for n, name in enumerate(keys))
        return self._one(f"SELECT count(*) FILTER ({same}) FROM (SELECT *, {before} FROM merged)")

    def _unfit(self) -> FeedError:
        """Name the first source whose keys are null or stand twice."""
        keys = identifiers(self.terms.contract.key)
        empty = " OR ".join(f"{identifier(name)} IS NULL" for name in self.terms.contract.key)
        for number, feed_id in enumerate(self.terms.feeds):
            source = self.terms.rows(number)
            rows = self._one(f"SELECT count(*) FROM {source}")
            nulls = self._one(f"SELECT count(*) FROM {source} WHERE {empty}")
            groups = self._one(f"SELECT count(*) FROM (SELECT {keys} FROM {source} GROUP BY ALL)")
            if nulls or groups != rows:
                return FeedError(
                    f"{feed_id}: {rows - groups} staged rows repeat a key and {nulls} have none; "
                    "stage the feed again with `ingest`.",
                    code=FeedCode.ROWS_LOST,
                )
        return FeedError(
            f"{', '.join(self.terms.feeds)}: the merge does not account for every row; run it again.",
            code=FeedCode.ROWS_LOST,
        )

    def _counted(self, target: Path, rows_in: Mapping[str, int]) -> Fused:
        found = self.connection.execute("SELECT _q, count(*) FROM merged GROUP BY _q").fetchall()
        primary = {self.terms.feeds[number]: count for number, count in found}
        published = {feed_id: primary.get(feed_id, 0) for feed_id in rows_in}
        rows = sum(published.values())
        names = [cell.column.name for cell in self.terms.cells]
        filled = sum(self._sums("_n{} > 0"))
        return Fused(
            path=target,
            rows=rows,
            published=published,
            superseded={feed_id: rows_in[feed_id] - published[feed_id] for feed_id in rows_in},
            disagreements=dict(zip(names, self._sums("_d{}"), strict=True)),
            compared=dict(zip(names, self._sums("_n{} > 1"), strict=True)),
            completeness=filled / (rows * len(names)) if rows and names else 1.0,
            examples={},
        )

    def _examples(self, fused: Fused) -> Examples:
        """To show some is not worth a merge: it goes without them when the memory is short."""
        rows = fused.disagreements
        disputed = sorted((name for name in rows if rows[name]), key=lambda name: -rows[name])
        try:
            return disagreements(self.connection, self.terms, disputed, self.examples)
        except duckdb.OutOfMemoryException:
            return {}

    def _sums(self, condition: str) -> list[int]:
        """Count the rows for which a condition on an attribute holds, attribute by attribute."""
        counted = [f"count(*) FILTER ({condition.format(cell.number)})" for cell in self.terms.cells]
        if not counted:
            return []
        row = self.connection.execute(f"SELECT {', '.join(counted)} FROM merged").fetchone()
        return [int(count) for count in row or ()]

    def _one(self, statement: str) -> int:
        row = self.connection.execute(statement).fetchone()
        return int(row[0]) if row else 0
