"""Fifty gates that are satisfied as soon as they start."""

from __future__ import annotations

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG

from airflow_orchestration.sensors.quorum_gate import QuorumGateSensor

with DAG("fifty_gates", schedule=None, max_active_tasks=64):
    there = EmptyOperator(task_id="there")
    for number in range(50):
        there >> QuorumGateSensor(task_id=f"gate_{number}", watch=[there], deadline=300)
