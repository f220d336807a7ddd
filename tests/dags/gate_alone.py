"""The stand-alone gate: three of four regions are enough, and the merge takes exactly those."""

from __future__ import annotations

from typing import Any

from airflow.sdk import dag, task

from airflow_orchestration.operators.arrived import arrived
from airflow_orchestration.sensors.quorum_gate import quorum_gate


@dag(schedule=None, tags=["example"])
def gate_alone():
    @task
    def regions() -> list[str]:
        return ["africa", "americas", "asia", "europe"]

    @task
    def load(region: str) -> str:
        if region == "asia":
            raise RuntimeError("the source is down")
        return region

    @task
    def merge(decision: dict[str, Any]) -> list[str]:
        return sorted(arrived(decision).values())  # {"load[0]": "africa", ...}

    loads = load.expand(region=regions())
    merge(quorum_gate([loads], floor=0.75, deadline=120))


gate_alone()
