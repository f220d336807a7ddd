"""`python -m tests.torture path`: the publish path under faults.

Each run is a small pipeline, played by the steps of the product over its store on a PostgreSQL of its own, each task
a process. Faults strike at points that are found by watching runs without faults. Then an oracle judges.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import math
import multiprocessing
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from airflow_orchestration.workflow.stopping import PR_SET_PDEATHSIG
from tests.torture.path_jobs import Catalog, Item, Job, Where, items, jobs, recordings
from tests.torture.path_met import unexplained
from tests.torture.path_points import warm_up
from tests.torture.path_run import Player
from tests.torture.path_server import Server
from tests.torture.path_tally import Ended, Tally
from tests.torture.path_tasks import Bench
from tests.torture.world import Extra, World

SEED = 20261123
HARNESS_FAILED = 3
LOG_SHOWN = 4000

Queue = SimpleQueue[Any]


class HarnessError(Exception):
    """The harness failed, not the product."""


@dataclass
class Crew:
    """Processes that play runs, each with a PostgreSQL of its own."""

    todo: Queue
    done: Queue
    workers: list[multiprocessing.context.ForkProcess]

    def play(self, wanted: Iterable[Job]) -> Iterator[Ended]:
        """Play runs, and return each when it has ended; nothing new begins once nobody takes what ended."""
        waiting, busy = iter(wanted), 0
        for job in islice(waiting, 2 * len(self.workers)):
            self.todo.put(job)
            busy += 1
        while busy:
            ended = self.done.get()
            if not isinstance(ended, Ended):
                raise HarnessError(ended)
            busy -= 1
            for job in islice(waiting, 1):
                self.todo.put(job)
                busy += 1
            yield ended


@contextmanager
def crew(size: int, seed: int) -> Iterator[Crew]:
    """Start the processes; whatever they made is gone afterwards."""
    context = multiprocessing.get_context("fork")
    warm_up()
    todo, done = context.SimpleQueue(), context.SimpleQueue()
    with TemporaryDirectory(prefix="torture-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        workers = [
            context.Process(target=_work, args=(Path(folder) / str(number), seed, todo, done))
            for number in range(size)
        ]
        for worker in workers:
            worker.start()
        try:
            yield Crew(todo, done, workers)
        finally:
            for worker in workers:
                worker.terminate()
            for worker in workers:
                worker.join()


def _work(folder: Path, seed: int, todo: Queue, done: Queue) -> None:
    """Play what is to do until this process is ended."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)  # nobody else would stop the server
    folder.mkdir()
    server = Server(folder / "postgres")
    try:
        server.start()
        while True:
            job = todo.get()
            done.put(played(job, seed, server, folder / "run"))
    except Exception as error:  # noqa: BLE001  # it is the harness that failed: nothing can be said of the product
        done.put(f"{type(error).__name__}: {error}")
    finally:
        server.stop()


def played(job: Job, seed: int, server: Server, folder: Path) -> Ended:
    """Play one run in a folder of its own."""
    shutil.rmtree(folder, ignore_errors=True)
    scratch = folder / "scratch"
    scratch.mkdir(parents=True)
    world = World(
        folder=folder,
        seed=f"{seed}-{job.number}",
        mode=job.mode,
        shape=job.shape,
        has_past=job.has_past,
        extra=job.extra,
    )
    dsn = server.fresh()
    target = server.target() if job.extra is Extra.APART else dsn
    bench = Bench(world=world, dsn=dsn, target=target, scratch=scratch)
    player = Player(bench, server, list(job.faults), random.Random(f"{seed} {job}"), records=job.number < 0)
    account = player.play()
    log = scratch / "log"
    return Ended(
        job=job,
        account=account,
        log=log.read_text()[-LOG_SHOWN:] if log.exists() and account.violations else "",
    )


def catalog_of(recorded: Iterable[Ended]) -> Catalog:
    """The points that runs without faults came to."""
    catalog: dict[Where, dict[str, list[str]]] = {}
    for ended in sorted(recorded, key=lambda ended: -ended.job.number):
        catalog[ended.job.where] = ended.account.points
    return catalog


