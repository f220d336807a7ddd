"""An author's SQL text becomes a checked expression, or is refused with a remedy.

DuckDB's own parser reads the text, so there is no second idea of what it means. The tree may hold nothing but
scalar nodes and functions of `vocabulary`; what is run is written from the checked tree, never the text itself.
Limits of time and memory are no substitute: the engine looks at them between vectors only, and one call of
`repeat` never comes to the end of one.
"""

# ruff: noqa: S608  # what is put into SQL here was checked here, or is quoted by `sqltext`
from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import duckdb

from airflow_orchestration.engine.sqltext import identifier
from airflow_orchestration.engine.vocabulary import (
    AGGREGATES,
    MAX_LETTERS,
    NULL_TYPE,
    Node,
    Vocabulary,
)
from airflow_orchestration.exceptions import ExpressionError

ROWS = "__t"
"""What the rows are called while an expression is looked at."""
_OBJECT = frozenset({"object", "table", "model"})
_PROPERTY = frozenset({"property", "column", "field"})
_PLACE = re.compile(rf"\$\{{(\w+)\}}|\{{({'|'.join(sorted(_OBJECT | _PROPERTY))})\}}", re.IGNORECASE)
"""Without `$` only a known name: `{3}` belongs to a regular expression."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expression:
    """SQL that is safe to embed: one pair of round brackets around nothing but what `vocabulary` knows.

    An operation that fails on a row (a cast, an overflow) ends the query: embed `tried` where the
    row should have a null instead. An aggregate can't be tried.
    """

    sql: str
    columns: tuple[str, ...]
    """The columns that it names, as `columns` of the caller spells them."""
    type: str
    """DuckDB's name of its type."""

    @property
    def tried(self) -> str:
        """The same, null where it can't be computed."""
        return f"TRY({self.sql})"


def checked_expression(
    connection: duckdb.DuckDBPyConnection, text: str, columns: Mapping[str, str]
) -> Expression:
    """Check one scalar expression over `columns`, which are names with their DuckDB types.

    Raises `ExpressionError` with what is wrong and what to write instead.
    """
    _check_length(text)
    tree = _select(connection, f"SELECT (\n{text}\n) FROM {ROWS}")
    if not _same(tree, _select(connection, f"SELECT (true) FROM {ROWS}"), but=("select_list",)):
        raise ExpressionError("is more than one expression; write what stands between SELECT and FROM")
    return _written(connection, _only(tree), Vocabulary(columns))


def named_columns(connection: duckdb.DuckDBPyConnection, text: str) -> tuple[str, ...]:
    """The columns that a scalar expression names, each once; all but their types is checked.

    Raises `ExpressionError`.
    """
    tree = _only(_select(connection, f"SELECT (\n{text}\n) FROM {ROWS}"))
    names = {".".join(node["column_names"]): "VARCHAR" for node in _nodes(tree, "COLUMN_REF")}
    vocabulary = Vocabulary(names)
    vocabulary.check(tree)
    return vocabulary.used


def checked_condition(
    connection: duckdb.DuckDBPyConnection, text: str, columns: Mapping[str, str]
) -> Expression:
    """Check a scalar expression that is true or false; raises `ExpressionError`."""
    found = checked_expression(connection, text, columns)
    if found.type != "BOOLEAN":
        raise ExpressionError(f"is a {found.type}; write a condition that is true or false")
    return found


def checked_query(
    connection: duckdb.DuckDBPyConnection,
    query: str,
    columns: Mapping[str, str],
    *,
    column: str | None = None,
) -> Expression:
    """Check `SELECT <aggregates> FROM ${object} [WHERE <condition>]`; return it as one aggregate expression.

    Many of them can then be computed in one scan. `column` stands for `${property}`. Raises
    `ExpressionError`.
    """
    _check_length(query)
    tree = _select(connection, _filled_in(query, column))
    if not _same(tree, _select(connection, f"SELECT true FROM {ROWS}"), but=("select_list", "where_clause")):
        raise ExpressionError(
            "must be SELECT <one aggregate> FROM ${object}, perhaps with WHERE; joins, groups and the like aren't"
            " supported"
        )
    if any(node["type"] == "OPERATOR_TRY" for node in _nodes(tree, "OPERATOR")):
        # Where an operand is null in all rows of a vector the others aren't computed and can't fail: what TRY
        # gives a row would depend on the rows beside it.
        raise ExpressionError("uses TRY; write try_cast or try_strptime, or leave rows out in WHERE")
    found, condition = _only(tree), tree["where_clause"]
    if condition is not None:  # by itself first, so that a complaint about it says so
        _written(connection, deepcopy(condition), Vocabulary(columns), kind="BOOLEAN")
        found = _with_condition(found, condition, _Templates(connection))
    return _written(connection, found, Vocabulary(columns, aggregates=True))


def _check_length(text: str) -> None:
    if not text.strip():
        raise ExpressionError("is empty; write an expression over the columns")
    if len(text) > MAX_LETTERS:
        raise ExpressionError(f"has {len(text)} letters; {MAX_LETTERS} are allowed")


def _filled_in(query: str, column: str | None) -> str:
    def place(match: re.Match[str]) -> str:
        name = (match[1] or match[2]).lower()
        if name in _OBJECT:
            return ROWS
        if name in _PROPERTY and column is not None:
            return identifier(column)
        known = "${object} and ${property}" if column is not None else "${object}"
        raise ExpressionError(f"has a placeholder {match[0]}; these are known here: {known}")

    return _PLACE.sub(place, query)


