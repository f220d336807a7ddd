"""Turns a contract and a feed's mapping into SQL: clean texts, typed values, and the rules between them.

Three layers of names, per mapped column number `i`: `x{i}` as the feed has it, `t{i}` the same without
empty texts and null words, `v{i}` the value in the contract's type. DuckDB's own casts round 1.7 to 2, read
1_000 as 1000 and drop the offset of a timestamp without a word; so a value only counts when `_LOSSLESS`
says that nothing was lost.
"""

# ruff: noqa: S608  # names and values become SQL through `sqltext` only
from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from airflow_orchestration.domain.contract import TEMPORAL, VALUE_RULES, Column, ColumnType, Contract
from airflow_orchestration.domain.feed import Feed, FeedFormat, KeylessRows, SourceColumn
from airflow_orchestration.domain.quality_rule import Metric, QualityRule
from airflow_orchestration.engine import value_rules
from airflow_orchestration.engine.computing import filled, inputs_of, relation
from airflow_orchestration.engine.expressions import Expression
from airflow_orchestration.engine.layout import Layout
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
DUPLICATE_VALUE = "duplicate_value"
EXPRESSION = "expression"
MARKED = frozenset({Metric.NULL_VALUES, Metric.MISSING_VALUES, Metric.INVALID_VALUES})
"""Metrics that a row breaks by one value."""

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
_SMALL = frozenset({"TINYINT", "SMALLINT", "INTEGER", "UTINYINT", "USMALLINT", "UINTEGER"})
# Types in a Parquet file that are used as they are; anything else goes through its text.
_FITTING: Mapping[ColumnType, frozenset[str]] = {
    ColumnType.STRING: frozenset({"VARCHAR"}),
    ColumnType.INTEGER: _SMALL | {"BIGINT"},
    ColumnType.NUMBER: _SMALL | {"DOUBLE", "FLOAT"},
    ColumnType.BOOLEAN: frozenset({"BOOLEAN"}),
    ColumnType.DATE: frozenset({"DATE"}),
    ColumnType.TIMESTAMP: frozenset({"TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS"}),
}
_EXPECTED: Mapping[ColumnType, str] = {
    ColumnType.STRING: "a text without NUL characters",
    ColumnType.INTEGER: "a whole number of at most 64 bits, written with digits",
    ColumnType.NUMBER: "a finite number, written with digits, a {mark} and perhaps an exponent, without marks for thousands",
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
    decimal_comma: bool = False
    """Numbers are written 1,5: commas and points change places, so that 1.5 is no number."""
    quality: tuple[QualityRule, ...] = ()
    """The contract's quality rules that each row must keep."""
    expression: Expression | None = None
    """What a computed column is computed by: `x{i}.v` is its value, and `x{i}` is null where it can't be."""

    @property
    def text(self) -> str:
        """SQL over `x{i}`: what the feed says, null for empty texts and null words."""
        given = f"x{self.index}" if self.expression is None else f"x{self.index}.v"
        if self.native and self.column.type is not ColumnType.STRING:
            return given
        said = given if self.nulled else self._nulled(f"{given}::VARCHAR")
        if self.source.extract is not None:
            said = self._nulled(f"regexp_extract({said}, {literal(self.source.extract)}, 1)")
        return f"translate({said}, '.,', ',.')" if self.decimal_comma else said

    def _nulled(self, text: str) -> str:
        if not self.null_words:
            return f"nullif({text}, '')"
        words = ", ".join(literal(word) for word in ("", *self.null_words))
        return f"CASE WHEN {text} NOT IN ({words}) THEN {text} END"

    @property
    def names(self) -> tuple[str, ...]:
        """The feed's columns that it comes from."""
        if self.expression is not None:
            return self.expression.columns
        return () if self.source.column is None else (self.source.column,)

    @property
    def sql_type(self) -> str:
        """The type of the staged column."""
        return SQL_TYPES[self.column.type]

    @property
    def value(self) -> str:
        """SQL over `t{i}`: the value in the contract's type, or null."""
        own = None if self.native else value_rules.parsed(self.column, f"t{self.index}")
        if own is not None:
            return own
        if self.native or self.column.type is not ColumnType.STRING:
            return f"TRY_CAST(t{self.index} AS {self.sql_type})"
        return f"t{self.index}"

    def conditions(self) -> Iterator[tuple[str, str, str]]:
        """Rule name, SQL over `t{i}` and `v{i}`, null when the value is null, and reason; in the contract's order."""
        t, v = f"t{self.index}", f"v{self.index}"
        if self.may_hold_nul:
            yield MALFORMED, f"NOT contains({v}, chr(0))", self._expected
        if self.column.type is not ColumnType.STRING:
            yield "type", self._lossless(t, v), self._expected
        for rule in VALUE_RULES:
            if getattr(self.column, rule) is not None:
                condition = value_rules.condition(rule, self.column, v)
                if condition is not None:
                    yield rule, condition, value_rules.reason(rule, self.column)
        for quality_rule in self.quality:
            name, broken = value_rules.row_rule(quality_rule, self.column, t, v)
            if broken is not None:
                yield name, f"NOT ({broken})", value_rules.rule_reason(quality_rule)

    @property
    def _expected(self) -> str:
        if self.column.format and self.column.type in TEMPORAL and not self.native:
            return f"Expected a {self.column.type}, written {self.column.format}."
        mark = "comma" if self.decimal_comma else "point"
        return f"Expected {_EXPECTED[self.column.type].format(mark=mark)}."

    def good(self) -> str:
        """SQL that is true exactly when the column breaks no rule: what the staging pass filters with."""
        conditions = " AND ".join(condition for _, condition, _ in self.conditions())
        if self.expression is not None:
            return f"NOT e{self.index} AND {self._kept(conditions)}"
        return self._kept(conditions)

    def _kept(self, conditions: str) -> str:
        t, v = f"t{self.index}", f"v{self.index}"
        if self.needed:
            return conditions or f"{v} IS NOT NULL"
        return f"coalesce({conditions}, {t} IS NULL)" if conditions else "true"

    def rules(self) -> Iterator[Rule]:
        """Every rule of the column with its reason, for rows of which it is known that one is broken."""
        t, name = f"t{self.index}", self.column.name
        if self.expression is not None:
            reason = f"Can't be computed: {self.source.expression}."
            yield Rule(name=EXPRESSION, column=name, reason=reason, broken=f"e{self.index}")
        if self.needed:
            yield Rule(name="required", column=name, reason="A value is required.", broken=f"{t} IS NULL")
        for rule, condition, reason in self.conditions():
            yield Rule(
                name=rule,
                column=name,
                reason=reason,
                broken=f"({t} IS NOT NULL AND ({condition}) IS NOT TRUE)",
            )

    def _lossless(self, t: str, v: str) -> str:
        kind = self.column.type
        if self.native:
            exact = (
                f"isfinite({v})" if kind is ColumnType.NUMBER else f"CASE WHEN {v} IS NOT NULL THEN true END"
            )
        elif self.column.format is not None and kind in TEMPORAL:
            exact = value_rules.parsed_exactly(self.column, t, v)
        else:
            usual = _USUAL[kind].format(t=t, v=v)
            other = f"regexp_full_match({t}, '{_OTHER[kind]}')" if kind in _OTHER else "false"
            exact = f"CASE WHEN {usual} THEN true WHEN {v} IS NOT NULL THEN {other} END"
        return f"({_BOUNDS[kind].format(v=v)} AND {exact})" if kind in _BOUNDS else exact


@dataclass(frozen=True, slots=True, kw_only=True)
class Checks:
    """All mapped columns of a feed, and the rules of a row in the order in which they are looked at."""

    contract: Contract
    columns: tuple[MappedColumn, ...]
    rules: tuple[Rule, ...]
    null_words: tuple[str, ...] = ()

    def typed(self, relation: str, *, carried: str = "") -> str:
        """SQL with `t{i}` and `v{i}` out of a relation with `x{i}`; `carried` columns are kept."""
        texts = ", ".join(f"{column.text} AS t{column.index}" for column in self.columns)
        values = ", ".join(f"{column.value} AS v{column.index}" for column in self.columns)
        failed = "".join(f", x{number} IS NULL AS e{number}" for number in self.computed)
        return f"SELECT *, {values} FROM (SELECT {carried}{texts}{failed} FROM ({relation}))"

    def relation(
        self,
        field: Callable[[str], str],
        source: str,
        *,
        given: Callable[[str], str] | None = None,
        **kept: str,
    ) -> str:
        """SQL with `x{i}` out of a source; `field` makes a feed's column SQL over it, `kept` goes along.

        `given` makes it an input of an expression, without empty texts and null words.
        """
        plain = {
            column.index: field(column.source.column)
            for column in self.columns
            if column.source.column is not None
        }
        keys = {column.index for column in self.columns if column.column.name in self.contract.key}
        return relation(
            plain,
            self.computed,
            keys=keys,
            given=given or (lambda name: filled(field(name), self.null_words)),
            source=source,
            kept=kept,
        )

    @property
    def computed(self) -> dict[int, Expression]:
        """The computed columns by their numbers."""
        return {column.index: column.expression for column in self.columns if column.expression is not None}

    @property
    def read(self) -> dict[str, str]:
        """The feed's columns that are read, with what `relation` calls them."""
        plain = {
            column.source.column: f"x{column.index}"
            for column in self.columns
            if column.source.column is not None
        }
        inputs = {name: f"y{number}" for number, name in enumerate(inputs_of(self.computed.values()))}
        return inputs | plain

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
    def marks(self) -> str:
        """SQL for a list of truths: which of the contract's measured rules about one column the row breaks."""
        mapped = {column.column.name: column.index for column in self.columns}
        broken = [
            value_rules.is_broken(
                rule,
                self.contract.by_name[rule.columns[0]],
                f"t{mapped[rule.columns[0]]}" if rule.columns[0] in mapped else "NULL",
                f"v{mapped[rule.columns[0]]}" if rule.columns[0] in mapped else "NULL",
            )
            for rule in marked(self.contract)
        ]
        return f"[{', '.join(broken)}]::BOOLEAN[]"

    @property
    def staged_columns(self) -> str:
        """SQL for the contract's columns in order, null where the feed maps nothing, and `_position`."""
        mapped = {column.column.name: f"v{column.index}" for column in self.columns}
        parts = [
            f"{mapped.get(column.name, f'NULL::{SQL_TYPES[column.type]}')} AS {identifier(column.name)}"
            for column in self.contract.columns
        ]
        return ", ".join([*parts, "_position::BIGINT AS _position"])


def marked(contract: Contract) -> tuple[QualityRule, ...]:
    """The measured rules that count rows by a value of one column: quarantined rows count as well."""
    return tuple(rule for rule in contract.measured if rule.metric in MARKED)


def checks(
    feed: Feed,
    contract: Contract,
    layout: Layout,
    native_types: Mapping[str, str] | None = None,
    expressions: Mapping[str, Expression] | None = None,
) -> Checks:
    """Put a feed's mapping and a contract together.

    `native_types` are the SQL types of a Parquet feed, `expressions` its computed columns.
    """
    columns: list[MappedColumn] = []
    for column in contract.columns:
        if column.name in feed.columns:
            mapped = _mapped(len(columns), column, feed, contract, layout, native_types or {})
            expression = (expressions or {}).get(column.name)
            columns.append(mapped if expression is None else _computed(mapped, expression))
    return Checks(
        contract=contract,
        columns=tuple(columns),
        rules=tuple(_rules(columns, feed, contract)),
        null_words=feed.null_words,
    )


def _mapped(
    index: int,
    column: Column,
    feed: Feed,
    contract: Contract,
    layout: Layout,
    native_types: Mapping[str, str],
) -> MappedColumn:
    source = feed.columns[column.name]
    quality = contract.row_rules(column.name)
    return MappedColumn(
        index=index,
        column=column,
        source=source,
        needed=column.required
        or column.name in contract.key
        or any(value_rules.counts_empty(rule) for rule in quality),
        null_words=feed.null_words,
        nulled=layout.makes_nulls(feed.null_words),
        native=source.extract is None and native_types.get(source.column or "") in _FITTING[column.type],
        may_hold_nul=layout.format is not FeedFormat.CSV and column.type is ColumnType.STRING,
        decimal_comma=layout.decimal == "," and column.type in {ColumnType.INTEGER, ColumnType.NUMBER},
        quality=quality,
    )


def _computed(mapped: MappedColumn, expression: Expression) -> MappedColumn:
    """A result has a type of its own, and was not written by whoever wrote the feed."""
    return replace(
        mapped,
        expression=expression,
        null_words=(),
        nulled=False,
        native=expression.type in _FITTING[mapped.column.type],
        decimal_comma=False,
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
