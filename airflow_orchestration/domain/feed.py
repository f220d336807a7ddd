"""One source of rows: where they are, how they are written, which columns they fill, what the feed counts."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated

from pydantic import Field, field_validator, model_validator

from airflow_orchestration.domain.batch import BatchType, Priority, SourceType
from airflow_orchestration.domain.deadline import Deadline
from airflow_orchestration.domain.json_path import json_path
from airflow_orchestration.domain.source import Aggregate, ColumnName, Database, Kafka, Outbox
from airflow_orchestration.domain.strict import Count, Identifier, Seconds, Strict
from airflow_orchestration.exceptions import ProblemCode, RefusedValueError

DATE_PLACEHOLDER = "{date}"

Weight = Annotated[float, Field(gt=0, le=1000)]


class FeedFormat(StrEnum):
    """How the bytes of a feed are written. Each may be packed with gzip or zstd."""

    CSV = "csv"
    JSON = "json"
    NDJSON = "ndjson"
    PARQUET = "parquet"


class KeylessRows(StrEnum):
    """What a row is whose key is empty or not of the contract's form."""

    INVALID = "invalid"
    OUT_OF_SCOPE = "out_of_scope"


class Encoding(StrEnum):
    """How the letters of a CSV file are written."""

    UTF_8 = "utf-8"
    UTF_16 = "utf-16"
    LATIN_1 = "latin-1"
    WINDOWS_1252 = "windows-1252"


SOURCES = ("uri", "database", "outbox", "kafka", "aggregate")
"""Where rows come from; a feed names one of them."""


class SourceColumn(Strict):
    """Where a column of the contract comes from in the feed: a column of it, or an expression over its columns."""

    column: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    """The name of the column in the feed; in a CSV without a header its number, from 1. In JSON a path into
    nested objects too: `$.position.latitude`."""
    extract: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    """A regular expression whose first group is the value, for example `POINT \\((\\S+) \\S+\\)`."""
    expression: Annotated[str, Field(min_length=1, max_length=2000)] | None = None
    """A computed column: a scalar SQL expression over the feed's columns, which are texts unless the feed is
    Parquet, for example `make_date(year::INTEGER, month::INTEGER, day::INTEGER)`."""

    @field_validator("extract")
    @classmethod
    def _one_group(cls, extract: str | None) -> str | None:
        try:
            groups = re.compile(extract).groups if extract else 1
        except re.error as error:
            raise RefusedValueError(
                f"is not a regular expression: {error}", code=ProblemCode.BAD_FORMAT
            ) from None
        if groups != 1:
            raise RefusedValueError(
                f"needs exactly one group in round brackets, has {groups}", code=ProblemCode.BAD_FORMAT
            )
        return extract

    @model_validator(mode="after")
    def _one_of_both(self) -> SourceColumn:
        if (self.column is None) == (self.expression is None):
            raise RefusedValueError(
                "needs a column or an expression, and not both", code=ProblemCode.CONFLICT
            )
        if self.extract is not None and self.column is None:
            raise RefusedValueError(
                "extract goes with a column; use regexp_extract inside the expression",
                code=ProblemCode.CONFLICT,
            )
        return self


class Output(Strict):
    """Where the checked rows of a feed are written as well, as Parquet in Hive's layout.

    `<uri>/run=<run>/<column>=<value>/part-0.parquet`; what the run wrote there before is replaced as a whole.
    """

    uri: Annotated[str, Field(min_length=3, max_length=1000)]
    """`<root>/<path below it>`, a folder; `{date}` in it stands for the run's date."""
    partition_by: Annotated[tuple[ColumnName, ...], Field(max_length=5)] = ()
    """Columns of the contract: a folder for each of their values, 1,000 at most."""

    @field_validator("uri")
    @classmethod
    def _stays_below_its_root(cls, uri: str) -> str:
        return checked_uri(uri)


class Limits(Strict):
    """What a feed may cost at most; a feed that would cost more fails, and nothing else does."""

    rows: Count = 1_000_000_000
    bytes: Count = 50 * 1024**3
    """Of the data as it is when it is unpacked."""
    seconds: Seconds = 4 * 3600.0
    """Of work, from the moment the feed is there."""


