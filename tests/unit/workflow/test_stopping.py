"""What becomes of a batch that is still being processed when the gate of its round decides."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from airflow_orchestration.domain.batch import Lane
from airflow_orchestration.domain.outcome import FeedOutcome, OutcomeStatus, StagedFile
from airflow_orchestration.domain.pipeline import Pipeline
from airflow_orchestration.domain.run_spec import RunSpec
from airflow_orchestration.engine import reading
from airflow_orchestration.engine.prescan import prescan
from airflow_orchestration.engine.staging import StagingArea
from airflow_orchestration.insights.narrative import sentence
from airflow_orchestration.storage.memory import MemoryStore
from airflow_orchestration.storage.store import Attempt, Fence, RunKey, WorkUnit
from airflow_orchestration.workflow.analyze import analyze_batches
from airflow_orchestration.workflow.branch import Waiting, WaitsFor, run_branch
from airflow_orchestration.workflow.gate import decide_gate
from airflow_orchestration.workflow.in_process import ALL_OVER, ATTEMPT, LANES
from airflow_orchestration.workflow.plan import plan_round
from airflow_orchestration.workflow.step import Step
from airflow_orchestration.workflow.stopping import Watch, stopped_at_verdict, straggler_watch
from tests.unit.workflow.conftest import COLUMNS, CONTRACT

KEY = RunKey(dag_id="things", run_id="1")
BRANCH = WorkUnit(run=KEY, round=1, unit="branch:beta:b1")
ELSEWHERE = Attempt(try_number=ATTEMPT.try_number, ti_id=ATTEMPT.ti_id, process="another process")
WITHIN = 10.0
"""Seconds."""
STOPPED = (Waiting(feed_id="big", kind=WaitsFor.NOTHING, on="", stopped=True),)
GOOD = "code,size\na,1\n"
MIXED = "code,size\na,1\nb,-1\n"


class Bench:
    """A round with one feed, its branch claimed."""

    def __init__(self, folder: Path, stragglers: str = "stop") -> None:
        self.folder = folder
        self.decided_at = 0.0
        self.stores_opened = 0
        self.faults: list[Exception] = []
        self.store = MemoryStore(lambda: datetime.now(UTC))
        self.spec = RunSpec(
            pipeline=pipeline(folder, stragglers), contract=CONTRACT, run_date=date(2026, 11, 22)
        )
        analyze_batches(self.store, self._claim(0, "analyze"), self.spec)
        plan_round(self.opened(self._claim(1, "plan")))
        self.step = self.opened(self.store.claim(BRANCH, ATTEMPT))

    def _claim(self, round_number: int, unit: str) -> Fence:
        return self.store.claim(WorkUnit(run=KEY, round=round_number, unit=unit), ATTEMPT)

    def opened(self, fence: Fence) -> Step:
        return Step(
            store=self.store,
            fence=fence,
            scratch=self.folder / "scratch",
            open_staging=self.open_staging,
        )

    def open_staging(self, root: str) -> StagingArea:
        return StagingArea(Path(root))

    @contextmanager
    def second_store(self) -> Iterator[MemoryStore]:
        self.stores_opened += 1
        if self.faults:
            raise self.faults.pop()
        yield self.store

    def decide(self) -> None:
        """The gate decides without the feed."""
        decide_gate(self.store, KEY, self.spec, 1, LANES, ALL_OVER)
        self.decided_at = time.monotonic()

    def run(self, text: str, watch: Watch | None = None) -> tuple[Waiting, ...]:
        (self.folder / "big.csv").write_text(text)
        watch = watch or straggler_watch(self.step, self.second_store)
        return run_branch(self.step, "b1", Lane.BETA, watch=watch)

    @property
    def quick_watch(self) -> Watch:
        return partial(stopped_at_verdict, KEY, 1, self.second_store, look_every=0.1)

    @property
    def staged(self) -> list[Path]:
        return [path for path in (self.folder / "staging").rglob("*") if path.is_file()]


def pipeline(folder: Path, stragglers: str) -> Pipeline:
    return Pipeline.model_validate(
        {
            "id": "things",
            "roots": {"landing": str(folder)},
            "staging": str(folder / "staging"),
            "contract": "unused",
            "sync": {"deadline": 60, "stragglers": stragglers},
            "publish": {"table": "public.thing"},
            "feeds": [{"id": "big", "uri": "landing/big.csv", "format": "csv", "columns": COLUMNS}],
        }
    )


def decide_when_begun(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the gate decide when the file begins to be read."""
    real: Callable[..., Any] = prescan

    def decided(*positional: Any, **named: Any) -> Any:
        bench.decide()
        return real(*positional, **named)

    monkeypatch.setattr(reading, "prescan", decided)


