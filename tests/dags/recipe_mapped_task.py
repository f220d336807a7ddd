"""A mapped task: of five regions one fails and one is late, and the others are merged by name."""

from __future__ import annotations

import time
from typing import Any

from airflow.sdk import dag, task

from airflow_orchestration.operators.arrived import arrived
from airflow_orchestration.sensors.quorum_gate import quorum_gate


@dag(schedule=None, tags=["recipe"])
def recipe_mapped_task():
    @task
    def regions() -> list[str]:
        return ["africa", "americas", "asia", "europe", "oceania"]

    @task
    def load(region: str) -> str:
        if region == "americas":
            raise RuntimeError("the source is down")
        if region == "asia":
            time.sleep(45)
        return region

    @task
    def merge(decision: dict[str, Any]) -> dict[str, str]:
        return arrived(decision)  # {"load[0]": "africa", "load[3]": "europe", "load[4]": "oceania"}

    loads = load.expand(region=regions())
    merge(quorum_gate([loads], deadline=600, floor=0.6, grace_period=5))


recipe_mapped_task()
