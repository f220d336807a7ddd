"""A database with the schema, and worlds of late feeds in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.reconcile.world import World

Connect = Callable[[], psycopg.Connection[Any]]
MakeWorld = Callable[..., World]


@pytest.fixture
def connect(migrated: str) -> Connect:
    """Opens connections to a database with the schema."""
    return lambda: psycopg.connect(migrated)


@pytest.fixture
def make_world(connect: Connect, tmp_path: Path) -> MakeWorld:
    """Makes worlds by name, each with a table of its own."""

    def make(name: str, feeds: dict[str, float], files: dict[tuple[int, str], str], **changes: Any) -> World:
        return World(
            folder=tmp_path / name,
            table=f"public.{name}",
            feeds=feeds,
            files=files,
            connect=connect,
            changes=changes,
        )

    return make
