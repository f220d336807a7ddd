"""How long does Airflow take to parse the jobs of 300 tenants, beside dag-factory and a plain loop?

`python -m benchmarks agents-parse [TENANTS]`: builds the Dags of a job for each tenant, in a process each, and the same
graph of empty tasks by dag-factory (in an environment of its own) and by a loop. Then one Dag as a task's process
builds it, and the growth from 100 to 1,000 jobs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from benchmarks import agents_graph
from benchmarks.table import show

TENANTS, ROUNDS, FEEDS = 300, 3, 3
GROWTH = (100, 1_000)
REQUIREMENTS = ("dag-factory==1.1.0", "apache-airflow==3.3.2")
ENVIRONMENT = Path(__file__).parents[1] / ".orchestration" / "bench-dag-factory"
JOB = """\
description: Orders of {tenant}
schedule: 0 6 * * *
owner: {tenant}
tags: [orders]
roots: {{landing: landing}}
staging: staging
contract: orders.odcs.yaml
feeds:{feeds}
sync: {{deadline: 3600, floor: 0.75}}
merge: {{strategy: vote}}
publish: {{table: {tenant}.orders, conn_id: {tenant}__warehouse}}
"""
FEED = """
  - id: shop_{number}
    uri: landing/{{date}}/shop_{number}.csv
    format: csv
    columns: {{id: order_id, amount: total, placed_at: placed_at, currency: currency}}
    weight: 2"""


def main(tenants: int = TENANTS) -> None:
    """Print the figures with their targets."""
    with TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        small, large = (grown(folder / str(size), size) for size in GROWTH)
        jobs = write_jobs(folder / "jobs", tenants)
        rows = [
            (f"{tenants} jobs, CPU s, ours", f"{seconds('all', jobs):.2f}", "<= 5"),
            ("the same operators in a plain loop, no files", f"{seconds('loop', jobs):.2f}", ""),
            *(
                (f"the graph of empty tasks: {name}", f"{took:.2f}", "")
                for name, took in others(folder, jobs)
            ),
            ("100 jobs, ms each", f"{small:.1f}", ""),
            ("1,000 jobs, ms each", f"{large:.1f}", f"{GROWTH[0]} jobs' +- 20 %"),
            ("one Dag in a task's process, ms", f"{1000 * seconds('task', jobs):.0f}", "<= 50"),
            ("the same without warm start, ms", f"{1000 * seconds('cold', jobs):.0f}", ""),
        ]
    show("Parsing the jobs of many tenants: CPU", rows)


def write_jobs(folder: Path, tenants: int) -> Path:
    """Write a job for each tenant."""
    feeds = "".join(FEED.format(number=number) for number in range(FEEDS))
    for number in range(tenants):
        place = folder / f"tenant{number}"
        place.mkdir(parents=True)
        (place / "orders.yaml").write_text(JOB.format(tenant=place.name, feeds=feeds))
    return folder


def grown(folder: Path, tenants: int) -> float:
    """Milliseconds for each of so many jobs."""
    return 1000 * seconds("all", write_jobs(folder, tenants)) / tenants


def seconds(what: str, folder: Path) -> float:
    """The median of processes that each do it once."""
    command = [sys.executable, "-m", "benchmarks.agents_parse", what, str(folder)]
    root = Path(__file__).parents[1]
    return median(
        float(
            subprocess.run(command, check=True, capture_output=True, text=True, cwd=root).stdout.split()[-1]
        )
        for _ in range(ROUNDS)
    )


def work(what: str, folder: Path) -> float:
    """Do one of the things and return its CPU seconds, above what Airflow and, but for `cold`, warm start load."""
    import airflow.dag_processing.dagbag  # noqa: F401  # what parses in a dag-processor and in a worker

    if what != "cold":
        from airflow_orchestration.plugins.warm_start import on_starting

        on_starting(None)
    if what in {"task", "cold"}:
        os.environ["_AIRFLOW_PARSING_CONTEXT_DAG_ID"] = "tenant0__orders"
    began = time.process_time()
    from airflow_orchestration.dags.agent_factory import AgentFactoryHook
    from airflow_orchestration.dags.pipeline_dag import build_pipeline_dag
    from airflow_orchestration.domain.job_file import find_jobs

    hook = AgentFactoryHook(folder, data="/data")
    if what == "loop":
        read = [hook.read(found) for found in find_jobs(folder)]
        began = time.process_time()
        made = len([build_pipeline_dag(job) for job in read])
    else:
        made = len(hook.generate_dags())
    took = time.process_time() - began
    if made != (1 if what in {"task", "cold"} else len(list(folder.iterdir()))):
        raise AssertionError((what, made))
    return took


def others(folder: Path, jobs: Path) -> list[tuple[str, float]]:
    """What the others take for Dags of as many empty tasks, tied in the same way."""
    from airflow_orchestration.dags.agent_factory import AgentFactoryHook

    dag = AgentFactoryHook(jobs, data="/data").dag("tenant0", "orders")
    graph = {
        task.task_id.replace(".", "-"): sorted(other.replace(".", "-") for other in task.upstream_task_ids)
        for task in dag.topological_sort()
    }
    dag_ids = [f"{place.name}__orders" for place in jobs.iterdir()]
    (folder / "graph.json").write_text(json.dumps(graph))
    (folder / "dag_ids.json").write_text(json.dumps(dag_ids))
    (folder / "dag_factory").mkdir()
    tasks = "".join(
        f"    - {{task_id: {task_id}, operator: {agents_graph.EMPTY}, dependencies: [{', '.join(before)}]}}\n"
        for task_id, before in graph.items()
    )
    head = "  schedule: null\n  default_args: {owner: bench, start_date: 2026-01-01, retries: 2}\n  tasks:\n"
    for dag_id in dag_ids:
        (folder / "dag_factory" / f"{dag_id}.yaml").write_text(f"{dag_id}:\n{head}{tasks}")
    python = environment()
    return [
        (name, median(_other(python, name, folder, len(dag_ids)) for _ in range(ROUNDS)))
        for name in agents_graph.MAKERS
    ]


def _other(python: Path, library: str, folder: Path, expected: int) -> float:
    command = [str(python), agents_graph.__file__, library, str(folder)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=folder)
    found = json.loads(done.stdout.splitlines()[-1])
    if found["dags"] != expected:
        raise AssertionError((library, found))
    return float(found["seconds"])


def environment() -> Path:
    """Return the Python of dag-factory's own environment, which is made when it isn't there."""
    python, made = ENVIRONMENT / "bin" / "python", ENVIRONMENT / "requirements.txt"
    wanted = "\n".join(REQUIREMENTS)
    if not made.exists() or made.read_text() != wanted:
        subprocess.run([sys.executable, "-m", "venv", str(ENVIRONMENT)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *REQUIREMENTS], check=True)
        made.write_text(wanted)
    return python


if __name__ == "__main__":
    print(work(sys.argv[1], Path(sys.argv[2])))