def huge() -> str:
    """More than 20 seconds of work."""
    block = "".join(f"key {number} that is repeated,{number}\n" for number in range(30_000))
    return f"code,size\n{block * 300}"


def run_here(run: Callable[[], tuple[Waiting, ...]]) -> tuple[Waiting, ...]:
    return run()


def run_in_a_thread(run: Callable[[], tuple[Waiting, ...]]) -> tuple[Waiting, ...]:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(run).result()


@pytest.mark.parametrize("runner", [run_here, run_in_a_thread])
def test_straggler_is_stopped_within_seconds_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runner: Callable[..., tuple[Waiting, ...]]
) -> None:
    """Whatever thread it runs in: no outcome, no staged file, a line in the timeline, and a free lease."""
    bench, text = Bench(tmp_path), huge()
    decide_when_begun(bench, monkeypatch)
    waiting = runner(lambda: bench.run(text))
    seconds = time.monotonic() - bench.decided_at
    event = bench.store.timeline(KEY)[-1]

    assert STOPPED == waiting
    assert seconds < WITHIN
    assert ([], []) == (list(bench.store.outcomes(KEY)), bench.staged)
    assert ("branch_stopped", {"unit": "branch:beta:b1", "feeds": ["big"]}) == (event.event, event.detail)
    assert "big: still at work when the gate decided; nothing of it is kept" == sentence(event)[1]
    assert bench.store.claim(BRANCH, ELSEWHERE).epoch > bench.step.fence.epoch


def test_straggler_is_left_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `leave` the batch ends in its own time and is registered; nobody looks for the verdict."""
    bench = Bench(tmp_path, stragglers="leave")
    decide_when_begun(bench, monkeypatch)

    assert () == bench.run(GOOD)
    assert [OutcomeStatus.SUCCESS] == [outcome.status for outcome in bench.store.outcomes(KEY)]
    assert 0 == bench.stores_opened


def test_stop_between_two_files_leaves_neither(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that were already staged are deleted when the copying of the quarantine is stopped."""
    bench = Bench(tmp_path)

    class DecidedMidway(StagingArea):
        def store(self, local: Path, key: str, *, rows: int) -> StagedFile:
            if key.endswith("-quarantine.parquet"):
                assert 1 == len(bench.staged)
                with local.open("r+b") as file:
                    file.truncate(4 * 1024**3)
                bench.decide()
            return super().store(local, key, rows=rows)

    monkeypatch.setattr(bench, "open_staging", lambda root: DecidedMidway(Path(root)))
    bench.step = bench.opened(bench.step.fence)

    assert STOPPED == bench.run(MIXED, bench.quick_watch)
    assert ([], []) == (list(bench.store.outcomes(KEY)), bench.staged)


def test_outcome_that_is_being_registered_is_registered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A verdict that comes after the last file was staged stops nothing: the batch has arrived, or is late."""
    bench = Bench(tmp_path)
    real = bench.store.register

    def decided(fence: Fence, outcome: FeedOutcome) -> None:
        bench.decide()
        real(fence, outcome)

    monkeypatch.setattr(bench.store, "register", decided)

    assert () == bench.run(GOOD, bench.quick_watch)
    assert ["big"] == [outcome.feed_id for outcome in bench.store.outcomes(KEY)]


def test_quick_batch_costs_no_connection(tmp_path: Path) -> None:
    """The watch opens its store when it first looks, after two seconds."""
    bench = Bench(tmp_path)

    assert () == bench.run(GOOD)
    assert 0 == bench.stores_opened


def test_watch_that_lost_its_store_looks_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that can't be read once stops nothing and breaks nothing; the next look finds the verdict."""
    bench, text = Bench(tmp_path), huge()
    bench.faults.append(ConnectionError("the server restarts"))
    decide_when_begun(bench, monkeypatch)

    assert STOPPED == bench.run(text, bench.quick_watch)
    assert bench.stores_opened > 1
