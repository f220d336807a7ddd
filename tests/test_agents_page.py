"""What the page about agents says of Airflow is so: its Dag files, commands, configuration and routes."""

from __future__ import annotations

import configparser
import re
import textwrap
from argparse import Namespace
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from airflow.cli.cli_config import GroupCommand
from airflow.sdk import DAG

from airflow_orchestration.cli.agents import check
from airflow_orchestration.cli.commands import get_cli_commands
from airflow_orchestration.hooks.agent_registry import registry_terms
from airflow_orchestration.operators.register_job import RegisterJobOperator
from airflow_orchestration.plugins.web_app import app
from tests.airflow.agent_tasks import CONN_ID, context, store_for_tasks

REPOSITORY = Path(__file__).parents[1]
TEXT = (REPOSITORY / "docs" / "agents.md").read_text()
COMMANDS = sorted(set(re.findall(r"airflow orchestration agents (\w+)", TEXT)))


def block(language: str, containing: str) -> str:
    """Return the code block of a language that contains a text."""
    blocks: list[str] = re.findall(rf"```{language}\n(.*?)```", TEXT, flags=re.DOTALL)
    return next(text for text in blocks if containing in text)


def run(code: str, file: Path) -> dict[str, Any]:
    """Run the lines of a Dag file, as if they stood in `file`."""
    names: dict[str, Any] = {"__file__": str(file), "__name__": "page"}
    exec(compile(code, str(file), "exec"), names)
    return names


def test_the_dag_file_makes_a_dag_of_the_job(tmp_path: Path) -> None:
    """The page's job in a tenant's folder becomes the Dag that the page names."""
    folder = tmp_path / "tenants" / "north"
    folder.mkdir(parents=True)
    (folder / "airports.yaml").write_text(block("yaml", "north.airport"))
    code = block("python", "generate_dags()").replace("AgentFactoryHook(Path", "made = AgentFactoryHook(Path")
    dags = run(code, tmp_path / "agents.py")["made"]

    assert ["north__airports"] == list(dags)


def test_the_job_passes_the_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The page's job and contract, beside each other, are what `agents check` calls good; the page says what it takes."""
    folder = tmp_path / "north"
    folder.mkdir()
    (folder / "airports.odcs.yaml").write_text(block("yaml", "kind: DataContract"))
    job, own = block("yaml", "north.airport"), ", conn_id: north__warehouse"
    assert own in job
    checks = {
        "own": (job, ()),
        "default": (job.replace(own, ""), ()),
        "shared": (job.replace(own, ""), ("orchestration_default",)),
    }
    told = {}
    for name, (text, shared) in checks.items():
        (folder / "airports.yaml").write_text(text)
        args = Namespace(folder=tmp_path, data="/data", shared_conn_id=shared, output="table")
        with nullcontext() if name != "default" else pytest.raises(SystemExit):
            check(args)
        told[name] = capsys.readouterr().out

    assert told["own"] == told["shared"] == "1 job, 0 refused\n"
    assert "none is written, so it is orchestration_default" in told["default"]


def test_the_readme_shows_the_same_dag_file() -> None:
    """Whoever copies the lines of the README copies those that are run here."""
    assert block("python", "generate_dags()") in (REPOSITORY / "README.md").read_text()


def test_the_queue_works_as_it_stands(migrated: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page's Dag file has agents and a task mapped over them, and run on a store they do the work."""
    with store_for_tasks(migrated, monkeypatch) as store:
        dag = run(block("python", "batch_queue=queue"), Path("queue.py"))["dag"]
        create, work = dag.tasks
        create.orchestration_conn_id = CONN_ID
        results = [
            work.unmap({"agent_id": agent_id, "orchestration_conn_id": CONN_ID}).execute(
                context("work", map_index=index)
            )
            for index, agent_id in enumerate(create.execute(context("agents")))
        ]
        history = store.agents.history("", days=1)

    assert isinstance(dag, DAG)
    assert [("agents", False), ("work", True)] == [(task.task_id, task.is_mapped) for task in dag.tasks]
    assert [("stars", 0.75), ("planets", 1.0)] == [(it["batch"], it["data_quality_score"]) for it in results]
    assert {"name_checker"} == {day.agent_type for day in history}


def test_the_configuration_is_that_of_a_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow's own kind of configuration file has the lines of the page, and the commands find the bundle in it."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(textwrap.dedent(block("ini", "AgentRegistryBundle")))
    setting = parser["dag_processor"]["dag_bundle_config_list"]
    monkeypatch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST", setting)
    terms = registry_terms()

    assert ("/data/tenants", ("orchestration_default",)) == (terms.data, terms.shared_conn_ids)


@pytest.mark.parametrize("name", COMMANDS)
def test_commands_are_commands(name: str) -> None:
    """Every command of the page is one."""
    [group] = get_cli_commands()
    assert isinstance(group, GroupCommand)
    agents = next(command for command in group.subcommands if command.name == "agents")
    assert isinstance(agents, GroupCommand)

    assert name in {command.name for command in agents.subcommands}


def test_commands_are_found() -> None:
    """The test above has something to look at."""
    assert {"capacity", "check", "put"} <= set(COMMANDS)


def test_the_routes_are_routes() -> None:
    """The api-server has the three methods of the page."""
    methods = {
        method
        for route in app.routes
        if getattr(route, "path", "") == "/jobs/{tenant}/{job}"
        for method in getattr(route, "methods", ())
    }

    assert {"GET", "PUT", "DELETE"} <= methods


def test_the_task_can_be_made() -> None:
    """The operator takes the arguments of the page."""
    call = re.search(r"`(RegisterJobOperator\(.*?\))`", TEXT)
    assert call is not None
    task = eval(call[1].replace("...", "'text'"), {"RegisterJobOperator": RegisterJobOperator})

    assert ("north", "airports") == (task.tenant, task.job)
