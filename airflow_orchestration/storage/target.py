"""The table to publish to: its names, the statement that makes it, the statements that write rows into it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from airflow_orchestration.domain.contract import Column, ColumnType, Contract
from airflow_orchestration.domain.publish import PublishMode
from airflow_orchestration.storage.sql_file import statements

SQL = {**statements("publish.sql"), **statements("preflight.sql"), **statements("swap.sql")}
COLUMN_TYPES: Mapping[ColumnType, str] = {
    ColumnType.STRING: "text",
    ColumnType.INTEGER: "bigint",
    ColumnType.NUMBER: "double precision",
    ColumnType.BOOLEAN: "boolean",
    ColumnType.DATE: "date",
    ColumnType.TIMESTAMP: "timestamp with time zone",
}
MERGE_COLUMNS: Mapping[str, str] = {
    "_primary_source": "text",
    "_sources": "jsonb",
    "_attribution": "jsonb",
    "_confidence": "jsonb",
    "_conflicts": "jsonb",
}
RUN_COLUMN = "_run_id"
STAMP_COLUMNS: Mapping[str, str] = {RUN_COLUMN: "text", "_published_at": "timestamp with time zone"}

Cursor = psycopg.Cursor[dict[str, Any]]


def template(name: str, **parts: sql.Composable) -> sql.Composed:
    """Fill the names into a statement of the SQL files."""
    return sql.SQL(SQL[name]).format(**parts)


def listed(names: Iterable[str], prefix: str | None = None) -> sql.Composed:
    """Join column names by commas, each with the alias of its table."""
    parts = [sql.Identifier(prefix, name) if prefix else sql.Identifier(name) for name in names]
    return sql.SQL(", ").join(parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A table to publish to, the contract of its rows, and what becomes of the rows that are there."""

    schema: str
    name: str
    contract: Contract
    mode: PublishMode = PublishMode.UPSERT
    partition_by: str | None = None

    @classmethod
    def named(
        cls,
        table: str,
        contract: Contract,
        *,
        mode: PublishMode = PublishMode.UPSERT,
        partition_by: str | None = None,
    ) -> Target:
        """The target with the name `schema.table`."""
        schema, _, name = table.partition(".")
        return cls(schema=schema, name=name, contract=contract, mode=mode, partition_by=partition_by)

    @property
    def identifier(self) -> sql.Identifier:
        """The quoted name."""
        return sql.Identifier(self.schema, self.name)

    @property
    def key(self) -> tuple[str, ...]:
        """What no two rows of the table share; runs that append may bring the same key."""
        own = self.contract.key
        return (*own, RUN_COLUMN) if self.mode is PublishMode.APPEND else own

    @property
    def written(self) -> list[str]:
        """The columns that a publication brings, in order."""
        return [*(column.name for column in self.contract.columns), *MERGE_COLUMNS]

    def definitions(self, *, with_rules: bool) -> sql.Composed:
        """The contract's columns as a table declares them."""
        return sql.SQL(", ").join(self._definition(column, with_rules) for column in self.contract.columns)

    def is_required(self, column: Column) -> bool:
        """Whether every row that is published has a value in this column."""
        return column.required or column.name in self.contract.key

    def _definition(self, column: Column, with_rules: bool) -> sql.Composed:
        return template(
            "required_column" if with_rules and self.is_required(column) else "optional_column",
            column=sql.Identifier(column.name),
            type=sql.SQL(COLUMN_TYPES[column.type]),
        )

    def creation(self, named: sql.Identifier | None = None) -> sql.Composed:
        """The statements that make the table, or one like it under another name."""
        identifier = named or self.identifier
        made = template(
            "create_target",
            target=identifier,
            columns=self.definitions(with_rules=True),
            key=listed(self.key),
            partitioning=self._partitioning(),
            comment=sql.Literal(self._comment()),
        )
        return sql.SQL("; ").join([made, *self._column_comments(identifier)])

    def _partitioning(self) -> sql.Composable:
        if self.partition_by is None:
            return sql.SQL("")
        return sql.SQL(" ") + template("partitioning", column=sql.Identifier(self.partition_by))

    def _comment(self) -> str:
        made_by = f"Rows of the contract {self.contract.name}, published by airflow_orchestration"
        return "\n".join(part for part in (self.contract.description, made_by) if part)

    def _column_comments(self, identifier: sql.Identifier) -> Iterator[sql.Composed]:
        for column in self.contract.columns:
            if column.description:
                yield template(
                    "column_comment",
                    target=identifier,
                    column=sql.Identifier(column.name),
                    comment=sql.Literal(column.description),
                )

    def upsert(self, merged: sql.Identifier, into: sql.Identifier, *, counted: bool = False) -> sql.Composed:
        """The statement that brings the merged rows in, by key, into the table or a partition of it.

        With `counted` it counts the unchanged rows apart, which takes up to half as long again.
        """
        changeable = [name for name in self.written if name not in self.contract.key]
        assignments = [template("assignment", column=sql.Identifier(name)) for name in changeable]
        own_run = [sql.Placeholder("run")] if RUN_COLUMN in self.key else []
        return template(
            "upsert_counted" if counted else "upsert",
            target=into,
            merged=merged,
            columns=listed(self.written),
            merged_columns=listed(self.written, "merged"),
            key=listed(self.key),
            merged_key=sql.SQL(", ").join([listed(self.contract.key, "merged"), *own_run]),
            old_key=listed(self.key, "old"),
            merged_values=listed(changeable, "merged"),
            old_values=listed(changeable, "old"),
            assignments=sql.SQL(", ").join(assignments),
            kept=listed(changeable, "kept"),
            new=listed(changeable, "excluded"),
        )

    def append(self, merged: sql.Identifier) -> sql.Composed:
        """The statement that adds the merged rows."""
        return template("append", target=self.identifier, merged=merged, columns=listed(self.written))

    def same_rows(self, new: sql.Identifier, kept: sql.Identifier) -> sql.Composed:
        """The question whether one table holds the rows of another one and no others."""
        values = [name for name in self.written if name not in self.contract.key]
        first = template("first_rows", new=new)
        differing, differing_first = (
            template(
                "differing",
                new=some,
                kept=kept,
                new_key=listed(self.contract.key, "new"),
                old_key=listed(self.contract.key, "old"),
                new_values=listed(values, "new"),
                old_values=listed(values, "old"),
            )
            for some in (new, first)
        )
        return template("same_rows", new=new, kept=kept, differing=differing, differing_first=differing_first)

    def place(self, cursor: Cursor) -> dict[str, Any] | None:
        """What the catalog knows of the table and its schema; `oid` is None when it is not there yet."""
        return cursor.execute(SQL["target"], {"schema": self.schema, "name": self.name}).fetchone()

    def oid(self, cursor: Cursor) -> int | None:
        """What the catalog calls the table; None when it is not there yet."""
        place = self.place(cursor)
        return place["oid"] if place else None
