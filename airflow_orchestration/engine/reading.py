"""Reads a feed in its format: SQL that yields its rows, with the position of each in the file.

Every reading yields `_position` and, for each mapped column, `t{i}` and `v{i}` (see `checking`). Text is read
as text, so that nothing is cast before `checking` looks at it.
"""

# ruff: noqa: S608  # names and values become SQL through `sqltext` only
from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import duckdb

from airflow_orchestration.domain.contract import Contract
from airflow_orchestration.domain.feed import Feed, FeedFormat
from airflow_orchestration.engine.checking import Checks, checks
from airflow_orchestration.engine.csv_grammar import CsvGrammar
from airflow_orchestration.engine.header import (
    Header,
    check_array,
    check_encoding,
    check_names,
    read_header,
)
from airflow_orchestration.engine.lines import shown
from airflow_orchestration.engine.prescan import CsvJudge, NdjsonJudge, Prescan, prescan
from airflow_orchestration.engine.source import Source
from airflow_orchestration.engine.sqltext import identifier, literal
from airflow_orchestration.exceptions import FeedError


class Reading(Protocol):
    """One way to read a feed; a new one is made when the first didn't come out even."""

    @property
    def checks(self) -> Checks:
        """The feed's mapped columns and rules."""

    @property
    def typed_rows(self) -> str:
        """SQL of all rows: `_position`, `t{i}`, `v{i}`."""

    def rows_in(self, connection: duckdb.DuckDBPyConnection, read: int) -> int | None:
        """The rows of the feed when the scan of `typed_rows` read `read`; None when that can't be all."""

    def prescan(self) -> Prescan | None:
        """What is known about the lines, for formats that have lines."""

    def suspects(self, positions: Iterable[int]) -> str:
        """SQL of the rows at these positions, with `_raw` and `_malformed` beside the usual columns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CsvReading:
    """CSV, all of it as text."""

    checks: Checks
    header: Header
    delimiter: str
    scan: Prescan
    scratch: Path

    @property
    def typed_rows(self) -> str:
        """See `Reading`."""
        names = [f"c{number}" for number in range(len(self.header.names))]
        relation = self._select(self.scan.clean, names, skip=self.scan.skip)
        return _numbered(self.checks.typed(relation), self.scan.first_line - 1)

    def rows_in(self, connection: duckdb.DuckDBPyConnection, read: int) -> int | None:
        """See `Reading`: each line of data is a row or has a placeholder."""
        return self.scan.rows if read == self.scan.slots else None

    def prescan(self) -> Prescan | None:
        """See `Reading`."""
        return self.scan

    def suspects(self, positions: Iterable[int]) -> str:
        """See `Reading`: the lines are read once more, alone, behind their number and themselves as text."""
        path = self.scratch / "suspects.csv"
        between = self.delimiter.encode()
        with path.open("wb") as file:
            for position, line in self.scan.index.lines_at(self.scan.original, positions):
                raw = b'"' + shown(line).replace('"', '""').encode() + b'"'
                file.write(between.join([str(position).encode(), raw, line]) + b"\n")
        names = ["_position", "_raw", *(f"c{number}" for number in range(len(self.header.names)))]
        relation = self._select(path, names, carried="_position::BIGINT AS _position, _raw, ")
        return self.checks.typed(relation, carried="_position, _raw, false AS _malformed, ")

    def _select(self, path: Path, names: list[str], *, skip: int = 0, carried: str = "") -> str:
        columns = ", ".join(f"{literal(name)}: 'VARCHAR'" for name in names)
        fields = ", ".join(
            f"c{self.header.names.index(column.source.column)} AS x{column.index}"
            for column in self.checks.columns
        )
        nulls = ", ".join(literal(word) for word in ("", *self.checks.columns[0].null_words))
        return (
            f"SELECT {carried}{fields} FROM read_csv({literal(path)}, auto_detect = false, header = false, "
            f"skip = {skip}, delim = {literal(self.delimiter)}, quote = '\"', escape = '\"', "
            f"nullstr = [{nulls}], strict_mode = true, max_line_size = 4194304, columns = {{{columns}}})"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class NdjsonReading:
    """One JSON object a line, its values as text."""

    checks: Checks
    scan: Prescan
    scratch: Path

    @property
    def typed_rows(self) -> str:
        """See `Reading`."""
        fields = _json_fields(self.checks)
        relation = f"SELECT {fields} FROM {_read_json(self.scan.clean, self.checks, 'newline_delimited')}"
        return _numbered(self.checks.typed(relation), 0)

    def rows_in(self, connection: duckdb.DuckDBPyConnection, read: int) -> int | None:
        """See `Reading`: each line of data is a row or has a placeholder."""
        return self.scan.rows if read == self.scan.slots else None

    def prescan(self) -> Prescan | None:
        """See `Reading`."""
        return self.scan

    def suspects(self, positions: Iterable[int]) -> str:
        """See `Reading`: the lines are read once more, each inside an object with its number."""
        path = self.scratch / "suspects.ndjson"
        with path.open("wb") as file:
            for position, line in self.scan.index.lines_at(self.scan.original, positions):
                raw = json.dumps(shown(line)).encode()
                file.write(b'{"_position": %d, "_raw": %s, "_row": %s}\n' % (position, raw, line))
        row = f"STRUCT({', '.join(f'{identifier(name)} VARCHAR' for name in _names(self.checks))})"
        relation = (
            f"SELECT _position, _raw, _row IS NULL AS _malformed, {_json_fields(self.checks, '_row.')} "
            f"FROM read_json({literal(path)}, format = 'newline_delimited', "
            f"columns = {{_position: 'BIGINT', _raw: 'VARCHAR', _row: {literal(row)}}})"
        )
        return self.checks.typed(relation, carried="_position, _raw, _malformed, ")


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonReading:
    """An array of JSON objects, their values as text; a row's position is its place in the array."""

    checks: Checks
    path: Path

    @property
    def typed_rows(self) -> str:
        """See `Reading`."""
        relation = f"SELECT {_json_fields(self.checks)} FROM {_read_json(self.path, self.checks, 'array')}"
        carried = ", ".join(f"x{column.index}" for column in self.checks.columns)
        return _numbered(self.checks.typed(relation, carried=f"{carried}, "), 0)

    def rows_in(self, connection: duckdb.DuckDBPyConnection, read: int) -> int | None:
        """See `Reading`: nothing but the engine can count objects."""
        return read

    def prescan(self) -> Prescan | None:
        """See `Reading`."""
        return None

    def suspects(self, positions: Iterable[int]) -> str:
        """See `Reading`: all rows; who asks picks the positions."""
        return f"SELECT *, {_raw_fields(self.checks)} AS _raw, false AS _malformed FROM ({self.typed_rows})"


