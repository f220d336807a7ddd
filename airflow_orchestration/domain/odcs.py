"""Reads a dataset contract in the Open Data Contract Standard v3; what it can't honour it refuses by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from airflow_orchestration.domain.conf import validated
from airflow_orchestration.domain.contract import Column, ColumnType, Contract
from airflow_orchestration.domain.control_characters import control_problems
from airflow_orchestration.domain.odcs_parts import (
    DOCUMENT,
    ENUM_VALUE,
    OPTIONS,
    SCHEMA_OBJECT,
    SCHEMA_PROPERTY,
    UTC_NAMES,
)
from airflow_orchestration.domain.odcs_quality import freshness_rules, quality_rules, sla_problems
from airflow_orchestration.domain.problems import path_of, pydantic_problems
from airflow_orchestration.domain.quality_rule import Metric, QualityRule
from airflow_orchestration.domain.yaml_file import read_yaml
from airflow_orchestration.exceptions import InputRefusedError, Problem, ProblemCode

_TRUTHS = ("primaryKey", "required", "unique")


def read_contracts(path: Path) -> tuple[Contract, ...]:
    """Read every schema object of a contract file; raises `InputRefusedError` with every problem."""
    # The ODCS model takes 0.3 s to import; tasks that only read a stored run never need it.
    from open_data_contract_standard.model import OpenDataContractStandard  # noqa: PLC0415

    document = read_yaml(path)
    try:
        OpenDataContractStandard.model_validate(document)
    except ValidationError as error:
        raise InputRefusedError(f"dataset contract {path.name}", _model_problems(error)) from None
    problems = list(_refused(document))
    contracts = [
        _contract(table, document, f"schema[{index}]", problems) for index, table in _tables(document)
    ]
    if problems:
        raise InputRefusedError(f"dataset contract {path.name}", problems)
    return tuple(contract for contract in contracts if contract is not None)


def _model_problems(error: ValidationError) -> list[Problem]:
    """What the standard's model found; of a bare value in an enum it says how to write it."""
    values = {
        path_of(found["loc"]): found["input"] for found in error.errors() if found["loc"][-2:-1] == ("enum",)
    }
    return [
        Problem(
            code=ProblemCode.WRONG_TYPE, path=problem.path, message=f"write {{value: {values[problem.path]}}}"
        )
        if problem.path in values
        else problem
        for problem in pydantic_problems(error)
    ]


def _tables(document: Mapping[str, Any]) -> Iterator[tuple[int, dict[str, Any]]]:
    return enumerate(document.get("schema") or [])


def _refused(document: Mapping[str, Any]) -> Iterator[Problem]:
    yield from control_problems(document)
    if not str(document.get("apiVersion", "")).startswith("v3."):
        yield Problem(
            code=ProblemCode.UNSUPPORTED,
            path="apiVersion",
            message="only v3 of the standard is read; write for example v3.1.0",
        )
    yield from DOCUMENT.refusals(document, "")
    if not document.get("schema"):
        yield Problem(
            code=ProblemCode.REQUIRED, path="schema", message="a schema object is needed, none is there"
        )
    names = [table.get("name") for _, table in _tables(document)]
    elements: set[str] = set()
    for index, table in _tables(document):
        path = f"schema[{index}]"
        if not table.get("name"):
            yield Problem(code=ProblemCode.REQUIRED, path=f"{path}.name", message="is required")
        elif table["name"] in names[:index]:
            yield Problem(
                code=ProblemCode.DUPLICATE, path=f"{path}.name", message=f"{table['name']!r} stands twice"
            )
        if table.get("logicalType") not in {None, "object"}:
            yield Problem(
                code=ProblemCode.UNSUPPORTED,
                path=f"{path}.logicalType",
                message="must be object: a row has columns",
            )
        yield from SCHEMA_OBJECT.refusals(table, path)
        for position, declared in enumerate(table.get("properties") or []):
            yield from _refused_property(declared, f"{path}.properties[{position}]")
            elements |= {str(declared.get("name")), f"{table.get('name')}.{declared.get('name')}"}
    yield from sla_problems(document, elements)


def _refused_property(declared: Mapping[str, Any], path: str) -> Iterator[Problem]:
    yield from SCHEMA_PROPERTY.refusals(declared, path)
    yield from _refused_truths(declared, path)
    if not declared.get("name"):
        yield Problem(code=ProblemCode.REQUIRED, path=f"{path}.name", message="is required")
    kind = declared.get("logicalType")
    if kind is None and declared.get("physicalType"):
        known = ", ".join(ColumnType)
        yield Problem(
            code=ProblemCode.REQUIRED,
            path=f"{path}.logicalType",
            message=f"must stand beside physicalType; use one of: {known}",
        )
    if kind is not None and kind not in [*ColumnType]:
        known = ", ".join(ColumnType)
        yield Problem(
            code=ProblemCode.UNSUPPORTED,
            path=f"{path}.logicalType",
            message=f"{kind!r} isn't supported; use one of: {known}",
        )
    if declared.get("semanticType") == "measure":
        yield Problem(
            code=ProblemCode.UNSUPPORTED,
            path=f"{path}.semanticType",
            message="a measure isn't stored; write it as an aggregate feed of the pipeline file",
        )
    for index, value in enumerate(declared.get("enum") or []):
        yield from ENUM_VALUE.refusals(value, f"{path}.enum[{index}]")
    yield from _refused_options(declared, f"{path}.logicalTypeOptions")


