"""Preflight: everything that would keep a publication from its table, before any work is done."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from airflow_orchestration.exceptions import InputRefusedError
from airflow_orchestration.storage.publishing import Publisher
from tests.storage.conftest import Connect
from tests.storage.publications import CONTRACT, TABLE, content, publication

Target = psycopg.Connection[Any]


def refused(connect: Connect, table: str = TABLE) -> list[str]:
    with pytest.raises(InputRefusedError) as error:
        Publisher(connect).preflight(table, CONTRACT)
    return [str(problem) for problem in error.value.problems]


def objects(target: Target) -> list[Any]:
    return target.execute("SELECT oid FROM pg_class ORDER BY oid").fetchall()


def test_a_table_that_can_be_made_is_fine(connect: Connect, target: Target) -> None:
    """A missing table in a schema where we may create one is no problem, and preflight leaves nothing."""
    before = objects(target)
    Publisher(connect).preflight(TABLE, CONTRACT)
    assert before == objects(target)
    assert (0,) == target.execute("SELECT count(*) FROM orchestration.publish_claim").fetchone()


def test_a_table_that_was_published_to_is_fine(connect: Connect, target: Target) -> None:
    """The table that a publication made passes, and keeps its rows."""
    rows = content()
    Publisher(connect).publish(publication(rows), *rows.chunks())
    Publisher(connect).preflight(TABLE, CONTRACT)
    assert (5,) == target.execute(f"SELECT count(*) FROM {TABLE}").fetchone()


def test_all_problems_of_a_table_come_at_once(connect: Connect, target: Target) -> None:
    """Missing columns, wrong types, uncovered columns and the missing key stand in one message."""
    target.execute(f"CREATE TABLE {TABLE} (code text, name varchar(9), elevation text, owner text NOT NULL)")
    target.execute(f"CREATE UNIQUE INDEX ON {TABLE} (code) WHERE code > 'b'")
    problems = refused(connect)
    assert "public.airport.elevation: is text; it must be bigint or integer or numeric" in problems
    assert "public.airport.latitude: is missing; add it as double precision" in problems
    assert "public.airport._sources: is missing; add it as jsonb" in problems
    assert "public.airport: has no unique key on (code); add a primary key on it" in problems
    assert [True] == [True for problem in problems if problem.startswith("public.airport.owner: is NOT NULL")]
    assert not any("name" in problem for problem in problems)


def test_a_missing_schema_is_named(connect: Connect) -> None:
    """A schema that does not exist is a problem with its remedy."""
    assert ["nowhere: there is no such schema; create it"] == refused(connect, "nowhere.airport")


@pytest.mark.parametrize(
    "made", ["CREATE VIEW {} AS SELECT 1", "CREATE TABLE {} (code text) PARTITION BY LIST (code)"]
)
def test_what_is_no_ordinary_table_is_refused(connect: Connect, target: Target, made: str) -> None:
    """Views and partitioned tables can't be published to."""
    target.execute(made.format(TABLE))
    assert ["public.airport: is no ordinary table; name a table without partitions"] == refused(connect)


def test_missing_privileges_are_named(database: str, connect: Connect, target: Target) -> None:
    """A role that may not write to the table or to the ledger is told both."""
    rows = content()
    Publisher(connect).publish(publication(rows), *rows.chunks())
    target.execute("DROP ROLE IF EXISTS storage_reader")
    target.execute("CREATE ROLE storage_reader LOGIN")
    try:
        target.execute(f"GRANT SELECT ON {TABLE} TO storage_reader")
        target.execute("GRANT USAGE ON SCHEMA orchestration TO storage_reader")
        target.execute("GRANT SELECT ON orchestration.migration TO storage_reader")
        problems = refused(lambda: psycopg.connect(database, user="storage_reader"))
    finally:
        target.execute("DROP OWNED BY storage_reader")
        target.execute("DROP ROLE storage_reader")
    assert [
        f"public.airport: the connection's role lacks {name} on it; grant it" for name in ("INSERT", "UPDATE")
    ] == [problem for problem in problems if "lacks" in problem]
    assert "orchestration: a rehearsal with no rows was refused (42501)" in problems[-1]


@pytest.mark.usefixtures("connect")
def test_a_server_that_only_reads_is_refused(database: str) -> None:
    """A connection that can't write is refused, with the remedy."""
    reading = make_conninfo(database, options="-c default_transaction_read_only=on")
    problems = refused(lambda: psycopg.connect(reading))
    assert ["connection: only reads; name the primary server in the connection"] == problems


def test_a_server_that_does_not_answer_is_refused(database: str) -> None:
    """A connection that can't be opened is a problem without its secrets."""
    elsewhere = make_conninfo(database, host="/nowhere", password="SECRET")
    problems = refused(lambda: psycopg.connect(elsewhere))
    assert 1 == len(problems)
    assert problems[0].startswith("connection: can't connect (OperationalError); check host")


def test_a_database_without_the_schema_is_refused(database: str) -> None:
    """The ledger's schema is needed in the target database as well."""
    problems = refused(lambda: psycopg.connect(database), "nowhere.airport")
    assert 2 == len(problems)
    assert problems[1].endswith("run: airflow orchestration migrate")
