"""How much longer does a whole run take than the smallest bare Dag over the same feeds? (target: <= 2)

`python -m benchmarks.overhead [ROUNDS]`: starts a stack of its own and runs both Dags in turns.
"""

from __future__ import annotations

import sys
import tempfile
from datetime import datetime
from pathlib import Path
from statistics import median
from urllib.parse import quote

import psycopg

from benchmarks.table import show
from demo.ports import free_port
from demo.stack import Stack

HERE = Path(__file__).parent
OURS, BARE = "small_pipeline", "bare_airflow"
ROUNDS = 5
FEEDS, ROWS = 6, 20


def main(rounds: int = ROUNDS) -> None:
    """Print the ratio of the medians first."""
    write_feeds(HERE / "data")
    with tempfile.TemporaryDirectory() as home:
        stack = Stack(Path(home), port=free_port(), dags_folders=[HERE / "dags"])
        try:
            stack.up()
            with psycopg.connect(stack.warehouse_dsn) as connection:
                connection.execute("CREATE SCHEMA benchmark")
            seconds = measure(stack, rounds)
        finally:
            stack.down()
    ours, bare = median(seconds[OURS]), median(seconds[BARE])
    rows = [
        ("ratio of medians", f"{ours / bare:.2f}", "<= 2"),
        (f"{OURS}, median s", f"{ours:.2f}", ""),
        (f"{BARE}, median s", f"{bare:.2f}", ""),
        ("rounds", str(rounds), ""),
    ]
    show("Whole run with six tiny feeds: wall time", rows)


def measure(stack: Stack, rounds: int) -> dict[str, list[float]]:
    """Run both Dags in turns; the first run of each only warms up."""
    seconds: dict[str, list[float]] = {OURS: [], BARE: []}
    for number in range(rounds + 1):
        for dag_id, measured in seconds.items():
            stack.api.wait_for_dag(dag_id)
            run_id = stack.api.trigger(dag_id)
            state = stack.api.wait_for_run(dag_id, run_id)
            if state != "success":
                raise RuntimeError(f"{dag_id} ended {state}")
            if number:
                measured.append(run_seconds(stack, dag_id, run_id))
    return seconds


def run_seconds(stack: Stack, dag_id: str, run_id: str) -> float:
    """Airflow's own clock: from the start of the run to its end."""
    run = stack.api.get(f"/api/v2/dags/{dag_id}/dagRuns/{quote(run_id, safe='')}")
    end, start = (datetime.fromisoformat(run[name]) for name in ("end_date", "start_date"))
    return (end - start).total_seconds()


def write_feeds(folder: Path) -> None:
    """Write feeds that overlap in half of their keys."""
    folder.mkdir(exist_ok=True)
    for feed in range(1, FEEDS + 1):
        first = feed * ROWS // 2
        lines = [f"K{key:04},name {key},{key / 7:.3f}" for key in range(first, first + ROWS)]
        (folder / f"feed_{feed}.csv").write_text("\n".join(["code,name,size", *lines]) + "\n")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
