"""One whole run full of canaries, by logins with the shipped roles, and all that it left anywhere."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from demo.postgres import EmbeddedPostgres
from tests.airflow.page_server import SIMPLE, Page, managed, page_of
from tests.registered_jobs import dag_of_another_bundle
from tests.security.canaries import ENVIRONMENT, PASSWORDS, VARIABLE, lay_out
from tests.security.database_roles import PUBLISHER, READER, WORKER, apply_roles, login

REPOSITORY = Path(__file__).parents[2]
DATABASE = "canaries"
ROOM, LARGEST_DATAGRAM = 4 * 1024 * 1024, 65_536
"""Bytes; all datagrams of a run are kept until they are read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryRun:
    """What the run left: `sent` went to Airflow, `events` to OpenLineage, `metrics` to StatsD, `printed` to the logs of the tasks."""

    folder: Path
    store: str
    reader: str
    sent: Sequence[Mapping[str, Any]]
    events: str
    metrics: Sequence[str]
    printed: str
    exit_code: int

    def tables(self) -> dict[str, str]:
        """Every table of the database with its rows as text."""
        query = """SELECT schemaname, tablename FROM pg_tables
                   WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"""
        with psycopg.connect(self.store) as connection:
            return {
                f"{schema}.{name}": "\n".join(
                    row[0]
                    for row in connection.execute(
                        sql.SQL("SELECT kept::text FROM {} AS kept").format(sql.Identifier(schema, name))
                    )
                )
                for schema, name in connection.execute(query).fetchall()
            }


@pytest.fixture(scope="session")
def canary_run(
    postgres: EmbeddedPostgres,
    create_migrated: Callable[[str], str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[CanaryRun]:
    """The run: the store is a worker's, the target a publisher's, and a reader looks."""
    folder = tmp_path_factory.mktemp("canaries")
    store = create_migrated(DATABASE)
    apply_roles(store)
    pipeline = lay_out(folder)
    with ExitStack() as logins:
        worker, publisher, reader = (
            logins.enter_context(login(store, role)) for role in (WORKER, PUBLISHER, READER)
        )
        _open_target(store, publisher)
        server = logins.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, ROOM)
        server.bind(("127.0.0.1", 0))
        server.settimeout(0)
        environment = _environment(folder, worker, publisher, server.getsockname()[1])
        work = folder / "work"
        work.mkdir()
        played = subprocess.run(
            [sys.executable, "-m", "tests.security.canary_run", str(pipeline), str(folder / "sent")],
            cwd=work,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        logs = "".join(path.read_text() for path in (folder / "home" / "logs").rglob("*") if path.is_file())
        yield CanaryRun(
            folder=folder,
            store=store,
            reader=reader,
            sent=[json.loads(line) for line in (folder / "sent").read_text().splitlines()],
            events=(folder / "events").read_text(),
            metrics=list(_received(server)),
            printed=played.stdout + played.stderr + logs,
            exit_code=played.returncode,
        )
    postgres.drop_database(DATABASE)


@pytest.fixture(scope="module")
def looking(canary_run: CanaryRun) -> Iterator[pytest.MonkeyPatch]:
    """Airflow's connections to the store and the target, both of a login that reads."""
    with pytest.MonkeyPatch.context() as patch:
        for conn_id in ("orchestration_default", "warehouse"):
            patch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", connection_to(canary_run.reader, conn_id))
        yield patch


@pytest.fixture(scope="module")
def page(looking: pytest.MonkeyPatch) -> Iterator[Page]:
    """The page, and an administrator who may see everything."""
    del looking  # its connections are there while it is
    with (
        managed(SIMPLE, AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS="") as manager_of,
        dag_of_another_bundle("canary"),
    ):
        token = manager_of().generate_jwt(SimpleAuthManagerUser(username="admin", role="ADMIN"))
        with page_of({"admin": token}) as served:
            yield served


def connection_to(dsn: str, conn_id: str) -> str:
    """The JSON of an Airflow connection, with its password."""
    parts = conninfo_to_dict(dsn)
    named = {"host": parts["host"], "login": parts["user"], "schema": parts["dbname"]}
    return json.dumps({"conn_type": "postgres", "password": PASSWORDS[conn_id], **named})


def _open_target(store: str, publisher: str) -> None:
    user = sql.Identifier(str(conninfo_to_dict(publisher)["user"]))
    with psycopg.connect(store) as admin:
        admin.execute("CREATE SCHEMA canary")
        admin.execute("GRANT USAGE, CREATE ON SCHEMA canary TO PUBLIC")  # for a statement of anybody
        admin.execute(sql.SQL("GRANT USAGE, CREATE ON SCHEMA canary TO {}").format(user))
        admin.execute("CREATE TABLE canary.bystander AS SELECT 1 AS one")


def _received(server: socket.socket) -> Iterator[str]:
    with suppress(BlockingIOError):
        while True:
            yield server.recv(LARGEST_DATAGRAM).decode()


def _environment(folder: Path, worker: str, publisher: str, port: int) -> dict[str, str]:
    transport = {"type": "file", "log_file_path": str(folder / "events"), "append": True}
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    return inherited | {
        "AIRFLOW_HOME": str(folder / "home"),
        "PYTHONPATH": str(REPOSITORY),
        "AIRFLOW_CONN_ORCHESTRATION_DEFAULT": connection_to(worker, "orchestration_default"),
        "AIRFLOW_CONN_WAREHOUSE": connection_to(publisher, "warehouse"),
        "AIRFLOW_VAR_API_KEY": VARIABLE,
        "CANARY_ENVIRONMENT": ENVIRONMENT,
        "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps(transport),
        "AIRFLOW__METRICS__STATSD_ON": "true",
        "AIRFLOW__METRICS__STATSD_HOST": "127.0.0.1",
        "AIRFLOW__METRICS__STATSD_PORT": str(port),
        "AIRFLOW__METRICS__STATSD_INFLUXDB_ENABLED": "true",
    }
