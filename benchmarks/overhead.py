"""How much longer does a whole run take than a bare Dag, and how much more CPU?

`python -m benchmarks overhead [ROUNDS] [ROWS]`: starts a stack of its own and runs Dags in turns: ours of 25 feeds on
five branches and a bare one that does the same work by hand (targets: 1.20 times the time, 1.15 times the CPU), with ROWS
rows in each feed, by default about ten seconds of work for a branch; and ours of six tiny feeds and the smallest
bare Dag over them (target: twice the time). The work is made heavy by patterns, so a ratio says nothing of other work: the
seconds do, and they are told for a tenth of the rows, too, where the same overhead is a larger share and has no target.
Ends with 1 when a target is missed.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import median
from urllib.parse import quote

import psutil
import psycopg

from benchmarks.table import show
from demo.ports import free_port
from demo.stack import Stack

HERE = Path(__file__).parent
SMALL, WORK = ("small_pipeline", "bare_airflow"), ("work_pipeline", "bare_work")
ROUNDS, ROWS = 5, 200_000
SHARE = 10
"""The smaller size of the work has so many times fewer rows."""
FEEDS, TINY = 6, 20
WORK_FEEDS, STEPS = 25, 1_000
"""Feeds of work, and how far each begins behind the one before: they have most keys in common."""
WORDS = 6
"""Times that a name is repeated: patterns are looked for in it, which is the work."""
TIMES, CPU_TIMES, TINY_TIMES = 1.20, 1.15, 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What a run took, in seconds: by Airflow's clock, and of all processes of the stack."""

    wall: float
    cpu: float


def main(rounds: int = ROUNDS, rows: int = ROWS) -> None:
    """Print the ratios of the medians first."""
    write_feeds(HERE / "data")
    work = {}
    with tempfile.TemporaryDirectory() as home:
        stack = Stack(
            Path(home),
            port=free_port(),
            dags_folders=[HERE / "dags"],
            extra_env={"PYTHONPATH": str(HERE.parent)},
        )
        try:
            stack.up()
            with psycopg.connect(stack.warehouse_dsn) as connection:
                connection.execute("CREATE SCHEMA benchmark")
            small = measure(stack, SMALL, rounds)
            for size in (rows // SHARE, rows):
                write_work(HERE / "data", size)
                work[size] = measure(stack, WORK, rounds)
        finally:
            stack.down()
    held = [_show("Whole run with six tiny feeds", SMALL, small, {"wall": TINY_TIMES})]
    for size, taken in work.items():
        goals = {"wall": TIMES, "cpu": CPU_TIMES} if size == rows else {}
        held.append(_show(f"Whole run with 25 feeds of {size:,} rows", WORK, taken, goals))
    if not all(held):
        sys.exit(1)


def measure(stack: Stack, dag_ids: tuple[str, str], rounds: int) -> dict[str, list[Taken]]:
    """Run both Dags in turns; the first run of each only warms up."""
    taken: dict[str, list[Taken]] = {dag_id: [] for dag_id in dag_ids}
    for number in range(rounds + 1):
        for dag_id, measured in taken.items():
            stack.api.wait_for_dag(dag_id)
            before = cpu_seconds(stack)
            run_id = stack.api.trigger(dag_id)
            state = stack.api.wait_for_run(dag_id, run_id)
            if state != "success":
                raise RuntimeError(f"{dag_id} ended {state}")
            if number:
                one = Taken(wall=run_seconds(stack, dag_id, run_id), cpu=cpu_seconds(stack) - before)
                print(f"{dag_id}: {one.wall:.1f} s, {one.cpu:.1f} s of CPU", file=sys.stderr)
                measured.append(one)
    return taken


def run_seconds(stack: Stack, dag_id: str, run_id: str) -> float:
    """Airflow's own clock: from the start of the run to its end."""
    run = stack.api.get(f"/api/v2/dags/{dag_id}/dagRuns/{quote(run_id, safe='')}")
    end, start = (datetime.fromisoformat(run[name]) for name in ("end_date", "start_date"))
    return (end - start).total_seconds()


def cpu_seconds(stack: Stack) -> float:
    """What all processes of the stack have used until now, those that have ended included."""
    return sum(sum(process.cpu_times()[:4]) for process in processes(stack))


def processes(stack: Stack) -> Iterator[psutil.Process]:
    """All processes of a stack, PostgreSQL's and what they have started included."""
    heads = [process.pid for process in stack.processes.recorded().values()]
    heads.append(int((stack.postgres.data / "postmaster.pid").read_text().splitlines()[0]))
    seen: set[int] = set()
    for pid in heads:
        with suppress(psutil.NoSuchProcess):
            head = psutil.Process(pid)
            for process in (head, *head.children(recursive=True)):
                if process.pid not in seen:
                    seen.add(process.pid)
                    yield process


def _show(
    title: str, dag_ids: tuple[str, str], taken: dict[str, list[Taken]], goals: dict[str, float]
) -> bool:
    """Print the figures of both Dags, and return whether every goal was reached."""
    names = {"wall": "time", "cpu": "CPU"}
    medians = {
        name: [median(getattr(one, name) for one in taken[dag_id]) for dag_id in dag_ids] for name in names
    }
    rows = []
    for name, (ours, bare) in medians.items():
        goal = f"<= {goals[name]:g}" if name in goals else ""
        rows.append((f"{names[name]}: ratio of medians", f"{ours / bare:.2f}", goal))
        rows.append((f"{names[name]}: {dag_ids[0]} / {dag_ids[1]}, median s", f"{ours:.1f} / {bare:.1f}", ""))
        rows.append((f"{names[name]}: more than the bare Dag, s", f"{ours - bare:.1f}", ""))
    rounds = len(taken[dag_ids[0]])
    show(title, [*rows, ("rounds", str(rounds), "")])
    for name, goal in goals.items():
        ours, bare = medians[name]
        figure = f"overhead {dag_ids[0]}: {names[name]}"
        print(json.dumps({"figure": figure, "value": ours / bare, "goal": goal, "n": rounds, "seed": 0}))
    return all(medians[name][0] / medians[name][1] <= goal for name, goal in goals.items())


def write_feeds(folder: Path) -> None:
    """Write feeds that overlap in half of their keys."""
    folder.mkdir(exist_ok=True)
    for feed in range(1, FEEDS + 1):
        _write(folder / f"feed_{feed}.csv", feed * TINY // 2, TINY)


def write_work(folder: Path, rows: int) -> None:
    """Write feeds of work, which are most alike."""
    for feed in range(1, WORK_FEEDS + 1):
        _write(folder / f"work_{feed}.csv", feed * STEPS, rows, WORDS)


def _write(file: Path, first: int, rows: int, words: int = 1) -> None:
    with file.open("w") as sink:
        sink.write("code,name,size\n")
        for start in range(first, first + rows, 100_000):
            keys = range(start, min(start + 100_000, first + rows))
            sink.write("".join(f"K{key:04},{f'name {key} ' * words},{key / 7:.3f}\n" for key in keys))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
