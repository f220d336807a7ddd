"""What the benchmarks of the gates share: a stack of their own, its metadata database, and quantiles."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import psycopg

from demo.ports import free_port
from demo.settings import METADATA_DATABASE
from demo.stack import Stack

DAGS = Path(__file__).parent / "gates_dags"


@contextmanager
def gates_stack(**environment: str) -> Iterator[Stack]:
    """A running stack with the Dags of `gates_dags`."""
    with tempfile.TemporaryDirectory() as home:
        stack = Stack(Path(home), port=free_port(), dags_folders=[DAGS], extra_env=environment)
        try:
            stack.up()
            yield stack
        finally:
            stack.down()


@contextmanager
def metadata(stack: Stack) -> Iterator[psycopg.Connection[Any]]:
    """Airflow's own database: what is measured there costs Airflow nothing."""
    with psycopg.connect(stack.postgres.dsn(METADATA_DATABASE), autocommit=True) as connection:
        yield connection


def start_run(stack: Stack, dag_id: str) -> str:
    """Start a run that has a logical date, which `ExternalTaskSensor` needs, and return its id."""
    stack.api.wait_for_dag(dag_id)
    now = datetime.now(UTC).isoformat()
    answer = stack.api.post(f"/api/v2/dags/{dag_id}/dagRuns", {"logical_date": now, "conf": {}})
    return str(answer["dag_run_id"])


def p95(seconds: Sequence[float]) -> float:
    """The 95th percentile, of one value that value."""
    return quantiles(seconds, n=20, method="inclusive")[-1] if len(seconds) > 1 else seconds[0]


def spread(seconds: Sequence[float]) -> str:
    """Median and 95th percentile as they are printed."""
    return f"{median(seconds):.2f} / {p95(seconds):.2f}"
