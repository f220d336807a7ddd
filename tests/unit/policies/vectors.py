"""Rules of the seed as rows of TOML tables: a claim, the facts, the decision."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parent


def cases(module: str, table: str) -> pytest.MarkDecorator:
    """Run a test once per row of one table of `<module>.toml`; the claim is the test's name."""
    rows = tomllib.loads((FOLDER / f"{module}.toml").read_text())[table]
    return pytest.mark.parametrize("row", [pytest.param(row, id=row["claim"]) for row in rows])


def every_row(module: str) -> list[dict[str, Any]]:
    """All rows of `<module>.toml`, whatever their table."""
    tables = tomllib.loads((FOLDER / f"{module}.toml").read_text())
    return [row for rows in tables.values() for row in rows]
