"""Who does what the quickstart says gets what it says."""

from __future__ import annotations

import json
import re
import shlex
from argparse import Namespace
from pathlib import Path

import psycopg
import pytest
from airflow.cli.cli_parser import get_parser
from airflow.sdk import DAG
from psycopg.conninfo import conninfo_to_dict

from airflow_orchestration.cli import handlers
from tests.docs.blocks import DOCS, blocks, commands

TEXT = (DOCS / "quickstart.md").read_text()
FILES = dict(re.findall(r"^`([\w/.]+)`\n\n```\w+\n(.*?)```$", TEXT, re.MULTILINE | re.DOTALL))
REPORT = next(block.text for block in blocks("") if block.text.startswith("PUBLISHED: 4"))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files of the page, which is the current one."""
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def typed(subcommand: str) -> Namespace:
    """The first `airflow orchestration` command of the page with this name, as Airflow reads it."""
    lines = (block.text for block in commands() if block.where.startswith("docs/quickstart.md"))
    line = next(line for line in lines if line.startswith(f"airflow orchestration {subcommand} "))
    return get_parser().parse_args(shlex.split(line)[1:])


def test_the_trial_prints_the_report_of_the_page(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command of the page, over the files of the page, prints the page's report line by line."""
    handlers.try_pipeline(typed("try"))
    printed = [line.rstrip() for line in capsys.readouterr().out.splitlines()]

    assert REPORT.splitlines() == [line for line in printed if line in REPORT.splitlines()]
    assert (project / "out" / "quarantine-east.parquet").exists()


@pytest.mark.parametrize(("name", "told"), [("validate", "nothing is wrong"), ("plan", "price")])
def test_what_is_looked_at_first_is_in_order(
    project: Path, name: str, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both commands of the page accept its files, say something, and leave no file behind."""
    monkeypatch.setenv(
        "_AIRFLOW_PROCESS_CONTEXT", "server"
    )  # the command sets it for the rest of its process
    before = set(project.rglob("*"))
    asked = typed(name)
    asked.func(asked)

    assert told in capsys.readouterr().out
    assert before == set(project.rglob("*"))


def test_the_run_publishes_and_a_missing_file_degrades_it(
    project: Path, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All three make four rows; without the one that the page removes it is published degraded."""
    parts = conninfo_to_dict(database)
    document = {
        "conn_type": "postgres",
        "host": parts["host"],
        "login": parts["user"],
        "schema": parts["dbname"],
    }
    monkeypatch.setenv("AIRFLOW_CONN_ORCHESTRATION_DEFAULT", json.dumps(document))
    handlers.migrate(get_parser().parse_args(["orchestration", "migrate"]))
    asked = Namespace(**{**vars(typed("try")), "publish_to": "orchestration_default", "output": "out"})
    handlers.try_pipeline(asked)
    with psycopg.connect(database) as connection:
        skus = connection.execute("SELECT sku FROM public.price ORDER BY sku").fetchall()
    (project / re.findall(r"^rm (.*)$", TEXT, re.MULTILINE)[0]).unlink()
    handlers.try_pipeline(asked)
    manifest = json.loads((project / "out" / "manifest.json").read_text())

    assert [("A1",), ("A2",), ("A3",), ("A4",)] == skus
    assert ("published_degraded", ["south"]) == (
        manifest["state"],
        [line["feed"] for line in manifest["missing"]],
    )


def test_what_is_delivered_again_is_what_was_removed() -> None:
    """The page's `printf` writes the file that it told to make before."""
    [written] = re.findall(r"^printf '(.*)' > (landing/south.csv)$", TEXT, re.MULTILINE)

    assert FILES[written[1]] == written[0].replace("\\n", "\n")


def test_the_dag_file_has_both_dags(project: Path) -> None:
    """The four lines make the Dag that the page triggers, and beside it the one that repairs."""
    names: dict[str, object] = {"__file__": str(project / "dags" / "prices.py")}
    exec(compile(FILES["dags/prices.py"], "prices.py", "exec"), names)
    dag = names["dag"]
    triggered = re.findall(r"dags trigger (\w+)", TEXT)

    assert isinstance(dag, DAG)
    assert {dag.dag_id, f"{dag.dag_id}__reconcile"} == set(triggered)
