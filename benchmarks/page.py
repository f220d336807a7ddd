"""How long does a person wait for the page of a large run? (target: 300 ms at most, in 95 of 100 cases)

`python -m benchmarks page [EVENTS]`: a run of 200 branches and 2,000 feeds in three rounds, with agents, whose timeline
has a million events, and which still waits: so everything is read, and the gate is evaluated, again and again. The
later rounds run a tenth of the feeds again. Each look opens a connection of its own, as a request of the page does.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg

from airflow_orchestration.insights.agents import run_agents
from airflow_orchestration.insights.run_view import run_view, timeline_page
from airflow_orchestration.storage.migrating import migrate
from airflow_orchestration.storage.postgres import PostgresStore
from benchmarks.gates_stack import p95
from benchmarks.page_run import KEY, Size, fill
from benchmarks.table import show
from demo.postgres import EmbeddedPostgres

TARGET_MS = 300
OLD_EVENT = "SELECT min(id) + 1000 FROM orchestration.timeline WHERE run_id = %s"
LOOKS = 40


def main(events: int = Size().events) -> None:
    """Print the median and the 95th percentile of each read."""
    with TemporaryDirectory(prefix="orchestration-", ignore_cleanup_errors=True) as folder:
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
        with _store(dsn) as store:
            fill(store, connection, size)
        row = connection.execute(OLD_EVENT, (KEY.run_id,)).fetchone()
    filled = time.perf_counter() - began
    rows = [(name, _told(_seconds(dsn, read)), f"<= {TARGET_MS}") for name, read in _reads(row and row[0])]
    show(
        f"{size.branches} branches, {size.feeds:,} feeds, {size.events:,} events (filled in {filled:.0f} s)",
        rows,
    )


def _store(dsn: str) -> PostgresStore:
    return PostgresStore(lambda: psycopg.connect(dsn))


def _reads(old: int | None) -> list[tuple[str, Callable[[PostgresStore], object]]]:
    return [
        ("run_view, median / p95 ms", lambda store: run_view(store, KEY)),
        ("timeline_page, newest", lambda store: timeline_page(store, KEY)),
        ("timeline_page, old", lambda store: timeline_page(store, KEY, before=old)),
        ("timeline_page, first round", lambda store: timeline_page(store, KEY, round_number=1)),
        ("run_agents", lambda store: [one.as_json() for one in run_agents(store, KEY)]),
    ]


def _seconds(dsn: str, read: Callable[[PostgresStore], object]) -> list[float]:
    """How long each look takes, as a request does it: from opening a connection until the answer is JSON."""
    found = []
    for _ in range(LOOKS):
        began = time.perf_counter()
        with _store(dsn) as store:
            json.dumps(read(store))
        found.append(time.perf_counter() - began)
    return sorted(found)


def _told(seconds: list[float]) -> str:
    return f"{seconds[len(seconds) // 2] * 1000:,.0f} / {p95(seconds) * 1000:,.0f}"
