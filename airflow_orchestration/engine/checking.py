"""Turns a contract and a feed's mapping into SQL: clean texts, typed values, and the rules between them.

Three layers of names, per mapped column number `i`: `x{i}` as the feed has it, `t{i}` the same without
empty texts and null words, `v{i}` the value in the contract's type. DuckDB's own casts round 1.7 to 2, read
1_000 as 1000 and drop the offset of a timestamp without a word; so a value only counts when `_LOSSLESS`
says that nothing was lost.
"""

# ruff: noqa: S608  # names and values become SQL through `sqltext` only
from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from airflow_orchestration.domain.contract import Column, ColumnType, Contract
from airflow_orchestration.domain.feed import Feed, FeedFormat, KeylessRows, SourceColumn
from airflow_orchestration.engine.sqltext import identifier, literal

SQL_TYPES: Mapping[ColumnType, str] = {
    ColumnType.STRING: "VARCHAR",
    ColumnType.INTEGER: "BIGINT",
    ColumnType.NUMBER: "DOUBLE",
    ColumnType.BOOLEAN: "BOOLEAN",
    ColumnType.DATE: "DATE",
    ColumnType.TIMESTAMP: "TIMESTAMP",
}
OUT_OF_SCOPE = "out_of_scope"
MALFORMED = "malformed"
DUPLICATE_KEY = "duplicate_key"

