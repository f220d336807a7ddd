"""Gives a feed to a branch as a worker does: surveyed, planned, read in a process of its own, staged and registered."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from airflow_orchestration.domain.batch import Lane
from airflow_orchestration.domain.outcome import FeedOutcome, OutcomeStatus
from airflow_orchestration.domain.pipeline import Pipeline
from airflow_orchestration.domain.run_spec import RunSpec
from airflow_orchestration.engine.staging import StagingArea
from airflow_orchestration.exceptions import FeedCode, FeedError
from airflow_orchestration.storage.memory import MemoryStore
from airflow_orchestration.storage.store import Attempt, RunKey, WorkUnit
from airflow_orchestration.workflow.analyze import analyze_batches
from airflow_orchestration.workflow.branch import run_branch
from airflow_orchestration.workflow.plan import plan_round
from airflow_orchestration.workflow.step import Step
from airflow_orchestration.workflow.stopping import apart
from tests.fuzz.contracts import CONTRACTS
from tests.fuzz.inputs import Made
from tests.fuzz.judging import require

RUN = RunKey(dag_id="fuzz", run_id="manual")
ATTEMPT = Attempt(try_number=1, ti_id="ti", process="process")
NOW = datetime(2026, 11, 22, 5, tzinfo=UTC)
LAST_TRY = "on the last try"
"""What the record of a fault says that nobody foresaw."""
Check = Callable[[Made, int, Path, Path | None], None]


def as_a_branch(made: Made, folder: Path, check: Check) -> None:
    """Have a branch work on a feed, and check what it registered; raises `FeedError` with the words of a failure."""
    with TemporaryDirectory(prefix="fuzz-branch-") as name:
        scratch = Path(name)
        outcome, code = _worked_on(made, folder, scratch)
        kept = {path for path in (scratch / "staging").rglob("*") if path.is_file()}
        registered = {Path(one.uri) for one in (outcome.staged, outcome.quarantine) if one is not None}
        require(kept == registered, f"{len(kept)} files are staged and {len(registered)} registered")
        if outcome.status is OutcomeStatus.FAILED:
            words = outcome.error or ""
            require(LAST_TRY not in words, f"a fault that nobody foresaw: {words}")
            require(code is not None, f"a feed failed without a code: {words}")
            raise FeedError(words, code=FeedCode(code))
        assert outcome.staged is not None
        aside = None if outcome.quarantine is None else Path(outcome.quarantine.uri)
        check(made, outcome.rows_in, Path(outcome.staged.uri), aside)


def _worked_on(made: Made, folder: Path, scratch: Path) -> tuple[FeedOutcome, str | None]:
    """What was registered, and the code of a failure, which the timeline has."""
    spec = _spec(made, folder, scratch)
    store = MemoryStore(lambda: NOW)
    with _step(store, scratch, 0, "analyze") as step:
        analyze_batches(store, step.fence, spec)
    with _step(store, scratch, 1, "plan") as step:
        plan = plan_round(step).plan
    for lane in Lane:
        for branch_id in plan.branches_in(lane):
            with _step(store, scratch, 1, f"branch:{lane}:{branch_id}") as step:
                waiting = run_branch(step, branch_id, lane, worker=apart(step))
                require(not waiting, f"a branch waits for {waiting}")
    outcomes = list(store.outcomes(RUN))
    require(len(outcomes) == 1, f"{len(outcomes)} outcomes were registered")
    (told,) = [event.detail for event in store.timeline(RUN) if event.event == "feed_registered"]
    return outcomes[0], told.get("code")


def _spec(made: Made, folder: Path, scratch: Path) -> RunSpec:
    document = {
        "id": "fuzz",
        "roots": {"in": str(folder / "in")},
        "staging": str(scratch / "staging"),
        "contract": "it.odcs.yaml",
        "feeds": [made.terms["feed"]],
        "sync": {"deadline": 60},
        "publish": {"table": "public.it"},
        "capacity": {"workers": 1, "memory_mb": 1024},
    }
    pipeline = Pipeline.model_validate_json(json.dumps(document))
    return RunSpec(
        pipeline=pipeline, contracts=(CONTRACTS[made.terms["contract"]],), run_date=date(2026, 11, 22)
    )


@contextmanager
def _step(store: MemoryStore, scratch: Path, number: int, unit: str) -> Iterator[Step]:
    fence = store.claim(WorkUnit(run=RUN, round=number, unit=unit), ATTEMPT)
    with TemporaryDirectory(dir=scratch) as folder:
        yield Step(
            store=store,
            fence=fence,
            scratch=Path(folder),
            open_staging=lambda _: StagingArea(scratch / "staging"),
        )
