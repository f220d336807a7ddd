"""`python -m tests.mutants [NAME ...]`: are all mistakes of the list caught, or those with NAME in their name?"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from pathlib import Path
from queue import SimpleQueue

from tests.mutants.workshop import (
    PASSED,
    Mutant,
    Report,
    copy_of_repository,
    imported_from,
    judge,
    problem,
    read_mutants,
    run_tests,
)

BASELINE_TIME_LIMIT = 900.0


def main(wanted: Sequence[str]) -> int:
    """Judge the mutants and print a table; 0 when all are caught."""
    mutants = [one for one in read_mutants() if not wanted or any(part in one.name for part in wanted)]
    problems = [found for one in mutants if (found := problem(one))]
    if problems or not mutants:
        return refuse("\n".join(problems) or f"no mutant has {' or '.join(wanted)} in its name")
    with ExitStack() as copies:
        folders: SimpleQueue[Path] = SimpleQueue()
        workers = min(os.cpu_count() or 1, len(mutants))
        for _ in range(workers):
            folders.put(copies.enter_context(copy_of_repository()))
        fault = baseline(mutants, folders)
        if fault:
            return refuse(fault)
        reports = list(judged(mutants, folders, workers))
    return conclude(reports)


def baseline(mutants: Sequence[Mutant], folders: SimpleQueue[Path]) -> str | None:
    """Say what is wrong before anything was changed: a test that fails anyway catches nothing."""
    tests = tuple(dict.fromkeys(test.partition("::")[0] for one in mutants for test in one.tests))
    print(f"{len(mutants)} mutants; first {len(tests)} test files without any", file=sys.stderr)
    copy = folders.get()
    folders.put(copy)
    if not imported_from(copy).is_relative_to(copy):
        return f"the tests would import {imported_from(copy)} instead of the copy in {copy}"
    code, output = run_tests(tests, copy, BASELINE_TIME_LIMIT)
    return None if code == PASSED else f"the tests fail without any mutant:\n{output[-3000:]}"


def judged(mutants: Sequence[Mutant], folders: SimpleQueue[Path], workers: int) -> Iterator[Report]:
    """Judge on all processors, and say of each what became of it."""

    def judge_one(mutant: Mutant) -> Report:
        copy = folders.get()
        try:
            return judge(mutant, copy)
        finally:
            folders.put(copy)

    with ThreadPoolExecutor(workers) as pool:
        futures = [pool.submit(judge_one, mutant) for mutant in mutants]
        for done, future in enumerate(as_completed(futures), start=1):
            report = future.result()
            print(f"{done:3}/{len(mutants)} {report.result:9} {report.mutant.name}", file=sys.stderr)
            yield report


def conclude(reports: Sequence[Report]) -> int:
    """Print the table, file by file."""
    width = max(len(report.mutant.name) for report in reports)
    for report in sorted(reports, key=lambda one: (one.is_caught, one.mutant.file, one.mutant.name)):
        print(f"{report.result:9} {report.seconds:5.1f} s  {report.mutant.name:{width}}  {report.detail}")
    survivors = [report for report in reports if not report.is_caught]
    print(f"{len(reports) - len(survivors)} of {len(reports)} mutants caught")
    for report in survivors:
        print(f"\n{report.mutant.name}: {report.mutant.file}: {report.mutant.why}\n  {report.detail}")
    return 1 if survivors else 0


def refuse(why: str) -> int:
    """Say why nothing was judged."""
    print(why, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
