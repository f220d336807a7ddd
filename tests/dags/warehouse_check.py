"""Proves that a task in the local stack reaches the warehouse by its connection."""

from __future__ import annotations

from airflow.providers.postgres.hooks.postgres import PostgresHook
from airflow.sdk import dag, task


@dag(schedule=None)
def warehouse_check():
    @task
    def database() -> str:
        return PostgresHook("orchestration_default").get_first("SELECT current_database()")[0]

    database()


warehouse_check()
