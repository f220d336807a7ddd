"""A deadline by the clock: at six in the morning in Berlin the gate decides with what is there."""

from __future__ import annotations

from typing import Any

from airflow.sdk import dag, task

from airflow_orchestration.operators.arrived import arrived
from airflow_orchestration.sensors.quorum_gate import quorum_gate


@dag(schedule=None, tags=["recipe"])
def recipe_wall_clock():
    @task
    def load(store: str) -> str:
        return store

    @task
    def merge(decision: dict[str, Any]) -> dict[str, str]:
        return arrived(decision)

    loads = load.expand(store=["berlin", "paris", "rome"])
    merge(quorum_gate([loads], deadline="06:00 Europe/Berlin"))


recipe_wall_clock()
