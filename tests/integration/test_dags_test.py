"""The stand-alone gate where there is no triggerer: `airflow dags test` runs tasks one after another."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from shutil import copytree

import pytest

pytestmark = pytest.mark.integration
REPOSITORY = Path(__file__).parents[2]
AIRFLOW = [sys.executable, "-m", "airflow"]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """An Airflow of its own on SQLite, with the Dags of the tests."""
    copytree(REPOSITORY / "tests" / "dags", tmp_path / "dags")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    own = {
        "AIRFLOW_HOME": str(tmp_path / "home"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(tmp_path / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    }
    subprocess.run([*AIRFLOW, "db", "migrate"], env=inherited | own, check=True, capture_output=True)
    return inherited | own


def test_gate_gives_the_same_answer_without_a_triggerer(environment: dict[str, str]) -> None:
    """Poked instead of deferred, the gate opens over the same three of four regions."""
    tested = subprocess.run(
        [*AIRFLOW, "dags", "test", "gate_alone"],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    log = tested.stdout + tested.stderr

    assert "conditional_proceed because only_failed_missing" in log
    assert "arrived=3, failed=1, pending=0" in log
    assert "successful" in log