def main(arguments: Sequence[str]) -> int:
    """Play as many runs as are wanted, and tell the figures.

    Returns 1 when anything was violated or a goal was missed, 3 when the harness failed.
    """
    wanted = _arguments(arguments)
    tally = Tally(seed=wanted.seed, is_whole=not (wanted.among or wanted.within or wanted.job))
    everything: list[Item] = []
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(HARNESS_FAILED))
    try:
        with crew(wanted.workers, wanted.seed) as workers:
            everything = _play(wanted, workers, tally)
    except HarnessError as error:
        _tell(f"the harness failed: {error}")
        if tally.runs:
            _told(tally, everything)
        return HARNESS_FAILED
    if not tally.runs:
        _tell("the harness failed: no run was played; give it more time")
        return HARNESS_FAILED
    return _told(tally, everything)


def _told(tally: Tally, everything: Sequence[Item]) -> int:
    """Print the figures, and say which goals were missed."""
    left = unexplained(tally.met)
    figures = tally.figures(everything, left)
    for figure in figures:
        print(json.dumps(figure.line(tally.seed)))
    if tally.is_whole:
        for text in left:
            _tell(text)
    missed = [figure for figure in figures if figure.is_missed]
    for figure in missed:
        _tell(f"MISSED: {figure.name}: {figure.value}, the goal is {figure.goal}")
    return 1 if missed else 0


def _play(wanted: argparse.Namespace, workers: Crew, tally: Tally) -> list[Item]:
    """Play the runs, and return all the faults that there were to try."""
    everything: list[Item] = []
    chosen: Iterable[Job] = [Job.read(wanted.job)] * wanted.runs if wanted.job else ()
    if not wanted.job:
        recorded = list(workers.play(recordings(wanted.within)))
        for ended in recorded:
            tally.met |= ended.account.met
            if ended.account.violations:
                tally.add(ended)
                _report(ended, tally, wanted.runs)
        catalog = catalog_of(recorded)
        everything = items(catalog, wanted.among)
        _tell(f"{len(everything)} faults to try; seed {wanted.seed}")
        if not everything:
            raise HarnessError(f"no fault is like {wanted.among!r}")
        chosen = islice(jobs(catalog, wanted.seed, wanted.among), wanted.runs)
    tally.began = time.monotonic()
    last = tally.began + wanted.minutes * 60
    for ended in workers.play(_until(last, tally, chosen, stop=wanted.first)):
        tally.add(ended)
        _report(ended, tally, wanted.runs)
        if tally.violating and wanted.first:
            break
    return everything


def _until(last: float, tally: Tally, chosen: Iterable[Job], *, stop: bool) -> Iterator[Job]:
    for job in chosen:
        if time.monotonic() > last or (stop and tally.violating):
            return
        yield job


def _arguments(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.torture path", description=__doc__)
    parser.add_argument("--runs", type=_count, default=1000, help="how many runs at most (1000)")
    parser.add_argument("--minutes", type=float, default=math.inf, help="how long at most")
    parser.add_argument("--seed", type=int, default=SEED, help=f"what all is drawn from ({SEED})")
    parser.add_argument("--workers", type=_count, default=4 * (os.cpu_count() or 1), help="runs at a time")
    parser.add_argument("--among", default="", help="only faults whose text matches this pattern")
    parser.add_argument("--within", default="", help="only runs whose mode and shape match this pattern")
    parser.add_argument(
        "--job", default="", help="this run alone, as a violation names it; --runs says how often"
    )
    parser.add_argument("--first", action="store_true", help="stop at the first violation")
    found = parser.parse_args(arguments)
    if found.job and "--runs" not in arguments:
        found.runs = 1
    return found


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is too few; play 1 at least")
    return number


def _report(ended: Ended, tally: Tally, runs: int) -> None:
    if ended.account.violations:
        told = "\n".join(f"  {text}" for text in ended.account.violations[:20])
        repeat = f"python -m tests.torture path --seed {tally.seed} --job '{ended.job}'"
        _tell(
            f"VIOLATION in run {ended.job.number}, seed {tally.seed}\n{told}\n  again: {repeat}\n{ended.log}"
        )
    for text in ended.account.missed:
        _tell(f"not reached in {ended.job}: {text}")
    if tally.runs % 20 == 0 or tally.runs == runs:
        pace = tally.runs / (time.monotonic() - tally.began) * 60
        _tell(
            f"{tally.runs}/{runs} runs, {sum(tally.struck.values())} faults, {len(tally.violating)} violations, "
            f"{pace:.0f} runs a minute"
        )


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
