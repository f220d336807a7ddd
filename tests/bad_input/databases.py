"""What may be wrong with connections, targets and the store, on a real PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from airflow_orchestration.domain.publish import Publish
from airflow_orchestration.hooks.orchestration import OrchestrationHook
from airflow_orchestration.storage.migrating import check_ready
from airflow_orchestration.storage.postgres import PostgresStore
from airflow_orchestration.storage.publishing import Publisher
from airflow_orchestration.storage.target import MERGE_COLUMNS, STAMP_COLUMNS
from tests.storage.builders import TERMS, attempt, plan, unit
from tests.storage.publications import CONTRACT, TABLE, Content, content, publication, row

Facts = Mapping[str, Any]
ROLE = "bad_input_stranger"
COLUMNS = {
    "code": "text PRIMARY KEY",
    "name": "text",
    "elevation": "bigint",
    "latitude": "double precision",
    "open": "boolean",
    "since": "date",
    "seen_at": "timestamptz",
    **MERGE_COLUMNS,
    **STAMP_COLUMNS,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A migrated database of one test."""

    dsn: str
    patch: pytest.MonkeyPatch

    def connect(self, **changes: Any) -> psycopg.Connection[Any]:
        """Connect as its owner, or with other parts."""
        return psycopg.connect(make_conninfo(self.dsn, **changes))

    def run(self, *statements: str) -> None:
        """Execute statements, each in a transaction of its own."""
        with self.connect() as connection:
            connection.autocommit = True
            for statement in statements:
                connection.execute(statement)

    def preflight(self, table: str = TABLE, **changes: Any) -> Facts:
        """Look at a target before anything is done."""
        Publisher(lambda: self.connect(**changes)).preflight(Publish(table=table), CONTRACT)
        return {}

    def publish(self, rows: Content, **changes: Any) -> Facts:
        """Publish rows, and tell what that was."""
        made = Publisher(self.connect).publish(publication(rows, **changes), *rows.chunks())
        return {"already": made.already_published, "rows": made.rows_inserted}

    @contextmanager
    def stranger(self) -> Iterator[str]:
        """A role that may do nothing yet."""
        self.run(f"DROP ROLE IF EXISTS {ROLE}", f"CREATE ROLE {ROLE} LOGIN")
        try:
            yield ROLE
        finally:
            self.run(f"DROP OWNED BY {ROLE}", f"DROP ROLE {ROLE}")


def reused(given: Facts, place: Place) -> Facts:
    """A publication key that was used before, for this content or for other."""
    place.publish(content())
    return place.publish(content(), epoch=2, content_sha256=given["content"])


def connection(given: Facts, place: Place) -> Facts:
    """An Airflow connection; `named` replaces parts of a good one."""
    parts = conninfo_to_dict(place.dsn)
    good = {
        "conn_type": "postgres",
        "host": parts["host"],
        "login": parts["user"],
        "schema": parts["dbname"],
    }
    place.patch.setenv("_AIRFLOW_PROCESS_CONTEXT", "server")
    if given["named"] != "nothing":
        place.patch.setenv("AIRFLOW_CONN_ORCHESTRATION_DEFAULT", json.dumps({**good, **given["named"]}))
    with OrchestrationHook().get_conn() as opened:
        return {"answers": opened.execute("SELECT 1").fetchone() == (1,)}


def server(given: Facts, place: Place) -> Facts:
    """A server that is somewhere else, or lets nobody in."""
    return place.preflight(**given["parts"])


def target(given: Facts, place: Place) -> Facts:
    """A target table as it was `made`, with `columns` that differ."""
    if "columns" in given:
        made = {**COLUMNS, **given["columns"]}
        columns = ", ".join(f"{name} {kind}" for name, kind in made.items() if kind != "absent")
        place.run(f"CREATE TABLE {TABLE} ({columns})")
    return place.preflight(given.get("table", TABLE))


def unprivileged(_: Facts, place: Place) -> Facts:
    """A role that may read the target and nothing else."""
    columns = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())
    place.run(f"CREATE TABLE {TABLE} ({columns})", "REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    with place.stranger() as role:
        place.run(
            f"GRANT USAGE ON SCHEMA orchestration TO {role}",
            f"GRANT ALL ON ALL TABLES IN SCHEMA orchestration TO {role}",
            f"GRANT ALL ON ALL SEQUENCES IN SCHEMA orchestration TO {role}",
            f"GRANT CREATE ON SCHEMA orchestration TO {role}",
        )
        return place.preflight(user=role)


def refused_row(given: Facts, place: Place) -> Facts:
    """A target that has rules of its own, which the preflight can't try without rows."""
    place.publish(content())
    place.run(given["rule"])
    try:
        return place.publish(
            Content([row("new", "A name")]), epoch=2, publication_key="second", content_sha256="two"
        )
    finally:
        with place.connect() as looking:
            assert (5,) == looking.execute(
                sql.SQL("SELECT count(*) FROM {}").format(sql.SQL(TABLE))
            ).fetchone()  # type: ignore[arg-type]


def failing(given: Facts, place: Place) -> Facts:
    """A server on which a publication fails at its last write, as it does the first time and no more."""
    place.run(
        "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION 'failed' USING ERRCODE = '{given['sqlstate']}'; END $$",
        "CREATE TRIGGER fail BEFORE INSERT ON orchestration.publish_ledger_feed EXECUTE FUNCTION fail()",
    )
    told: dict[str, Any] = {}
    for name, attempt_of in (("preflight", place.preflight), ("publish", lambda: place.publish(content()))):
        try:
            attempt_of()
        except psycopg.Error as passes:
            told[name] = f"{type(passes).__name__} {passes.sqlstate}"
    with place.connect() as looking:
        there = looking.execute("SELECT to_regclass('public.airport') IS NOT NULL").fetchone()
        told["left"] = there == (True,)
    place.run("DROP TRIGGER fail ON orchestration.publish_ledger_feed")
    return {**told, "again": place.publish(content(), epoch=2)["rows"]}


def schema(given: Facts, place: Place) -> Facts:
    """A store whose schema is another one."""
    place.run(given["change"])
    with place.connect() as looking:
        check_ready(looking)
    return {"ready": True}


def deployments(given: Facts, place: Place) -> Facts:
    """Two deployments with a Dag of one name in one store, which play the same run; then the first one writes."""
    with PostgresStore(place.connect) as store:
        north = store.claim(unit("plan", 1), attempt(process="north:1:1"))
        south = store.claim(unit("plan", 1), attempt(given["try"], process="south:1:1"))
        if given["writes"] == "north":
            store.open_round(north, plan(), TERMS)
        return {"newer": south.epoch > north.epoch}


SITUATIONS: Mapping[str, Callable[[Facts, Place], Facts]] = {
    one.__name__: one
    for one in (
        reused,
        connection,
        server,
        target,
        unprivileged,
        refused_row,
        failing,
        schema,
        deployments,
    )
}


def ask(given: Facts, place: Place) -> Facts:
    """What comes of a situation; what passes by itself is raised by psycopg as it is, for a retry."""
    try:
        return SITUATIONS[given["situation"]](given, place)
    except (psycopg.OperationalError, psycopg.errors.SerializationFailure) as passes:
        return {"retried": type(passes).__name__, "sqlstate": passes.sqlstate or "none"}
