"""Metrics of agents by Airflow's own `stats`: wherever `[metrics]` sends Airflow's, it sends these."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk.observability import stats

from airflow_orchestration.workflow.agent_metrics import Tags


class AirflowMeter:
    """Hands what is measured to the client that Airflow has set up in this task: StatsD, OpenTelemetry or Datadog.

    Without `[metrics]` in Airflow's configuration nobody is told. A collector that is away stops no work.
    """

    def count(self, name: str, by: int, tags: Tags) -> None:
        """Add to a counter."""
        stats.incr(name, by, tags=dict(tags))

    def timing(self, name: str, elapsed: timedelta, tags: Tags) -> None:
        """Take how long something took; it is sent in milliseconds, as Airflow's own timers are."""
        stats.timing(name, elapsed, tags=dict(tags))

    def gauge(self, name: str, value: float, tags: Tags) -> None:
        """Take what something is now."""
        stats.gauge(name, value, tags=dict(tags))
