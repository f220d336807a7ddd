"""A store on PostgreSQL, and runs in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psycopg
import pytest

from airflow_orchestration.storage.migrating import migrate
from airflow_orchestration.storage.postgres import PostgresStore
from tests.insights_pg.played import PlayedRun

MakeRun = Callable[..., PlayedRun]


@pytest.fixture
def store(database: str) -> Iterator[PostgresStore]:
    """A store in a database of its own."""
    with psycopg.connect(database) as connection:
        migrate(connection)
    with PostgresStore(lambda: psycopg.connect(database)) as store:
        yield store


@pytest.fixture
def make_run(store: PostgresStore, database: str, tmp_path: Path) -> MakeRun:
    """Makes a run that has been analyzed; its feeds come by `land`."""

    def make(feeds: Mapping[str, Mapping[str, Any]], **pipeline: Any) -> PlayedRun:
        run = PlayedRun(tmp_path, store, lambda: psycopg.connect(database), feeds, **pipeline)
        run.start()
        return run

    return make
