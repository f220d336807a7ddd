"""A run of a small pipeline on PostgreSQL, played step by step by the real workflow."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any

import psycopg

from airflow_orchestration.domain.batch import Lane
from airflow_orchestration.domain.conf import RunConf
from airflow_orchestration.domain.contract import Column, ColumnType, Contract
from airflow_orchestration.domain.pipeline import Pipeline
from airflow_orchestration.domain.run_spec import resolve
from airflow_orchestration.engine.staging import StagingArea
from airflow_orchestration.policies.quality import QualityDecision
from airflow_orchestration.policies.quorum_gate import GateDecision
from airflow_orchestration.storage.postgres import PostgresStore
from airflow_orchestration.storage.publishing import Publisher
from airflow_orchestration.storage.store import Attempt, RunKey, WorkUnit
from airflow_orchestration.workflow.analyze import analyze_batches
from airflow_orchestration.workflow.branch import run_branch
from airflow_orchestration.workflow.close_out import close_out
from airflow_orchestration.workflow.gate import decide_gate
from airflow_orchestration.workflow.in_process import ALL_OVER, LANES
from airflow_orchestration.workflow.merge import merge_round
from airflow_orchestration.workflow.plan import plan_round
from airflow_orchestration.workflow.publish import publish
from airflow_orchestration.workflow.quality import validate_quality
from airflow_orchestration.workflow.routes import after_gate
from airflow_orchestration.workflow.step import Step

RUNNING = {lane.value: "running" for lane in Lane}
CONTRACT = Contract(
    name="thing",
    key=("code",),
    columns=(
        Column(name="code", type=ColumnType.STRING, required=True),
        Column(name="size", type=ColumnType.NUMBER, minimum=0),
        Column(name="name", type=ColumnType.STRING),
    ),
)
COLUMNS = {name: name for name in ("code", "size", "name")}


class PlayedRun:
    """One run: a feed is its declaration's changes, a file is its text; a feed without a file is waited for."""

    def __init__(
        self,
        folder: Path,
        store: PostgresStore,
        connect: Callable[[], psycopg.Connection[Any]],
        feeds: Mapping[str, Mapping[str, Any]],
        *,
        run_id: str = "manual__1",
        conf: Mapping[str, Any] = MappingProxyType({}),
        **pipeline: Any,
    ) -> None:
        self.folder, self.store, self.publisher = folder, store, Publisher(connect)
        self.key = RunKey(dag_id="things", run_id=run_id)
        declared = _pipeline(folder, feeds, pipeline)
        self.spec = resolve(declared, (CONTRACT,), RunConf.model_validate(conf), date(2026, 11, 22))
        self._tries = count(1)

    def land(self, **files: str) -> None:
        """Let files arrive, each by its feed: lines of code, size and name."""
        for feed_id, text in files.items():
            (self.folder / f"{feed_id}.csv").write_text("code,size,name\n" + text)

    def start(self) -> None:
        """Analyze the run."""
        with self.step(0, "analyze") as step:
            analyze_batches(self.store, step.fence, self.spec)

    def plan(self, number: int = 1) -> None:
        """Open a round."""
        with self.step(number, "plan") as step:
            plan_round(step)

    def work(self, number: int = 1) -> None:
        """Let every branch process what is there."""
        plan = self.store.rounds(self.key)[number - 1].plan
        for lane in Lane:
            for branch_id in plan.branches_in(lane):
                with self.step(number, f"branch:{lane}:{branch_id}") as step:
                    run_branch(step, branch_id, lane)

    def look(self, number: int = 1, states: Mapping[str, str | None] = ALL_OVER) -> GateDecision:
        """Let the gate look, and decide where it goes from there."""
        decision = decide_gate(self.store, self.key, self.spec, number, LANES, states)
        if decision.is_settled:
            with self.step(number, "decide") as step:
                after_gate(step, decision.action)
        return decision

    def merge(self, number: int = 1) -> QualityDecision:
        """Merge what arrived, and judge it."""
        with self.step(number, "merge") as step:
            merge_round(step)
        with self.step(number, "quality") as step:
            return validate_quality(step)

    def publish(self) -> dict[str, Any]:
        """Publish the merge, and close the run."""
        with self.step(0, "publish") as step:
            publish(step, self._publishers)
        return self.close()

    def close(self) -> dict[str, Any]:
        """Close the run, and return its manifest."""
        with self.step(0, "close_out") as step:
            return close_out(step, self._publishers)

    @contextmanager
    def step(self, number: int, unit: str) -> Iterator[Step]:
        """Take one step; each is a try of its own."""
        attempt = Attempt(try_number=next(self._tries), ti_id="t", process="p")
        fence = self.store.claim(WorkUnit(run=self.key, round=number, unit=unit), attempt)
        with TemporaryDirectory() as scratch:
            yield Step(
                store=self.store,
                fence=fence,
                scratch=Path(scratch),
                open_staging=lambda root: StagingArea(Path(root)),
            )

    def _publishers(self, _: str) -> Publisher:
        return self.publisher


def _pipeline(folder: Path, feeds: Mapping[str, Mapping[str, Any]], changes: Mapping[str, Any]) -> Pipeline:
    return Pipeline.model_validate(
        {
            "id": "things",
            "roots": {"landing": str(folder)},
            "staging": str(folder / "staging"),
            "contract": "unused",
            "capacity": {"workers": 3, "cpu_available": 0.5, "memory_mb": 6000},
            "sync": {"deadline": 600},
            "publish": {"table": "public.thing"},
            "feeds": [
                {"id": name, "uri": f"landing/{name}.csv", "format": "csv", "columns": COLUMNS, **feed}
                for name, feed in feeds.items()
            ],
            **changes,
        }
    )
