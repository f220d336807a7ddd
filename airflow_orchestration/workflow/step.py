"""What every step of a run works with: the store, the right to write, the run's specification."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from airflow_orchestration.domain.home import check_folders
from airflow_orchestration.domain.outcome import FeedOutcome
from airflow_orchestration.domain.run_spec import RunSpec
from airflow_orchestration.engine.staging import StagingArea
from airflow_orchestration.exceptions import FeedCode, FeedError, InputRefusedError
from airflow_orchestration.sources.outside import Nowhere, Outside
from airflow_orchestration.storage.gate_facts import newest_outcomes, standing_outcomes
from airflow_orchestration.storage.store import Fence, RunKey, Store, StoredRun, WorkUnit


def nobody(_: FeedOutcome) -> None:
    """Listen to nothing."""


@dataclass(frozen=True)
class Step:
    """One execution of one work unit. `scratch` is a folder of its own that is thrown away afterwards."""

    store: Store
    fence: Fence
    scratch: Path
    open_staging: Callable[[str], StagingArea]
    outside: Outside = field(default_factory=Nowhere)
    """Where the feeds' sources are, when they are not files of this machine."""
    quality_results: Mapping[str, object] = field(default_factory=dict)
    """By feed, what its `quality_task` left as its XCom."""
    memory_mb: int | None = None
    """What was lent to this step, in MiB; None where it has its branch's share of the run's memory."""
    on_outcome: Callable[[FeedOutcome], None] = nobody
    """Is told of each outcome that this step has registered."""

    @property
    def run_key(self) -> RunKey:
        """The run that this step belongs to."""
        return self.fence.unit.run

    @property
    def round(self) -> int:
        """The round that this step belongs to; 0 outside the rounds."""
        return self.fence.unit.round

    @cached_property
    def run(self) -> StoredRun:
        """The run as `analyze_batches` recorded it."""
        return self.store.run(self.run_key)

    @cached_property
    def spec(self) -> RunSpec:
        """What the run does, from the store: the pipeline file may have changed since.

        Raises `InputRefusedError` when a folder of a tenant's run leads out of its tenant's.
        """
        spec = read_spec(self.run)
        check_folders(spec)
        return spec

    def register(self, outcome: FeedOutcome, *, keep_success: bool = False) -> None:
        """Register how a feed ended, see `Store.register`."""
        self.store.register(self.fence, replace(outcome, peak_memory_mb=None), keep_success=keep_success)
        self.on_outcome(outcome)

    @property
    def staging(self) -> StagingArea:
        """Where the run's files stand between tasks; named anew each time, for what a forked process can't share."""
        return self.open_staging(self.spec.pipeline.staging)

    def prepare(self, feed_id: str) -> None:
        """Open what the work on a feed needs of Airflow, before a process of its own does it.

        Raises `FeedError` when a connection of the feed can't be used.
        """
        _ = self.staging
        feed = self.spec.feeds[feed_id]
        root = self.spec.pipeline.roots.get((feed.uri or "").partition("/")[0])
        try:
            self.outside.prepare(feed, root)
        except InputRefusedError as refused:
            raise FeedError(f"{feed_id}: {refused}", code=FeedCode.REFUSED) from refused

    def standing(self, round_number: int) -> dict[str, FeedOutcome]:
        """Return the outcomes that count in a round, whatever came after it."""
        stored = self.store.rounds(self.run_key)[round_number - 1]
        before = [o for o in self.store.outcomes(self.run_key) if o.round <= round_number]
        return standing_outcomes(stored.plan, newest_outcomes(before))

    def reading(self, run: RunKey) -> Step:
        """Return a step for looking at another run: its fence is nobody's, and writes nothing."""
        unit = WorkUnit(run=run, round=0, unit=self.fence.unit.unit)
        return replace(self, fence=Fence(unit=unit, epoch=0))

    def folder(self, name: str) -> Path:
        """Make a folder in the scratch space."""
        folder = self.scratch / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    @property
    def staging_prefix(self) -> str:
        """The folder of this run and round in the staging area."""
        return f"{self.run_key.dag_id}/{run_hash(self.run_key)}/r{self.round}"


def run_hash(run: RunKey) -> str:
    """The name of a run among files: a run id may hold any character, its hash not."""
    return hashlib.sha256(run.run_id.encode()).hexdigest()[:16]


def read_spec(run: StoredRun) -> RunSpec:
    """Build a run's specification from what the store holds."""
    return RunSpec.model_validate(run.spec)
