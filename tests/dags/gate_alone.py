"""The quorum gate alone in a Dag: no pipeline file, no store."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import TriggerRule, dag, task

from airflow_orchestration.sensors.quorum_gate import QuorumGateSensor


@dag(schedule=None, tags=["example"])
def gate_alone():
    @task
    def regions() -> list[str]:
        return ["africa", "americas", "asia", "europe"]

    @task
    def load(region: str) -> dict[str, str]:
        if region == "asia":
            raise RuntimeError("the source is down")
        return {"region": region}

    @task
    def merge(decision: dict[str, Any], ti: Any = None) -> list[str]:
        """Take what arrived, by name and never by position."""
        arrived = [int(name.removeprefix("load[")[:-1]) for name in decision["evidence"]["arrived_ids"]]
        return sorted(row["region"] for row in ti.xcom_pull(task_ids="load", map_indexes=arrived))

    @task(trigger_rule=TriggerRule.ALL_DONE)
    def close(merged: list[str] | None) -> None:
        """The only leaf: the run is green when something was merged, whatever failed before."""
        if not merged:
            raise RuntimeError("nothing was merged")

    started = regions()
    loads = load.expand(region=started)
    gate = QuorumGateSensor(task_id="gate", watch=[loads], floor=0.75, deadline=timedelta(minutes=2))
    started >> gate
    closed = close(merge(gate.output))
    loads >> closed


gate_alone()
