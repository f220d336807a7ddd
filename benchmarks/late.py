"""Is the work of a reconciliation proportional to what came late?

`python -m benchmarks late [ROWS]`: a table of ROWS rows, and late feeds of 1, 10 and 50 % of its keys. Each
is compared with merging and publishing everything anew, in the same run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psycopg

from airflow_orchestration.storage.migrating import migrate
from airflow_orchestration.workflow.merge import merge_round
from airflow_orchestration.workflow.publish import publish
from airflow_orchestration.workflow.quality import validate_quality
from airflow_orchestration.workflow.reconcile import read_late_files, reconcile
from benchmarks.table import show
from demo.postgres import EmbeddedPostgres
from tests.reconcile.world import Arrival, World

ROWS = 400_000
SHARES = (0.01, 0.1, 0.5)
FEEDS = {"early": 5.0, "second": 2.0, "late": 1.0}


def main(rows: int = ROWS) -> None:
    """Print for each size of the late feed what it costs, and as a share of doing everything anew."""
    with server() as connect:
        figures = []
        for share in SHARES:
            late = round(rows * share)
            world, seconds = _world(connect, rows, late)
            anew = _everything_anew(connect, rows, late)
            written = _rows_written(connect, world.table)
            figures.append(
                (
                    f"{late:,} late rows: seconds, share of {anew:.2f} s for all {rows:,} anew",
                    f"{seconds:.2f}  {seconds / anew:.0%}",
                    "",
                )
            )
            figures.append((f"{late:,} late rows: rows published", f"{written:,}", f"{late:,}"))
        show(f"reconciliation of a late feed into {rows:,} rows of two feeds", figures)


def _world(connect: Callable[[], psycopg.Connection[Any]], rows: int, late: int) -> tuple[World, float]:
    with _made(connect, f"late_{late}", rows, late) as world:
        world.land([(0, "early"), (0, "second")])
        world.run(0)
        world.land([(0, "late")])
        with world.step(0, 1, "reconcile") as step:
            read_late_files(step, world.publishers)
            started = time.perf_counter()
            assert reconcile(step, world.publishers) is not None
            return world, time.perf_counter() - started


def _everything_anew(connect: Callable[[], psycopg.Connection[Any]], rows: int, late: int) -> float:
    with _made(connect, f"anew_{late}", rows, late) as world:
        world.land(list(world.files))
        world.play(0)
        started = time.perf_counter()
        with world.step(0, 1, "merge") as step:
            merge_round(step)
            validate_quality(step)
        with world.step(0, 0, "publish") as step:
            publish(step, world.publishers)
        return time.perf_counter() - started


@contextmanager
def _made(connect: Callable[[], psycopg.Connection[Any]], name: str, rows: int, late: int) -> Iterator[World]:
    files: dict[Arrival, str] = {
        (0, "early"): _csv(range(rows), "x"),
        (0, "second"): _csv(range(0, rows, 2), "y"),
        (0, "late"): _csv(range(rows - late // 2, rows - late // 2 + late), "z"),
    }
    with TemporaryDirectory(prefix="bench-") as folder:
        yield World(Path(folder) / "world", f"public.{name}", FEEDS, files, connect)


def _csv(numbers: range, name: str) -> str:
    return "code,size,name\n" + "".join(f"k{number:08},{number % 1000},{name}\n" for number in numbers)


def _rows_written(connect: Callable[[], psycopg.Connection[Any]], table: str) -> int:
    with connect() as connection:
        row = connection.execute(
            "SELECT rows_published FROM orchestration.publish_ledger WHERE target_table = %s AND version = 2",
            [table],
        ).fetchone()
    return int(row[0]) if row else 0


@contextmanager
def server() -> Iterator[Callable[[], psycopg.Connection[Any]]]:
    """A fresh server with one migrated database."""
    with TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as folder:
        running = EmbeddedPostgres(Path(folder) / "data")
        running.start()
        try:
            running.create_database("bench")
            conninfo = running.dsn("bench")
            with psycopg.connect(conninfo) as connection:
                migrate(connection)
            yield lambda: psycopg.connect(conninfo)
        finally:
            running.stop()
