"""What an author's expression may be made of: nodes, types and functions that can't read, wait or grow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_orchestration.exceptions import ExpressionError

Node = dict[str, Any]
"""A part of the parser's tree."""
MAX_NODES = 200
MAX_LETTERS = 4000
MAX_JOINS = 8
"""Each `||` adds a text to a text; more of them could fill the memory within one vector."""
MAX_WILDCARDS = 10
NULL_TYPE = '"NULL"'

OPERATORS = frozenset(
    {
        "OPERATOR_IS_NULL", "OPERATOR_IS_NOT_NULL", "OPERATOR_NOT", "OPERATOR_COALESCE", "OPERATOR_TRY",
        "COMPARE_IN", "COMPARE_NOT_IN",
    }
)  # fmt: skip
CONSTANTS = frozenset({"INTEGER", "NUMERIC", "STRING", "BOOLEAN", "NULL_LITERAL"})
TYPES = frozenset(
    {
        "BOOLEAN", "BOOL", "TINYINT", "SMALLINT", "SHORT", "INTEGER", "INT", "INT1", "INT2", "INT4", "INT8", "BIGINT",
        "LONG", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "FLOAT", "FLOAT4", "FLOAT8", "REAL",
        "DOUBLE", "DECIMAL", "NUMERIC", "VARCHAR", "TEXT", "STRING", "DATE", "TIME", "TIMESTAMP", "DATETIME", "INTERVAL",
    }
)  # fmt: skip
"""Types of one value. Those with a time zone depend on where the code runs."""
_LIKE = frozenset({"~~", "!~~", "~~*", "!~~*"})
_JOINS = frozenset({"||", "concat"})
_PATTERNS = frozenset({"regexp_matches", "regexp_full_match", "regexp_extract", "regexp_replace"})
_FORMATS = frozenset({"strptime", "try_strptime", "strftime"})
_SHRINKS = frozenset({"replace", "regexp_replace"})
_ARITHMETIC = frozenset({"+", "-", "*", "/", "//", "%", "mod", "fmod", "abs", "sign", "round", "floor", "ceil",
                         "ceiling", "trunc", "greatest", "least", "isfinite", "isnan", "isinf"})  # fmt: skip
_CHOICES = frozenset({"nullif", "ifnull", "if"})
_TEXTS = frozenset({"lower", "upper", "trim", "ltrim", "rtrim", "length", "len", "strlen", "substring", "substr",
                    "left", "right", "strpos", "position", "instr", "contains", "starts_with", "ends_with", "prefix",
                    "suffix", "split_part", "strip_accents", "ascii"})  # fmt: skip
_TIMES = frozenset({"make_date", "make_time", "make_timestamp", "date_trunc", "datetrunc", "date_part", "datepart",
                    "date_diff", "datediff", "date_sub", "datesub", "year", "quarter", "month", "week", "day",
                    "dayofmonth", "dayofweek", "weekday", "isodow", "dayofyear", "hour", "minute", "second",
                    "millisecond", "epoch", "epoch_ms", "last_day", "to_years", "to_months", "to_weeks", "to_days",
                    "to_hours", "to_minutes", "to_seconds", "to_milliseconds"})  # fmt: skip
GROUPS: Mapping[str, frozenset[str]] = {
    "numbers": _ARITHMETIC,
    "texts": _TEXTS | _PATTERNS | _SHRINKS | _JOINS,
    "times": _TIMES | _FORMATS,
    "choices": _CHOICES,
}
"""The functions by what they are for."""
FUNCTIONS = _LIKE.union(*GROUPS.values())
AGGREGATES = frozenset(
    {
        "count", "count_star", "count_if", "countif", "sum", "avg", "mean", "min", "max", "median", "stddev",
        "stddev_samp", "stddev_pop", "variance", "var_samp", "var_pop", "bool_and", "bool_or",
    }
)  # fmt: skip
"""Those that leave nulls out, so that a condition can be put inside."""
_CLASSES = frozenset({"COLUMN_REF", "CONSTANT", "COMPARISON", "CONJUNCTION", "OPERATOR", "BETWEEN", "CASE", "CAST",
                      "FUNCTION"})  # fmt: skip
_REFUSED = {
    "SUBQUERY": "a query inside it",
    "WINDOW": "a window function",
    "STAR": "a star",
    "LAMBDA": "a lambda",
    "PARAMETER": "a parameter",
    "LAMBDA_REF": "a lambda",
    "COLLATE": "a collation",
    "POSITIONAL_REFERENCE": "a column by its number",
    "DEFAULT": "DEFAULT",
}


