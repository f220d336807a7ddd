"""What is installed with the package, and what it does before anybody asks it to."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
IMPORTING = """
import pkgutil, socket, sys
from importlib import import_module
def refuse(*_): raise AssertionError("connects while it is imported")
socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse
for layer in ("domain", "policies", "sources", "engine", "storage", "agents", "insights", "workflow"):
    package = import_module(f"airflow_orchestration.{layer}")
    for module in pkgutil.iter_modules(package.__path__):
        import_module(f"airflow_orchestration.{layer}.{module.name}")
assert "airflow" not in sys.modules
print("imported")
"""


def test_everything_that_is_installed_is_pinned() -> None:
    """Each line of the constraints names one version, and no place of its own."""
    lines = [
        line for line in (REPOSITORY / "constraints.txt").read_text().splitlines() if line and line[0] != "#"
    ]

    assert [] == [line for line in lines if not re.fullmatch(r"[\w.-]+==[\w.!+-]+( ; .+)?", line)]
    assert len(lines) > 100


def test_importing_opens_no_connection() -> None:
    """Everything below the hooks is imported in a process in which nothing can connect, and Airflow is not needed."""
    done = subprocess.run(
        [sys.executable, "-c", IMPORTING], capture_output=True, text=True, check=False, cwd=REPOSITORY
    )

    assert (0, "imported\n") == (done.returncode, done.stdout), done.stderr


def test_no_file_of_the_repository_is_code_in_disguise() -> None:
    """No pickles, no compiled objects: what is executed can be read."""
    kept = subprocess.run(
        ["git", "ls-files"], capture_output=True, text=True, check=False, cwd=REPOSITORY
    ).stdout
    names = kept.splitlines() or [str(path) for path in (REPOSITORY / "airflow_orchestration").rglob("*.*")]

    assert [] == [name for name in names if re.search(r"\.(pkl|pickle|joblib|so|exe|jar|whl|dill)$", name)]
