"""The PostgreSQL of one harness process: its own, so that it may stop as if its machine had."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from airflow_orchestration.domain.publish import PublishMode
from airflow_orchestration.engine.staging import StagingArea
from airflow_orchestration.storage.migrating import migrate
from airflow_orchestration.storage.postgres import PostgresStore
from airflow_orchestration.storage.target import Target
from airflow_orchestration.storage.target_pruning import TargetPruning
from airflow_orchestration.workflow.pruning import LEAST_AGE, Terms, sweep_staging
from demo.errors import StackError
from demo.postgres import EmbeddedPostgres
from demo.processes import wait_until
from tests.torture.world import EARLIER_DAY, THINGS, World

STOP_SECONDS = 30.0
START_TRIES, START_PAUSE, LOG_SHOWN = 3, 3.0, 2000
MIGRATED = "migrated"


class Server:
    """An embedded PostgreSQL with a fresh database for each run."""

    def __init__(self, folder: Path) -> None:
        self._postgres = EmbeddedPostgres(folder)
        self._numbers = count()
        self._number = 0

    def start(self) -> None:
        """Start it, with a database to copy. It need not survive a power cut: its machine never has one."""
        self._postgres.start()
        self._postgres.execute(
            sql.SQL("ALTER SYSTEM SET fsync = off"),
            sql.SQL("ALTER SYSTEM SET autovacuum = off"),
            sql.SQL("SELECT pg_reload_conf()"),
        )
        self._postgres.create_database(MIGRATED)
        with psycopg.connect(self._postgres.dsn(MIGRATED)) as connection:
            migrate(connection)

    def stop(self) -> None:
        """Stop it."""
        self._postgres.stop()

    def crash(self) -> None:
        """End all its processes at once, and start it again: it has to recover from its log."""
        postmaster = int((self._postgres.data / "postmaster.pid").read_text().splitlines()[0])
        os.kill(postmaster, signal.SIGQUIT)
        if not wait_until(lambda: not self._postgres.is_running(), STOP_SECONDS):
            raise RuntimeError("PostgreSQL did not stop")
        self._start_again()

    def _start_again(self) -> None:
        """Start what was ended. One time it did not start at first, and nobody knows why: its log is told then."""
        for _ in range(START_TRIES):
            with suppress(StackError):
                self._postgres.start()
                return
            time.sleep(START_PAUSE)
        log = (self._postgres.data / "log").read_text(errors="replace")
        raise RuntimeError(f"PostgreSQL did not start again:\n{log[-LOG_SHOWN:]}")

    def fresh(self) -> str:
        """Return the conninfo of a database that has the schema and nothing else; those of the run before are gone."""
        number = next(self._numbers)
        self._postgres.drop_database(f"run_{number - 1}")
        self._postgres.drop_database(f"target_{number - 1}")
        self._number = number
        return self._copied(f"run_{number}")

    def target(self) -> str:
        """Return the conninfo of a second such database for the same run."""
        return self._copied(f"target_{self._number}")

    def _copied(self, name: str) -> str:
        copy = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
        self._postgres.execute(copy.format(sql.Identifier(name), sql.Identifier(MIGRATED)))
        return self._postgres.dsn(name)


def give_past(dsn: str, world: World) -> None:
    """Make the table, with rows of an older run, where the world has any."""
    rows = world.past()
    if not rows:
        return
    with psycopg.connect(dsn) as connection:
        _create(connection, world)
        for day in sorted({day for _, day in rows}) if world.mode is PublishMode.PARTITION else ():
            name = "things_earlier" if day == EARLIER_DAY else "things_of_the_day"
            part = sql.SQL("CREATE TABLE public.{} PARTITION OF public.things FOR VALUES IN ({})")
            connection.execute(part.format(sql.Identifier(name), sql.Literal(day.isoformat())))
        _insert(connection, rows.values())
        if world.is_guarded:
            connection.execute(GUARDS)


def _create(connection: psycopg.Connection[Any], world: World) -> None:
    publish = world.spec.datasets[THINGS.dataset].publish
    target = Target.named(
        publish.table, world.contracts[0], mode=publish.mode, partition_by=publish.partition_by
    )
    connection.execute(target.creation())


def put_records(dsn: str, records: Sequence[str]) -> None:
    """Let the application write its events, and make the outbox for them."""
    with psycopg.connect(dsn) as connection, connection.cursor() as cursor:
        cursor.execute(OUTBOX_TABLE)
        cursor.executemany(
            "INSERT INTO public.outbox (payload) VALUES (%s)", [[record] for record in records]
        )


OUTBOX_TABLE = """
CREATE TABLE public.outbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    transaction xid8 NOT NULL DEFAULT pg_current_xact_id(),
    payload jsonb NOT NULL);
CREATE INDEX ON public.outbox (transaction, id)"""
GUARDS = """
CREATE FUNCTION public.guard() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE TRIGGER guard BEFORE INSERT OR UPDATE ON public.things FOR EACH ROW EXECUTE FUNCTION public.guard()"""


def _insert(connection: psycopg.Connection[Any], rows: Any) -> None:
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO public.things (code, day, size, name, row_id, _primary_source, _sources, _run_id) "
            "VALUES (%s, %s, %s, %s, %s, 'past', '[\"past\"]', 'older/run')",
            list(rows),
        )


SWALLOWS = """
CREATE FUNCTION public.swallow() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN IF NEW.row_id LIKE '%.1_' THEN RETURN NULL; END IF; RETURN NEW; END $$;
CREATE TRIGGER swallow BEFORE INSERT ON public.things FOR EACH ROW EXECUTE FUNCTION public.swallow()"""


def swallow(dsn: str, world: World) -> None:
    """Put a trigger on the table, which is made where it is not there, that keeps some rows out."""
    with psycopg.connect(dsn) as connection:
        if not world.has_past:
            _create(connection, world)
        connection.execute(SWALLOWS)


def prune(dsn: str, target: str) -> None:
    """Do what `airflow orchestration prune` does for the rests of executions, as if a day had gone by."""
    with PostgresStore(lambda: psycopg.connect(dsn)) as store:
        sweep_staging(store, lambda root: StagingArea(Path(root)), Terms(age=LEAST_AGE, quiet=timedelta(0)))
    TargetPruning(lambda: psycopg.connect(target)).drop_scratch(timedelta(0))
