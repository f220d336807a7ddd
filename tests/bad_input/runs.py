"""Runs in which something comes too late, or is too much: planned, decided and registered by the product's own steps."""

from __future__ import annotations

import json
import resource
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from airflow_orchestration.domain.batch import Lane
from airflow_orchestration.domain.plan import Branch, Plan, PlannedBatch
from airflow_orchestration.domain.run_spec import RunSpec
from airflow_orchestration.engine.staging import StagingArea
from airflow_orchestration.policies.allocation import Allocation, AllocationFacts, BatchWork
from airflow_orchestration.storage.memory import MemoryStore
from airflow_orchestration.workflow.gate import decide_gate, gate_terms
from tests.bad_input.declared import PIPELINE, changed, feed
from tests.storage.builders import RUN, claimed, outcome
from tests.storage.conftest import SteppingClock

Facts = Mapping[str, Any]
DAY = date(2026, 11, 22)
FOUR_KIB = 4096
CONTRACT = {
    "name": "row",
    "key": ["code"],
    "columns": [{"name": "code", "type": "string"}, {"name": "size", "type": "number"}],
}


class _Round:
    """A round whose gate is asked."""

    def __init__(self, store: MemoryStore, spec: RunSpec, clock: SteppingClock) -> None:
        self.store, self.spec, self.clock = store, spec, clock
        self._branch = claimed(store, "branch:beta:b1", 1)

    def ask(self) -> Facts:
        """Look once, and tell what is decided."""
        decision = decide_gate(self.store, RUN, self.spec, 1, {}, {})
        return {"action": decision.action.value, "reason": decision.reason.value}

    def register(self, feed_id: str) -> None:
        """A branch reports a feed."""
        self.store.register(self._branch, outcome(feed_id))

    @property
    def verdict(self) -> Facts:
        """What the store keeps of the gate."""
        return self.store.rounds(RUN)[0].verdict or {}


def planned(given: Facts, _: Path) -> Facts:
    """A round of very many feeds, on so many workers; each costs as much as the others."""
    work = tuple(
        BatchWork(feed_id=f"feed_{number}", lane=Lane.BETA, cost=1.0) for number in range(given["feeds"])
    )
    made = Allocation(max_branches=given["workers"]).evaluate(AllocationFacts(batches=work, round=1)).plan
    return {"branches": len(made.branches), "placed": len(made.feed_ids)}


def _deciding(deadline: float | str, *, opened: datetime, run_started: datetime) -> _Round:
    spec = _spec(deadline)
    clock = SteppingClock(opened)
    store = MemoryStore(clock)
    batches = tuple(PlannedBatch(feed_id=name, lane=Lane.BETA, cost=1.0) for name in ("shop", "web"))
    plan = Plan(round=1, branches=(Branch(branch_id="b1", batches=batches),))
    store.open_round(claimed(store, "plan", 1), plan, gate_terms(spec, run_started))
    return _Round(store, spec, clock)


def _spec(deadline: float | str) -> RunSpec:
    document = changed(
        PIPELINE, {"sync.deadline": deadline, "sync.floor": 0.5, "feeds": [feed("shop"), feed("web")]}
    )
    return RunSpec.model_validate_json(
        json.dumps({"pipeline": document, "contracts": [CONTRACT], "run_date": DAY.isoformat()})
    )


def past(given: Facts, _: Path) -> Facts:
    """A round that opens at a time of a day, in a run that began at another, with a time of day as deadline."""
    opened, began = (datetime.fromisoformat(f"{DAY}T{given[it]}:00+00:00") for it in ("opened", "began"))
    return _deciding(given["deadline"], opened=opened, run_started=began).ask()


def late(_: Facts, __: Path) -> Facts:
    """A feed that comes after the gate has decided without it; the gate is asked again, as a retry would."""
    opened = datetime(2026, 11, 22, 5, tzinfo=UTC)
    deciding = _deciding(60, opened=opened, run_started=opened)
    deciding.register("shop")
    deciding.clock.now += timedelta(seconds=61)
    deciding.ask()
    before = deciding.verdict
    deciding.register("web")
    deciding.ask()
    return {
        "merged": deciding.verdict["evidence"]["arrived_ids"],
        "same": before == deciding.verdict,
        "registered": sorted(one.feed_id for one in deciding.store.outcomes(RUN)),
    }


def full(_: Facts, folder: Path) -> Facts:
    """A worker whose disk takes 4 KiB of a file of 10."""
    area, made = StagingArea(folder / "staging"), folder / "rows.parquet"
    made.write_bytes(bytes(10 * 1024))
    told = "nothing"
    with _files_of(FOUR_KIB):
        try:
            area.store(made, "run/rows.parquet", rows=1)
        except OSError as error:
            told = type(error).__name__
    left = [path.name for path in (folder / "staging").rglob("*") if path.is_file()]
    return {"retried": told, "registered": "rows.parquet" in left, "left": len(left)}


@contextmanager
def _files_of(most: int) -> Iterator[None]:
    """No file may grow beyond so many bytes: what a full disk is to who writes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
