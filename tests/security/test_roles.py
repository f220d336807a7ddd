"""Who may do what in the store and beside the targets: every role, every table, every verb."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import errors, sql

from airflow_orchestration.storage.migrating import migrate
from airflow_orchestration.storage.postgres import PostgresStore
from airflow_orchestration.storage.sql_file import FOLDER
from demo.postgres import EmbeddedPostgres
from tests.cli.commands import command
from tests.security.database_roles import (
    OWNER,
    PUBLISHER,
    READER,
    REGISTRAR,
    ROLES,
    SCRIPT,
    WORKER,
    apply_roles,
    connections,
    login,
)

VERBS = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER")
NOTHING, READS, ADDS = "", "SELECT", "SELECT INSERT"
CHANGES, TAKES_BACK = "SELECT INSERT UPDATE", "SELECT INSERT DELETE"
MATRIX = {
    "agent_outcome": (CHANGES, NOTHING),
    "agents_of_round": (ADDS, NOTHING),
    "claim": (CHANGES, NOTHING),
    "decision": (ADDS, NOTHING),
    "feed_outcome": (CHANGES, NOTHING),
    "feed_profile": (TAKES_BACK, NOTHING),
    "job_revision": (READS, NOTHING),
    "lease": ("SELECT INSERT UPDATE DELETE", NOTHING),
    "forgotten_staging": (NOTHING, NOTHING),
    "lease_capacity": (READS, NOTHING),
    "merge": (CHANGES, NOTHING),
    "migration": (READS, READS),
    "pruned_run": (READS, NOTHING),
    "publish_claim": (NOTHING, "SELECT INSERT UPDATE(claimed_at,epoch)"),
    "publish_ledger": (NOTHING, "SELECT INSERT UPDATE(rows_inserted,rows_unchanged,rows_updated)"),
    "publish_ledger_feed": (NOTHING, ADDS),
    "quarantined_row": (NOTHING, ADDS),
    "round": ("SELECT INSERT UPDATE(decided_at,verdict)", NOTHING),
    "run": (CHANGES, NOTHING),
    "stream_closed": (TAKES_BACK, NOTHING),
    "stream_range": (CHANGES, NOTHING),
    "sync_point": ("SELECT INSERT UPDATE(floor_reached_at)", NOTHING),
    "timeline": (ADDS, NOTHING),
    "trust": (TAKES_BACK, NOTHING),
    "waiting": (TAKES_BACK, NOTHING),
}
"""What worker and publisher may do. The reader reads everything, the owner may do everything; a new table needs a line."""
OF_REGISTRAR = {"job_revision": ADDS, "migration": READS}
TABLES = """SELECT relname::text, array_agg(attname::text ORDER BY attname)
            FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped
            WHERE relnamespace = 'orchestration'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'f')
            GROUP BY relname ORDER BY relname"""


@pytest.fixture(scope="module")
def database(postgres: EmbeddedPostgres, create_migrated: Callable[[str], str]) -> Iterator[str]:
    """A database in which the script was run twice."""
    dsn = create_migrated("roles")
    apply_roles(dsn)
    apply_roles(dsn)
    yield dsn
    postgres.drop_database("roles")


@pytest.fixture(scope="module")
def admin(database: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection of the server's owner."""
    with psycopg.connect(database, autocommit=True) as connection:
        yield connection


def granted(admin: psycopg.Connection[Any], role: str, table: str, columns: list[str]) -> str:
    """What a role may do with a table, where it is not the whole table with the columns."""
    found = []
    for verb in VERBS:
        asked = (role, f"orchestration.{table}", verb)
        if admin.execute("SELECT has_table_privilege(%s, %s, %s)", asked).fetchone() == (True,):
            found.append(verb)
        elif verb in {"SELECT", "INSERT", "UPDATE", "REFERENCES"}:
            query = "SELECT has_column_privilege(%s, %s, %s, %s)"
            some = [
                one for one in columns if admin.execute(query, (*asked[:2], one, verb)).fetchone() == (True,)
            ]
            found += [f"{verb}({','.join(some)})"] if some else []
    return " ".join(found)


