"""Stores with runs of any age: what a run did is real, when it did it is moved back by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from pathlib import Path
from shutil import copytree, rmtree
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.types.string import TextLoader

from airflow_orchestration.engine.staging import StagingArea
from airflow_orchestration.storage.postgres import PostgresStore
from airflow_orchestration.storage.store import RunKey
from airflow_orchestration.workflow.pruning import Pruned, Terms, prune
from demo.postgres import EmbeddedPostgres
from tests.reconcile.world import World
from tests.rewriting import REWRITING

CODES = "code,size,name\n"
FILES = {
    (0, "red"): f"{CODES}a,1,x\nb,-1,y\n",
    (0, "blue"): f"{CODES}c,3,z\n",
    (1, "red"): f"{CODES}a,2,x\n",
    (1, "blue"): f"{CODES}c,4,z\nd,-4,z\n",
    (2, "grey"): f"{CODES}e,5,v\n",
}
DAYS = 90
LONG_AGO = timedelta(days=DAYS)
AGED = (
    "UPDATE orchestration.run SET started_at = started_at - %(age)s, finished_at = finished_at - %(age)s",
    "UPDATE orchestration.claim SET claimed_at = claimed_at - %(age)s",
    "UPDATE orchestration.feed_outcome SET registered_at = registered_at - %(age)s",
    "UPDATE orchestration.feed_profile SET registered_at = registered_at - %(age)s",
    "UPDATE orchestration.timeline SET at = at - %(age)s",
    "UPDATE orchestration.decision SET decided_at = decided_at - %(age)s",
    "UPDATE orchestration.sync_point SET deadline_at = deadline_at - %(age)s",
)
TABLES = """
    SELECT table_name, array_agg(column_name::text) @> '{dag_id,run_id}' FROM information_schema.columns
    WHERE table_schema = 'orchestration' GROUP BY table_name"""

Row = tuple[Any, ...]
_numbers = count()


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A database with a store and a target table, and a folder with the runs' files."""

    world: World
    store: PostgresStore
    connect: Callable[[], psycopg.Connection[Any]]

    def age(self, run: RunKey, days: int = 100) -> None:
        """Let a run have begun and ended so many days earlier."""
        with self.connect() as connection:
            connection.execute(REWRITING)
            for statement in AGED:
                named = {"age": timedelta(days=days), "dag_id": run.dag_id, "run_id": run.run_id}
                connection.execute(
                    f"{statement} WHERE dag_id = %(dag_id)s AND run_id = %(run_id)s",  # type: ignore[arg-type]
                    named,
                )

    def prune(self, age: timedelta = LONG_AGO, **terms: Any) -> Pruned:
        """Prune as the command does."""
        return prune(self.store, lambda root: StagingArea(Path(root)), Terms(age=age, **terms))

    def rows(self) -> dict[str, list[Row]]:
        """All rows of the schema, by table; moments as text, since some are infinite."""
        with self.connect() as connection:
            connection.adapters.register_loader("timestamptz", TextLoader)
            names = [name for name, _ in connection.execute(TABLES)]
            return {
                name: sorted(connection.execute(f"SELECT * FROM orchestration.{name}").fetchall(), key=repr)  # type: ignore[arg-type]
                for name in names
            }

    def of(self, run: RunKey) -> dict[str, int]:
        """How many rows there are of a run, by table."""
        with self.connect() as connection:
            names = [name for name, is_of_runs in connection.execute(TABLES) if is_of_runs]
            counts = {
                name: connection.execute(
                    f"SELECT count(*) FROM orchestration.{name} WHERE (dag_id, run_id) = (%s, %s)",  # type: ignore[arg-type]
                    (run.dag_id, run.run_id),
                ).fetchone()
                for name in names
            }
        return {name: row[0] for name, row in counts.items() if row and row[0]}

    def files(self) -> Sequence[str]:
        """Every staged file."""
        staging = self.world.folder / "staging"
        return sorted(str(path.relative_to(staging)) for path in staging.rglob("*") if path.is_file())


@contextmanager
def kept_in(dsn: str, folder: Path, tries: int = 1) -> Iterator[Kept]:
    """What is kept in a database and a folder; attempts are counted from a number on."""

    def connect() -> psycopg.Connection[Any]:
        return psycopg.connect(dsn)

    feeds = {"red": 2.0, "blue": 1.0}
    world = World(folder=folder, table="public.things", feeds=feeds, files=FILES, connect=connect)
    world._tries = count(tries)
    with PostgresStore(connect) as store:
        world.store = store  # type: ignore[assignment]  # both keep the promises of a store
        yield Kept(world=world, store=store, connect=connect)


@pytest.fixture
def kept(migrated: str, tmp_path: Path) -> Iterator[Kept]:
    """A store without runs."""
    with kept_in(migrated, tmp_path / "world") as made:
        yield made


@pytest.fixture(scope="session")
def played(create_migrated: Callable[[str], str], outside: Path) -> Path:
    """The folder of two runs of long ago, and one of today with another feed; the database has its name."""
    folder = outside / "pruned"
    with kept_in(create_migrated(folder.name), folder) as made:
        made.world.land(list(FILES))
        for number in (0, 1):
            made.world.run(number)
            made.age(made.world.key(number), 100 - number)
        made.world.feeds = {"grey": 1.0}  # so that nothing is estimated from the old ones
        made.world.run(2)
    copytree(folder, outside / "pruned_copy")
    return folder


@pytest.fixture
def two_old(played: Path, postgres: EmbeddedPostgres) -> Iterator[Kept]:
    """A copy of what was played, in the same folder."""
    name = f"{played.name}_{next(_numbers)}"
    copy = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
    postgres.execute(copy.format(sql.Identifier(name), sql.Identifier(played.name)))
    rmtree(played)
    copytree(played.with_name("pruned_copy"), played)
    with kept_in(postgres.dsn(name), played, tries=100) as made:
        made.world.feeds = {"grey": 1.0}
        yield made
    postgres.drop_database(name)
