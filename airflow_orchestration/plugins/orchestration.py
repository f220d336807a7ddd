"""The provider's Airflow plugin. Importing it costs nothing: the work is in what it names."""

from __future__ import annotations

from typing import Any

from airflow.plugins_manager import AirflowPlugin

from airflow_orchestration.plugins import run_note, warm_start
from airflow_orchestration.plugins.links import TAB, RunLink

_PAGE = {
    "name": "Orchestration",
    "icon": "orchestration/static/icon.svg",
    "icon_dark_mode": "orchestration/static/icon-dark.svg",
}
"""Addresses have no leading slash: they stand below Airflow's own, which may have a path."""


class OrchestrationPlugin(AirflowPlugin):
    """Registers listeners, which load the operators ahead of the tasks and write notes, the page, and its API."""

    name = "orchestration"
    listeners = [run_note, warm_start]  # noqa: RUF012  # Airflow's own form
    operator_extra_links = [RunLink()]  # noqa: RUF012
    external_views = [  # noqa: RUF012
        {
            **_PAGE,
            "destination": "dag_run",
            "url_route": TAB,
            "href": "orchestration/page?dag_id={DAG_ID}&run_id={RUN_ID}",
        },
        {
            **_PAGE,
            "destination": "nav",
            "category": "browse",
            "url_route": "orchestration_runs",
            "href": "orchestration/page",
        },
    ]

    @property
    def fastapi_apps(self) -> list[dict[str, Any]]:  # type: ignore[override]  # a list there, read once
        """The app of the page and the job registry, imported where it is served and nowhere else."""
        from airflow_orchestration.plugins.web_app import app  # noqa: PLC0415  # two seconds

        return [{"app": app, "url_prefix": "/orchestration", "name": "Orchestration"}]
