"""Where merged rows go, and how they get into the table, as the author declares it."""

from __future__ import annotations

from enum import StrEnum

from pydantic import model_validator

from airflow_orchestration.domain.source import ColumnName
from airflow_orchestration.domain.strict import ConnectionId, QualifiedTable, Strict
from airflow_orchestration.exceptions import ProblemCode, RefusedValueError


class PublishMode(StrEnum):
    """What a publication does to the rows that are there."""

    UPSERT = "upsert"
    """Rows are inserted or updated by key; a row that has not changed is not written."""
    APPEND = "append"
    """Rows are added; the rows of other runs stay as they are."""
    REPLACE = "replace"
    """The table holds these rows and no others; it is swapped in one transaction."""
    PARTITION = "partition"
    """One partition of the table is exchanged for these rows."""


class Publish(Strict):
    """Where the merged rows go."""

    table: QualifiedTable
    """`schema.table` in PostgreSQL, in lower case. The schema must be there; the table is created when it is
    not."""
    mode: PublishMode = PublishMode.UPSERT
    partition_by: ColumnName | None = None
    """The column of the contract that a partitioned table is divided by, one value a partition; part of the key."""
    conn_id: ConnectionId = "orchestration_default"
    """The Airflow connection of the target database."""

    @model_validator(mode="after")
    def _partition_has_a_column(self) -> Publish:
        if (self.mode is PublishMode.PARTITION) != (self.partition_by is not None):
            raise RefusedValueError(
                "mode partition and partition_by go together: name both, or neither",
                code=ProblemCode.CONFLICT,
            )
        return self
