"""What `validate` finds in files, before there is any data."""

from __future__ import annotations

import json
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest

from airflow_orchestration.exceptions import ProblemCode
from tests.cli.commands import command, exit_code

REPOSITORY = Path(__file__).parents[2]
QUERY = """
    quality:
      - {name: sums, type: sql, query: 'SELECT sum(no_such) FROM ${object}', mustBe: 1}
      - {name: texts, type: sql, query: 'SELECT max(name) FROM ${object}', mustBe: 1}
      - {name: fine, type: sql, query: 'SELECT count(*) FROM ${object}', mustBeGreaterThan: 1}
"""


@pytest.fixture
def dags(tmp_path: Path) -> Path:
    """Copies of the demo's pipeline files."""
    return Path(copytree(REPOSITORY / "dags", tmp_path / "dags"))


def changed(path: Path, before: str, after: str) -> None:
    assert before in path.read_text()
    path.write_text(path.read_text().replace(before, after, 1))


def problems(capsys: pytest.CaptureFixture[str], *files: Path) -> list[tuple[str, str, str]]:
    assert 2 == exit_code("validate", *map(str, files), "--output", "json")
    told: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    assert [str(file) for file in files] == [one["file"] for one in told]
    found = [problem for one in told for problem in one["problems"]]
    assert all(problem["code"] in [*ProblemCode] for problem in found)
    return [(one["subject"], one["path"], one["message"]) for one in found]


def test_good_files_have_nothing_wrong(dags: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 0, and one line for all."""
    files = [str(dags / "airport_reference.yaml"), str(dags / "flights.yaml")]
    command("validate", *files)
    assert "2 files, nothing is wrong" == capsys.readouterr().out.strip()
    command("validate", *files, "--output", "json")
    assert [{"file": file, "problems": []} for file in files] == json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("before", "after", "path", "message"),
    [
        ("    format: csv", "    format: csv\n    delimeter: ','", "delimeter", "did you mean delimiter?"),
        ("deadline: 25", "deadline: 25\n  flor: 0.5", "sync.flor", "did you mean floor?"),
        ("deadline: 25", "deadline: 25\n  qxz: 0.5", "sync.qxz", "remove it or check its spelling"),
        ("floor: 0.75", "floor: 75%", "sync.floor", "write 0.75"),
        ("deadline: 25", "deadline: 75%", "sync.deadline", "must"),
        ("table: reference.airport", "table: airport", "publish.table", "write schema.table"),
    ],
)
def test_what_people_get_wrong_is_told_with_what_to_write(
    dags: Path, capsys: pytest.CaptureFixture[str], before: str, after: str, path: str, message: str
) -> None:
    """A name that is nearly right, percents, and a table without its schema."""
    file = dags / "airport_reference.yaml"
    changed(file, before, after)
    found = problems(capsys, file)
    assert [True] == [one[2].endswith(message) or message == "must" for one in found if one[1].endswith(path)]
    assert not [one for one in found if "write 0.75" in one[2] and one[1] != "sync.floor"]


def test_every_problem_of_every_file_is_told(dags: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a file that is refused the contract is looked at too, and of a bad contract its file."""
    airports, flights = dags / "airport_reference.yaml", dags / "flights.yaml"
    changed(airports, "deadline: 25", "deadline: -1")
    changed(dags / "airport_reference.odcs.yaml", "apiVersion: v3.1.0", "apiVersion: v2.0.0")
    found = problems(capsys, airports, flights, dags / "nowhere.yaml")
    assert ("pipeline file airport_reference.yaml", "sync.deadline") in {one[:2] for one in found}
    assert ("dataset contract airport_reference.odcs.yaml", "apiVersion") in {one[:2] for one in found}
    assert ("file nowhere.yaml", "", "can't be read (No such file or directory); check the path") == found[-1]
    assert not [one for one in found if "flights" in one[0]]


def test_file_and_contract_are_held_against_each_other(
    dags: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A column that the contract does not have stands with its path."""
    changed(dags / "airport_reference.yaml", "elevation_ft:", "elevation_yards:")
    [found] = problems(capsys, dags / "airport_reference.yaml")
    assert "pipeline file airport_reference.yaml" == found[0]
    assert found[1].endswith("columns.elevation_yards")


def test_sql_of_a_contract_is_checked(dags: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A query of an unknown column and one that gives no number are told by the rule's name; a good one is not."""
    contract = dags / "airport_reference.odcs.yaml"
    contract.write_text(contract.read_text().rstrip() + QUERY)
    found = problems(capsys, dags / "airport_reference.yaml")
    assert ["airport: rule 'sums'", "airport: rule 'texts'"] == [path for _, path, _ in found]
    assert "no_such" in found[0][2]
    assert "gives a VARCHAR; write one that gives a number" in found[1][2]


def test_expressions_of_a_pipeline_are_checked(dags: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is no expression, and what may not be one, stands with its path."""
    changed(dags / "airport_reference.yaml", "city: city", "city: {expression: read_text(city)}")
    [found] = problems(capsys, dags / "airport_reference.yaml")
    assert found[1].endswith("columns.city.expression")
    assert "read_text" in found[2]


def test_names_of_strangers_do_nothing_to_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Keys of a file are data."""
    file = tmp_path / "evil.yaml"
    file.write_text('"\\e[2J[red]x": 1\n')
    assert 2 == exit_code("validate", str(file))
    printed = capsys.readouterr().out
    assert r"\x1b[2J[red]x" in printed
    assert "\x1b" not in printed