class Feed(Strict):
    """One source of rows, and what it means to the pipeline."""

    id: Identifier
    """Its name: lower case letters, digits and underscores."""
    dataset: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    """The schema object of the contract that its rows are rows of; left out where the contract has one."""
    uri: Annotated[str, Field(min_length=3, max_length=1000)] | None = None
    """`<root>/<path below it>`; `{date}` in it stands for the run's date, written 2026-11-22. `*` and `?` in the
    last part stand for many files."""
    format: FeedFormat | None = None
    """How the files are written."""
    database: Database | None = None
    outbox: Outbox | None = None
    kafka: Kafka | None = None
    aggregate: Aggregate | None = None
    columns: Annotated[dict[str, SourceColumn], Field(min_length=1)] = {}
    """Column of the contract -> column of the feed. What is not named here stays empty. A feed that is an
    aggregate may leave it out: its columns have the contract's names."""
    type: BatchType = BatchType.DATA_INGESTION
    source_type: SourceType = SourceType.BATCH
    priority: Priority = Priority.MEDIUM
    weight: Weight = 1.0
    """What the feed counts at the gate, and how far it is trusted when feeds disagree."""
    required: bool = False
    """Without a required feed nothing is published."""
    depends_on: tuple[str, ...] = ()
    """Feeds that must have arrived before this one is processed."""
    deadline: Deadline | None = None
    """How long this feed is waited for: seconds from the start of a round, or a time of day with its time
    zone, as `06:00 Europe/Berlin`. The gate's deadline ends it too."""
    usual_rows: Count | None = None
    """Valid rows on a usual day, until the store has seen enough runs to know better."""
    keyless_rows: KeylessRows = KeylessRows.INVALID
    """`out_of_scope` puts rows without a proper key aside without counting them against quality."""
    delimiter: Annotated[str, Field(pattern=r"^[\t !#-/:-@\[-`{-~]$")] = ","
    """CSV only, as the next four."""
    quote: Annotated[str, Field(pattern=r"^[!-/:-@\[-`{-~]?$")] = '"'
    """Around a field that holds the delimiter; doubled inside it. Empty: nothing is quoted."""
    header: bool = True
    """Whether the first line names the columns."""
    encoding: Encoding = Encoding.UTF_8
    decimal: Annotated[str, Field(pattern=r"^[.,]$")] = "."
    """What stands between the whole and the fraction of a number."""
    null_words: Annotated[tuple[str, ...], Field(max_length=20)] = ()
    """Words that mean "no value", beside the empty text."""
    limits: Limits = Limits()
    output: Output | None = None
    quality_task: Annotated[str, Field(min_length=1, max_length=250)] | None = None
    """A task of the Dag whose XCom is the result of another quality tool: it enters the feed's score."""

    @field_validator("columns", mode="before")
    @classmethod
    def _short_form(cls, columns: object) -> object:
        if not isinstance(columns, dict):
            return columns
        return {
            name: {"column": source} if isinstance(source, str) else source
            for name, source in columns.items()
        }

    @field_validator("uri")
    @classmethod
    def _stays_below_its_root(cls, uri: str | None) -> str | None:
        return None if uri is None else checked_uri(uri)

    @model_validator(mode="after")
    def _one_source(self) -> Feed:
        named = [name for name in SOURCES if getattr(self, name) is not None]
        if len(named) != 1:
            found = f"has {', '.join(named)}" if named else "has none"
            raise RefusedValueError(f"needs one of {', '.join(SOURCES)}; {found}", code=ProblemCode.CONFLICT)
        if (self.uri is None) != (self.format is None):
            raise RefusedValueError("format goes with uri: name both, or neither", code=ProblemCode.CONFLICT)
        if not self.columns and self.aggregate is None:
            raise RefusedValueError(
                "needs columns: which column of the contract comes from which column of the feed",
                code=ProblemCode.REQUIRED,
            )
        return self

    @model_validator(mode="after")
    def _delimiter_is_no_quote(self) -> Feed:
        if self.delimiter == self.quote:
            raise RefusedValueError(
                f"delimiter and quote are both {self.quote!r}; a quote stands around fields",
                code=ProblemCode.CONFLICT,
            )
        return self

    @model_validator(mode="after")
    def _columns_of_an_aggregate(self) -> Feed:
        if self.aggregate is not None and not self.columns:
            names = (*self.aggregate.group_by, *self.aggregate.measures)
            object.__setattr__(self, "columns", {name: SourceColumn(column=name) for name in names})
        return self

    @model_validator(mode="after")
    def _paths_are_paths(self) -> Feed:
        if self.format in {FeedFormat.JSON, FeedFormat.NDJSON} or self.is_stream:
            for source in self.columns.values():
                json_path(source.column or "")
        return self

    @model_validator(mode="after")
    def _batch_within_limits(self) -> Feed:
        stream = self.outbox or self.kafka
        if stream is None:
            return self
        batch, limits = stream.batch, self.limits
        pairs = {
            "records": (batch.records, "rows", limits.rows),
            "bytes": (batch.bytes, "bytes", limits.bytes),
            "seconds": (batch.seconds, "seconds", limits.seconds),
        }
        wrong = [
            f"batch.{name} is {taken:,.15g} and limits.{limit} {allowed:,.15g}"
            for name, (taken, limit, allowed) in pairs.items()
            if taken > allowed
        ]
        if wrong:
            raise RefusedValueError(
                f"{', '.join(wrong)}: a full batch would fail, and so would every one after it; lower the batch, or "
                "raise the limits",
                code=ProblemCode.CONFLICT,
            )
        return self

    @property
    def is_stream(self) -> bool:
        """Whether its rows have positions that are read once."""
        return self.outbox is not None or self.kafka is not None


def checked_uri(uri: str) -> str:
    """Return `<root>/<path>` unchanged, or raise `ValueError` when it could leave its root.

    >>> checked_uri("landing/2026/airports.csv")
    'landing/2026/airports.csv'
    """
    if any(ord(letter) < ord(" ") for letter in uri) or "\\" in uri or "\x7f" in uri:
        raise RefusedValueError(
            "holds a control character or a backslash", code=ProblemCode.CONTROL_CHARACTER
        )
    if "://" in uri:
        raise RefusedValueError(
            "names a location of its own; write <root>/<path>, with a root that `roots` declares",
            code=ProblemCode.OUTSIDE_ROOTS,
        )
    parts = uri.split("/")  # not `PurePosixPath`: it hides the empty part that makes the rest absolute
    if len(parts) < 2 or not {"", ".", ".."}.isdisjoint(parts):  # noqa: PLR2004  # a root and a file
        raise RefusedValueError(
            "must be <root>/<path> with a root that `roots` declares and no empty part, no . and no ..",
            code=ProblemCode.OUTSIDE_ROOTS,
        )
    if not {"*", "?"}.isdisjoint("".join(parts[:-1])):
        raise RefusedValueError(
            "has * or ? before its last part; many files stand in one folder", code=ProblemCode.BAD_FORMAT
        )
    leftover = uri.replace(DATE_PLACEHOLDER, "")
    if "{" in leftover or "}" in leftover:
        raise RefusedValueError("has a placeholder that is not {date}", code=ProblemCode.BAD_FORMAT)
    return uri
