"""The schema: numbered migrations, applied once, never by an older package."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Barrier, Thread
from typing import Any

import psycopg
import pytest
from psycopg import errors
from psycopg.types.json import Jsonb

from airflow_orchestration.exceptions import StoreNotReadyError
from airflow_orchestration.storage.migrating import check_ready, migrate, pending
from airflow_orchestration.storage.postgres import PostgresStore
from airflow_orchestration.storage.sql_file import FOLDER, statements
from tests.storage.builders import RUN, claimed, decision
from tests.storage.conftest import Connect

ALL = ["0001_initial", "0002_quorum_gate", "0003_data_plane", "0004_agents", "0005_page", "0006_upkeep"]
CATALOG = {
    "columns": """SELECT attrelid::regclass::text, attname, format_type(atttypid, atttypmod), attnotnull,
                         pg_get_expr(adbin, adrelid), attidentity
                  FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
                  WHERE attrelid::regclass::text LIKE 'orchestration%' AND attnum > 0 AND NOT attisdropped""",
    "constraints": """SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
                      WHERE connamespace::regnamespace::text LIKE 'orchestration%'""",
    "indexes": "SELECT indexdef FROM pg_indexes WHERE schemaname LIKE 'orchestration%'",
    "triggers": "SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal",
    "functions": """SELECT pg_get_functiondef(oid) FROM pg_proc
                    WHERE pronamespace::regnamespace::text LIKE 'orchestration%'""",
    "relations": """SELECT relname, relkind, relpersistence, obj_description(oid) FROM pg_class
                    WHERE relnamespace::regnamespace::text LIKE 'orchestration%'""",
}


def catalog(connection: psycopg.Connection[Any]) -> dict[str, Sequence[Any]]:
    return {name: sorted(connection.execute(query).fetchall(), key=repr) for name, query in CATALOG.items()}


def test_the_schema_file_equals_all_migrations(database: str) -> None:
    """`schema.sql` makes the same catalog as the migrations one after the other."""
    with psycopg.connect(database) as connection:
        migrate(connection)
        migrated = catalog(connection)
        connection.execute("DROP SCHEMA orchestration, orchestration_scratch CASCADE")
        connection.execute(FOLDER.joinpath("schema.sql").read_bytes())
        assert migrated == catalog(connection)
        assert migrated["columns"]


def test_migrating_twice_does_nothing(database: str) -> None:
    """The first call applies what is missing, the second one finds nothing."""
    with psycopg.connect(database) as connection:
        assert ALL == pending(connection)
        assert ALL == migrate(connection)
        assert [] == migrate(connection)
        assert [] == pending(connection)
        check_ready(connection)


def test_two_at_once_migrate_once(database: str) -> None:
    """Of simultaneous migrations one applies, the others find nothing to do."""
    applied: list[list[str]] = []
    start = Barrier(4)

    def work() -> None:
        with psycopg.connect(database) as connection:
            start.wait()
            applied.append(migrate(connection))

    threads = [Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [[], [], [], ALL] == sorted(applied)


def test_a_missing_schema_names_the_remedy(database: str) -> None:
    """A store without the schema is refused with the command that makes it."""
    with (
        PostgresStore(lambda: psycopg.connect(database)) as store,
        pytest.raises(StoreNotReadyError, match="run: airflow orchestration migrate"),
    ):
        store.rounds(RUN)


def test_a_newer_store_is_refused(target: psycopg.Connection[Any]) -> None:
    """A store with a migration that this package does not know is neither used nor migrated."""
    target.execute("INSERT INTO orchestration.migration (name) VALUES ('9999_future')")
    for refused in (migrate, pending, check_ready):
        with pytest.raises(StoreNotReadyError, match="the package is older than the store"):
            refused(target)


@pytest.mark.parametrize("table", ["timeline", "decision"])
@pytest.mark.parametrize("change", ["DELETE FROM {}", "UPDATE {} SET round = 1", "TRUNCATE {}"])
def test_the_audit_is_append_only(
    connect: Connect, target: psycopg.Connection[Any], table: str, change: str
) -> None:
    """What stands in the timeline and among the decisions can't be changed or removed."""
    with PostgresStore(connect) as store:
        fence = claimed(store)
        store.add_event(fence, "event", {})
        store.record_decision(fence, decision())
        with pytest.raises(errors.InsufficientPrivilege, match="append-only"):
            target.execute(change.format(f"orchestration.{table}"))
        assert (1, 1) == (len(store.timeline(RUN)), len(store.decisions(RUN)))


@pytest.mark.parametrize(
    "file",
    [
        "queries.sql",
        "publish.sql",
        "migrations.sql",
        "streams.sql",
        "agents.sql",
        "registry.sql",
        "leases.sql",
        "overview.sql",
    ],
)
def test_every_statement_is_told_in_a_sentence(file: str) -> None:
    """Each block of a statement file has a name, a sentence that ends as one, and a text."""
    text = FOLDER.joinpath(file).read_text()
    for block in text.split("-- name: ")[1:]:
        name, told, *_ = block.splitlines()
        assert told.startswith("-- ")
        assert told.endswith(".")
        assert statements(file)[name]


def test_what_an_older_package_stored_is_carried_over(database: str) -> None:
    """A run of one contract and its merge become a run of one dataset, under the contract's name."""
    contract = {"name": "airport", "key": ["iata"]}
    with psycopg.connect(database) as connection:
        for name in ALL[:2]:
            connection.execute(FOLDER.joinpath("migrations", f"{name}.sql").read_bytes())
            connection.execute("INSERT INTO orchestration.migration (name) VALUES (%s)", [name])
        connection.execute(
            "INSERT INTO orchestration.run (dag_id, run_id, spec, mode, started_at) VALUES ('d', 'r', %s, '{}', now())",
            [Jsonb({"pipeline": {"id": "d"}, "contract": contract})],
        )
        connection.execute(
            "INSERT INTO orchestration.merge SELECT 'd', 'r', 1, 1, 'uri', 'sha', 1, 1, 'content', '{}', '{}', '{}', "
            "'{}', '{}', 1.0"
        )
        assert ALL[2:] == migrate(connection)
        [(spec,)] = connection.execute("SELECT spec FROM orchestration.run").fetchall()
        assert {"pipeline": {"id": "d"}, "contracts": [contract]} == spec
        assert [("airport",)] == connection.execute("SELECT dataset FROM orchestration.merge").fetchall()
