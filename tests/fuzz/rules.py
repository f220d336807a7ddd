"""Are the quality rules that a contract says those that were read? Each with its measure, its columns, and what it must be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from airflow_orchestration.domain.contract import Contract

OPERATORS = (
    *("mustBe", "mustNotBe", "mustBeGreaterThan", "mustBeGreaterOrEqualTo"),
    *("mustBeLessThan", "mustBeLessOrEqualTo", "mustBeBetween", "mustNotBeBetween"),
)
OLDER = {
    "duplicateCount": "duplicateValues",
    "nullCheck": "nullValues",
    "nullCount": "nullValues",
    "missingCount": "missingValues",
    "invalidCount": "invalidValues",
}
AGES = frozenset({"freshness", "latency", "frequency"})
Written = tuple[str | None, Mapping[str, Any]]
"""A rule as the contract says it, and the property at which it stands; None at a schema object."""


def lost_rules(written: Sequence[Written], contract: Contract) -> Iterator[str]:
    """Each rule is a rule of the contract, or one that a column or several together carry; and there are no others."""
    left = [rule.model_dump(mode="json") for rule in contract.quality if rule.metric.value != "freshness"]
    for column, rule in written:
        if rule.get("type") == "text":
            continue
        said = _said(column, rule)
        if kept := [one for one in left if _facts(one) == said]:
            left.remove(kept[0])
        elif not _is_carried(said, contract):
            yield f"{contract.name}: the rule {ascii(said)[:300]} was lost"
    for rule_left in left:
        yield f"{contract.name}: the rule {ascii(_facts(rule_left))[:300]} was made up"


def _said(column: str | None, rule: Mapping[str, Any]) -> dict[str, Any]:
    is_sql = rule.get("type") == "sql" or (rule.get("type") is None and rule.get("query") is not None)
    named = rule.get("metric") or rule.get("rule")
    metric = "sql" if is_sql else OLDER.get(str(named), named)
    arguments = rule.get("arguments") or {}
    (operator,) = [one for one in OPERATORS if rule.get(one) is not None]
    ends = rule[operator] if operator.endswith("Between") else [rule[operator]]
    together = arguments.get("properties") if metric == "duplicateValues" else None
    missing = arguments.get("missingValues")
    return {
        "metric": metric,
        "columns": together if together is not None else [column] if column is not None else [],
        "operator": operator,
        "ends": [float(end) for end in ends],
        "severity": str(rule.get("severity") or "error").lower(),
        "percent": not is_sql and rule.get("unit") == "percent",
        "query": rule.get("query"),
        "missing": _texts(missing) if missing else [None] if metric == "missingValues" else [],
        "valid": [one for one in _texts(arguments.get("validValues") or []) if one is not None],
        "pattern": arguments.get("pattern"),
    }


def _facts(rule: Mapping[str, Any]) -> dict[str, Any]:
    """A rule that was read, in the same words."""
    threshold = rule["threshold"]
    between = threshold["operator"].endswith("Between")
    return {
        "metric": rule["metric"],
        "columns": rule["columns"],
        "operator": threshold["operator"],
        "ends": [threshold["low"], threshold["high"]] if between else [threshold["low"]],
        **{name: rule[name] for name in ("severity", "percent", "query")},
        "missing": _texts(rule["missing"]),
        "valid": _texts(rule["valid"]),
        "pattern": rule["pattern"],
    }


def _texts(values: Sequence[Any]) -> list[Any]:
    """Days that YAML made of texts, as they were written; a truth is no number."""
    plain = [it.isoformat() if hasattr(it, "isoformat") else it for it in values]
    return [("a truth", it) if isinstance(it, bool) else it for it in plain]


def _is_carried(said: Mapping[str, Any], contract: Contract) -> bool:
    """A rule that no row may break is one of the column itself."""
    if said["severity"] != "error" or not _is_about_rows(said["operator"], said["ends"]):
        return False
    columns = tuple(said["columns"])
    if said["metric"] == "nullValues":
        return contract.by_name[columns[0]].required
    if said["metric"] == "duplicateValues":
        alone = len(columns) == 1 and contract.by_name[columns[0]].unique
        return alone or columns in contract.unique_together
    return False


def _is_about_rows(operator: str, ends: Sequence[float]) -> bool:
    """Whether none is enough, and one row is too much."""
    low, high = ends[0], ends[-1]
    match operator:
        case "mustBe":
            return low == 0
        case "mustBeLessThan":
            return 0 < low <= 1
        case "mustBeLessOrEqualTo":
            return 0 <= low < 1
        case "mustBeBetween":
            return low <= 0 <= high < 1
        case _:
            return False
