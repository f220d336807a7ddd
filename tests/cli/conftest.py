"""The terminal of these tests is wide: where folders are long, a table cuts what it has no room for."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have room for every table, wherever the tests run."""
    monkeypatch.setenv("COLUMNS", "200")
