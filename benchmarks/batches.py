"""What does a run of very many batches take, and does it grow faster than they do? (targets: ratio <= 12, 1,024 MB)

`python -m benchmarks batches [FEWER] [MORE]`: runs of 1,000 and 10,000 tiny files by the steps of the Dag over
PostgreSQL, one step after the other, each run in a process of its own and each batch in a process of that; on five branches,
which is as many as a run has. `batches-stack` has the same with a scheduler. Ends with 1 when a target is missed.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from datetime import date
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psycopg

from airflow_orchestration.domain.batch import Lane
from airflow_orchestration.domain.contract import Column, ColumnType, Contract
from airflow_orchestration.domain.pipeline import Pipeline
from airflow_orchestration.domain.run_spec import RunSpec
from airflow_orchestration.engine.staging import StagingArea
from airflow_orchestration.storage.migrating import migrate
from airflow_orchestration.storage.postgres import PostgresStore
from airflow_orchestration.storage.publishing import Publisher
from airflow_orchestration.storage.store import Attempt, RunKey, WorkUnit
from airflow_orchestration.workflow.analyze import analyze_batches
from airflow_orchestration.workflow.branch import run_branch
from airflow_orchestration.workflow.close_out import close_out
from airflow_orchestration.workflow.gate import decide_gate
from airflow_orchestration.workflow.merge import merge_round
from airflow_orchestration.workflow.plan import lane_payloads, plan_round
from airflow_orchestration.workflow.publish import publish
from airflow_orchestration.workflow.quality import validate_quality
from airflow_orchestration.workflow.step import Step
from airflow_orchestration.workflow.stopping import apart
from benchmarks.table import show
from demo.postgres import EmbeddedPostgres

FEWER, MORE = 1_000, 10_000
BRANCHES = 5
"""What the allocation makes of them at most."""
MOST_TIMES = 12
"""Ours: ten times the batches, and a fifth more for what grows with their product."""
MOST_MB = 1_024
"""Ours: what a small worker has; the process of a step, and that of a batch."""
PEAKS = ("MB, peak of the process", "MB, peak of a batch's process")
ALL_OVER = {lane.value: "success" for lane in Lane}
LANES = {lane.value: lane.value for lane in Lane}
KEY = RunKey(dag_id="many", run_id="manual__1")
CONTRACT = Contract(
    name="thing",
    key=("code",),
    columns=(
        Column(name="code", type=ColumnType.STRING, required=True),
        Column(name="size", type=ColumnType.NUMBER),
    ),
)
SIZES = {
    "specification": "SELECT octet_length(spec::text) FROM orchestration.run",
    "plan": "SELECT octet_length(plan::text) FROM orchestration.round",
    "verdict": "SELECT octet_length(verdict::text) FROM orchestration.round",
    "manifest": "SELECT octet_length(manifest::text) FROM orchestration.run",
    "largest decision": "SELECT max(octet_length(decision::text)) FROM orchestration.decision",
    "largest event": "SELECT max(octet_length(detail::text)) FROM orchestration.timeline",
    "all tables of the run": """SELECT sum(pg_total_relation_size(oid)) FROM pg_class
        WHERE relnamespace = 'orchestration'::regnamespace AND relkind = 'r'""",
}
Figures = dict[str, float]


def main(fewer: int = FEWER, more: int = MORE) -> None:
    """Print both runs, and how many times as much the larger one takes."""
    small, large = measured(fewer), measured(more)
    rows = [
        (name, f"{small[name]:,.2f}  {value:,.2f}  x {value / (small[name] or 1):.1f}", "")
        for name, value in large.items()
    ]
    times = large["seconds, whole"] / small["seconds, whole"]
    most = MOST_TIMES * more / fewer / 10
    rows.insert(
        0, (f"{more:,} batches take so many times as long as {fewer:,}", f"{times:.1f}", f"<= {most:g}")
    )
    peak = max(large[name] for name in PEAKS)
    rows.insert(1, ("MB, at most", f"{peak:,.0f}", f"<= {MOST_MB:,}"))
    show(f"runs of {fewer:,} and {more:,} batches on {large['branches']:.0f} branches", rows)
    for name, value, goal in (("growth of time", times, most), ("peak MB", peak, MOST_MB)):
        print(json.dumps({"figure": f"batches: {name}", "value": value, "goal": goal, "n": more, "seed": 0}))
    if times > most or peak > MOST_MB:
        sys.exit(1)


def measured(batches: int) -> Figures:
    """Play a run in a fresh process and database."""
    with TemporaryDirectory(prefix="orchestration-") as folder:
        server = EmbeddedPostgres(Path(folder) / "postgres")
        server.start()
        try:
            server.create_database("many")
            dsn = server.dsn("many")
            with psycopg.connect(dsn) as connection:
                migrate(connection)
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                return pool.submit(play, dsn, Path(folder) / "world", batches).result()
        finally:
            server.stop()


def play(dsn: str, folder: Path, batches: int) -> Figures:
    """Play every step of a run, and take its time."""
    spec = made(folder, batches)
    run = _Run(dsn, folder)
    with run.timed("whole"):
        _play(run, spec)
    with psycopg.connect(dsn) as connection:
        for name, query in SIZES.items():
            row = connection.execute(query).fetchone()
            run.figures[f"kB, {name}"] = float((row or [0])[0]) / 1000
    for name, whose in zip(PEAKS, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN), strict=True):
        run.figures[name] = resource.getrusage(whose).ru_maxrss / 1024
    run.store.close()
    return run.figures


class _Run:
    def __init__(self, dsn: str, folder: Path) -> None:
        self.store = PostgresStore(lambda: psycopg.connect(dsn))
        self.publisher = Publisher(lambda: psycopg.connect(dsn))
        self.folder = folder
        self.figures: Figures = {}

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.figures[f"seconds, {name}"] = time.perf_counter() - started

    @contextmanager
    def step(self, round_number: int, unit: str) -> Iterator[Step]:
        fence = self.store.claim(
            WorkUnit(run=KEY, round=round_number, unit=unit), Attempt(try_number=1, ti_id="t", process="p")
        )
        with TemporaryDirectory(dir=self.folder) as scratch:
            yield Step(
                store=self.store,
                fence=fence,
                scratch=Path(scratch),
                open_staging=lambda root: StagingArea(Path(root)),
            )

    def publishers(self, _: str) -> Publisher:
        return self.publisher


def _play(run: _Run, spec: RunSpec) -> None:
    with run.timed("analyze"), run.step(0, "analyze") as step:
        analyze_batches(run.store, step.fence, spec)
    with run.timed("plan"), run.step(1, "plan") as step:
        plan = plan_round(step).plan
    run.figures["branches"] = len(plan.branches)
    with run.timed("route"), run.step(1, "route") as step:
        payloads = {lane: lane_payloads(step.spec, plan, lane) for lane in Lane}
    run.figures["kB, XCom of a lane's batches"] = (
        max(len(json.dumps(told)) for told in payloads.values()) / 1000
    )
    feeds = {branch.branch_id: [batch.feed_id for batch in branch.batches] for branch in plan.branches}
    run.figures["kB, XCom of the plan"] = len(json.dumps(feeds)) / 1000
    with run.timed("branches"):
        for lane in Lane:
            for branch_id in plan.branches_in(lane):
                with run.step(1, f"branch:{lane}:{branch_id}") as step:
                    run_branch(step, branch_id, lane, worker=apart(step))
    with run.timed("gate, one look"):
        run.store.gate_snapshot(KEY, 1)
    with run.timed("gate"):
        assert decide_gate(run.store, KEY, spec, 1, LANES, ALL_OVER).is_open
    _end(run)


def _end(run: _Run) -> None:
    with run.timed("merge"), run.step(1, "merge") as step:
        merge_round(step)
    with run.timed("quality"), run.step(1, "quality") as step:
        validate_quality(step)
    with run.timed("publish"), run.step(0, "publish") as step:
        publish(step, run.publishers)
    with run.timed("close out"), run.step(0, "close_out") as step:
        manifest = close_out(step, run.publishers)
    assert manifest["state"] == "published", manifest["state"]


def made(folder: Path, batches: int) -> RunSpec:
    """Write the files of a run, two rows each, and say what it does with them."""
    landing = folder / "landing"
    landing.mkdir(parents=True)
    for number in range(batches):
        (landing / f"f{number}.csv").write_text(f"code,size\nk{number},{number}\nk{number + 1},{number}\n")
    feeds = [
        {
            "id": f"f{number}",
            "uri": f"landing/f{number}.csv",
            "format": "csv",
            "columns": {"code": "code", "size": "size"},
        }
        for number in range(batches)
    ]
    pipeline: dict[str, Any] = {
        "id": KEY.dag_id,
        "roots": {"landing": str(landing)},
        "staging": str(folder / "staging"),
        "contract": "unused",
        "capacity": {"workers": BRANCHES, "memory_mb": 8192, "cpu_available": 1.0},
        "workflow_mode": "parallel",
        "sync": {"deadline": 80_000, "floor": 1.0},
        "publish": {"table": "public.many"},
        "feeds": feeds,
    }
    return RunSpec(
        pipeline=Pipeline.model_validate(pipeline), contracts=(CONTRACT,), run_date=date(2026, 11, 23)
    )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
