"""Runs a whole pipeline in this process, without Airflow's scheduler, by the same steps as the Dag.

Nothing is waited for: a feed that is not there is late at once.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from airflow_orchestration.domain.batch import Lane
from airflow_orchestration.domain.decision import Decision
from airflow_orchestration.domain.plan import Plan
from airflow_orchestration.domain.run_spec import RunSpec
from airflow_orchestration.engine.staging import StagingArea
from airflow_orchestration.sources.outside import NOWHERE, Outside
from airflow_orchestration.storage.memory import MemoryStore
from airflow_orchestration.storage.store import Attempt, RunKey, WorkUnit
from airflow_orchestration.workflow.analyze import analyze_batches
from airflow_orchestration.workflow.branch import run_branch
from airflow_orchestration.workflow.gate import decide_gate
from airflow_orchestration.workflow.merge import merge_round
from airflow_orchestration.workflow.plan import plan_round
from airflow_orchestration.workflow.publish import (
    PUBLISH,
    Publishers,
    last_merges,
    manifest_of,
    publish,
    standing_feeds,
)
from airflow_orchestration.workflow.quality import validate_quality
from airflow_orchestration.workflow.routes import Route, after_gate, after_quality
from airflow_orchestration.workflow.step import Step
from airflow_orchestration.workflow.stopping import apart

NOT_A_NAME = re.compile(r"[^A-Za-z0-9_.-]")
"""What the name of a dataset may hold, and the name of a file had better not."""
ATTEMPT = Attempt(try_number=1, ti_id="in-process", process="in-process")
ALL_OVER: Mapping[str, str | None] = {lane.value: "success" for lane in Lane}
LANES = {lane.value: lane.value for lane in Lane}


@dataclass(frozen=True)
class InProcessRun:
    """One run of a specification. `report` is told each plan and decision as it is made.

    With `publishers` the merged rows go to their databases, with an `output` folder there as Parquet.
    """

    spec: RunSpec
    clock: Callable[[], datetime]
    report: Callable[[Plan | Decision], None]
    output: Path | None = None
    publishers: Publishers | None = None
    outside: Outside = NOWHERE
    store: MemoryStore = field(init=False)
    key: RunKey = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "store", MemoryStore(self.clock))
        run_id = f"in_process__{self.clock().isoformat()}"
        object.__setattr__(self, "key", RunKey(dag_id=self.spec.pipeline.id, run_id=run_id))

    def run(self) -> dict[str, Any]:
        """Run it to the end, and return the completeness manifest."""
        with TemporaryDirectory(prefix="orchestration-") as folder:
            scratch = Path(folder)
            with self._step(scratch, 0, "analyze") as step:
                self.report(analyze_batches(self.store, step.fence, self.spec, self.outside))
            number, route = 1, Route.NEXT_ROUND
            while route is Route.NEXT_ROUND:
                route = self._round(scratch, number)
                number += 1
            with self._step(scratch, 0, PUBLISH) as step:
                if route is Route.PUBLISH and self.publishers is not None:
                    publish(step, self.publishers)
                if self.output is not None:
                    self._write(step, self.output, merged=route is Route.PUBLISH)
                return manifest_of(step, published=route is Route.PUBLISH)

    def _round(self, scratch: Path, number: int) -> Route:
        with self._step(scratch, number, "plan") as step:
            plan = plan_round(step).plan
        self.report(plan)
        self._branches(scratch, plan)
        verdict = decide_gate(self.store, self.key, self.spec, number, LANES, ALL_OVER)
        self.report(verdict)
        with self._step(scratch, number, "decide") as step:
            route = after_gate(step, verdict.action)
        if route is not Route.MERGE:
            return route
        with self._step(scratch, number, "merge") as step:
            merge_round(step)
            decision = validate_quality(step)
            self.report(decision)
            return after_quality(step, decision.action)

    def _branches(self, scratch: Path, plan: Plan) -> None:
        """Visit every branch until a whole visit brings nothing new."""
        known = -1
        while known != len(self.store.outcomes(self.key)):
            known = len(self.store.outcomes(self.key))
            for lane in Lane:
                for branch_id in plan.branches_in(lane):
                    with self._step(scratch, plan.round, f"branch:{lane}:{branch_id}") as step:
                        run_branch(step, branch_id, lane, worker=apart(step))

    def _write(self, step: Step, output: Path, *, merged: bool) -> None:
        """Leave the merged rows by dataset, and what was put aside by feed, whatever became of the run."""
        output.mkdir(parents=True, exist_ok=True)
        merges = last_merges(step) if merged else {}
        for number, dataset in enumerate(step.spec.datasets, start=1):
            if dataset in merges:
                name = (
                    f"rows-{number}-{NOT_A_NAME.sub('_', dataset)}" if len(step.spec.datasets) > 1 else "rows"
                )
                shutil.copyfile(
                    step.staging.fetch(merges[dataset].staged, step.scratch), output / f"{name}.parquet"
                )
        for feed_id, outcome in standing_feeds(step).items():
            if outcome.quarantine is not None:
                fetched = step.staging.fetch(outcome.quarantine, step.scratch)
                shutil.copyfile(fetched, output / f"quarantine-{feed_id}.parquet")

    @contextmanager
    def _step(self, scratch: Path, number: int, unit: str) -> Iterator[Step]:
        fence = self.store.claim(WorkUnit(run=self.key, round=number, unit=unit), ATTEMPT)
        with TemporaryDirectory(dir=scratch) as folder:
            yield Step(
                store=self.store,
                fence=fence,
                scratch=Path(folder),
                open_staging=lambda _: StagingArea(scratch / "staging"),
                outside=self.outside,
            )
