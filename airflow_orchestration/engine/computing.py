"""Columns that a feed computes out of its own: the author's expressions, checked, as SQL beside the plain columns.

An expression sees the feed's columns under their own names, without empty texts and null words: texts of a text
format, the file's own types of Parquet. It is tried row by row: `TRY({'v': ...})` is null where it fails, and
holds a null where its result is one, so that a failure is never taken for an empty value.

DuckDB computes vectors, and skips the other operands of an operation when one is null in all rows of a vector:
what fails in a row must not depend on the rows beside it. So `filled` makes inputs that are never constant.
"""

# ruff: noqa: S608  # names and values become SQL through `sqltext` only
from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

import duckdb

from airflow_orchestration.domain.feed import Feed
from airflow_orchestration.engine.expressions import Expression, checked_expression, named_columns
from airflow_orchestration.engine.sqltext import identifier, literal
from airflow_orchestration.exceptions import ExpressionError, FeedCode, FeedError

TEXT = "VARCHAR"
_PLAIN = "__x"
"""What plain columns are called beside the feed's own names."""
_TAKEN = (_PLAIN, "_position", "_raw", "_malformed", "_row")


def computed_columns(
    connection: duckdb.DuckDBPyConnection, feed: Feed, types: Mapping[str, str] | None = None
) -> dict[str, Expression]:
    """Return the checked expressions of a feed by column of the contract; `types` are its columns with their types.

    Without `types` any column may be there, as a text. Raises `FeedError` with all that is wrong.
    """
    found: dict[str, Expression] = {}
    refused: list[str] = []
    for name, text in expressions_in(feed):
        try:
            found[name] = _checked(connection, text, types)
        except ExpressionError as error:
            refused.append(f"columns.{name}.expression {error}")
    if refused:
        raise FeedError(f"{feed.id}: {'; '.join(refused)}.", code=FeedCode.EXPRESSION)
    return found


def _checked(connection: duckdb.DuckDBPyConnection, text: str, types: Mapping[str, str] | None) -> Expression:
    known = dict.fromkeys(named_columns(connection, text), TEXT) if types is None else types
    found = checked_expression(connection, text, known)
    for name in found.columns:
        if name.lower().startswith(_TAKEN):
            raise ExpressionError(
                f"names {name!r}, which has a meaning of its own here; rename it in the feed"
            )
    return found


def inputs_of(expressions: Iterable[Expression]) -> tuple[str, ...]:
    """The feed's columns that these expressions name, each once."""
    return tuple(dict.fromkeys(name for one in expressions for name in one.columns))


def relation(
    plain: Mapping[int, str],
    computed: Mapping[int, Expression],
    *,
    keys: Collection[int],
    given: Callable[[str], str],
    source: str,
    kept: Mapping[str, str],
) -> str:
    """SQL with `x{i}` for each column, and `y{j}` for each column that an expression names.

    `plain` is column number -> SQL over `source`; `given` makes an input SQL over `source`; `kept` is
    name -> SQL over `source` of what goes along. Of a computed column `x{i}.v` is the value, and
    `x{i}` is null where it can't be computed. A column of the key, one of `keys`, that is computed of nothing but
    empty fields is empty: a line that could not be read must not become a row.
    """
    if not computed:
        fields = [f"{sql} AS {name}" for name, sql in kept.items()]
        return f"SELECT {', '.join([*fields, *(f'{sql} AS x{i}' for i, sql in plain.items())])} FROM {source}"
    inputs = inputs_of(computed.values())
    inner = [
        *(f"{sql} AS {name}" for name, sql in kept.items()),
        *(f"{sql} AS {_PLAIN}{number}" for number, sql in plain.items()),
        *(f"{given(name)} AS {identifier(name)}" for name in inputs),
    ]
    outer = [
        *kept,
        *(f"{_PLAIN}{number} AS x{number}" for number in plain),
        *(f"{_tried(one, is_key=number in keys)} AS x{number}" for number, one in computed.items()),
        *(f"{identifier(name)} AS y{number}" for number, name in enumerate(inputs)),
    ]
    return f"SELECT {', '.join(outer)} FROM (SELECT {', '.join(inner)} FROM {source})"


def _tried(one: Expression, *, is_key: bool) -> str:
    tried = f"TRY({{'v': {one.sql}}})"
    if not is_key or not one.columns:
        return tried
    filled = " OR ".join(f"{identifier(name)} IS NOT NULL" for name in one.columns)
    return f"CASE WHEN {filled} THEN {tried} ELSE {{'v': NULL}} END"


def filled(value: str, null_words: Sequence[str], *beside: str) -> str:
    """SQL for an input, null for an empty text and null words. A list of it is never constant if one of these isn't."""
    words = ", ".join(literal(word) for word in ("", *null_words))
    given = ", ".join([value, *beside])
    nothing = len(beside) + 2
    return f"list_extract([{given}], CASE WHEN {value}::VARCHAR IN ({words}) THEN {nothing} ELSE 1 END)"


def expressions_in(feed: Feed) -> Iterator[tuple[str, str]]:
    """Column of the contract and text of each computed column."""
    for name, source in feed.columns.items():
        if source.expression is not None:
            yield name, source.expression