@dataclass(frozen=True, slots=True, kw_only=True)
class ParquetReading:
    """Parquet; a column whose type fits is used as it is, any other through its text."""

    checks: Checks
    path: Path

    @property
    def typed_rows(self) -> str:
        """See `Reading`."""
        fields = ", ".join(
            f"{identifier(column.source.column)} AS x{column.index}" for column in self.checks.columns
        )
        relation = (
            f"SELECT {fields}, file_row_number + 1 AS _position "
            f"FROM read_parquet({literal(self.path)}, file_row_number = true)"
        )
        carried = ", ".join(f"x{column.index}" for column in self.checks.columns)
        return self.checks.typed(relation, carried=f"_position, {carried}, ")

    def rows_in(self, connection: duckdb.DuckDBPyConnection, read: int) -> int | None:
        """See `Reading`: the footer's own count, since the engine skips rows by their statistics."""
        query = f"SELECT sum(num_rows)::BIGINT FROM parquet_file_metadata({literal(self.path)})"
        found = connection.execute(query).fetchone()
        return int(found[0]) if found else None

    def prescan(self) -> Prescan | None:
        """See `Reading`."""
        return None

    def suspects(self, positions: Iterable[int]) -> str:
        """See `Reading`: all rows; who asks picks the positions."""
        return f"SELECT *, {_raw_fields(self.checks)} AS _raw, false AS _malformed FROM ({self.typed_rows})"


