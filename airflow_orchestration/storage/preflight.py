"""Can a table take what the contract describes, before any work is done? Everything that speaks against it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from airflow_orchestration.domain.contract import Column, ColumnType
from airflow_orchestration.domain.publish import PublishMode
from airflow_orchestration.exceptions import Problem, ProblemCode
from airflow_orchestration.storage.target import (
    COLUMN_TYPES,
    MERGE_COLUMNS,
    SQL,
    STAMP_COLUMNS,
    Cursor,
    Target,
)

ALSO_ACCEPTED: Mapping[ColumnType, frozenset[str]] = {
    ColumnType.STRING: frozenset({"character varying"}),
    ColumnType.INTEGER: frozenset({"integer", "numeric"}),
    ColumnType.TIMESTAMP: frozenset({"timestamp without time zone"}),
}
ORDINARY_TABLE, PARTITIONED_TABLE = "r", "p"
SWAPPED = frozenset({PublishMode.REPLACE, PublishMode.PARTITION})
"""The modes in which a new table takes a place."""
OBSTACLES: Mapping[PublishMode, str] = {
    PublishMode.REPLACE: "mode replace would lose the {}; drop it, or publish with mode upsert",
    PublishMode.PARTITION: "mode partition can't work beside the {}; drop or detach it, or name another table",
}
BIGINT_DIGITS = 19
LARGEST_INTEGER = 2**31 - 1
MICROSECONDS = 6
LENGTH_OFFSET = 4
"""What PostgreSQL adds to a length or a precision in a type modifier."""


def target_problems(cursor: Cursor, target: Target) -> Iterator[Problem]:
    """Everything that keeps us from publishing to a table."""
    if target.partition_by is not None and target.partition_by not in target.contract.key:
        yield Problem(
            code=ProblemCode.MISMATCH,
            path="publish.partition_by",
            message=f"{target.partition_by!r} is no part of the contract's key",
        )
    place = target.place(cursor)
    if place is None:
        yield Problem(
            code=ProblemCode.NOT_FOUND, path=target.schema, message="there is no such schema; create it"
        )
        return
    yield from _place_problems(target, place)
    if place["oid"] is None:
        return
    wrong_kind = _kind_problem(target, place)
    if wrong_kind is not None:
        yield Problem(code=ProblemCode.MISMATCH, path=_path(target), message=wrong_kind)
        return
    yield from _privilege_problems(target, place)
    yield from _column_problems(cursor, target, place["oid"])
    yield from _key_problems(cursor, target, place["oid"])
    if target.mode in SWAPPED:
        yield from _obstacles(cursor, target, place["oid"])


def _place_problems(target: Target, place: Mapping[str, Any]) -> Iterator[Problem]:
    if place["read_only"]:
        yield Problem(
            code=ProblemCode.READ_ONLY,
            path="connection",
            message="only reads; name the primary server in the connection",
        )
    if not place["may_use_schema"]:
        yield Problem(
            code=ProblemCode.MISSING_PRIVILEGE,
            path=target.schema,
            message="the connection's role may not use the schema; grant USAGE",
        )
    if place["may_create"]:
        return
    if place["oid"] is None:
        yield Problem(
            code=ProblemCode.NOT_FOUND,
            path=_path(target),
            message="does not exist; create it, or grant CREATE on its schema",
        )
    elif target.mode in SWAPPED:
        yield Problem(
            code=ProblemCode.MISSING_PRIVILEGE,
            path=target.schema,
            message=f"mode {target.mode} makes tables here; grant CREATE on it",
        )


def _kind_problem(target: Target, place: Mapping[str, Any]) -> str | None:
    if target.mode is not PublishMode.PARTITION:
        is_ordinary = place["kind"] == ORDINARY_TABLE
        return None if is_ordinary else "is no ordinary table; name a table without partitions"
    if place["kind"] == PARTITIONED_TABLE and place["listed_by"] == target.partition_by:
        return None
    return f"is no table partitioned by list of {target.partition_by}; create it so, or let it be created"


def _privilege_problems(target: Target, place: Mapping[str, Any]) -> Iterator[Problem]:
    for privilege in place["refused_privileges"]:
        yield Problem(
            code=ProblemCode.MISSING_PRIVILEGE,
            path=_path(target),
            message=f"the connection's role lacks {privilege} on it; grant it",
        )
    if target.mode in SWAPPED and not place["owned"]:
        message = (
            f"mode {target.mode} needs its owner; connect as a role that owns it, or publish with mode upsert"
        )
        yield Problem(code=ProblemCode.MISSING_PRIVILEGE, path=_path(target), message=message)


def _column_problems(cursor: Cursor, target: Target, oid: int) -> Iterator[Problem]:
    found = {row["name"]: row for row in cursor.execute(SQL["target_columns"], {"oid": oid})}
    for name, accepted in _accepted_types(target):
        message = _type_problem(found.get(name), accepted)
        if message is None:
            message = _value_problem(found[name], target.contract.by_name.get(name), target)
        if message is not None:
            yield Problem(code=ProblemCode.MISMATCH, path=_path(target, name), message=message)
    known = {name for name, _ in _accepted_types(target)}
    for name, row in found.items():
        if row["demanded"] and name not in known:
            message = "is NOT NULL, and the contract has no such column; drop it or give it a default"
            yield Problem(code=ProblemCode.MISMATCH, path=_path(target, name), message=message)


def _accepted_types(target: Target) -> Iterator[tuple[str, list[str]]]:
    for column in target.contract.columns:
        yield column.name, [COLUMN_TYPES[column.type], *sorted(ALSO_ACCEPTED.get(column.type, ()))]
    for name, kind in {**MERGE_COLUMNS, **STAMP_COLUMNS}.items():
        yield name, [kind]


def _type_problem(row: Mapping[str, Any] | None, accepted: list[str]) -> str | None:
    if row is None:
        return f"is missing; add it as {accepted[0]}"
    if row["is_domain"]:
        return f"is of the domain {row['type']}, whose checks the contract doesn't know; it must be {accepted[0]}"
    if row["type"] not in accepted:
        return f"is {row['type']}; it must be {' or '.join(accepted)}"
    if row["is_generated"]:
        return "is generated by the server, and the rows bring it; drop the expression, or the column of the contract"
    return None


def _value_problem(row: Mapping[str, Any], column: Column | None, target: Target) -> str | None:
    """What a column of the right type would do to a value that the contract allows."""
    if column is None:
        return None
    if row["is_required"] and not target.is_required(column):
        return "is NOT NULL, and the contract doesn't require it; require it there, or drop NOT NULL here"
    if not _fits(row, column):
        return (
            f"is {row['full_type']}, too narrow for what the contract allows; widen it, or bound the contract"
        )
    return None


def _fits(row: Mapping[str, Any], column: Column) -> bool:
    modifier = row["modifier"]
    if row["type"] == "integer":
        return _is_within(column, LARGEST_INTEGER)
    if modifier < 0:
        return True
    match row["type"]:
        case "character varying":
            return column.max_length is not None and column.max_length <= modifier - LENGTH_OFFSET
        case "numeric":
            return _digits_fit(modifier - LENGTH_OFFSET, column)
        case _:
            return bool(modifier >= MICROSECONDS)


def _digits_fit(modifier: int, column: Column) -> bool:
    """PostgreSQL packs precision and scale, a signed number of eleven bits, into one modifier."""
    precision, scale = modifier >> 16, ((modifier & 0x7FF) ^ 0x400) - 0x400
    digits = precision - scale
    if scale < 0:
        return False
    if digits >= BIGINT_DIGITS:
        return True
    return _is_within(column, 10**digits - 1)


def _is_within(column: Column, largest: int) -> bool:
    """Whether the contract bounds an integer column by `largest`, up and down."""
    bounds = (column.minimum, column.maximum)
    return all(isinstance(bound, (int, float)) and abs(bound) <= largest for bound in bounds)


def _key_problems(cursor: Cursor, target: Target, oid: int) -> Iterator[Problem]:
    keys = [set(row["columns"]) for row in cursor.execute(SQL["target_keys"], {"oid": oid})]
    if set(target.key) not in keys:
        message = f"has no unique key on ({', '.join(target.key)}); add a primary key on it"
        yield Problem(code=ProblemCode.MISMATCH, path=_path(target), message=message)


def _obstacles(cursor: Cursor, target: Target, oid: int) -> Iterator[Problem]:
    named = {"old": oid, "partition": target.mode is PublishMode.PARTITION}
    for row in cursor.execute(SQL["obstacles"], named).fetchall():
        yield Problem(
            code=ProblemCode.OBSTACLE,
            path=_path(target),
            message=OBSTACLES[target.mode].format(row["obstacle"]),
        )


def _path(target: Target, column: str | None = None) -> str:
    return ".".join(part for part in (target.schema, target.name, column) if part)
