"""Does an Airflow that is too old read what it lacks, and is the list of it true?"""

from __future__ import annotations

import ast
import importlib
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from airflow_orchestration.hooks.airflow_versions import (
    NEEDS,
    OLDEST,
    AirflowTooOldError,
    Need,
    installed,
    named,
    require_airflow,
)

REPOSITORY = Path(__file__).parents[2]
PACKAGE = REPOSITORY / "airflow_orchestration"
GATES, FORKS = NEEDS[0], NEEDS[4]


@pytest.mark.parametrize("found", ["3.3.0", "3.3.2", "3.3.0rc1", "3.4.0.dev0", "4.0.0", installed(), None])
def test_an_airflow_that_is_new_enough_is_taken(found: str | None) -> None:
    """From the oldest release on nothing is said, and where no Airflow is, Python speaks for itself."""
    require_airflow(found)


@pytest.mark.parametrize("found", ["3.2.2", "3.1.8", "3.0.6", "2.11.2"])
def test_an_older_one_is_refused_with_what_it_lacks(found: str) -> None:
    """The message has the version that was found, the one that is needed, and each thing that is not there."""
    with pytest.raises(AirflowTooOldError) as refused:
        require_airflow(found)
    told = str(refused.value)
    assert f"needs Airflow 3.3 or newer, and this is {found}. Upgrade Airflow." in told
    assert f"{GATES.feature} ({GATES.name}, since 3.3)" in told
    assert (found < "3.2") == (FORKS.name in told)


@pytest.mark.parametrize("need", NEEDS, ids=lambda need: need.name)
def test_what_is_needed_is_there(need: Need) -> None:
    """Each name can be imported from the Airflow of these tests."""
    where, parts = importlib.import_module("airflow"), need.name.split(".")[1:]
    for at, part in enumerate(parts, start=2):
        if not hasattr(where, part):
            importlib.import_module(".".join(need.name.split(".")[:at]))
        where = getattr(where, part)
    assert where is not None


def test_pip_is_told_the_same() -> None:
    """The bound of the dependency is the oldest release that has everything."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    bounds = {Requirement(text).name: str(Requirement(text).specifier) for text in project["dependencies"]}
    assert f">={named(OLDEST)}" == bounds["apache-airflow"]


def test_people_are_told_the_same() -> None:
    """The page about upgrading has a line for everything that is needed, and no other."""
    lines = (REPOSITORY / "docs" / "upgrading.md").read_text().splitlines()
    told = [line for line in lines if line.startswith("| ") and "`airflow." in line]
    assert [f"| {need.feature} | `{need.name}` | {named(need.since)} |" for need in NEEDS] == told


def _imports_airflow(module: Path) -> bool:
    nodes = list(ast.walk(ast.parse(module.read_text())))
    names = [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
    names += [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    return any(name.split(".")[0] == "airflow" for name in names)


def test_everything_that_imports_airflow_asks_first() -> None:
    """Each package with a module that imports Airflow runs the check in its `__init__`."""
    packages = {module.parent for module in PACKAGE.rglob("*.py") if _imports_airflow(module)}
    asking = {
        package
        for package in packages
        if "airflow_orchestration.hooks" in (package / "__init__.py").read_text()
    }
    assert packages == asking
    assert {"hooks", "operators", "dags", "plugins"} <= {package.name for package in packages}