def readings(
    feed: Feed,
    contract: Contract,
    source: Source,
    connection: duckdb.DuckDBPyConnection,
    scratch: Path,
) -> Iterator[Reading]:
    """Yield ways to read a feed, the fast one first, a careful one for when that doesn't come out even."""
    match feed.format:
        case FeedFormat.CSV:
            yield from _csv_readings(feed, contract, source, scratch)
        case FeedFormat.NDJSON:
            start = check_encoding(source)
            for careful in (False, True):
                judge = NdjsonJudge(careful=careful)
                scan = prescan(source.path, judge=judge, scratch=scratch, start=start, rewrite=start > 0)
                yield NdjsonReading(checks=checks(feed, contract), scan=scan, scratch=scratch)
        case FeedFormat.JSON:
            check_encoding(source)
            check_array(source.path, feed)
            yield JsonReading(checks=checks(feed, contract), path=source.path)
        case FeedFormat.PARQUET:
            types = _parquet_types(feed, source, connection)
            yield ParquetReading(checks=checks(feed, contract, types), path=source.path)


def _csv_readings(feed: Feed, contract: Contract, source: Source, scratch: Path) -> Iterator[Reading]:
    header = read_header(source, feed)
    grammar = CsvGrammar(feed.delimiter.encode(), len(header.names))
    for careful in (False, True):
        scan = prescan(
            source.path,
            judge=CsvJudge(grammar=grammar, careful=careful),
            scratch=scratch,
            start=header.data_offset,
            first_line=header.first_line,
            rewrite=header.crlf,
        )
        yield CsvReading(
            checks=checks(feed, contract),
            header=header,
            delimiter=feed.delimiter,
            scan=scan,
            scratch=scratch,
        )


def _parquet_types(feed: Feed, source: Source, connection: duckdb.DuckDBPyConnection) -> dict[str, str]:
    try:
        rows = connection.execute(f"DESCRIBE SELECT * FROM read_parquet({literal(source.path)})").fetchall()
    except duckdb.Error:
        raise FeedError(f"{feed.id}: the file is no readable Parquet; deliver it again.") from None
    types = {str(name): str(kind) for name, kind, *_ in rows}
    check_names(list(types), feed)
    return types


def _numbered(typed: str, before: int) -> str:
    return f"SELECT *, row_number() OVER () + {before} AS _position FROM ({typed})"


def _names(found: Checks) -> list[str]:
    return list(dict.fromkeys(column.source.column for column in found.columns))


def _json_fields(found: Checks, prefix: str = "") -> str:
    return ", ".join(
        f"{prefix}{identifier(column.source.column)} AS x{column.index}" for column in found.columns
    )


def _read_json(path: Path, found: Checks, layout: str) -> str:
    columns = ", ".join(f"{literal(name)}: 'VARCHAR'" for name in _names(found))
    return f"read_json({literal(path)}, format = {literal(layout)}, columns = {{{columns}}})"


def _raw_fields(found: Checks) -> str:
    fields = {column.source.column: f"x{column.index}" for column in found.columns}
    pairs = ", ".join(f"{literal(name)}, {value}" for name, value in fields.items())
    return f"left(json_object({pairs})::VARCHAR, 1000)"


def absent_keys(connection: duckdb.DuckDBPyConnection, reading: Reading, names: Iterable[str]) -> list[str]:
    """Which of these keys no object of a JSON feed has."""
    wanted = list(dict.fromkeys(names))
    match reading:
        case NdjsonReading():
            objects = f"read_json_objects({literal(reading.scan.clean)}, format = 'newline_delimited')"
        case JsonReading():
            objects = f"read_json_objects({literal(reading.path)}, format = 'array')"
        case _:
            return []
    found = ", ".join(
        f"coalesce(bool_or(json_exists(json, {literal(_pointer(name))})), false)" for name in wanted
    )
    row = connection.execute(f"SELECT {found} FROM {objects}").fetchone() or ()
    return [name for name, there in zip(wanted, row, strict=True) if not there]


def _pointer(name: str) -> str:
    return "/" + name.replace("~", "~0").replace("/", "~1")
