"""Runs tests against copies of the package that each hold one mistake made on purpose."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from shutil import copytree, ignore_patterns
from tempfile import TemporaryDirectory

REPOSITORY = Path(__file__).resolve().parents[2]
MUTANTS = Path(__file__).with_name("mutants.toml")
COPIED = ("airflow_orchestration", "tests", "demo", "dags", "docs")
TIME_LIMIT = 600.0
"""Seconds; tests that take longer hang in the mutant and have not judged it."""
PASSED, FAILED = 0, 1
"""pytest's exit codes; every other one means that no test has judged."""
_NOTICED = re.compile(r"^FAILED \S*?([^/\s]+\.py::.+?)(?: - |$)|^VIOLATION.*\n +(.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One mistake: the text that stands exactly once in a file, and what it becomes."""

    name: str
    file: str
    find: str
    replace: str
    why: str
    tests: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    """What another judge than the tests is told."""


class Result(StrEnum):
    """What the tests made of a mutant."""

    CAUGHT = "caught"
    SURVIVED = "SURVIVED"
    BROKEN = "BROKEN"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One mutant, what became of it, and by which test or for which reason."""

    mutant: Mutant
    result: Result
    seconds: float
    detail: str

    @property
    def is_caught(self) -> bool:
        """Whether the tests noticed."""
        return self.result is Result.CAUGHT


Run = Callable[[Mutant, Path], tuple[int, str]]
"""Judges a mutant in a copy; returns an exit code as pytest's, and what was said."""


def read_mutants(path: Path = MUTANTS) -> list[Mutant]:
    """Read the list."""
    tables = tomllib.loads(path.read_text())
    return [Mutant(name=name, **{**table, "tests": tuple(table["tests"])}) for name, table in tables.items()]


def problem(mutant: Mutant, root: Path = REPOSITORY) -> str | None:
    """Say why a mutant can't be made, if it can't."""
    path = root / mutant.file
    if not path.is_file():
        return f"{mutant.name}: there is no {mutant.file}; correct `file` in {MUTANTS.name}"
    times = path.read_text().count(mutant.find)
    if times != 1:
        return f"{mutant.name}: `find` stands {times} times in {mutant.file}, not once; correct it"
    missing = [test for test in mutant.tests if not (root / test.partition("::")[0]).exists()]
    return f"{mutant.name}: there is no test {', '.join(missing)}" if missing else None


@contextmanager
def copy_of_repository() -> Iterator[Path]:
    """Make a copy of what the tests need, without compiled code, and throw it away afterwards."""
    with TemporaryDirectory(prefix="mutants-", ignore_cleanup_errors=True) as folder:
        copy = Path(folder)
        for name in COPIED:
            copytree(REPOSITORY / name, copy / name, ignore=ignore_patterns("__pycache__", ".*"))
        for name in ("pyproject.toml", "README.md"):
            (copy / name).write_bytes((REPOSITORY / name).read_bytes())
        yield copy


def by_its_tests(mutant: Mutant, copy: Path) -> tuple[int, str]:
    """Run the tests that must notice a mutant."""
    return run_tests(mutant.tests, copy)


def judge(mutant: Mutant, copy: Path, run: Run = by_its_tests) -> Report:
    """Put the mistake into the copy, let those judge that must notice it, and take it out again."""
    path, started = copy / mutant.file, time.monotonic()
    original = path.read_text()
    path.write_text(original.replace(mutant.find, mutant.replace))
    try:
        result, detail = _judged(mutant, copy, run)
    finally:
        path.write_text(original)
    return Report(mutant=mutant, result=result, seconds=time.monotonic() - started, detail=detail)


def _judged(mutant: Mutant, copy: Path, run: Run) -> tuple[Result, str]:
    try:
        code, output = run(mutant, copy)
    except subprocess.TimeoutExpired:
        return Result.BROKEN, f"the tests do not end within {TIME_LIMIT:g} s"
    if code == FAILED:
        first = _NOTICED.search(output)
        return Result.CAUGHT, (first[1] or first[2]) if first else ""
    if code == PASSED:
        return Result.SURVIVED, "write the test that is missing"
    return Result.BROKEN, f"it ended with {code}: {output.strip()[-300:]}"


def run_tests(tests: tuple[str, ...], copy: Path, time_limit: float = TIME_LIMIT) -> tuple[int, str]:
    """Run tests in the copy, against the package in the copy; returns pytest's exit code and output."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "-p", "no:cacheprovider", *tests]
    done = subprocess.run(
        command,
        cwd=copy,
        env=environment(copy),
        capture_output=True,
        text=True,
        timeout=time_limit,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def imported_from(copy: Path) -> Path:
    """Return the folder of the package that is imported in the copy."""
    command = [sys.executable, "-c", "import airflow_orchestration as it; print(*it.__path__)"]
    done = subprocess.run(
        command, cwd=copy, env=environment(copy), capture_output=True, text=True, check=True
    )
    return Path(done.stdout.strip())


def environment(copy: Path) -> dict[str, str]:
    """Nothing compiled: a mistake of the same length in the same second would not be noticed."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    return kept | {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
