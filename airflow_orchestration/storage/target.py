"""Can a table take what the contract describes? Its columns, its types, its key, our rights to it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from airflow_orchestration.domain.contract import Column, ColumnType, Contract
from airflow_orchestration.exceptions import Problem
from airflow_orchestration.storage.sql_file import statements

SQL = statements("publish.sql")
COLUMN_TYPES: Mapping[ColumnType, str] = {
    ColumnType.STRING: "text",
    ColumnType.INTEGER: "bigint",
    ColumnType.NUMBER: "double precision",
    ColumnType.BOOLEAN: "boolean",
    ColumnType.DATE: "date",
    ColumnType.TIMESTAMP: "timestamp with time zone",
}
ALSO_ACCEPTED: Mapping[ColumnType, frozenset[str]] = {
    ColumnType.STRING: frozenset({"character varying"}),
    ColumnType.INTEGER: frozenset({"integer", "numeric"}),
    ColumnType.TIMESTAMP: frozenset({"timestamp without time zone"}),
}
MERGE_COLUMNS: Mapping[str, str] = {
    "_primary_source": "text",
    "_sources": "jsonb",
    "_attribution": "jsonb",
    "_agreement": "jsonb",
}
STAMP_COLUMNS: Mapping[str, str] = {"_run_id": "text", "_published_at": "timestamp with time zone"}
ORDINARY_TABLE = "r"

Cursor = psycopg.Cursor[dict[str, Any]]


def template(name: str, **parts: sql.Composable) -> sql.Composed:
    """Fill the names into a statement of `publish.sql`."""
    return sql.SQL(SQL[name]).format(**parts)


def listed(names: Iterator[str] | tuple[str, ...] | list[str], prefix: str | None = None) -> sql.Composed:
    """Join column names by commas, each with the alias of its table."""
    parts = [sql.Identifier(prefix, name) if prefix else sql.Identifier(name) for name in names]
    return sql.SQL(", ").join(parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A table to publish to, and the contract of its rows."""

    schema: str
    name: str
    contract: Contract

    @classmethod
    def named(cls, table: str, contract: Contract) -> Target:
        """The target with the name `schema.table`."""
        schema, _, name = table.partition(".")
        return cls(schema=schema, name=name, contract=contract)

    @property
    def identifier(self) -> sql.Identifier:
        """The quoted name."""
        return sql.Identifier(self.schema, self.name)

    @property
    def written(self) -> list[str]:
        """The columns that a publication brings, in order."""
        return [*(column.name for column in self.contract.columns), *MERGE_COLUMNS]

    def definitions(self, *, with_rules: bool) -> sql.Composed:
        """The contract's columns as a table declares them."""
        return sql.SQL(", ").join(self._definition(column, with_rules) for column in self.contract.columns)

    def _definition(self, column: Column, with_rules: bool) -> sql.Composed:
        required = with_rules and (column.required or column.name in self.contract.key)
        return template(
            "required_column" if required else "optional_column",
            column=sql.Identifier(column.name),
            type=sql.SQL(COLUMN_TYPES[column.type]),
        )

    def creation(self) -> sql.Composed:
        """The statements that make the table."""
        return template(
            "create_target",
            target=self.identifier,
            columns=self.definitions(with_rules=True),
            key=listed(self.contract.key),
            comment=sql.Literal(
                f"Rows of the contract {self.contract.name}, published by airflow_orchestration"
            ),
        )

    def upsert(self, merged: sql.Identifier) -> sql.Composed:
        """The statement that brings the merged rows in."""
        changeable = [name for name in self.written if name not in self.contract.key]
        assignments = [template("assignment", column=sql.Identifier(name)) for name in changeable]
        return template(
            "upsert",
            target=self.identifier,
            merged=merged,
            columns=listed(self.written),
            key=listed(self.contract.key),
            assignments=sql.SQL(", ").join(assignments),
            kept=listed(changeable, "kept"),
            new=listed(changeable, "excluded"),
        )

    def place(self, cursor: Cursor) -> dict[str, Any] | None:
        """What the catalog knows of the table and its schema; `oid` is None when it is not there yet."""
        return cursor.execute(SQL["target"], {"schema": self.schema, "name": self.name}).fetchone()

    def problems(self, cursor: Cursor) -> Iterator[Problem]:
        """Everything that keeps us from publishing to it."""
        place = self.place(cursor)
        if place is None:
            yield Problem(path=self.schema, message="there is no such schema; create it")
            return
        if place["read_only"]:
            yield Problem(path="connection", message="only reads; name the primary server in the connection")
        if not place["may_use_schema"]:
            yield Problem(
                path=self.schema, message="the connection's role may not use the schema; grant USAGE"
            )
        if place["oid"] is None:
            if not place["may_create"]:
                yield Problem(
                    path=self._path(), message="does not exist; create it, or grant CREATE on its schema"
                )
            return
        if place["kind"] != ORDINARY_TABLE:
            yield Problem(path=self._path(), message="is no ordinary table; name a table without partitions")
            return
        yield from (
            Problem(path=self._path(), message=f"the connection's role lacks {privilege} on it; grant it")
            for privilege in place["refused_privileges"]
        )
        yield from self._column_problems(cursor, place["oid"])
        yield from self._key_problems(cursor, place["oid"])

    def _column_problems(self, cursor: Cursor, oid: int) -> Iterator[Problem]:
        found = {row["name"]: row for row in cursor.execute(SQL["target_columns"], {"oid": oid})}
        for name, accepted in self._accepted_types():
            if name not in found:
                yield Problem(path=self._path(name), message=f"is missing; add it as {accepted[0]}")
            elif found[name]["type"] not in accepted:
                yield Problem(
                    path=self._path(name),
                    message=f"is {found[name]['type']}; it must be {' or '.join(accepted)}",
                )
        known = {name for name, _ in self._accepted_types()}
        for name, row in found.items():
            if row["demanded"] and name not in known:
                yield Problem(
                    path=self._path(name),
                    message="is NOT NULL, and the contract has no such column; drop it or give it a default",
                )

    def _accepted_types(self) -> Iterator[tuple[str, list[str]]]:
        for column in self.contract.columns:
            yield column.name, [COLUMN_TYPES[column.type], *sorted(ALSO_ACCEPTED.get(column.type, ()))]
        for name, kind in {**MERGE_COLUMNS, **STAMP_COLUMNS}.items():
            yield name, [kind]

    def _key_problems(self, cursor: Cursor, oid: int) -> Iterator[Problem]:
        keys = [set(row["columns"]) for row in cursor.execute(SQL["target_keys"], {"oid": oid})]
        if set(self.contract.key) not in keys:
            key = ", ".join(self.contract.key)
            yield Problem(path=self._path(), message=f"has no unique key on ({key}); add a primary key on it")

    def _path(self, column: str | None = None) -> str:
        return ".".join(part for part in (self.schema, self.name, column) if part)
