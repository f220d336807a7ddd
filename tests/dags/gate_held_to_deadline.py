"""A gate that is open for one of two, and holds to its deadline for the other, which comes too late."""

from __future__ import annotations

import time

from airflow.sdk import dag, task

from airflow_orchestration.sensors.quorum_gate import quorum_gate


@dag(schedule=None)
def gate_held_to_deadline():
    @task
    def quick() -> str:
        return "here"

    @task
    def slow() -> None:
        time.sleep(300)

    quorum_gate([quick(), slow()], floor=0.5, deadline=75)


gate_held_to_deadline()
