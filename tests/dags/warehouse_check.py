"""Proves that a task in the local stack reaches the warehouse by its connection."""

from __future__ import annotations

import time

from airflow.providers.postgres.hooks.postgres import PostgresHook
from airflow.sdk import dag, task


@dag(schedule=None)
def warehouse_check():
    @task
    def database() -> str:
        with PostgresHook(postgres_conn_id="orchestration_default").get_conn() as connection:
            cursor = connection.cursor()
            cursor.execute("SELECT current_database()")
            return cursor.fetchone()[0]

    @task
    def wait(name: str, params: dict | None = None) -> str:
        time.sleep((params or {}).get("seconds", 0))
        return name

    wait(database())


warehouse_check()
