"""Does Airflow carry a run of very many batches, and in how much memory? (targets: ratio <= 12, 1,024 MB for a process)

`python -m benchmarks batches-stack [MORE]`: starts a stack of its own with a scheduler and two Dags, of MORE tiny files and of a
tenth of them, runs both, and looks at the memory of all its processes while they work. `batches` has the steps alone.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread

import psutil
import psycopg

from benchmarks.batches import MORE, MOST_TIMES
from benchmarks.overhead import processes, run_seconds
from benchmarks.table import show
from demo.ports import free_port
from demo.stack import Stack

FEWER_TIMES = 10
MOST_MB = 1_024
"""Ours: what a container of the deployment's smallest limit may hold."""
LONGEST_SECONDS = 7_200.0
LOOK_SECONDS = 0.5
KINDS = ("dag-processor", "scheduler", "triggerer", "api-server", "task")
CONTRACT = """
apiVersion: v3.1.0
kind: DataContract
id: thing
name: Thing
version: 1.0.0
status: active
schema:
  - name: thing
    properties:
      - {name: code, logicalType: string, primaryKey: true, required: true}
      - {name: size, logicalType: number}
"""
DAG = """
from pathlib import Path
from airflow_orchestration.dags.pipeline_dag import pipeline_dag
dag = pipeline_dag(Path(__file__).with_suffix(".yaml"))
"""


def main(more: int = MORE) -> None:
    """Print both runs; ends with 1 when a target is missed."""
    with TemporaryDirectory(prefix="orchestration-") as folder:
        dags = Path(folder) / "dags"
        sizes = {write(dags, number): number for number in (more // FEWER_TIMES, more)}
        stack = Stack(Path(folder) / "home", port=free_port(), dags_folders=[dags])
        try:
            stack.up()
            measured = [measure(stack, dag_id, number) for dag_id, number in sizes.items()]
        finally:
            stack.down()
    if not report(*measured, more):
        sys.exit(1)


def write(dags: Path, batches: int) -> str:
    """Write a Dag of so many feeds with their files, two rows each, and return its id."""
    dag_id = f"many_{batches}"
    landing = dags.parent / "landing" / dag_id
    landing.mkdir(parents=True)
    dags.mkdir(exist_ok=True)
    feeds = []
    for number in range(batches):
        (landing / f"f{number}.csv").write_text(f"code,size\nk{number},{number}\nk{number + 1},{number}\n")
        columns = {"code": "code", "size": "size"}
        feeds.append(
            {"id": f"f{number}", "uri": f"landing/f{number}.csv", "format": "csv", "columns": columns}
        )
    pipeline = {
        "id": dag_id,
        "roots": {"landing": str(landing)},
        "staging": str(dags.parent / "staging"),
        "contract": "thing.odcs.yaml",
        "capacity": {"workers": 5, "memory_mb": 8192},
        "workflow_mode": "parallel",
        "sync": {"deadline": LONGEST_SECONDS, "floor": 1.0},
        "publish": {"table": f"public.{dag_id}"},
        "feeds": feeds,
    }
    (dags / "thing.odcs.yaml").write_text(CONTRACT)
    (dags / f"{dag_id}.yaml").write_text(json.dumps(pipeline))
    (dags / f"{dag_id}.py").write_text(DAG)
    return dag_id


def measure(stack: Stack, dag_id: str, batches: int) -> dict[str, float]:
    """Run a Dag; raises RuntimeError unless every row is published and every task was tried once."""
    stack.api.wait_for_dag(dag_id, LONGEST_SECONDS)
    with watched(stack) as peaks:
        run_id = stack.api.trigger(dag_id)
        state = stack.api.wait_for_run(dag_id, run_id, LONGEST_SECONDS)
    tasks = stack.api.task_instances(dag_id, run_id)
    again = [task["task_id"] for task in tasks if task["try_number"] > 1]
    with psycopg.connect(stack.warehouse_dsn) as connection:
        row = connection.execute(f"SELECT count(*) FROM public.{dag_id}").fetchone()
    if (state, again, row) != ("success", [], (batches + 1,)):
        raise RuntimeError(f"{dag_id} ended {state}, {row} rows, tried again: {again}")
    longest: dict[str, float] = {}
    for task in tasks:
        if task["duration"]:
            name = f"seconds, {task['task_id']}, at most"
            longest[name] = max(longest.get(name, 0.0), task["duration"])
    return {"seconds, whole": run_seconds(stack, dag_id, run_id), **longest, **peaks}


@contextmanager
def watched(stack: Stack) -> Iterator[dict[str, float]]:
    """Fill in the most memory that a process of each kind holds, in MB, looked at once in `LOOK_SECONDS`."""
    peaks: dict[str, float] = {}
    over = Event()

    def look() -> None:
        while not over.wait(LOOK_SECONDS):
            for process in processes(stack):
                with suppress(psutil.Error):
                    name = f"MB, peak of {kind_of(process.cmdline())}"
                    peaks[name] = max(peaks.get(name, 0.0), process.memory_info().rss / 2**20)

    watcher = Thread(target=look)
    watcher.start()
    try:
        yield peaks
    finally:
        over.set()
        watcher.join()


def kind_of(words: list[str]) -> str:
    """What a process is, by its command line: a service of Airflow, a task, or PostgreSQL."""
    line = " ".join(words)
    found = [kind for kind in KINDS if kind in line]
    return found[0] if found else "PostgreSQL" if line.startswith("postgres") else "others"


def report(small: dict[str, float], large: dict[str, float], more: int) -> bool:
    """Print the figures, and return whether the goals were reached."""
    times = large["seconds, whole"] / small["seconds, whole"]
    peak = max(value for name, value in large.items() if name.startswith("MB,"))
    goals = {"growth of time": (times, MOST_TIMES), "peak MB of a process": (peak, MOST_MB)}
    rows = [(name, f"{value:,.1f}", f"<= {goal}") for name, (value, goal) in goals.items()]
    rows += [(name, f"{small.get(name, 0.0):,.1f}  {value:,.1f}", "") for name, value in large.items()]
    show(f"a scheduler's runs of {more // FEWER_TIMES:,} and {more:,} batches", rows)
    for name, (value, goal) in goals.items():
        figure = f"batches of a scheduler: {name}"
        print(json.dumps({"figure": figure, "value": value, "goal": goal, "n": more, "seed": 0}))
    return all(value <= goal for value, goal in goals.values())


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
