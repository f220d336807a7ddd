"""Reads CSV, all of it as text: line by line after a scan, or from a database as it was written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from airflow_orchestration.domain.contract import Contract
from airflow_orchestration.domain.feed import Feed
from airflow_orchestration.engine.checking import Checks, checks
from airflow_orchestration.engine.computing import TEXT, computed_columns
from airflow_orchestration.engine.csv_grammar import CsvGrammar
from airflow_orchestration.engine.encoding import as_utf8
from airflow_orchestration.engine.header import Header, read_header
from airflow_orchestration.engine.layout import Layout
from airflow_orchestration.engine.lines import MAX_LINE, shown
from airflow_orchestration.engine.prescan import CsvJudge, Prescan, prescan
from airflow_orchestration.engine.source import Source
from airflow_orchestration.engine.sqltext import literal
from airflow_orchestration.engine.table_shape import PlacedRows, numbered

MAX_ROW = 64 * 1024 * 1024
"""Bytes of the longest row with line ends in its texts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CsvReading:
    """CSV in which a line is a row."""

    checks: Checks
    header: Header
    layout: Layout
    scan: Prescan
    scratch: Path

    @property
    def typed_rows(self) -> str:
        """See `Reading`."""
        relation = _relation(
            self.scan.clean, _fields(self.header), self.checks, self.header, self.layout, skip=self.scan.skip
        )
        return numbered(self.checks.typed(relation), self.scan.first_line - 1)

    def rows_in(self, connection: duckdb.DuckDBPyConnection, read: int) -> int | None:
        """See `Reading`: each line of data is a row or has a placeholder."""
        return self.scan.rows if read == self.scan.slots else None

    def prescan(self) -> Prescan | None:
        """See `Reading`."""
        return self.scan

    def suspects(self, positions: Iterable[int]) -> str:
        """See `Reading`: the lines are read once more, alone, behind their number and themselves as text."""
        path = self.scratch / "suspects.csv"
        between = self.layout.delimiter.encode()
        with path.open("wb") as file:
            for position, line in self.scan.index.lines_at(self.scan.original, positions):
                raw = shown(line).encode().hex().encode()  # without any delimiter or quote
                file.write(between.join([str(position).encode(), raw, line]) + b"\n")
        relation = _relation(
            path,
            ["_position", "_raw", *_fields(self.header)],
            self.checks,
            self.header,
            self.layout,
            _position="_position::BIGINT",
            _raw="decode(unhex(_raw))",
        )
        return self.checks.typed(relation, carried="_position, _raw, false AS _malformed, ")


@dataclass(frozen=True, slots=True, kw_only=True)
class TableReading(PlacedRows):
    """CSV that PostgreSQL wrote, with line ends inside its texts."""

    header: Header
    layout: Layout

    @property
    def relation(self) -> str:
        """See `PlacedRows`."""
        return _relation(
            self.path, _fields(self.header), self.checks, self.header, self.layout, parallel=False
        )


def csv_readings(
    feed: Feed,
    contract: Contract,
    layout: Layout,
    source: Source,
    connection: duckdb.DuckDBPyConnection,
    scratch: Path,
) -> Iterator[CsvReading | TableReading]:
    """Yield ways to read a CSV file, the careful one last."""
    path, start = as_utf8(source, layout.encoding, scratch)
    header = read_header(path, start, feed, layout)
    computed = computed_columns(connection, feed, dict.fromkeys(header.names, TEXT))
    found = checks(feed, contract, layout, expressions=computed)
    if layout.multiline:
        yield TableReading(checks=found, header=header, layout=layout, path=path)
        return
    grammar = CsvGrammar(layout.delimiter.encode(), len(header.names), layout.quote.encode())
    for careful in (False, True):
        scan = prescan(
            path,
            judge=CsvJudge(grammar=grammar, careful=careful),
            scratch=scratch,
            start=header.data_offset,
            first_line=header.first_line,
            rewrite=header.crlf or (start > 0 and not layout.header),
        )
        yield CsvReading(checks=found, header=header, layout=layout, scan=scan, scratch=scratch)


def _fields(header: Header) -> list[str]:
    return [f"c{number}" for number in range(len(header.names))]


def _relation(
    path: Path,
    names: Sequence[str],
    found: Checks,
    header: Header,
    layout: Layout,
    *,
    skip: int = 0,
    parallel: bool = True,
    **kept: str,
) -> str:
    columns = ", ".join(f"{literal(name)}: 'VARCHAR'" for name in names)
    words = found.null_words if layout.makes_nulls(found.null_words) else ()
    nulls = ", ".join(literal(word) for word in ("", *words))
    quote = literal(layout.quote)
    # Line ends inside texts are read right by one thread only, and when the end of a row is known.
    lines = "" if parallel else "parallel = false, new_line = '\\n', "
    # Behind a long line its suspect has a position and the start of the line as well.
    longest = 4 * MAX_LINE if parallel else MAX_ROW
    rows = (
        f"read_csv({literal(path)}, auto_detect = false, header = false, "
        f"skip = {skip}, delim = {literal(layout.delimiter)}, quote = {quote}, escape = {quote}, "
        f"nullstr = [{nulls}], strict_mode = true, max_line_size = {longest}, {lines}"
        f"columns = {{{columns}}})"
    )

    def field(name: str) -> str:
        return f"c{header.names.index(name)}"

    return found.relation(field, rows, given=field, **kept)  # the reader makes nulls of null words