def _select(connection: duckdb.DuckDBPyConnection, statement: str) -> Node:
    """The tree of one plain SELECT."""
    row = connection.execute("SELECT json_serialize_sql(?)", [statement]).fetchone()
    try:
        parsed = json.loads(row[0]) if row else {}
    except RecursionError:
        raise ExpressionError("is nested too deeply; split it") from None
    if parsed.get("error", True):
        raise ExpressionError("is no SQL that DuckDB can read; look at its brackets, quotes and spelling")
    statements = parsed["statements"]
    if len(statements) != 1 or statements[0]["node"]["type"] != "SELECT_NODE":
        raise ExpressionError("is more than one expression; write what stands between SELECT and FROM")
    node: Node = statements[0]["node"]
    return node


def _only(tree: Node) -> Node:
    if len(tree["select_list"]) != 1:
        raise ExpressionError("has several results; write one")
    node: Node = tree["select_list"][0]
    return node


def _nodes(part: Any, kind: str) -> Iterator[Node]:
    """All nodes of a class in a tree."""
    if isinstance(part, dict):
        if part.get("class") == kind:
            yield part
        part = list(part.values())
    if isinstance(part, list):
        for inner in part:
            yield from _nodes(inner, kind)


def _same(tree: Node, plain: Node, *, but: tuple[str, ...]) -> bool:
    """Whether two statements differ in nothing but these parts."""
    return bool(_placeless({**tree, **dict.fromkeys(but)}) == _placeless({**plain, **dict.fromkeys(but)}))


def _placeless(part: Any) -> Any:
    """A tree without the places in the text."""
    if isinstance(part, dict):
        return {name: _placeless(value) for name, value in part.items() if "location" not in name}
    return [_placeless(item) for item in part] if isinstance(part, list) else part


def _written(
    connection: duckdb.DuckDBPyConnection, node: Node, vocabulary: Vocabulary, *, kind: str | None = None
) -> Expression:
    """Check a tree, write it, and see that what was written is read as the same tree."""
    vocabulary.check_whole(node)
    whole = _whole(connection, node)
    row = connection.execute("SELECT json_deserialize_sql(?::JSON)", [json.dumps(whole)]).fetchone()
    before, after = "SELECT ", f" FROM {ROWS}"
    text = str(row[0]) if row else ""
    if not text.startswith(before) or not text.endswith(after):
        raise ExpressionError("can't be written back; write it in a simpler way")
    sql = f"({text.removeprefix(before).removesuffix(after)})"
    if _placeless(_only(_select(connection, f"SELECT {sql}{after}"))) != _placeless(node):
        raise ExpressionError("can't be written back; write it in a simpler way")
    columns = vocabulary.used
    found = Expression(sql=sql, columns=columns, type=_type(connection, sql, columns, vocabulary.columns))
    if kind is not None and found.type != kind:
        raise ExpressionError(f"has a {found.type} as its WHERE; write a condition that is true or false")
    return found


def _whole(connection: duckdb.DuckDBPyConnection, node: Node) -> Node:
    plain = _select(connection, f"SELECT true FROM {ROWS}")
    return {
        "error": False,
        "statements": [{"node": {**plain, "select_list": [node]}, "named_param_map": []}],
    }


def _type(
    connection: duckdb.DuckDBPyConnection, sql: str, used: tuple[str, ...], columns: Mapping[str, str]
) -> str:
    fields = ", ".join(f"NULL::{columns[name]} AS {identifier(name)}" for name in used) or "NULL AS nothing"
    try:
        row = connection.execute(f"DESCRIBE SELECT {sql} FROM (SELECT {fields})").fetchone()
    except duckdb.Error as error:
        raise ExpressionError(f"doesn't fit its columns: {_first_line(error)}") from None
    kind = str(row[1]) if row else NULL_TYPE
    if kind == NULL_TYPE:
        raise ExpressionError("is always null; name a column or a value")
    return kind


def _first_line(error: duckdb.Error) -> str:
    """What the binder says, without its quotation of the statement."""
    return str(error).strip().splitlines()[0].removeprefix("Binder Error: ")


class _Templates:
    """Trees of the two forms that a condition takes inside an aggregate, made by the engine's own parser."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._guarded = _only(_select(connection, f"SELECT CASE WHEN a THEN b END FROM {ROWS}"))
        self._counted = _only(_select(connection, f"SELECT count(CASE WHEN a THEN true END) FROM {ROWS}"))

    def guarded(self, value: Node, condition: Node) -> Node:
        """`CASE WHEN condition THEN value END`: a value that is computed only where the condition holds."""
        case = deepcopy(self._guarded)
        case["case_checks"][0].update(when_expr=deepcopy(condition), then_expr=value)
        return case

    def counted(self, condition: Node) -> Node:
        """`count(*)` of the rows where the condition holds."""
        count = deepcopy(self._counted)
        count["arguments"][0]["expression"]["case_checks"][0]["when_expr"] = deepcopy(condition)
        return count


def _with_condition(node: Node, condition: Node, templates: _Templates) -> Node:
    """Put the condition of WHERE into every aggregate; each of them leaves nulls out."""
    if node.get("class") == "FUNCTION" and node["function_name"].lower() in AGGREGATES:
        if not node["arguments"]:
            return templates.counted(condition)
        first, *others = node["arguments"]
        guarded = {**first, "expression": templates.guarded(first["expression"], condition)}
        return {**node, "arguments": [guarded, *others]}
    return {name: _inside(value, condition, templates) for name, value in node.items()}


def _inside(value: Any, condition: Node, templates: _Templates) -> Any:
    if isinstance(value, dict):
        return _with_condition(value, condition, templates)
    if isinstance(value, list):
        return [_inside(item, condition, templates) for item in value]
    return value