@pytest.mark.parametrize(("place", "role"), [(0, WORKER), (1, PUBLISHER)])
def test_a_role_may_do_what_its_work_needs(admin: psycopg.Connection[Any], place: int, role: str) -> None:
    """Every table and verb is as the matrix says, column by column; a table without a line fails."""
    found = {table: granted(admin, role, table, columns) for table, columns in admin.execute(TABLES)}

    assert {table: rights[place] for table, rights in MATRIX.items()} == found


def test_the_registrar_adds_to_the_registry_alone(admin: psycopg.Connection[Any]) -> None:
    """Whoever changes jobs touches no run, no publication and no other table."""
    found = {table: granted(admin, REGISTRAR, table, columns) for table, columns in admin.execute(TABLES)}

    assert OF_REGISTRAR == {table: rights for table, rights in found.items() if rights}


def test_the_reader_reads_and_the_owner_owns(admin: psycopg.Connection[Any]) -> None:
    """Nothing is hidden from the one, and nothing kept from the other; everybody else has nothing at all."""
    tables = dict(admin.execute(TABLES).fetchall())
    everybody = """SELECT privilege_type FROM pg_class CROSS JOIN aclexplode(relacl)
                   WHERE relnamespace = 'orchestration'::regnamespace AND grantee = 0"""

    assert {READS} == {granted(admin, READER, table, columns) for table, columns in tables.items()}
    assert {" ".join(VERBS)} == {granted(admin, OWNER, table, columns) for table, columns in tables.items()}
    assert [] == admin.execute(everybody).fetchall()


def test_schemas_sequences_and_routines_are_the_owner_s(admin: psycopg.Connection[Any]) -> None:
    """Tables are made in scratch by who publishes, numbers taken by who works; routines are called by nobody else."""
    schemas = {
        (role, schema): [
            verb
            for verb in ("USAGE", "CREATE")
            if admin.execute("SELECT has_schema_privilege(%s, %s, %s)", (role, schema, verb)).fetchone()
            == (True,)
        ]
        for role in ROLES
        for schema in ("orchestration", "orchestration_scratch")
    }
    may_call = """SELECT rolname, proname FROM pg_proc CROSS JOIN pg_roles
                  WHERE pronamespace = 'orchestration'::regnamespace AND rolname = ANY (%s)
                    AND has_function_privilege(rolname, pg_proc.oid, 'EXECUTE') ORDER BY 1, 2"""
    numbers = """SELECT rolname, relname FROM pg_class CROSS JOIN pg_roles
                 WHERE relnamespace = 'orchestration'::regnamespace AND relkind = 'S' AND rolname = ANY (%s)
                   AND has_sequence_privilege(rolname, pg_class.oid, 'USAGE, UPDATE') ORDER BY 1, 2"""
    others = [list(ROLES[1:])]

    assert {
        (OWNER, "orchestration"): ["USAGE", "CREATE"],
        (OWNER, "orchestration_scratch"): ["USAGE", "CREATE"],
        (WORKER, "orchestration"): ["USAGE"],
        (WORKER, "orchestration_scratch"): [],
        (PUBLISHER, "orchestration"): ["USAGE"],
        (PUBLISHER, "orchestration_scratch"): ["USAGE", "CREATE"],
        (REGISTRAR, "orchestration"): ["USAGE"],
        (REGISTRAR, "orchestration_scratch"): [],
        (READER, "orchestration"): ["USAGE"],
        (READER, "orchestration_scratch"): [],
    } == schemas
    assert [] == admin.execute(may_call, others).fetchall()
    assert [(WORKER, "epoch")] == admin.execute(numbers, others).fetchall()


def test_the_roles_are_no_logins_and_nothing_else(admin: psycopg.Connection[Any]) -> None:
    """Whoever has one of them gets what stands in the script, and no attribute of the server."""
    query = """SELECT rolname FROM pg_roles
               WHERE rolname = ANY (%s) AND NOT (rolcanlogin OR rolsuper OR rolcreaterole OR rolcreatedb
                                                 OR rolreplication OR rolbypassrls)"""

    assert set(ROLES) == {name for (name,) in admin.execute(query, [list(ROLES)])}


