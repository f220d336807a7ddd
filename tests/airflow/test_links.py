"""The button on a task that leads to the page of its run, and the tabs of the page."""

from __future__ import annotations

import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from shutil import copytree
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

import pytest
import yaml
from airflow.api_fastapi.core_api.datamodels.plugins import ExternalViewResponse
from airflow.sdk import BaseOperator
from airflow.sdk.types import TaskInstanceKey
from airflow.serialization.serialized_objects import DagSerialization

from airflow_orchestration import operators, sensors
from airflow_orchestration.dags.pipeline_dag import pipeline_dag
from airflow_orchestration.plugins.links import RunLink
from airflow_orchestration.plugins.orchestration import OrchestrationPlugin
from airflow_orchestration.plugins.web_app import STATIC

REPOSITORY = Path(__file__).parents[2]
WITHOUT = {
    "OrchestrationOperator",  # what others are made of
    "BatchesOperator",
    "ProcessBranchOperator",
    "QuorumGateSensor",  # keeps nothing in the store
    "RequireCompleteness",  # looks at another run
    "RegisterJobOperator",
    "FindLateOperator",  # repair other runs
    "ReconcileOperator",
}
"""Operators of ours whose run has no page."""
KEY = TaskInstanceKey(
    dag_id="things", task_id="t", run_id="manual__2026-01-02T03:04:05+00:00/1", try_number=1, map_index=-1
)


def classes() -> Iterator[type[BaseOperator]]:
    """Every operator and sensor of the package."""
    for package in (operators, sensors):
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            for value in vars(import_module(module.name)).values():
                if (
                    isinstance(value, type)
                    and issubclass(value, BaseOperator)
                    and value.__module__ == module.name
                ):
                    yield value


def test_every_operator_has_the_button_or_a_reason_why_not() -> None:
    """An operator that is added must be put into the one list or the other."""
    assert {one.__name__ for one in classes()} - WITHOUT == {one.__name__ for one in RunLink().operators}


@pytest.mark.parametrize(
    "changes", [{}, {"agents": {}}, {"ask_when": ["below_floor"]}], ids=["lanes", "agents", "a person"]
)
def test_a_stored_dag_has_the_button_on_each_task(changes: dict[str, Any], tmp_path: Path) -> None:
    """The api-server reads a Dag as it was stored, and gives its tasks the plugin's button, whatever they have done."""
    copytree(REPOSITORY / "dags", tmp_path, dirs_exist_ok=True)
    file = tmp_path / "airport_reference.yaml"
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), **changes}))
    dag = pipeline_dag(file)
    stored = DagSerialization.from_dict(DagSerialization.to_dict(dag))
    task_instance: Any = SimpleNamespace(key=KEY)
    ours = [task for task in stored.tasks if task.task_type not in WITHOUT and "Empty" not in task.task_type]

    assert len(ours) >= 20
    for task in ours:
        assert (task.task_id, ["Orchestration"]) == (task.task_id, list(task.extra_links))
        assert RunLink().get_link(task, ti_key=KEY) == task.get_extra_links(task_instance, "Orchestration")


def test_the_button_works_below_a_path() -> None:
    """It leads to the tab of the task's own run, also where Airflow's address has a path."""
    link = RunLink().get_link(SimpleNamespace(), ti_key=KEY)  # type: ignore[arg-type]
    path = urlsplit(urljoin("https://airflow.example/air/", link)).path

    assert "/air/dags/things/runs/" == path[: path.index("manual")]
    assert f"{KEY.run_id}/plugin/orchestration" == unquote(path[path.index("manual") :])
    assert 5 == link.count("/")


def test_the_tabs_are_such_as_airflow_takes() -> None:
    """Airflow drops a whole plugin for one bad tab; a relative address works below a path."""
    tabs = [ExternalViewResponse.model_validate(one) for one in OrchestrationPlugin.external_views]

    assert {("dag_run", "orchestration"), ("nav", "orchestration_runs")} == {
        (one.destination, one.url_route) for one in tabs
    }
    for tab in tabs:
        icons = [str(tab.icon), str(tab.icon_dark_mode)]
        assert not any(address.startswith("/") for address in (tab.href, *icons))
        assert all((STATIC / Path(icon).name).is_file() for icon in icons)


def test_the_link_leads_to_the_tab() -> None:
    """The button's address ends in the route of the tab of a run."""
    [route] = [
        one["url_route"] for one in OrchestrationPlugin.external_views if one["destination"] == "dag_run"
    ]

    assert RunLink().get_link(SimpleNamespace(), ti_key=KEY).endswith(f"/plugin/{route}")  # type: ignore[arg-type]


def test_the_plugin_costs_nothing_where_no_page_is_served() -> None:
    """Every process of Airflow imports it, each task's too: no web framework, no engine, no operator comes with it."""
    code = (
        "import sys, airflow.plugins_manager, airflow.sdk; before = set(sys.modules);"
        "from airflow_orchestration.plugins.orchestration import OrchestrationPlugin as plugin;"
        "plugin().operator_extra_links, plugin().external_views;"
        "print(*(set(sys.modules) - before))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()

    assert {"airflow", "airflow_orchestration"} == {name.partition(".")[0] for name in found}
    assert len(found) < 13
