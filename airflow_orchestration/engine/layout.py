"""How the files of a feed are written: as its author says, or as its source wrote them itself."""

from __future__ import annotations

from dataclasses import dataclass

from airflow_orchestration.domain.feed import Encoding, Feed, FeedFormat
from airflow_orchestration.sources.fetched import Fetched


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """A format, and for CSV its dialect. See `Feed` for the fields of the same name."""

    format: FeedFormat
    delimiter: str = ","
    quote: str = '"'
    header: bool = True
    encoding: Encoding = Encoding.UTF_8
    decimal: str = "."
    columns: tuple[str, ...] = ()
    """The names of a CSV file's columns, where it has no header and the source knows them."""
    multiline: bool = False
    """A text may hold a line end: lines are not rows."""

    @classmethod
    def of(cls, feed: Feed, fetched: Fetched) -> Layout:
        """The layout of what was fetched for a feed."""
        if fetched.columns:
            return cls(
                format=fetched.format, header=False, columns=fetched.columns, multiline=fetched.multiline
            )
        return cls(
            format=fetched.format,
            delimiter=feed.delimiter,
            quote=feed.quote,
            header=feed.header,
            encoding=feed.encoding,
            decimal=feed.decimal,
        )

    def makes_nulls(self, words: tuple[str, ...]) -> bool:
        """Whether the CSV reader can be told these words for "no value": DuckDB takes none with its delimiter or quote."""
        special = [mark for mark in (self.delimiter, self.quote) if mark]
        return self.format is FeedFormat.CSV and not any(mark in word for mark in special for word in words)