def test_what_was_granted_besides_is_taken_back(database: str, admin: psycopg.Connection[Any]) -> None:
    """The script says everything that the roles may do: another run of it makes that true again."""
    admin.execute(f"GRANT DELETE, UPDATE (detail) ON orchestration.timeline TO {WORKER}, PUBLIC")
    apply_roles(database)

    assert ADDS == granted(admin, WORKER, "timeline", ["detail"])


PUT = """INSERT INTO orchestration.job_revision (revision, tenant, job, files, changed_by, changed_at)
         VALUES (1, '{}', 'airports', '[]', 'x', clock_timestamp())"""
REFUSED = {
    "a branch books a publication": (
        WORKER,
        "INSERT INTO orchestration.publish_ledger (target_table, publication_key) VALUES ('a.b', 'c')",
    ),
    "a branch writes to the target": (WORKER, "INSERT INTO reference.airport VALUES ('x')"),
    "a branch puts rows aside": (WORKER, "INSERT INTO orchestration.quarantined_row DEFAULT VALUES"),
    "a branch takes back a decision": (WORKER, "DELETE FROM orchestration.decision"),
    "a branch changes a decision": (WORKER, "UPDATE orchestration.decision SET decision = '{}'"),
    "a branch changes what was told": (WORKER, "UPDATE orchestration.timeline SET detail = '{}'"),
    "a branch empties what was told": (WORKER, "TRUNCATE orchestration.timeline"),
    "a branch lets everything be changed": (
        WORKER,
        "ALTER TABLE orchestration.timeline DISABLE TRIGGER append_only",
    ),
    "a branch moves a deadline": (WORKER, "UPDATE orchestration.sync_point SET deadline_at = 'infinity'"),
    "a branch changes a plan": (WORKER, "UPDATE orchestration.round SET plan = '{}'"),
    "a branch forgets a run": (WORKER, "DELETE FROM orchestration.run"),
    "a branch lends itself more": (WORKER, "UPDATE orchestration.lease_capacity SET memory_mb = 1000000"),
    "a branch prunes a run": (
        WORKER,
        "INSERT INTO orchestration.pruned_run (dag_id, run_id) VALUES ('a', 'b')",
    ),
    "a branch rewrites a job": (WORKER, "UPDATE orchestration.job_revision SET files = '[]'"),
    "a branch changes the job of a tenant": (WORKER, PUT.format("north")),
    "who publishes changes the job of a tenant": (PUBLISHER, PUT.format("north")),
    "who reads changes the job of a tenant": (READER, PUT.format("north")),
    "who changes jobs rewrites a job": (REGISTRAR, "UPDATE orchestration.job_revision SET files = '[]'"),
    "who changes jobs forgets a job": (REGISTRAR, "DELETE FROM orchestration.job_revision"),
    "who changes jobs reads a run": (REGISTRAR, "SELECT FROM orchestration.run"),
    "who changes jobs says who pruned": (REGISTRAR, "DELETE FROM orchestration.pruned_run"),
    "who publishes approves": (
        PUBLISHER,
        "INSERT INTO orchestration.decision (dag_id, run_id, round, decision) VALUES ('a', 'b', 1, '{}')",
    ),
    "who publishes ends a run": (PUBLISHER, "UPDATE orchestration.run SET state = 'published'"),
    "who publishes changes a booking": (PUBLISHER, "UPDATE orchestration.publish_ledger SET rows_in = 0"),
    "who publishes forgets a booking": (PUBLISHER, "DELETE FROM orchestration.publish_ledger"),
    "who publishes forgets a row put aside": (PUBLISHER, "DELETE FROM orchestration.quarantined_row"),
    "who publishes takes the store's numbers": (PUBLISHER, "SELECT nextval('orchestration.epoch')"),
    "who reads tells something": (
        READER,
        "INSERT INTO orchestration.timeline (dag_id, run_id, round, unit, event) VALUES ('a', 'b', 1, 'c', 'd')",
    ),
    "who reads takes the store's numbers": (READER, "SELECT nextval('orchestration.epoch')"),
    "who reads leaves something in scratch": (READER, "CREATE TABLE orchestration_scratch.mine ()"),
    "who reads reads the target": (READER, "SELECT FROM reference.airport"),
}


