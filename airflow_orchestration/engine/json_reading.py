"""Reads JSON, one object a line or an array of them: values as text, from nested objects by their paths."""

# ruff: noqa: S608  # names and values become SQL through `sqltext` only
from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb

from airflow_orchestration.domain.contract import Contract
from airflow_orchestration.domain.feed import Feed, FeedFormat
from airflow_orchestration.domain.json_path import json_path
from airflow_orchestration.engine.checking import Checks, checks
from airflow_orchestration.engine.computing import computed_columns
from airflow_orchestration.engine.encoding import check_utf8
from airflow_orchestration.engine.header import check_array
from airflow_orchestration.engine.layout import Layout
from airflow_orchestration.engine.lines import shown
from airflow_orchestration.engine.prescan import NdjsonJudge, Prescan, prescan
from airflow_orchestration.engine.source import Source
from airflow_orchestration.engine.sqltext import identifier, literal
from airflow_orchestration.engine.table_shape import PlacedRows, numbered
from airflow_orchestration.exceptions import FeedCode, FeedError


@dataclass(frozen=True, slots=True, kw_only=True)
class NdjsonReading:
    """One JSON object a line, its values as text."""

    checks: Checks
    scan: Prescan
    scratch: Path

    @property
    def typed_rows(self) -> str:
        """See `Reading`."""
        relation = _relation(self.checks, _read_json(self.scan.clean, self.checks, "newline_delimited"))
        return numbered(self.checks.typed(relation), 0)

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
        fields = ", ".join(f"{identifier(name)} {kind}" for name, kind in _types(self.checks).items())
        rows = (
            f"read_json({literal(path)}, format = 'newline_delimited', "
            f"columns = {{_position: 'BIGINT', _raw: 'VARCHAR', _row: {literal(f'STRUCT({fields})')}}})"
        )
        kept = {"_position": "_position", "_raw": "_raw", "_malformed": "_row IS NULL"}
        relation = _relation(self.checks, rows, "_row.", **kept)
        return self.checks.typed(relation, carried="_position, _raw, _malformed, ")


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonReading(PlacedRows):
    """An array of JSON objects, their values as text."""

    @property
    def relation(self) -> str:
        """See `PlacedRows`."""
        return _relation(self.checks, _read_json(self.path, self.checks, "array"))


def json_readings(
    feed: Feed,
    contract: Contract,
    layout: Layout,
    source: Source,
    connection: duckdb.DuckDBPyConnection,
    scratch: Path,
) -> Iterator[NdjsonReading | JsonReading]:
    """Yield ways to read a JSON file, the careful one last."""
    start = check_utf8(source)
    found = checks(feed, contract, layout, expressions=computed_columns(connection, feed))
    _check_keys(feed, found)
    if layout.format is FeedFormat.JSON:
        check_array(source.path, feed)
        yield JsonReading(checks=found, path=source.path)
        return
    for careful in (False, True):
        judge = NdjsonJudge(careful=careful)
        scan = prescan(source.path, judge=judge, scratch=scratch, start=start, rewrite=start > 0)
        yield NdjsonReading(checks=found, scan=scan, scratch=scratch)


def _check_keys(feed: Feed, found: Checks) -> None:
    """Refuse what is no path in an expression, and keys that differ in case only: the engine takes them for one."""
    try:
        types = _types(found)
    except ValueError as error:
        raise FeedError(f"{feed.id}: columns: {error}.", code=FeedCode.REFUSED) from None
    keys = dict[bytes, str]()
    for key in types:
        other = keys.setdefault(key.encode().lower(), key)
        if other != key:
            raise FeedError(
                f"{feed.id}: columns names {other!r} and {key!r}, which differ in case only and can't both be read; "
                "map one of them, or deliver them under names that differ more.",
                code=FeedCode.REFUSED,
            )


def absent_keys(connection: duckdb.DuckDBPyConnection, reading: object, names: Iterable[str]) -> list[str]:
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
        f"coalesce(bool_or(json_exists(json, {literal(_pointer(_steps(name)))})), false)" for name in wanted
    )
    row = connection.execute(f"SELECT {found} FROM {objects}").fetchone() or ()
    return [name for name, there in zip(wanted, row, strict=True) if not there]


def _steps(name: str) -> tuple[str, ...]:
    return json_path(name) or (name,)


def _pointer(steps: Iterable[str]) -> str:
    return "".join("/" + step.replace("~", "~0").replace("/", "~1") for step in steps)


def _types(found: Checks) -> dict[str, str]:
    """The outermost keys that are read, and the type to read them in: JSON where a path goes on inside."""
    paths = [_steps(name) for name in found.read]
    inside = {steps[0] for steps in paths if len(steps) > 1}
    return {steps[0]: "JSON" if steps[0] in inside else "VARCHAR" for steps in paths}


def _relation(found: Checks, source: str, prefix: str = "", **kept: str) -> str:
    types = _types(found)
    return found.relation(lambda name: _field(_steps(name), types, prefix), source, given=None, **kept)


def _field(steps: tuple[str, ...], types: dict[str, str], prefix: str) -> str:
    key = f"{prefix}{identifier(steps[0])}"
    if types[steps[0]] == "VARCHAR":
        return key
    inside = _pointer(steps[1:]) or "$"
    return f"json_extract_string({key}, {literal(inside)})"


def _read_json(path: Path, found: Checks, layout: str) -> str:
    columns = ", ".join(f"{literal(name)}: {literal(kind)}" for name, kind in _types(found).items())
    # without `records` the engine takes any value for the only column, where one is read
    return (
        f"read_json({literal(path)}, format = {literal(layout)}, columns = {{{columns}}}, records = 'true')"
    )
