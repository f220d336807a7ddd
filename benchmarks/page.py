"""How long does a person wait for the page of a large run? (target: 300 ms at most, in 95 of 100 cases)

`python -m benchmarks page [EVENTS]`: a run of 200 branches and 2,000 feeds in three rounds, with agents, whose timeline
has a million events, and which still waits: so everything is read, and the gate is evaluated, again and again. The
later rounds run a tenth of the feeds again. Each look is a request to the routes, as the api-server mounts them, with
everything that a request does: the user's rights, a connection of its own, and the answer as JSON.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import psycopg

from airflow_orchestration.storage.migrating import migrate
from airflow_orchestration.storage.postgres import PostgresStore
from benchmarks.gates_stack import p95
from benchmarks.page_run import KEY, Size, fill
from benchmarks.table import show
from demo.postgres import EmbeddedPostgres

if TYPE_CHECKING:
    from tests.airflow.page_server import Page

TARGET_MS = 300
OLD_EVENT = "SELECT min(id) + 1000 FROM orchestration.timeline WHERE run_id = %s"
LOOKS = 100
ALL_ARE_ADMINS = "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS"
MANAGER = "airflow.api_fastapi.auth.managers.simple.simple_auth_manager.SimpleAuthManager"
RUN = "/api/dags/{dag_id}/run"
TIMELINE = "/api/dags/{dag_id}/timeline"
NOT_MODIFIED = 304


def main(events: int = Size().events) -> None:
    """Print the median and the 95th percentile of each route."""
    with TemporaryDirectory(prefix="orchestration-", ignore_cleanup_errors=True) as folder:
        os.environ.setdefault("AIRFLOW_HOME", f"{folder}/airflow")
        logging.disable(logging.INFO)  # a line for each request
        server = EmbeddedPostgres(Path(folder) / "postgres")
        server.start()
        try:
            server.create_database("page")
            _measure(server.dsn("page"), Size(events=events))
        finally:
            server.stop()


def _measure(dsn: str, size: Size) -> None:
    began = time.perf_counter()
    with psycopg.connect(dsn, autocommit=True) as connection:
        migrate(connection)
        with PostgresStore(lambda: psycopg.connect(dsn)) as store:
            fill(store, connection, size)
        row = connection.execute(OLD_EVENT, (KEY.run_id,)).fetchone()
    filled = time.perf_counter() - began
    with _page(dsn) as page:
        asked = _asked(str(row and row[0]))
        rows = [(name, _told(_seconds(page, path, query)), f"<= {TARGET_MS}") for name, path, query in asked]
        rows.insert(1, ("run, nothing new", _told(_nothing_new(page)), f"<= {TARGET_MS}"))
    show(
        f"{size.branches} branches, {size.feeds:,} feeds, {size.events:,} events (filled in {filled:.0f} s)",
        rows,
    )


@contextmanager
def _page(dsn: str) -> Iterator[Page]:
    """The routes with a user who may read everything."""
    from airflow.api_fastapi.auth.managers.simple.user import (
        SimpleAuthManagerUser,
    )  # after AIRFLOW_HOME is set

    from tests.airflow.page_server import connected, managed, page_of
    from tests.registered_jobs import dag_of_another_bundle

    with ExitStack() as stack:
        stack.enter_context(connected(dsn))
        manager_of = stack.enter_context(managed(MANAGER, **{ALL_ARE_ADMINS: ""}))
        stack.enter_context(dag_of_another_bundle(KEY.dag_id))
        token = manager_of().generate_jwt(SimpleAuthManagerUser(username="admin", role="ADMIN"))
        yield stack.enter_context(page_of({"admin": token}))


def _asked(old: str) -> list[tuple[str, str, Mapping[str, str]]]:
    of_run = {"run_id": KEY.run_id}
    return [
        ("run, median / p95 ms", RUN, of_run),
        ("timeline, newest", TIMELINE, of_run),
        ("timeline, old", TIMELINE, {**of_run, "before": old}),
        ("timeline, first round", TIMELINE, {**of_run, "round": "1"}),
        ("agents", "/api/dags/{dag_id}/agents", of_run),
        (
            "quarantine, one rule",
            "/api/dags/{dag_id}/quarantine",
            {**of_run, "feed": "feed_1", "rule": "maximum"},
        ),
        ("feeds over time", "/api/dags/{dag_id}/feeds", {}),
        ("runs over time", "/api/runs", {}),
        ("leaderboard", "/api/leaderboard", {}),
    ]


def _seconds(page: Page, path: str, query: Mapping[str, str], expected: int = 200) -> list[float]:
    """How long each look takes."""
    found = []
    for _ in range(LOOKS):
        began = time.perf_counter()
        answer = page.get(path, of=KEY.dag_id, **query)
        found.append(time.perf_counter() - began)
        if answer.status_code not in {200, expected}:
            raise RuntimeError(f"{path}: {answer.status_code} {answer.text[:500]}")
    return sorted(found)


def _nothing_new(page: Page) -> list[float]:
    """What most looks are: time alone makes news every 30 seconds."""
    page.client.headers["If-None-Match"] = page.get(RUN, of=KEY.dag_id, run_id=KEY.run_id).headers["ETag"]
    try:
        return _seconds(page, RUN, {"run_id": KEY.run_id}, NOT_MODIFIED)
    finally:
        del page.client.headers["If-None-Match"]


def _told(seconds: list[float]) -> str:
    return f"{seconds[len(seconds) // 2] * 1000:,.0f} / {p95(seconds) * 1000:,.0f}"