@pytest.fixture(scope="module")
def logins(database: str, admin: psycopg.Connection[Any]) -> Iterator[dict[str, psycopg.Connection[Any]]]:
    """A connection of each role, beside a target table."""
    admin.execute("CREATE SCHEMA reference")
    admin.execute("CREATE TABLE reference.airport (code text)")
    with connections(database) as opened:
        yield opened


@pytest.mark.parametrize("attempt", REFUSED)
def test_what_is_not_one_s_work_is_refused(logins: dict[str, psycopg.Connection[Any]], attempt: str) -> None:
    """The server itself says no, whatever the code would do."""
    role, statement = REFUSED[attempt]
    with pytest.raises(errors.InsufficientPrivilege), logins[role].transaction(force_rollback=True):
        logins[role].execute(statement.encode())


def test_the_owner_migrates_every_schema_there_was(postgres: EmbeddedPostgres) -> None:
    """Objects of an older migration are the owner's once the script's first part has run, and an upgrade is hers."""
    names = sorted(
        file.name for file in FOLDER.joinpath("migrations").iterdir() if file.name.endswith(".sql")
    )
    postgres.create_database("roles_upgrade")
    dsn = postgres.dsn("roles_upgrade")
    try:
        with psycopg.connect(dsn) as connection:
            connection.execute(FOLDER.joinpath("migrations", names[0]).read_bytes())
            connection.execute("INSERT INTO orchestration.migration (name) VALUES (%s)", [names[0][:-4]])
        ownership = SCRIPT.partition(b"-- Nobody else has")[0] + b"COMMIT;"
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute(ownership)
        with login(dsn, OWNER) as owner:
            with psycopg.connect(owner) as connection:
                applied = migrate(connection)
            apply_roles(owner)
            with psycopg.connect(dsn) as connection:
                strangers = connection.execute(
                    "SELECT relname FROM pg_class WHERE relnamespace = 'orchestration'::regnamespace "
                    "AND relowner <> 'orchestration_owner'::regrole"
                ).fetchall()
        assert (len(names) - 1, []) == (len(applied), strangers)
    finally:
        postgres.drop_database("roles_upgrade")


def test_who_may_make_roles_and_owns_the_schemas_is_enough(outside: Path) -> None:
    """The first time takes no superuser; afterwards a member of the owner repeats it."""
    server = EmbeddedPostgres(outside / "deployer")
    server.start()
    try:
        deployer = sql.SQL("CREATE ROLE deployer LOGIN CREATEROLE")
        server.execute(deployer, sql.SQL("CREATE DATABASE deployed OWNER deployer"))
        dsn = psycopg.conninfo.make_conninfo(server.dsn("deployed"), user="deployer")
        with psycopg.connect(dsn) as connection:
            migrate(connection)
        apply_roles(dsn)
        with login(server.dsn("deployed"), OWNER) as owner:
            apply_roles(owner)
        with psycopg.connect(dsn) as connection:
            owners = connection.execute(
                "SELECT DISTINCT relowner::regrole::text FROM pg_class "
                "WHERE relnamespace = 'orchestration'::regnamespace"
            ).fetchall()
    finally:
        server.stop()

    assert [("orchestration_owner",)] == owners


def test_who_changes_jobs_from_the_page_needs_one_role_more(database: str) -> None:
    """An api-server that reads may be let add to the registry, and to nothing else."""
    with (
        login(database, READER, REGISTRAR) as dsn,
        PostgresStore(lambda: psycopg.connect(dsn)) as store,
    ):
        change = store.registry.put(
            "north", "airports", [("pipeline.yaml", "feeds: []")], changed_by="somebody"
        )
        gone = store.registry.remove("north", "airports", changed_by="somebody")
    assert (1, 2) == (change.revision, gone.revision)


def test_the_command_prints_what_psql_runs(capsys: pytest.CaptureFixture[str]) -> None:
    """The script to the letter, or as JSON for other programs."""
    command("roles")
    printed = capsys.readouterr().out
    command("roles", "--output", "json")

    assert SCRIPT.decode() == printed == json.loads(capsys.readouterr().out)["sql"]
