"""The quorum gate alone in a Dag: no pipeline file, no store."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import dag, task

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
    def merge(decision: dict, ti=None) -> list[str]:
        arrived = [int(name.split("[")[1][:-1]) for name in decision["evidence"]["arrived_ids"]]
        rows = ti.xcom_pull(task_ids="load", map_indexes=arrived)
        return sorted(row["region"] for row in rows)

    started = regions()
    loads = load.expand(region=started)
    gate = QuorumGateSensor(task_id="gate", watch=[loads], floor=0.75, deadline=timedelta(minutes=2))
    started >> gate
    merge(gate.output)


gate_alone()