class Vocabulary:
    """Walks over one tree and raises `ExpressionError` at the first part that may not stand in it."""

    def __init__(self, columns: Mapping[str, str], *, aggregates: bool = False) -> None:
        self.columns = columns
        self.nodes = 0
        self.met_aggregate = False
        self._aggregates = aggregates
        self._joins = 0
        self._used: dict[str, None] = {}

    def check_whole(self, node: Node) -> None:
        """Check a tree; where aggregates may stand there must be one."""
        self.check(node)
        if self._aggregates and not self.met_aggregate:
            raise ExpressionError("has no aggregate; write count, sum, avg, min, max or the like")

    @property
    def used(self) -> tuple[str, ...]:
        """The columns that were met, as `columns` spells them."""
        return tuple(self._used)

    def check(self, node: Node, *, aggregates: bool | None = None) -> None:
        """Check a node and all below it."""
        allowed = self._aggregates if aggregates is None else aggregates
        kind = node["class"]
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise ExpressionError(f"has more than {MAX_NODES} parts; split it")
        if kind not in _CLASSES:
            raise ExpressionError(f"has {_REFUSED.get(kind, kind.lower())}, which isn't supported here")
        if node.get("alias"):
            raise ExpressionError("gives a name to a part of it; leave AS out")
        if kind == "COLUMN_REF" and allowed:
            raise ExpressionError(
                "has a column outside an aggregate; write count, sum, avg, min, max or the like"
            )
        below = self._below_function(node, allowed=allowed) if kind == "FUNCTION" else allowed
        self._check_leaf(kind, node)
        for name, value in node.items():
            if name != "type_expr":
                self._descend(value, aggregates=below)

    def _descend(self, value: Any, *, aggregates: bool) -> None:
        if isinstance(value, dict):
            if "class" in value:
                self.check(value, aggregates=aggregates)
            else:
                for inner in value.values():
                    self._descend(inner, aggregates=aggregates)
        elif isinstance(value, list):
            for inner in value:
                self._descend(inner, aggregates=aggregates)

    def _check_leaf(self, kind: str, node: Node) -> None:
        if kind == "COLUMN_REF":
            self._check_column(node["column_names"])
        elif kind == "CONSTANT" and node["literal"]["kind"] not in CONSTANTS:
            raise ExpressionError("has a literal that is no number, text, true, false or null")
        elif kind == "OPERATOR" and node["type"] not in OPERATORS:
            raise ExpressionError(f"has the operator {node['type'].lower()}, which isn't supported here")
        elif kind == "CAST":
            _check_type(node["type_expr"])

    def _check_column(self, names: list[str]) -> None:
        written = ".".join(names)
        same = [name for name in self.columns if name.lower() == written.lower()]
        if len(names) != 1 or not same:
            known = ", ".join(sorted(self.columns)[:20])
            raise ExpressionError(f"names {written!r}, which is no column; these are: {known}")
        if len(same) > 1:
            raise ExpressionError(
                f"names {written!r}, which several columns are called but for capital letters"
            )
        self._used[same[0]] = None

    def _below_function(self, node: Node, *, allowed: bool) -> bool:
        """Check the function itself; whether an aggregate may stand in its arguments."""
        name = node["function_name"].lower()
        aggregate = allowed and name in AGGREGATES
        self.met_aggregate |= aggregate
        if node["schema"] or node["catalog"] or not (aggregate or name in FUNCTIONS):
            raise ExpressionError(f"calls {name}, which isn't supported here")
        plain = not node["filter"] and not node["order_bys"]["orders"] and not node["export_state"]
        if not plain or (node["distinct"] and not aggregate):
            raise ExpressionError(
                f"calls {name} with FILTER, ORDER BY or DISTINCT; write CASE or WHERE instead"
            )
        if any(argument["name"] for argument in node["arguments"]):
            raise ExpressionError(f"names an argument of {name}; write the arguments in their order")
        self._check_growth(name, [argument["expression"] for argument in node["arguments"]])
        return allowed and not aggregate

    def _check_growth(self, name: str, arguments: list[Node]) -> None:
        """Refuse what could make a long text out of a short one, or take long over it."""
        if name in _JOINS:
            self._joins += max(1, len(arguments) - 1)
            if self._joins > MAX_JOINS:
                raise ExpressionError(f"joins more than {MAX_JOINS + 1} texts; split it")
        if name in _PATTERNS | _FORMATS | _LIKE and (len(arguments) < 2 or _text(arguments[1]) is None):  # noqa: PLR2004
            raise ExpressionError("takes a pattern or format from a column; write it as a text")
        if name in _LIKE and (_text(arguments[1]) or "").count("%") > MAX_WILDCARDS:
            raise ExpressionError(f"has more than {MAX_WILDCARDS} % in one pattern; use regexp_matches")
        if name in _SHRINKS and not _shrinks(name, arguments):
            raise ExpressionError(
                f"may make a text longer with {name}; write as its replacement a text that isn't longer than what "
                "it replaces, and for regexp_replace the empty text"
            )


def _shrinks(name: str, arguments: list[Node]) -> bool:
    texts = [_text(argument) for argument in arguments[1:3]]
    found, instead = (*texts, None, None)[:2]
    if found is None or instead is None:
        return False
    return instead == "" if name == "regexp_replace" else 0 < len(found.encode()) >= len(instead.encode())


def _text(node: Node) -> str | None:
    """The text of a literal; None for anything else."""
    if node["class"] != "CONSTANT" or node["literal"]["kind"] != "STRING":
        return None
    return str(node["literal"]["text"])


def _check_type(kind: Node) -> None:
    """Types are written without a schema; only decimals have arguments, and these are numbers."""
    name = kind["type_name"].upper()
    plain = all(child["class"] == "CONSTANT" for child in kind["children"])
    if kind["schema"] or kind["catalog"] or name not in TYPES or not plain:
        known = "BOOLEAN, BIGINT, DOUBLE, DECIMAL(p, s), VARCHAR, DATE, TIMESTAMP"
        raise ExpressionError(f"casts to {name}, which isn't supported here; use for example {known}")