_DAY = r"\s*[0-9]{4}[-/][0-9]{1,2}[-/][0-9]{1,2}"
_MIDNIGHT = r"(?:[ T]00:00(?::00(?:\.0+)?)?)?\s*"
_CLOCK = r"(?:[ T][0-9]{1,2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,6}0*)?)?(?:Z| ?UTC|[+]00(?::?00)?)?)?\s*"
# Whether the text {t} says exactly the value {v}, null when the value is null. First the form that nearly
# every value has; a CASE, because OR would run the regular expression on every row.
_USUAL: Mapping[ColumnType, str] = {
    ColumnType.INTEGER: "{v}::VARCHAR = {t}",
    ColumnType.NUMBER: "isfinite({v}) AND NOT contains({t}, '_')",
    ColumnType.BOOLEAN: "{v} IS NOT NULL",
    ColumnType.DATE: "strlen({t}) = 10",
    ColumnType.TIMESTAMP: "{v}::VARCHAR = {t}",
}
_OTHER: Mapping[ColumnType, str] = {
    ColumnType.INTEGER: r"\s*[+-]?[0-9]+(?:\.0*)?\s*",
    ColumnType.DATE: _DAY + _MIDNIGHT,
    ColumnType.TIMESTAMP: _DAY + _CLOCK,
}
# What PostgreSQL and Python can hold as well; it excludes infinity and years before Christ.
_BOUNDS: Mapping[ColumnType, str] = {
    ColumnType.DATE: "{v} >= DATE '0001-01-01' AND {v} <= DATE '9999-12-31'",
    ColumnType.TIMESTAMP: "{v} >= TIMESTAMP '0001-01-01' AND {v} < TIMESTAMP '9999-12-31 23:59:59.999999'",
}
# Types in a Parquet file that are used as they are; anything else goes through its text.
_FITTING: Mapping[ColumnType, frozenset[str]] = {
    ColumnType.STRING: frozenset({"VARCHAR"}),
    ColumnType.INTEGER: frozenset(
        {"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER"}
    ),
    ColumnType.NUMBER: frozenset(
        {"DOUBLE", "FLOAT", "TINYINT", "SMALLINT", "INTEGER", "UTINYINT", "USMALLINT", "UINTEGER"}
    ),
    ColumnType.BOOLEAN: frozenset({"BOOLEAN"}),
    ColumnType.DATE: frozenset({"DATE"}),
    ColumnType.TIMESTAMP: frozenset({"TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS"}),
}
_EXPECTED: Mapping[ColumnType, str] = {
    ColumnType.STRING: "a text without NUL characters",
    ColumnType.INTEGER: "a whole number of at most 64 bits, written with digits",
    ColumnType.NUMBER: "a finite number, written with digits, a point and perhaps an exponent",
    ColumnType.BOOLEAN: "true or false",
    ColumnType.DATE: "a date, written YYYY-MM-DD",
    ColumnType.TIMESTAMP: "a time in UTC, written YYYY-MM-DD HH:MM:SS with at most 6 decimals",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One thing a row can break: `broken` is SQL over the names `t{i}` and `v{i}`, true when it is."""

    name: str
    column: str
    reason: str
    broken: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MappedColumn:
    """A column of the contract that the feed fills."""

    index: int
    column: Column
    source: SourceColumn
    needed: bool
    """Required, or part of the key."""
    null_words: tuple[str, ...]
    nulled: bool = False
    """The reader has already made nulls of the null words."""
    native: bool = False
    """The feed's own type fits and is used as it is."""
    may_hold_nul: bool = False

    @property
    def text(self) -> str:
        """SQL over `x{i}`: what the feed says, null for empty texts and null words."""
        if self.native and self.column.type is not ColumnType.STRING:
            return f"x{self.index}"
        said = f"x{self.index}" if self.nulled else self._nulled(f"x{self.index}::VARCHAR")
        if self.source.extract is None:
            return said
        return self._nulled(f"regexp_extract({said}, {literal(self.source.extract)}, 1)")

    def _nulled(self, text: str) -> str:
        if not self.null_words:
            return f"nullif({text}, '')"
        words = ", ".join(literal(word) for word in ("", *self.null_words))
        return f"CASE WHEN {text} NOT IN ({words}) THEN {text} END"

    @property
    def sql_type(self) -> str:
        """The type of the staged column."""
        return SQL_TYPES[self.column.type]

    @property
    def value(self) -> str:
        """SQL over `t{i}`: the value in the contract's type, or null."""
        if self.native or self.column.type is not ColumnType.STRING:
            return f"TRY_CAST(t{self.index} AS {self.sql_type})"
        return f"t{self.index}"

    def conditions(self) -> Iterator[tuple[str, str]]:
        """Rule name and SQL over `t{i}` and `v{i}`, null when the value is null; in the contract's order."""
        t, v = f"t{self.index}", f"v{self.index}"
        if self.may_hold_nul:
            yield MALFORMED, f"NOT contains({v}, chr(0))"
        if self.column.type is not ColumnType.STRING:
            yield "type", self._lossless(t, v)
        for rule in ("pattern", "minimum", "maximum", "min_length", "max_length"):
            bound = getattr(self.column, rule)
            if bound is not None:
                yield rule, _condition(rule, bound, t, v, self.column.type)

    def good(self) -> str:
        """SQL that is true exactly when the column breaks no rule: what the staging pass filters with."""
        t, v = f"t{self.index}", f"v{self.index}"
        conditions = " AND ".join(condition for _, condition in self.conditions())
        if self.needed:
            return conditions or f"{v} IS NOT NULL"
        return f"coalesce({conditions}, {t} IS NULL)" if conditions else "true"

    def rules(self) -> Iterator[Rule]:
        """Every rule of the column with its reason, for rows of which it is known that one is broken."""
        t, name = f"t{self.index}", self.column.name
        if self.needed:
            yield Rule(name="required", column=name, reason="A value is required.", broken=f"{t} IS NULL")
        for rule, condition in self.conditions():
            yield Rule(
                name=rule,
                column=name,
                reason=_reason(rule, self.column),
                broken=f"({t} IS NOT NULL AND ({condition}) IS NOT TRUE)",
            )

    def _lossless(self, t: str, v: str) -> str:
        kind = self.column.type
        if self.native:
            exact = (
                f"isfinite({v})" if kind is ColumnType.NUMBER else f"CASE WHEN {v} IS NOT NULL THEN true END"
            )
        else:
            usual = _USUAL[kind].format(t=t, v=v)
            other = f"regexp_full_match({t}, '{_OTHER[kind]}')" if kind in _OTHER else "false"
            exact = f"CASE WHEN {usual} THEN true WHEN {v} IS NOT NULL THEN {other} END"
        return f"({_BOUNDS[kind].format(v=v)} AND {exact})" if kind in _BOUNDS else exact


def _condition(rule: str, bound: object, t: str, v: str, kind: ColumnType) -> str:
    text = v if kind is ColumnType.STRING else f"{t}::VARCHAR"
    number = v if kind in {ColumnType.INTEGER, ColumnType.NUMBER} else f"TRY_CAST({t}::VARCHAR AS DOUBLE)"
    match rule:
        case "pattern":
            return f"regexp_full_match({text}, {literal(str(bound))})"
        case "minimum":
            return f"{number} >= {_number(bound, kind)}"
        case "maximum":
            return f"{number} <= {_number(bound, kind)}"
        case "min_length":
            return f"length({text}) >= {bound}"
        case _:
            return f"length({text}) <= {bound}"


def _number(bound: object, kind: ColumnType) -> str:
    """A bound in the type it is compared with, so that the engine doesn't cast the column."""
    value = float(str(bound))
    if kind is ColumnType.INTEGER and value.is_integer() and abs(value) < 2**53:
        return f"{int(value)}::BIGINT"
    return f"{value!r}::DOUBLE"


def _reason(rule: str, column: Column) -> str:
    match rule:
        case "type" | "malformed":
            return f"Expected {_EXPECTED[column.type]}."
        case "pattern":
            return f"Must match {column.pattern}."
        case "minimum":
            return f"Must be at least {column.minimum:g}."
        case "maximum":
            return f"Must be at most {column.maximum:g}."
        case "min_length":
            return f"Must have at least {column.min_length} characters."
        case _:
            return f"Must have at most {column.max_length} characters."


@dataclass(frozen=True, slots=True, kw_only=True)
class Checks:
    """All mapped columns of a feed, and the rules of a row in the order in which they are looked at."""

    contract: Contract
    columns: tuple[MappedColumn, ...]
    rules: tuple[Rule, ...]

    def typed(self, relation: str, *, carried: str = "") -> str:
        """SQL with `t{i}` and `v{i}` out of a relation with `x{i}`; `carried` columns are kept."""
        texts = ", ".join(f"{column.text} AS t{column.index}" for column in self.columns)
        values = ", ".join(f"{column.value} AS v{column.index}" for column in self.columns)
        return f"SELECT *, {values} FROM (SELECT {carried}{texts} FROM ({relation}))"

    @property
    def good(self) -> str:
        """SQL that is true exactly for the rows that break no rule."""
        return " AND ".join(column.good() for column in self.columns)

    @property
    def first_broken(self) -> str:
        """SQL for the number of the first broken rule, null for a good row."""
        cases = " ".join(f"WHEN {rule.broken} THEN {number}" for number, rule in enumerate(self.rules))
        return f"CASE {cases} END"

    @property
    def filled(self) -> str:
        """SQL for the number of mapped cells that aren't empty."""
        return " + ".join(f"(t{column.index} IS NOT NULL)::INTEGER" for column in self.columns)

    @property
    def staged_columns(self) -> str:
        """SQL for the contract's columns in order, null where the feed maps nothing, and `_position`."""
        mapped = {column.column.name: f"v{column.index}" for column in self.columns}
        parts = [
            f"{mapped.get(column.name, f'NULL::{SQL_TYPES[column.type]}')} AS {identifier(column.name)}"
            for column in self.contract.columns
        ]
        return ", ".join([*parts, "_position::BIGINT AS _position"])


def checks(feed: Feed, contract: Contract, native_types: Mapping[str, str] | None = None) -> Checks:
    """Put a feed's mapping and a contract together; `native_types` are the SQL types of a Parquet feed."""
    columns: list[MappedColumn] = []
    for column in contract.columns:
        if column.name in feed.columns:
            columns.append(_mapped(len(columns), column, feed, contract, native_types or {}))
    return Checks(contract=contract, columns=tuple(columns), rules=tuple(_rules(columns, feed, contract)))


def _mapped(
    index: int, column: Column, feed: Feed, contract: Contract, native_types: Mapping[str, str]
) -> MappedColumn:
    source = feed.columns[column.name]
    return MappedColumn(
        index=index,
        column=column,
        source=source,
        needed=column.required or column.name in contract.key,
        null_words=feed.null_words,
        nulled=feed.format is FeedFormat.CSV,
        native=source.extract is None and native_types.get(source.column) in _FITTING[column.type],
        may_hold_nul=feed.format is not FeedFormat.CSV and column.type is ColumnType.STRING,
    )


def _rules(columns: list[MappedColumn], feed: Feed, contract: Contract) -> Iterator[Rule]:
    """The key's rules come first when they decide whether a row is looked at at all."""
    keyless = feed.keyless_rows is KeylessRows.OUT_OF_SCOPE
    keys = [column for column in columns if keyless and column.column.name in contract.key]
    for column in keys:
        for rule in column.rules():
            yield replace(rule, name=OUT_OF_SCOPE)
    for column in columns:
        if column not in keys:
            yield from column.rules()
