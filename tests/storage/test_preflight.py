"""Preflight: everything that would keep a publication from its table, before any work is done."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
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


def test_a_server_that_does_not_answer_is_asked_again(database: str) -> None:
    """An outage passes: it is told as it is, for Airflow to try again, and without secrets."""
    elsewhere = make_conninfo(database, host="/nowhere", password="SECRET")
    with pytest.raises(psycopg.OperationalError) as error:
        Publisher(lambda: psycopg.connect(elsewhere)).preflight(TABLE, CONTRACT)
    assert "SECRET" not in str(error.value)


@pytest.fixture
def stranger(database: str, target: Target) -> Iterator[str]:
    """The conninfo string of a role that has a password, which the server asks for."""
    target.execute("DROP ROLE IF EXISTS storage_stranger")
    target.execute("CREATE ROLE storage_stranger LOGIN PASSWORD 'right'")
    [rules] = target.execute("SHOW hba_file").fetchone() or [""]
    before = Path(rules).read_text()
    Path(rules).write_text(f"local all storage_stranger scram-sha-256\n{before}")
    target.execute("SELECT pg_reload_conf()")
    yield make_conninfo(database, user="storage_stranger", password="right")
    Path(rules).write_text(before)
    target.execute("SELECT pg_reload_conf()")
    target.execute("DROP ROLE storage_stranger")


@pytest.mark.parametrize(
    ("named", "cause"),
    [
        ({"password": "SECRET"}, "authentication failed"),
        ({"password": ""}, "no password supplied"),
        ({"user": "nobody_at_all"}, 'role "nobody_at_all" does not exist'),
        ({"dbname": "nowhere"}, 'database "nowhere" does not exist'),
    ],
)
def test_a_server_that_turns_us_away_is_a_problem(stranger: str, named: dict[str, str], cause: str) -> None:
    """A wrong password, user or database stays wrong: it is a problem, without its secrets."""
    [problem] = refused(lambda: psycopg.connect(make_conninfo(stranger, **named)))
    assert problem.startswith("connection: the server turns us away: ")
    assert cause in problem
    assert problem.endswith("; check database, user and password")
    assert "SECRET" not in problem


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ("ALTER ROLE storage_stranger NOLOGIN", "is not permitted to log in"),
        ("REVOKE CONNECT ON DATABASE {} FROM PUBLIC", "permission denied for database"),
    ],
)
def test_a_role_that_may_not_connect_is_refused(
    stranger: str, target: Target, change: str, cause: str
) -> None:
    """What the server does not let in is a problem."""
    target.execute(change.format(target.info.dbname))
    [problem] = refused(lambda: psycopg.connect(stranger))
    assert cause in problem


def test_a_server_that_is_full_is_asked_again(stranger: str, target: Target) -> None:
    """Too many connections pass."""
    target.execute("ALTER ROLE storage_stranger CONNECTION LIMIT 0")
    with pytest.raises(psycopg.OperationalError, match="too many connections"):
        Publisher(lambda: psycopg.connect(stranger)).preflight(TABLE, CONTRACT)


def fail_rehearsals(target: Target, sqlstate: str) -> None:
    target.execute(
        "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION 'failed' USING ERRCODE = '{sqlstate}'; END $$"
    )
    target.execute("CREATE TRIGGER fail BEFORE INSERT ON orchestration.publish_claim EXECUTE FUNCTION fail()")


@pytest.mark.parametrize(
    "sqlstate", ["55P03", "40P01", "40001", "57014", "57P01", "53100", "08006", "25P03", "XX000"]
)
def test_what_passes_is_no_problem_of_the_table(connect: Connect, target: Target, sqlstate: str) -> None:
    """Locks, deadlocks and failures of the server are told as they are, for Airflow to try again."""
    fail_rehearsals(target, sqlstate)
    with pytest.raises(psycopg.Error, match="failed") as error:
        Publisher(connect).preflight(TABLE, CONTRACT)
    assert sqlstate == error.value.sqlstate


@pytest.mark.parametrize("sqlstate", ["42501", "42804", "54011", "55000", "P0001"])
def test_what_stays_is_a_problem_of_the_table(connect: Connect, target: Target, sqlstate: str) -> None:
    """What a later attempt would meet as well is refused."""
    fail_rehearsals(target, sqlstate)
    assert [f"orchestration: a rehearsal with no rows was refused ({sqlstate}): failed"] == refused(connect)


def test_a_database_without_the_schema_is_refused(database: str) -> None:
    """The ledger's schema is needed in the target database as well."""
    problems = refused(lambda: psycopg.connect(database), "nowhere.airport")
    assert 2 == len(problems)
    assert problems[1].endswith("run: airflow orchestration migrate")
