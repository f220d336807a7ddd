"""A store on PostgreSQL, and runs in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest

from airflow_orchestration.storage.postgres import PostgresStore
from demo.postgres import EmbeddedPostgres
from tests.insights_pg.played import PlayedRun

_numbers = count()
MakeRun = Callable[..., PlayedRun]


@pytest.fixture(scope="module")
def played(postgres: EmbeddedPostgres, create_migrated: Callable[[str], str]) -> Iterator[str]:
    """A database for all runs of a module: each has a name of its own."""
    yield create_migrated("played")
    postgres.drop_database("played")


@pytest.fixture(scope="module")
def store(played: str) -> Iterator[PostgresStore]:
    """The store in it."""
    with PostgresStore(lambda: psycopg.connect(played)) as store:
        yield store


@pytest.fixture
def make_run(store: PostgresStore, played: str, tmp_path: Path) -> MakeRun:
    """Makes a run that has been analyzed; its feeds come by `land`."""

    def make(feeds: Mapping[str, Mapping[str, Any]], **pipeline: Any) -> PlayedRun:
        run_id = f"manual__{next(_numbers)}"
        run = PlayedRun(tmp_path, store, lambda: psycopg.connect(played), feeds, run_id=run_id, **pipeline)
        run.start()
        return run

    return make
