"""Where the rows of a feed come from when they are not files below a root: a database, a stream, other feeds."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field, model_validator

from airflow_orchestration.domain.strict import (
    ConnectionId,
    Count,
    Identifier,
    QualifiedTable,
    Seconds,
    Strict,
)
from airflow_orchestration.exceptions import ProblemCode, RefusedValueError

ColumnName = Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_]{0,62}$")]


class Database(Strict):
    """A table or a query of the author's, read in one snapshot from PostgreSQL."""

    conn_id: ConnectionId
    table: QualifiedTable | None = None
    query: Annotated[str, Field(min_length=1, max_length=20_000)] | None = None
    """One SELECT; it runs in a transaction that can't write."""

    @model_validator(mode="after")
    def _one_of_both(self) -> Database:
        if (self.table is None) == (self.query is None):
            raise RefusedValueError("needs a table or a query, and not both", code=ProblemCode.CONFLICT)
        return self


class MicroBatch(Strict):
    """How much of a stream one run takes at most: whatever bound is met first ends the batch."""

    records: Annotated[int, Field(ge=1, le=100_000_000)] = 1_000_000
    bytes: Count = 1024 * 1024 * 1024
    seconds: Seconds = 60.0


class Outbox(Strict):
    """An append-only PostgreSQL table that an application writes its events to, in its own transactions.

    Rows are read in the order of transaction and id, once no older transaction can add to them.
    """

    conn_id: ConnectionId
    table: QualifiedTable
    payload: ColumnName = "payload"
    """The column with the record, of type json or jsonb: one object."""
    id: ColumnName = "id"
    """An identity column of type bigint."""
    transaction: ColumnName = "transaction"
    """A column of type xid8 with `DEFAULT pg_current_xact_id()`."""
    batch: MicroBatch = MicroBatch()


class Gone(StrEnum):
    """What to do about records that were not read, and that the topic no longer has."""

    FAIL = "fail"
    SKIP = "skip"


class Kafka(Strict):
    """A topic whose records are JSON objects, one row each."""

    conn_id: ConnectionId = "kafka_default"
    topic: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,249}$")]
    gone: Gone = Gone.FAIL
    """What to do about records that were not read, and that the topic no longer has: `fail` the feed, or `skip`
    them with a warning."""
    batch: MicroBatch = MicroBatch()


class AggregateFunction(StrEnum):
    """The usual aggregates. Empty values are left out, but for `count` without a column."""

    COUNT = "count"
    COUNT_DISTINCT = "count_distinct"
    SUM = "sum"
    MEAN = "mean"
    MEDIAN = "median"
    MIN = "min"
    MAX = "max"
    STDDEV = "stddev"


class Measure(Strict):
    """One aggregate: `{function: mean, column: dep_delay}`."""

    function: AggregateFunction
    column: str | None = None
    """A column of the datasets of the feeds; only `count` does without."""
    where: Annotated[str, Field(min_length=1, max_length=2000)] | None = None
    """A condition on these columns: only rows that meet it are counted."""

    @model_validator(mode="after")
    def _has_a_column(self) -> Measure:
        if self.column is None and self.function is not AggregateFunction.COUNT:
            raise RefusedValueError(f"{self.function} needs a column", code=ProblemCode.REQUIRED)
        return self


class Aggregate(Strict):
    """A group-by over the checked rows of other feeds of the run, which `depends_on` names."""

    feeds: Annotated[tuple[Identifier, ...], Field(min_length=1)]
    """Their rows are put together by the names of their columns."""
    group_by: Annotated[tuple[Annotated[str, Field(min_length=1, max_length=200)], ...], Field(min_length=1)]
    measures: Annotated[dict[Identifier, Measure], Field(min_length=1)]
    """Name of a column of the result -> what it is."""
