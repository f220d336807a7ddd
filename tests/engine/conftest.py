"""Fixtures of the engine's tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engine.builders import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """A folder to put a file in and ingest it."""
    return Bench(tmp_path)