def _refused_truths(declared: Mapping[str, Any], path: str) -> Iterator[Problem]:
    """What the standard's model reads out of texts: in quotes, `false` would be as good as true here."""
    for name in _TRUTHS:
        if not isinstance(declared.get(name), bool | None):
            message = f"{declared[name]!r} is no truth; write true or false, without quotes"
            yield Problem(code=ProblemCode.WRONG_TYPE, path=f"{path}.{name}", message=message)
    place = declared.get("primaryKeyPosition")
    if place is not None and type(place) is not int:
        message = f"{place!r} is no whole number; write one without quotes"
        yield Problem(code=ProblemCode.WRONG_TYPE, path=f"{path}.primaryKeyPosition", message=message)


def _refused_options(declared: Mapping[str, Any], path: str) -> Iterator[Problem]:
    for name, value in (declared.get("logicalTypeOptions") or {}).items():
        if name == "timezone":
            if value:
                yield Problem(
                    code=ProblemCode.UNSUPPORTED,
                    path=f"{path}.timezone",
                    message="isn't supported; times are UTC without a zone",
                )
        elif name == "defaultTimezone":
            if value not in UTC_NAMES:
                yield Problem(
                    code=ProblemCode.UNSUPPORTED,
                    path=f"{path}.defaultTimezone",
                    message="isn't supported; times are UTC",
                )
        elif name not in OPTIONS:
            yield Problem(
                code=ProblemCode.UNSUPPORTED,
                path=f"{path}.{name}",
                message="isn't supported; remove it or check its spelling",
            )


def _contract(
    table: dict[str, Any], document: Mapping[str, Any], path: str, problems: list[Problem]
) -> Contract | None:
    declared = table.get("properties") or []
    names = tuple(str(item.get("name")) for item in declared)
    rules = list(quality_rules(table.get("quality"), path, column=None, columns=names, problems=problems))
    for position, (name, item) in enumerate(zip(names, declared, strict=True)):
        place = f"{path}.properties[{position}]"
        rules += quality_rules(item.get("quality"), place, column=name, columns=names, problems=problems)
    required, unique, together, others = _sorted_out(rules)
    columns = [
        column
        for position, item in enumerate(declared)
        if (column := _column(item, f"{path}.properties[{position}]", required, unique, problems))
    ]
    by_name = {column.name: column for column in columns}
    others += freshness_rules(document, str(table.get("name")), by_name, problems)
    if problems:
        return None
    return _built(table, columns, together, others, path, problems)


def _built(
    table: Mapping[str, Any],
    columns: list[Column],
    together: list[tuple[str, ...]],
    rules: list[QualityRule],
    path: str,
    problems: list[Problem],
) -> Contract | None:
    keys = sorted(
        (item for item in table.get("properties") or [] if item.get("primaryKey")),
        key=lambda item: item.get("primaryKeyPosition") or 0,
    )
    try:
        return Contract(
            name=table["name"],
            description=table.get("description"),
            key=tuple(item["name"] for item in keys),
            columns=tuple(columns),
            unique_together=tuple(together),
            quality=tuple(rules),
        )
    except ValidationError as error:
        problems.extend(pydantic_problems(error, prefix=path))
        return None


def _sorted_out(
    rules: list[QualityRule],
) -> tuple[set[str], set[str], list[tuple[str, ...]], list[QualityRule]]:
    """Rules that say in other words that a column is required or unique, and the others."""
    required: set[str] = set()
    unique: set[str] = set()
    together: list[tuple[str, ...]] = []
    others: list[QualityRule] = []
    for rule in rules:
        if rule.is_about_rows and rule.metric is Metric.NULL_VALUES:
            required |= set(rule.columns)
        elif rule.is_about_rows and rule.metric is Metric.DUPLICATE_VALUES:
            if len(rule.columns) == 1:
                unique |= set(rule.columns)
            else:
                together.append(rule.columns)
        else:
            others.append(rule)
    return required, unique, together, others


def _column(
    declared: Mapping[str, Any], path: str, required: set[str], unique: set[str], problems: list[Problem]
) -> Column | None:
    if declared.get("logicalType") not in {None, *ColumnType}:
        return None  # was refused by name
    name, options = declared.get("name"), declared.get("logicalTypeOptions") or {}
    allowed = [_plain(value.get("value")) for value in declared.get("enum") or []]
    fields = {OPTIONS[option]: _plain(value) for option, value in options.items() if option in OPTIONS}
    try:
        return validated(
            Column,
            {
                "name": name,
                "type": declared.get("logicalType") or ColumnType.STRING,
                "description": declared.get("description"),
                "required": bool(declared.get("required")) or name in required,
                "unique": bool(declared.get("unique")) or name in unique,
                **fields,
                **({"enum": allowed} if allowed else {}),
            },
            subject="",
        )
    except InputRefusedError as error:
        problems.extend(_in_its_words(problem, path) for problem in error.problems)
        return None


def _plain(value: object) -> object:
    """YAML makes a date of a date without quotes; here it stays a text."""
    return value.isoformat() if isinstance(value, date) else value


def _in_its_words(problem: Problem, path: str) -> Problem:
    """A problem of a column, at the place where the contract says it."""
    options = {field: f"logicalTypeOptions.{option}" for option, field in OPTIONS.items()}
    first, dot, rest = problem.path.partition(".")
    place = f"{path}.{options.get(first, first)}{dot}{rest}" if first else path
    return Problem(code=problem.code, path=place, message=problem.message)
