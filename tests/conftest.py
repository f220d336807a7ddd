"""What tests share: an embedded PostgreSQL, fresh databases on it, and one whole local stack."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from shutil import copytree
from tempfile import TemporaryDirectory

import psycopg
import pytest
from hypothesis import settings
from psycopg import sql
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from airflow_orchestration.storage.migrating import migrate
from demo.ports import free_port
from demo.postgres import EmbeddedPostgres
from demo.stack import Stack

REPOSITORY = Path(__file__).resolve().parent.parent
_numbers = count()

# The same examples on every run, and no stopwatch: a law that fails does so for its author, not for the next one.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")

collect_ignore = ["dags"]  # Dag files are for Airflow to import
_airflow_home = TemporaryDirectory(prefix="airflow-home-")
if "PYTEST_XDIST_WORKER" in os.environ:  # its parent's home is not its own
    os.environ["AIRFLOW_HOME"] = _airflow_home.name
os.environ.setdefault("AIRFLOW_HOME", _airflow_home.name)  # importing airflow writes its settings there


OF_A_STACK = ("browser", "demo", "deploy", "integration", "torture")
"""Folders of tests of a whole stack: they share one, wait a lot, and take longest."""


class OneStack(LoadScopeScheduling):
    """Gives one process all tests of a whole stack, and the other the files of the rest."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "stack" if file.split("/")[1] in OF_A_STACK else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> OneStack:
    """How `make test` shares out the tests."""
    return OneStack(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the tests that take longest."""
    items.sort(key=lambda item: item.path.parent.name not in OF_A_STACK)


@pytest.fixture(scope="session")
def outside() -> Iterator[Path]:
    """A folder outside pytest's own, which another pytest closes to the server's user when it starts."""
    with TemporaryDirectory(prefix="orchestration-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def postgres(outside: Path) -> Iterator[EmbeddedPostgres]:
    """An embedded PostgreSQL without Airflow; quick, because it need not survive a power cut."""
    server = EmbeddedPostgres(outside / "postgres")
    server.start()
    server.execute(sql.SQL("ALTER SYSTEM SET fsync = off"), sql.SQL("SELECT pg_reload_conf()"))
    yield server
    server.stop()


@pytest.fixture
def database(postgres: EmbeddedPostgres) -> Iterator[str]:
    """The conninfo string of a fresh, empty database."""
    name = f"test_{next(_numbers)}"
    postgres.create_database(name)
    yield postgres.dsn(name)
    postgres.drop_database(name)


@pytest.fixture(scope="session")
def create_migrated(postgres: EmbeddedPostgres) -> Callable[[str], str]:
    """Creates databases that have the schema, by name, and returns their conninfo strings: copies of one that was migrated."""
    postgres.create_database("migrated")
    with psycopg.connect(postgres.dsn("migrated")) as connection:
        migrate(connection)

    def create(name: str) -> str:
        copy = sql.SQL("CREATE DATABASE {} TEMPLATE migrated").format(sql.Identifier(name))
        postgres.execute(copy)
        return postgres.dsn(name)

    return create


@pytest.fixture
def migrated(postgres: EmbeddedPostgres, create_migrated: Callable[[str], str]) -> Iterator[str]:
    """The conninfo string of a fresh database that has the schema."""
    name = f"test_{next(_numbers)}"
    yield create_migrated(name)
    postgres.drop_database(name)


@pytest.fixture(scope="session")
def stack(outside: Path) -> Iterator[Stack]:
    """One healthy local stack with copies of `dags` and `tests/dags`, and with landing folders of its own."""
    folder = outside / "stack"
    folder.mkdir()
    copies = [
        Path(copytree(REPOSITORY / "dags", folder / "dags")),
        Path(copytree(REPOSITORY / "tests" / "dags", folder / "test_dags")),
    ]
    running = Stack(folder / ".orchestration", port=free_port(), dags_folders=copies)
    try:
        running.up()
        yield running
    finally:
        running.down()
