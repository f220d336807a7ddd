"""Reads the files of a feed into one staged Parquet file; every row is staged, or put aside with a reason."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import duckdb

from airflow_orchestration.domain.contract import Contract
from airflow_orchestration.domain.feed import Feed, FeedFormat
from airflow_orchestration.domain.outcome import QualityMeasures
from airflow_orchestration.domain.quality_rule import RuleResult
from airflow_orchestration.engine.checking import DUPLICATE_KEY, DUPLICATE_VALUE, OUT_OF_SCOPE
from airflow_orchestration.engine.combining import combined
from airflow_orchestration.engine.layout import Layout
from airflow_orchestration.engine.limits import Meter, bounded_memory
from airflow_orchestration.engine.measuring import Aside, broken_rules, check_rules, measure
from airflow_orchestration.engine.part import Desk, Part, ReadFile, read_file
from airflow_orchestration.engine.quarantine import why_aside
from airflow_orchestration.engine.sandbox import MEMORY_MB, THREADS, sandbox
from airflow_orchestration.engine.sqltext import literal
from airflow_orchestration.engine.uniqueness import SUPERSEDED
from airflow_orchestration.exceptions import FeedCode, FeedError
from airflow_orchestration.sources.fetched import Fetched

_BY_LINE = frozenset({FeedFormat.CSV, FeedFormat.NDJSON})
"""Formats in which the position of a row is that of its line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingested:
    """What became of a feed's rows: `rows_in = rows_staged + rows_quarantined`.

    `rows_out_of_scope` is a part of the quarantine: rows without a key that are not wanted, and the superseded ones
    of a stream. `rejects` counts quarantined rows by rule. The
    measures are over the rows in scope: filled cells of the mapped columns (a malformed row has none),
    rows that break no rule of their own, and among those the rows that repeat no key or unique value.
    """

    rows_in: int
    rows_staged: int
    rows_quarantined: int
    rows_out_of_scope: int
    staged: Path
    quarantine: Path | None
    rejects: dict[str, int]
    measures: QualityMeasures
    rules: tuple[RuleResult, ...] = ()
    """What came of the contract's rules about many rows."""


class BrokenRulesError(FeedError):
    """The rows break rules of the contract that they must keep together; `ingested` says what became of them."""

    def __init__(self, message: str, ingested: Ingested) -> None:
        super().__init__(message, code=FeedCode.QUALITY_RULES)
        self.ingested = ingested


def ingest(
    feed: Feed,
    *,
    fetched: Fetched,
    contract: Contract,
    scratch: Path,
    memory_mb: int = MEMORY_MB,
    threads: int = THREADS,
    as_of: datetime | None = None,
) -> Ingested:
    """Check every row of the fetched files, and write the good ones into one Parquet file below `scratch`.

    `scratch` is an empty folder of this call alone; `as_of` is the moment at which rows are fresh or not.
    Raises `FeedError` when the feed can't be used as a whole, or when the rows that went in aren't
    exactly those that came out, and `BrokenRulesError` when they break a rule of severity error.
    """
    _check_key(feed, contract)
    scratch = scratch.resolve()
    desk = Desk(
        feed=feed,
        contract=contract,
        layout=Layout.of(feed, fetched),
        meter=Meter(feed=feed),
        memory_mb=memory_mb,
        threads=threads,
    )
    with (
        bounded_memory(feed.id, memory_mb),
        sandbox(readable=[], scratch=scratch, memory_mb=memory_mb, threads=threads) as connection,
    ):
        _check_patterns(connection, feed, contract)
        check_rules(connection, feed.id, contract)
        read = list(_read(desk, fetched, scratch))
        _check_keys(feed, read)
        whole = read[0].part if len(read) == 1 else combined(connection, desk, read, scratch)
        aside = Aside(judged=whole.judged, marks=whole.marks)
        rules = measure(
            connection,
            feed.id,
            contract,
            whole.staged,
            aside=aside,
            as_of=as_of,
            mapped=feed.columns,
        )
        _check_count(feed, fetched, whole)
        columns = sum(column.name in feed.columns for column in contract.columns)
        ingested = _ingested(whole, columns=columns, rules=rules)
        _refuse_broken(connection, desk, ingested)
    return ingested


