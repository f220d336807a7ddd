"""A process that sets up metrics as Airflow's task runner does, and in which an agent then tells of its life."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk.configuration import conf
from airflow.sdk.observability import stats
from airflow.sdk.observability.metrics import stats_utils

from airflow_orchestration.operators.agent_metrics import AirflowMeter
from airflow_orchestration.workflow.agent_monitoring import AgentMonitor
from tests.unit.insights.agent_builders import assigned, fence, memory_store, outcome

if __name__ == "__main__":
    legacy_names = conf.getboolean("metrics", "legacy_names_on")
    stats.initialize(factory=stats_utils.get_stats_factory(), export_legacy_names=legacy_names)
    store = memory_store()
    monitor = AgentMonitor(store=store, fence=fence(store), agent=assigned(), meter=AirflowMeter())
    store.agents.record(monitor.fence, "north", outcome(seconds=20, records=1000, quality=0.5))
    monitor.started(timedelta(seconds=3))
    monitor.progressed(1, 1, outcome(seconds=20, records=1000, quality=0.5))
    monitor.finished(succeeded=True)
