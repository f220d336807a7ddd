"""The provider's Airflow plugin. Importing it costs nothing: the work is in what it names."""

from __future__ import annotations

from airflow.plugins_manager import AirflowPlugin

from airflow_orchestration.plugins import run_note, warm_start


class OrchestrationPlugin(AirflowPlugin):
    """Registers the listeners: one loads the operators ahead of the tasks, one writes notes of Dag runs."""

    name = "orchestration"
    listeners = [run_note, warm_start]  # noqa: RUF012  # Airflow's own form