def _check_count(feed: Feed, fetched: Fetched, whole: Part) -> None:
    if fetched.rows not in {None, whole.rows_in}:
        raise FeedError(
            f"{feed.id}: the source gave {fetched.rows} rows and {whole.rows_in} were read; run the feed again.",
            code=FeedCode.ROWS_LOST,
        )


def _refuse_broken(connection: duckdb.DuckDBPyConnection, desk: Desk, ingested: Ingested) -> None:
    """Raise `BrokenRulesError`, which also names what was put aside before: often that is the cause."""
    if not (broken := broken_rules(ingested.rules)):
        return
    aside = ""
    if ingested.quarantine is not None:
        unit = "line" if desk.layout.format in _BY_LINE else "row"
        why = why_aside(connection, ingested.quarantine, unit=unit)
        aside = f"{ingested.rows_quarantined:,} of {ingested.rows_in:,} rows were put aside: {why}. "
    raise BrokenRulesError(
        f"{desk.feed.id}: the contract's quality rules are broken: {broken}. {aside}Deliver better rows, or change "
        "the rule's threshold or severity.",
        ingested,
    )


def _read(desk: Desk, fetched: Fetched, scratch: Path) -> Iterator[ReadFile]:
    """Read one file after the other; what an error is about is named when there are several."""
    for number, file in enumerate(fetched.files):
        folder = scratch / f"part-{number:06}"
        folder.mkdir()
        try:
            read = read_file(desk, file, folder)
        except FeedError as error:
            if len(fetched.files) == 1:
                raise
            raise FeedError(f"{error} This is about {file.origin}.", code=error.code) from None
        for left in set(folder.iterdir()) - {read.part.staged, read.part.quarantine}:
            left.unlink()
        yield read


def _check_keys(feed: Feed, read: Sequence[ReadFile]) -> None:
    """Refuse a JSON feed in which no row of any file has a mapped column at all."""
    found = [one.absent for one in read if one.absent is not None]
    if absent := [name for name in found[0] if all(name in one for one in found)] if found else []:
        raise FeedError(
            f"{feed.id}: no row has a column {', '.join(map(repr, absent))}; change the feed's columns.",
            code=FeedCode.COLUMNS,
        )


def _ingested(whole: Part, *, columns: int, rules: tuple[RuleResult, ...]) -> Ingested:
    out_of_scope = whole.rejects.get(OUT_OF_SCOPE, 0) + whole.rejects.get(SUPERSEDED, 0)
    in_scope = whole.rows_in - out_of_scope
    repeated = whole.rejects.get(DUPLICATE_KEY, 0) + whole.rejects.get(DUPLICATE_VALUE, 0)
    valid = whole.rows_staged + repeated
    return Ingested(
        rows_in=whole.rows_in,
        rows_staged=whole.rows_staged,
        rows_quarantined=whole.rows_quarantined,
        rows_out_of_scope=out_of_scope,
        staged=whole.staged,
        quarantine=whole.quarantine,
        rejects=whole.rejects,
        measures=QualityMeasures(
            completeness=_share(whole.filled, in_scope * columns),
            validity=_share(valid, in_scope),
            uniqueness=_share(whole.rows_staged, valid),
        ),
        rules=rules,
    )


def _share(part: int, total: int) -> float:
    return part / total if total else 1.0


def _check_key(feed: Feed, contract: Contract) -> None:
    if missing := [name for name in contract.key if name not in feed.columns]:
        raise FeedError(
            f"{feed.id}: the feed maps nothing to the key column {', '.join(missing)}; add it to columns.",
            code=FeedCode.COLUMNS,
        )


def _check_patterns(connection: duckdb.DuckDBPyConnection, feed: Feed, contract: Contract) -> None:
    """Refuse a regular expression that Python knows and the engine doesn't, before it meets a row."""
    patterns = {f"columns.{name}.extract": source.extract for name, source in feed.columns.items()}
    patterns |= {f"the contract's pattern of {column.name}": column.pattern for column in contract.columns}
    for place, pattern in patterns.items():
        try:
            connection.execute(f"SELECT regexp_matches('', {literal(pattern)})")
        except duckdb.Error:
            raise FeedError(
                f"{feed.id}: {place} is no RE2 expression; write it without look-around and back-references.",
                code=FeedCode.EXPRESSION,
            ) from None
