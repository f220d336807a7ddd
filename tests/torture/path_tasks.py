"""The tasks of a pipeline Dag as functions: each claims its unit, takes its step by the product's code, and lets go.

What they return is what Airflow's XCom would hold, so it is plain data.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psycopg

from airflow_orchestration.domain.batch import Lane
from airflow_orchestration.engine.staging import StagingArea
from airflow_orchestration.exceptions import (
    InputRefusedError,
    LedgerMismatchError,
    NotPublishedError,
    PublishConflictError,
    StagedFileError,
)
from airflow_orchestration.policies.quality import QualityAction
from airflow_orchestration.policies.quorum_gate import GateAction
from airflow_orchestration.sources.outside import Nowhere
from airflow_orchestration.storage.postgres import PostgresStore
from airflow_orchestration.storage.publishing import Publisher
from airflow_orchestration.storage.store import Attempt, WorkUnit
from airflow_orchestration.workflow.analyze import analyze_batches
from airflow_orchestration.workflow.branch import WaitsFor, failed_feeds, run_branch
from airflow_orchestration.workflow.close_out import close_out, free_left_records
from airflow_orchestration.workflow.gate import decide_gate
from airflow_orchestration.workflow.merge import merge_round
from airflow_orchestration.workflow.plan import plan_round
from airflow_orchestration.workflow.publish import check_targets, histories, manifest_of, publish
from airflow_orchestration.workflow.quality import validate_quality
from airflow_orchestration.workflow.reconcile import read_late_files, reconcile
from airflow_orchestration.workflow.routes import after_gate, after_quality
from airflow_orchestration.workflow.step import Step, read_spec
from airflow_orchestration.workflow.stopping import apart, die_with_parent
from tests.torture.path_points import connect
from tests.torture.world import World

BEHIND = "behind"
"""How a branch ends that waits for other feeds alone: they are at work, so it is resumed before the gate is asked."""
LANES = {lane.value: lane.value for lane in Lane}
FINAL: Mapping[str, tuple[type[Exception], ...]] = {
    "analyze": (InputRefusedError,),
    "publish": (InputRefusedError, LedgerMismatchError, NotPublishedError, PublishConflictError),
    "reconcile": (InputRefusedError, LedgerMismatchError, PublishConflictError, StagedFileError),
}
"""What the operators do not try again; a test compares these lists with theirs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """One execution of a task, as Airflow starts it."""

    task: str
    round: int
    try_number: int
    ti_id: str
    branch: str = ""
    last_try: bool = False
    states: Mapping[str, str] | None = None
    """The states of the lanes' tasks, for the gate."""

    @property
    def unit(self) -> str:
        """The work unit that it claims."""
        return self.branch if self.task == "branch" else self.task


class Application(Nowhere):
    """A world outside with one database, whose outbox is read without being tortured."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn

    def postgres(self, conn_id: str) -> psycopg.Connection[Any]:
        """See `Outside`."""
        assert conn_id == "app"
        return psycopg.connect(self._dsn)


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What a task works with: its run, the databases, a folder to throw away."""

    world: World
    dsn: str
    target: str
    """The database of the tables, which may be the store's."""
    scratch: Path

    def connect(self) -> Any:
        """Open a connection."""
        return connect(self.dsn)

    def publishers(self, _: str) -> Publisher:
        """Who publishes."""
        return Publisher(lambda: connect(self.target))

    @contextmanager
    def step(self, start: Start, unit: str) -> Iterator[Step]:
        """Claim a unit as the operators do."""
        die_with_parent()
        process = f"{socket.gethostname()}:{os.getpid()}:{Path('/proc/self/stat').read_text().split()[21]}"
        attempt = Attempt(
            try_number=start.try_number, ti_id=start.ti_id, process=process, began_at=datetime.now(UTC)
        )
        work_unit = WorkUnit(run=self.world.run, round=start.round, unit=unit)
        with PostgresStore(self.connect) as store, TemporaryDirectory(dir=self.scratch) as scratch:
            fence = store.claim(work_unit, attempt)
            yield Step(
                store=store,
                fence=fence,
                scratch=Path(scratch),
                open_staging=lambda root: StagingArea(Path(root)),
                outside=Application(self.dsn),
            )


def _analyze(bench: Bench, start: Start) -> None:
    check_targets(bench.world.spec, bench.publishers)
    with bench.step(start, "analyze") as step:
        analyze_batches(step.store, step.fence, bench.world.spec, step.outside)
        free_left_records(step, bench.publishers)


def _plan(bench: Bench, start: Start) -> dict[str, list[str]]:
    with bench.step(start, "plan") as step:
        plan = plan_round(step).plan
    return {lane.value: list(plan.branches_in(lane)) for lane in Lane}


def _branch(bench: Bench, start: Start) -> str:
    _, lane, branch_id = start.branch.split(":")
    with bench.step(start, start.branch) as step:
        waiting = run_branch(step, branch_id, Lane(lane), last_try=start.last_try, worker=apart(step))
        failed = failed_feeds(step, branch_id, Lane(lane))
    kinds = {obstacle.kind for obstacle in waiting} - {WaitsFor.NOTHING}
    if kinds:
        return "deferred" if WaitsFor.FILE in kinds else BEHIND
    return "failed" if failed else "skipped" if waiting else "success"


def _gate(bench: Bench, start: Start) -> str | None:
    with PostgresStore(bench.connect) as store:
        spec = read_spec(store.run(bench.world.run))
        decision = decide_gate(store, bench.world.run, spec, start.round, LANES, start.states or {})
    return decision.action.value if decision.is_settled else None


def _decide(bench: Bench, start: Start) -> str:
    with bench.step(start, "decide") as step:
        verdict = step.store.rounds(step.run_key)[start.round - 1].verdict
        if verdict is None:
            raise RuntimeError("the gate recorded no verdict")
        return after_gate(step, GateAction(verdict["action"])).value


def _merge(bench: Bench, start: Start) -> int:
    with bench.step(start, "merge") as step:
        return len(merge_round(step))


def _quality(bench: Bench, start: Start) -> str:
    with bench.step(start, "quality") as step:
        return after_quality(step, QualityAction(validate_quality(step).action)).value


def _publish(bench: Bench, start: Start) -> None:
    with bench.step(start, "publish") as step:
        publish(step, bench.publishers)
        manifest_of(step, published=True, known=histories(step, bench.publishers))


def _close_out(bench: Bench, start: Start) -> str:
    with bench.step(start, "close_out") as step:
        return str(close_out(step, bench.publishers)["state"])


def _amend(bench: Bench, start: Start) -> bool:
    """What `close_out` does besides when the run is degraded: it merges what was registered late."""
    with bench.step(start, "reconcile:own") as step:
        return reconcile(step, bench.publishers) is not None


def _reconcile(bench: Bench, start: Start) -> bool:
    """The Dag that repairs."""
    with bench.step(start, "reconcile:other") as step:
        read_late_files(step, bench.publishers)
        return reconcile(step, bench.publishers) is not None


TASKS: Mapping[str, Callable[[Bench, Start], Any]] = {
    "analyze": _analyze,
    "plan": _plan,
    "branch": _branch,
    "gate": _gate,
    "decide": _decide,
    "merge": _merge,
    "quality": _quality,
    "publish": _publish,
    "close_out": _close_out,
    "amend": _amend,
    "reconcile": _reconcile,
}
