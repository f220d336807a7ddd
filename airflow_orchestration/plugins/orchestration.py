"""The provider's Airflow plugin. Importing it costs nothing: the work is in what it names."""

from __future__ import annotations

from typing import Any

from airflow.plugins_manager import AirflowPlugin

from airflow_orchestration.plugins import run_note, warm_start


class OrchestrationPlugin(AirflowPlugin):
    """Registers the listeners, which load the operators ahead of the tasks and write notes, and the jobs' API."""

    name = "orchestration"
    listeners = [run_note, warm_start]  # noqa: RUF012  # Airflow's own form

    @property
    def fastapi_apps(self) -> list[dict[str, Any]]:  # type: ignore[override]  # a list there, read once
        """The app of the job registry, imported where it is served and nowhere else."""
        from airflow_orchestration.plugins.jobs_api import app  # noqa: PLC0415  # two seconds

        return [{"app": app, "url_prefix": "/orchestration", "name": "Orchestration"}]
