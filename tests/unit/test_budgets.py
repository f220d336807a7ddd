"""Modules and functions that grow too long hide an idea that wants a name."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "airflow_orchestration"
MODULES = [pytest.param(path, id=str(path.relative_to(PACKAGE))) for path in sorted(PACKAGE.rglob("*.py"))]
LINES_PER_MODULE = 400
LINES_PER_FUNCTION = 40


def body_lengths(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            yield node.name, (node.end_lineno or 0) - body[0].lineno + 1 if body else 0


@pytest.mark.parametrize("path", MODULES)
def test_a_module_fits_in_a_head(path: Path) -> None:
    """No module has more than 400 lines."""
    assert LINES_PER_MODULE >= len(path.read_text().splitlines())


@pytest.mark.parametrize("path", MODULES)
def test_a_function_fits_on_a_screen(path: Path) -> None:
    """No function body has more than 40 lines, its docstring not counted."""
    assert {} == {name: length for name, length in body_lengths(path) if length > LINES_PER_FUNCTION}
