"""A reason that a person reads leads to one line of code and to one row of a table."""

from __future__ import annotations

import ast
from enum import StrEnum
from importlib import import_module
from pathlib import Path

import pytest

import airflow_orchestration.policies
from tests.unit.policies.vectors import every_row

FOLDER = Path(airflow_orchestration.policies.__path__[0])
MODULES = sorted(path.stem for path in FOLDER.glob("[a-z]*.py"))


def reasons(module: str) -> list[StrEnum]:
    found = vars(import_module(f"airflow_orchestration.policies.{module}"))
    enums = [value for name, value in found.items() if name.endswith("Reason")]
    return [member for enum in enums for member in enum]


REASONS = [
    pytest.param(module, reason, id=f"{module}-{reason}") for module in MODULES for reason in reasons(module)
]


@pytest.mark.parametrize(("module", "reason"), REASONS)
def test_a_reason_stands_in_exactly_one_place(module: str, reason: StrEnum) -> None:
    """Each reason is named once outside its definition."""
    tree = ast.parse((FOLDER / f"{module}.py").read_text())
    uses = [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and (node.value.id, node.attr) == (type(reason).__name__, reason.name)
    ]

    assert 1 == len(uses)


@pytest.mark.parametrize(("module", "reason"), REASONS)
def test_a_reason_is_shown_by_a_row(module: str, reason: StrEnum) -> None:
    """For each reason, a row of the module's table shows when it is given."""
    shown = {row["expected"].get("reason") for row in every_row(module) if isinstance(row["expected"], dict)}

    assert reason.value in shown


def test_every_policy_has_reasons() -> None:
    """Each policy explains itself; routing is a table, success an estimate, and neither decides anything."""
    assert ["agent_success", "routing"] == [module for module in MODULES if not reasons(module)]
