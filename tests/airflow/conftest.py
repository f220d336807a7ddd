"""Finished runs of a Dag that a worker's process has played, with what they sent to catalogue and collector."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from airflow_orchestration.storage.migrating import migrate
from demo.postgres import EmbeddedPostgres
from tests.airflow.page_server import play_a_run

REPOSITORY = Path(__file__).parents[2]
LARGEST_DATAGRAM = 65_536
ROOM = 4_000_000
"""Bytes; all datagrams of a run are kept until they are read."""
PASSWORD = "opensesame"
CODES = ("zanzibar", "ouagadougou", "reykjavik", "vientiane")
FILES = {
    "east": f"code,size\n{CODES[0]},1\n{CODES[1]},2\n",
    "west": f"code,size\n{CODES[0]},1\n{CODES[2]},-2\n",
    "north": "nothing\n",
}
PIPELINE = """
id: told
roots: {landing: landing}
staging: staging
contract: told.odcs.yaml
feeds:
  - {id: east, uri: landing/east.csv, format: csv, columns: {code: code, size: size}, weight: 3}
  - {id: west, uri: landing/west.csv, format: csv, columns: {code: code, size: size}}
  - {id: north, uri: landing/north.csv, format: csv, columns: {code: code, size: size}}
  - {id: south, database: {conn_id: orchestration_default, table: public.source}, columns: {code: code, size: size}}
sync: {deadline: 60, floor: 0.5}
quality: {approve_at: 0.5}
publish: {table: public.told}
max_rounds: 1
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedRun:
    """What runs left: a degraded one, one that ended in its first round, one that did not start. `events` went to OpenLineage's file, `datagrams` to a StatsD server."""

    folder: Path
    database: str
    events: Sequence[dict[str, Any]]
    datagrams: frozenset[str]

    def ended(self, task_id: str) -> list[dict[str, Any]]:
        """The last event of each instance of a task, as they ended."""
        of_task = [one for one in self.events if one["job"]["name"] == f"told.{task_id}"]
        return [one for one in of_task if one["eventType"] in {"COMPLETE", "FAIL"}]


@pytest.fixture(scope="session")
def create_with_a_run(
    postgres: EmbeddedPostgres, create_migrated: Callable[[str], str], outside: Path
) -> Callable[[str], str]:
    """Creates databases with a run of the Dag `things`, by name: copies of one in which it was played."""
    play_a_run(create_migrated("page"), outside / "page")

    def create(name: str) -> str:
        postgres.execute(sql.SQL("CREATE DATABASE {} TEMPLATE page").format(sql.Identifier(name)))
        return postgres.dsn(name)

    return create


@pytest.fixture(scope="session")
def finished_run(
    postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FinishedRun]:
    """Runs with a good feed, one with a row below the standard, a broken one, and one that is a table."""
    folder = tmp_path_factory.mktemp("finished_run")
    postgres.create_database("finished_run")
    database = postgres.dsn("finished_run")
    with psycopg.connect(database) as connection:
        migrate(connection)
        connection.execute(f"CREATE TABLE public.source AS SELECT '{CODES[3]}' AS code, 4 AS size")
    pipeline = _written(folder)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, ROOM)
        server.bind(("127.0.0.1", 0))
        server.settimeout(0)
        environment = _environment(folder, database, server.getsockname()[1])
        subprocess.run(
            [sys.executable, "-m", "tests.airflow.whole_run", str(pipeline)],
            cwd=REPOSITORY,
            env=environment,
            check=True,
            timeout=120,
        )
        datagrams = frozenset(_received(server))
    events = [json.loads(line) for line in (folder / "events").read_text().splitlines()]
    yield FinishedRun(folder=folder, database=database, events=events, datagrams=datagrams)
    postgres.drop_database("finished_run")


def _written(folder: Path) -> Path:
    landing = folder / "landing"
    landing.mkdir()
    for feed_id, text in FILES.items():
        (landing / f"{feed_id}.csv").write_text(text)
    shutil.copy(REPOSITORY / "tests" / "dags" / "five_lanes.odcs.yaml", folder / "told.odcs.yaml")
    pipeline = folder / "told.yaml"
    pipeline.write_text(PIPELINE)
    return pipeline


def _environment(folder: Path, database: str, port: int) -> dict[str, str]:
    parts = conninfo_to_dict(database)
    connection = {
        "conn_type": "postgres",
        "host": parts["host"],
        "login": parts["user"],
        "password": PASSWORD,
        "schema": parts["dbname"],
    }
    transport = {"type": "file", "log_file_path": str(folder / "events"), "append": True}
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    return inherited | {
        "AIRFLOW_HOME": str(folder / "home"),
        "AIRFLOW_CONN_ORCHESTRATION_DEFAULT": json.dumps(connection),
        "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps(transport),
        "AIRFLOW__METRICS__STATSD_ON": "true",
        "AIRFLOW__METRICS__STATSD_HOST": "127.0.0.1",
        "AIRFLOW__METRICS__STATSD_PORT": str(port),
        "AIRFLOW__METRICS__STATSD_INFLUXDB_ENABLED": "true",
    }


def _received(server: socket.socket) -> Iterator[str]:
    """Everything that has been sent: the sender has ended, so all of it is here."""
    with suppress(BlockingIOError):
        while True:
            yield server.recv(LARGEST_DATAGRAM).decode()
