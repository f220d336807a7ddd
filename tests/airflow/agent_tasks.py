"""Tasks of agents as Airflow runs them, on a store in PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from airflow_orchestration.agents.templates import registered_templates
from airflow_orchestration.operators import base
from airflow_orchestration.storage.postgres import PostgresStore
from airflow_orchestration.storage.store import RunKey
from airflow_orchestration.triggers import shared_store

CONN_ID = "agents"
RUN = RunKey(dag_id="things", run_id="1")


@contextmanager
def store_for_tasks(database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[PostgresStore]:
    """A store in a migrated database that tasks and triggers know as `agents`; the types of agents are those of a new process."""
    parts = conninfo_to_dict(database)
    address = {"host": parts["host"], "login": parts["user"], "schema": parts["dbname"]}
    monkeypatch.setenv(f"AIRFLOW_CONN_{CONN_ID.upper()}", json.dumps({"conn_type": "postgres", **address}))
    monkeypatch.setattr(shared_store, "_stores", {})
    monkeypatch.setattr(base, "die_with_parent", lambda: None)  # this process is no task's own
    registered_templates.cache_clear()
    with PostgresStore(lambda: psycopg.connect(database)) as store:
        yield store
    registered_templates.cache_clear()


def context(task_id: str, *, run: RunKey = RUN, map_index: int = -1, try_number: int = 1) -> Any:
    """What Airflow tells a task of itself; it is tried twice."""
    instance = SimpleNamespace(
        dag_id=run.dag_id,
        run_id=run.run_id,
        task_id=task_id,
        map_index=map_index,
        try_number=try_number,
        start_date=datetime.now(tz=UTC),
        max_tries=1,
        id=f"{task_id}-{map_index}-{try_number}",
        xcom_push=lambda **_: None,
    )
    return {"ti": instance, "dag": SimpleNamespace(dag_id=run.dag_id, render_template_as_native_obj=False)}
