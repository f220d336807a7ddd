"""Publications in each mode, and ways to look at what they did."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg

from airflow_orchestration.domain.contract import Contract
from airflow_orchestration.domain.publish import PublishMode
from airflow_orchestration.storage.publishing import Published, Publisher
from airflow_orchestration.storage.store import RunKey
from tests.storage.publications import CONTRACT, TABLE, Content, publication

Target = psycopg.Connection[Any]
Connect = Callable[[], Target]
APPEND, REPLACE, PARTITION = PublishMode.APPEND, PublishMode.REPLACE, PublishMode.PARTITION
BY_DAY = Contract(name="airports", key=("code", "since"), columns=CONTRACT.columns)
NEW_MODES: dict[PublishMode, dict[str, Any]] = {
    APPEND: {"mode": APPEND},
    REPLACE: {"mode": REPLACE},
    PARTITION: {"mode": PARTITION, "partition_by": "since", "contract": BY_DAY},
}


def publish(
    connect: Connect,
    rows: Content,
    mode: PublishMode,
    run: str = "manual__1",
    dag: str = "airports",
    **changes: Any,
) -> Published:
    known: dict[str, Any] = {"publication_key": f"{dag}/{run}", "run": RunKey(dag_id=dag, run_id=run)}
    publisher = Publisher(connect)
    return publisher.publish(
        publication(rows, **{**known, **NEW_MODES.get(mode, {}), **changes}), *rows.chunks()
    )


def of_day(rows: Content, day: str) -> Content:
    merged = [[*cells[:5], day, *cells[6:]] for cells in rows.merged]
    return Content(merged, rows.quarantined)


def read(target: Target, query: str) -> list[Any]:
    return target.execute(query).fetchall()


def names(target: Target) -> list[Any]:
    return read(target, f"SELECT code, name FROM {TABLE} ORDER BY code, name")


def physical(target: Target) -> list[Any]:
    """Changes with every row that is written, and with every table that is exchanged."""
    return read(target, f"SELECT tableoid, xmin, ctid, code FROM {TABLE} ORDER BY 1, 3")


def leftovers(target: Target) -> list[Any]:
    return read(target, "SELECT relname FROM pg_class WHERE relname ~ '^[pqto]_[0-9]+_'")
