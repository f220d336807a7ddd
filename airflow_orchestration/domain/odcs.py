"""Reads a dataset contract in the Open Data Contract Standard v3; what it can't honour it refuses by name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from airflow_orchestration.domain.contract import ColumnType, Contract
from airflow_orchestration.domain.problems import pydantic_problems
from airflow_orchestration.domain.yaml_file import read_yaml
from airflow_orchestration.exceptions import InputRefusedError, Problem

_OPTIONS = {
    "pattern": "pattern",
    "minimum": "minimum",
    "maximum": "maximum",
    "minLength": "min_length",
    "maxLength": "max_length",
}
_HONOURED = {"logicalType", "logicalTypeOptions", "name", "primaryKey", "primaryKeyPosition", "required"}
_DESCRIPTIVE = {
    "authoritativeDefinitions",
    "businessName",
    "classification",
    "criticalDataElement",
    "customProperties",
    "deprecated",
    "description",
    "examples",
    "id",
    "physicalName",
    "physicalType",
    "semanticType",
    "synonyms",
    "tags",
    "transformDescription",
}


def read_contracts(path: Path) -> tuple[Contract, ...]:
    """Read every schema object of a contract file; raises `InputRefusedError` with every problem."""
    # The ODCS model takes 0.3 s to import; tasks that only read a stored run never need it.
    from open_data_contract_standard.model import OpenDataContractStandard  # noqa: PLC0415

    document = read_yaml(path)
    try:
        OpenDataContractStandard.model_validate(document)
    except ValidationError as error:
        raise InputRefusedError(f"dataset contract {path.name}", pydantic_problems(error)) from None
    problems = list(_refused(document))
    if problems:
        raise InputRefusedError(f"dataset contract {path.name}", problems)
    return tuple(_contract(table, path) for table in document["schema"])


def _refused(document: dict[str, Any]) -> Iterator[Problem]:
    if not str(document.get("apiVersion", "")).startswith("v3."):
        yield Problem(path="apiVersion", message="only v3 of the standard is read; write for example v3.1.0")
    schema = document.get("schema") or []
    if not schema:
        yield Problem(path="schema", message="a schema object is needed, none is there")
    names = [table.get("name") for table in schema]
    for index, table in enumerate(schema):
        if table.get("name") in names[:index]:
            yield Problem(path=f"schema[{index}].name", message=f"{table.get('name')!r} stands twice")
        if table.get("quality"):
            yield _unsupported(f"schema[{index}].quality")
        for position, declared in enumerate(table.get("properties") or []):
            yield from _refused_property(declared, f"schema[{index}].properties[{position}]")


def _refused_property(declared: dict[str, Any], path: str) -> Iterator[Problem]:
    for name in declared:
        if name not in _HONOURED | _DESCRIPTIVE:
            yield _unsupported(f"{path}.{name}")
    for name in declared.get("logicalTypeOptions") or {}:
        if name not in _OPTIONS:
            yield _unsupported(f"{path}.logicalTypeOptions.{name}")


def _unsupported(path: str) -> Problem:
    return Problem(path=path, message="this part of the standard is not supported yet; remove it")


def _contract(table: dict[str, Any], path: Path) -> Contract:
    declared = table.get("properties") or []
    keys = sorted(
        (item for item in declared if item.get("primaryKey")),
        key=lambda item: item.get("primaryKeyPosition") or 0,
    )
    try:
        return Contract.model_validate(
            {
                "name": table["name"],
                "key": [item["name"] for item in keys],
                "columns": [_column(item) for item in declared],
            }
        )
    except ValidationError as error:
        raise InputRefusedError(f"dataset contract {path.name}", pydantic_problems(error)) from None


def _column(declared: dict[str, Any]) -> dict[str, Any]:
    options = declared.get("logicalTypeOptions") or {}
    return {
        "name": declared["name"],
        "type": declared.get("logicalType", ColumnType.STRING),
        "required": bool(declared.get("required")),
        **{_OPTIONS[name]: value for name, value in options.items()},
    }
