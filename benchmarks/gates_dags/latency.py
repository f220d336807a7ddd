"""Three ways to go on after a task, one after the other, so that none takes the CPU from another."""

from __future__ import annotations

from datetime import timedelta

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.sensors.external_task import ExternalTaskSensor
from airflow.sdk import dag, task

from airflow_orchestration.sensors.quorum_gate import QuorumGateSensor


@dag(schedule=None, tags=["benchmark"])
def latency() -> None:
    """Build the Dag: each `last` is a real task, each `next` as well."""

    @task
    def work() -> None:
        """Do nothing, in a worker."""

    def named(task_id: str) -> object:
        return work.override(task_id=task_id)()

    begin = EmptyOperator(task_id="begin")
    others = [EmptyOperator(task_id=f"other_{number}") for number in range(3)]
    edge_last, edge_next = named("edge_last"), named("edge_next")
    gate_last, gate_next = named("gate_last"), named("gate_next")
    sensor_last, sensor_next = named("sensor_last"), named("sensor_next")
    gate = QuorumGateSensor(
        task_id="gate", watch=[*others, "gate_last"], floor=1.0, deadline=timedelta(minutes=10)
    )
    sensor = ExternalTaskSensor(
        task_id="sensor",
        external_dag_id="latency",
        external_task_id="sensor_last",
        deferrable=True,
        poke_interval=0.5,  # as often as our gates look; its default is a minute
    )
    begin >> others
    begin >> edge_last >> edge_next >> gate_last >> sensor_last
    begin >> gate >> gate_next >> sensor_last
    edge_next >> sensor >> sensor_next


latency()
