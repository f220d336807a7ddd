"""Every attack of the threat model has tests that are there, and a row in the documentation."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[2]
THREATS: dict[str, dict[str, Any]] = tomllib.loads((Path(__file__).parent / "threats.toml").read_text())


def test_every_threat_is_there() -> None:
    """T1 to T25, each told and answered in a sentence."""
    assert [f"T{number}" for number in range(1, 26)] == list(THREATS)
    assert {("attack", "against", "tests")} == {tuple(threat) for threat in THREATS.values()}


@pytest.mark.parametrize("name", THREATS)
def test_every_threat_has_tests(name: str) -> None:
    """Each test that is named stands in its file."""
    named = [test.split("::") for test in THREATS[name]["tests"]]

    assert named
    assert [] == [f"{path}::{test}" for path, test in named if test not in _tests_of(REPOSITORY / path)]


def _tests_of(path: Path) -> set[str]:
    if not path.is_file():
        return set()
    return {node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("name", THREATS)
def test_every_threat_is_documented(name: str) -> None:
    """`docs/security.md` says the same in its table."""
    row = f"| {name} | {THREATS[name]['attack']} | {THREATS[name]['against']} |"

    assert row in (REPOSITORY / "docs" / "security.md").read_text().splitlines()


def test_every_test_of_this_folder_shows_something() -> None:
    """A file of tests here that no threat names has lost its purpose."""
    named = {test.split("::")[0] for threat in THREATS.values() for test in threat["tests"]}
    here = {str(path.relative_to(REPOSITORY)) for path in Path(__file__).parent.glob("test_*.py")}

    assert {str(Path(__file__).relative_to(REPOSITORY))} == here - named
