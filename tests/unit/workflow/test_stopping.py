"""What becomes of a batch that is still being processed when the gate of its round decides."""

from __future__ import annotations

import errno
import faulthandler
import multiprocessing
import os
import resource
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from threading import Event, Lock, Timer
from typing import Any

import pytest
from fsspec.asyn import get_loop

from airflow_orchestration.domain.batch import Lane
from airflow_orchestration.domain.outcome import FeedOutcome, OutcomeStatus, StagedFile
from airflow_orchestration.domain.pipeline import Pipeline
from airflow_orchestration.domain.run_spec import RunSpec
from airflow_orchestration.engine.staging import StagingArea
from airflow_orchestration.exceptions import FeedError
from airflow_orchestration.insights.narrative import sentence
from airflow_orchestration.sources.outside import NoAnswerError
from airflow_orchestration.storage.memory import MemoryStore
from airflow_orchestration.storage.store import Attempt, Fence, RunKey, WorkUnit
from airflow_orchestration.workflow.analyze import analyze_batches
from airflow_orchestration.workflow.branch import Waiting, WaitsFor, process_batch, run_branch
from airflow_orchestration.workflow.gate import decide_gate
from airflow_orchestration.workflow.in_process import ALL_OVER, ATTEMPT, LANES
from airflow_orchestration.workflow.plan import plan_round
from airflow_orchestration.workflow.step import Step
from airflow_orchestration.workflow.stopping import (
    Bounds,
    StoppedError,
    Worker,
    WorkFaultError,
    apart,
    kept_words,
    never,
    until,
)
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
        self.store = MemoryStore(lambda: datetime.now(UTC))
        self.spec = RunSpec(
            pipeline=pipeline(folder, stragglers), contracts=(CONTRACT,), run_date=date(2026, 11, 22)
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

    def decide(self) -> None:
        """The gate decides without the feed."""
        decide_gate(self.store, KEY, self.spec, 1, LANES, ALL_OVER)
        self.decided_at = time.monotonic()

    def land(self, text: str) -> None:
        (self.folder / "big.csv").write_text(text)

    def run(self, text: str, worker: Worker | None = None) -> tuple[Waiting, ...]:
        self.land(text)
        return self.work(worker)

    def work(self, worker: Worker | None = None) -> tuple[Waiting, ...]:
        return run_branch(self.step, "b1", Lane.BETA, worker=worker or apart(self.step))

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


def huge() -> str:
    """More than 20 seconds of work."""
    block = "".join(f"key {number} that is repeated,{number}\n" for number in range(30_000))
    return f"code,size\n{block * 300}"


def run_here(run: Callable[[], tuple[Waiting, ...]]) -> tuple[Waiting, ...]:
    return run()


def run_in_a_thread(run: Callable[[], tuple[Waiting, ...]]) -> tuple[Waiting, ...]:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(run).result()


@pytest.mark.parametrize("after", [0.5, 2.0, 4.0])
@pytest.mark.parametrize("runner", [run_here, run_in_a_thread])
def test_straggler_is_stopped_within_seconds_and_leaves_nothing(
    tmp_path: Path, runner: Callable[..., tuple[Waiting, ...]], after: float
) -> None:
    """Whatever it is doing, and in whatever thread: no outcome, no file, a line in the timeline, a free lease."""
    bench = Bench(tmp_path)
    bench.land(huge())
    decision = Timer(after, bench.decide)
    decision.start()
    waiting = runner(bench.work)
    seconds = time.monotonic() - bench.decided_at
    event = bench.store.timeline(KEY)[-1]

    assert STOPPED == waiting
    assert seconds < WITHIN
    assert ([], []) == (list(bench.store.outcomes(KEY)), bench.staged)
    assert ("branch_stopped", {"unit": "branch:beta:b1", "feeds": ["big"]}) == (event.event, event.detail)
    assert "big: still at work when the gate decided; nothing of it is kept" == sentence(event)[1]
    assert bench.store.claim(BRANCH, ELSEWHERE).epoch > bench.step.fence.epoch
    assert [] == multiprocessing.active_children()


def test_straggler_is_left_by_default(tmp_path: Path) -> None:
    """With `leave` nobody looks for the verdict, and the work goes on to its end."""
    bench = Bench(tmp_path, stragglers="leave")
    bench.land(MIXED)
    snapshot = bench.store.gate_snapshot(KEY, 1)
    bench.decide()
    process_batch(bench.step, "big", "b1", snapshot, worker=apart(bench.step))

    assert [OutcomeStatus.SUCCESS] == [outcome.status for outcome in bench.store.outcomes(KEY)]


class Slow(StagingArea):
    """Stages the rows, and takes for ever over the quarantine, of which it has written a part."""

    def store(self, local: Path, key: str, *, rows: int) -> StagedFile:
        if key.endswith("-quarantine.parquet"):
            target = Path(str(self.root)) / key
            target.with_name(f".{target.name}.1.partial").write_text("a part")
            time.sleep(60)
        return super().store(local, key, rows=rows)


def test_stop_between_two_files_leaves_neither(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that were already staged, and half a file, are deleted when the copying of the quarantine is stopped."""
    bench = Bench(tmp_path)
    monkeypatch.setattr(bench, "open_staging", lambda root: Slow(Path(root)))
    bench.step = bench.opened(bench.step.fence)
    over = iter([False, False, False, True])

    assert STOPPED == bench.run(MIXED, partial(until, lambda: next(over), look_every=0.5))
    assert ([], []) == (list(bench.store.outcomes(KEY)), bench.staged)


def test_what_is_done_in_time_is_registered(tmp_path: Path) -> None:
    """A batch that ends before the verdict arrives, with all its figures, as if it had been worked on here."""
    bench = Bench(tmp_path)

    assert () == bench.run(MIXED)
    (outcome,) = bench.store.outcomes(KEY)
    assert (2, 1, 1) == (outcome.rows_in, outcome.rows_staged, outcome.rows_quarantined)
    assert 2 == len(bench.staged)


def test_a_feed_that_fails_says_why(tmp_path: Path) -> None:
    """The reason comes through from the other process."""
    bench = Bench(tmp_path)

    assert () == bench.run("kode\nx\n")
    (outcome,) = bench.store.outcomes(KEY)
    assert outcome.error is not None
    assert "code" in outcome.error


BOUNDS = Bounds(feed_id="big", seconds=60, memory_mb=256)


def test_a_process_that_is_ended_is_a_fault(tmp_path: Path) -> None:
    """A worker that the kernel ends, for its memory, is tried again like any fault, and not taken for stopped."""
    with pytest.raises(ChildProcessError, match=r"big: .*SIGKILL, perhaps for want of memory"):
        until(lambda: False, ended_by(signal.SIGKILL), BOUNDS, look_every=0.1)
    with pytest.raises(RuntimeError, match="OSError: disk"):
        until(lambda: False, failing, BOUNDS, look_every=0.1)
    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize("crash", [signal.SIGSEGV, signal.SIGABRT])
def test_a_file_that_crashes_the_engine_fails_alone(crash: signal.Signals) -> None:
    """The same bytes would crash it again: that is the feed's failure, with a word of what to do."""
    with pytest.raises(FeedError, match=rf"big: reading it crashed the engine \({crash.name}\); look"):
        until(lambda: False, ended_by(crash), BOUNDS, look_every=0.1)


def test_the_thread_of_an_object_store_holds_up_no_work() -> None:
    """However busy fsspec's thread is, no lock that it takes is held for ever where the work needs it, too."""
    over, lock, loop = Event(), Lock(), get_loop()

    def go_on() -> None:
        with lock:
            time.sleep(0.001)  # nearly always it is held
        if not over.is_set():
            loop.call_soon(go_on)

    def working() -> FeedOutcome:
        assert lock.acquire(timeout=WITHIN)
        return FeedOutcome(
            feed_id="big",
            round=1,
            branch_id="b1",
            status=OutcomeStatus.FAILED,
            elapsed=timedelta(0),
            error="no",
        )

    loop.call_soon_threadsafe(go_on)
    try:
        assert 5 * ["big"] == [until(never, working, BOUNDS).feed_id for _ in range(5)]
    finally:
        over.set()


def ended_by(signal_number: signal.Signals) -> Callable[[], FeedOutcome]:
    def dying() -> FeedOutcome:
        faulthandler.disable()
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.kill(os.getpid(), signal_number)
        raise AssertionError

    return dying


def test_what_ended_a_process_is_kept_with_the_feed(tmp_path: Path) -> None:
    """On the last try the record says how the process ended, and where to look."""
    bench = Bench(tmp_path)

    assert () == bench.run(GOOD, lambda _, bounds: until(never, ended_by(signal.SIGKILL), bounds))
    (outcome,) = bench.store.outcomes(KEY)
    assert (
        "big: the process that worked on it ended by SIGKILL, perhaps for want of memory, without a word, "
        "on the last try; see the log of its task, and mend the cause before the next run." == outcome.error
    )


@pytest.mark.parametrize(
    ("fault", "kept"),
    [
        (FileExistsError(errno.EEXIST, "File exists", "/tmp/x"), "FileExistsError, File exists"),
        (NoAnswerError("big: topic t: timed out; see whether"), "big: topic t: timed out; see whether"),
        (ValueError("anna@example.org"), "ValueError"),
        (OSError("anna@example.org"), "OSError"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_words_of_others_are_not_kept(fault: Exception, kept: str) -> None:
    """Of a fault in another process only our own words and the system's are kept: the others may hold data."""

    def faulty() -> FeedOutcome:
        raise fault

    with pytest.raises(WorkFaultError) as met:
        until(never, faulty, BOUNDS)
    assert (kept, kept) == (kept_words(fault), kept_words(met.value))


def failing() -> FeedOutcome:
    raise OSError("disk")


def test_a_store_that_is_lost_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A verdict that can't be read once is looked for again."""
    bench, text = Bench(tmp_path), huge()
    bench.decide()
    real, faults = bench.store.rounds, [ConnectionError("the server restarts")]

    def rounds(key: RunKey) -> Any:
        if faults:
            raise faults.pop()
        return real(key)

    monkeypatch.setattr(bench.store, "rounds", rounds)
    snapshot = bench.store.gate_snapshot(KEY, 1)
    (tmp_path / "big.csv").write_text(text)
    with pytest.raises(StoppedError):
        process_batch(bench.step, "big", "b1", snapshot, worker=apart(bench.step))
    assert [] == faults
