"""`python -m tests.torture mutants [NAME ...]`: does the harness notice mistakes in the publish path?

Each is made in a copy of the package, and the copy is tortured until something is violated. No test of the product
takes part.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from pathlib import Path
from queue import SimpleQueue

from tests.mutants.workshop import FAILED, Mutant, Report, copy_of_repository, environment, judge, problem

MUTANTS = Path(__file__).with_name("mutants.toml")
RUNS = 60
"""A mistake that so many runs of the faults it is about don't notice is not noticed."""
TIME_LIMIT = 600.0
HARNESS_FAILED = 3
UNTOUCHED = "without a fault: "
_IN_A_RECORDING = re.compile(r"^VIOLATION in run -.*\n +", re.MULTILINE)


def main(wanted: Sequence[str]) -> int:
    """Judge the mutants, or those with one of the names in theirs; 0 when all are caught."""
    mutants = [one for one in read_mutants() if not wanted or any(part in one.name for part in wanted)]
    problems = [found for one in mutants if (found := problem(one))]
    if problems or not mutants:
        _tell("\n".join(problems) or f"no mutant has {' or '.join(wanted)} in its name")
        return 3
    with ExitStack() as copies:
        folders: SimpleQueue[Path] = SimpleQueue()
        for _ in range(min(os.cpu_count() or 1, len(mutants))):
            folders.put(copies.enter_context(copy_of_repository()))
        reports = list(_judged(mutants, folders))
    for report in sorted(reports, key=lambda report: report.is_caught):
        print(
            f"{report.result:9} {report.seconds:5.1f} s  {report.mutant.name}: {report.detail}",
            file=sys.stderr,
        )
    caught = sum(report.is_caught for report in reports)
    untouched = sum(report.detail.startswith(UNTOUCHED) for report in reports)
    longest = max(report.seconds for report in reports)
    for figure, value, goal in (
        ("mutants caught", caught, len(mutants)),
        ("mutants caught by a run without faults", untouched, None),
        ("seconds until a mutant was caught, longest", round(longest, 1), None),
    ):
        print(
            json.dumps(
                {"figure": f"path: {figure}", "value": value, "goal": goal, "n": len(mutants), "seed": None}
            )
        )
    return 0 if caught == len(mutants) else 1


def read_mutants(path: Path = MUTANTS) -> list[Mutant]:
    """Read the list; `within` and `among` become arguments of the harness."""
    tables = tomllib.loads(path.read_text())
    return [
        Mutant(
            name=name,
            file=table["file"],
            find=table["find"],
            replace=table["replace"],
            why=table["why"],
            arguments=("--within", table["within"], "--among", table["among"]),
        )
        for name, table in tables.items()
    ]


def torture(mutant: Mutant, copy: Path) -> tuple[int, str]:
    """Torture a copy until something is violated; returns the exit code and what was said."""
    command = [sys.executable, "-m", "tests.torture", "path", "--first", "--runs", str(RUNS), "--workers=1"]
    done = subprocess.run(
        [*command, *mutant.arguments],
        cwd=copy,
        env=environment(copy),
        capture_output=True,
        text=True,
        timeout=TIME_LIMIT,
        check=False,
    )
    output = done.stdout + done.stderr
    crashed = done.returncode == FAILED and "VIOLATION" not in output
    told = _IN_A_RECORDING.sub(rf"\g<0>{UNTOUCHED}", output)
    return HARNESS_FAILED if crashed else done.returncode, told


def _judged(mutants: Sequence[Mutant], folders: SimpleQueue[Path]) -> Iterator[Report]:
    """Judge on all processors, and say of each what became of it."""

    def judge_one(mutant: Mutant) -> Report:
        copy = folders.get()
        try:
            return judge(mutant, copy, torture)
        finally:
            folders.put(copy)

    with ThreadPoolExecutor(folders.qsize()) as pool:
        futures = [pool.submit(judge_one, mutant) for mutant in mutants]
        for done, future in enumerate(as_completed(futures), start=1):
            report = future.result()
            _tell(f"{done:3}/{len(mutants)} {report.result:9} {report.seconds:5.1f} s  {report.mutant.name}")
            yield report


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
