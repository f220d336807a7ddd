"""A branch of many batches reads little of the others before each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from airflow_orchestration.domain.batch import Lane
from airflow_orchestration.storage.memory import MemoryStore
from airflow_orchestration.storage.store import GateSnapshot
from airflow_orchestration.workflow.branch import run_branch
from tests.unit.workflow.rounds import Clock, Round

BATCHES = 6


class Counting(MemoryStore):
    """Counts the outcomes that branches are told."""

    told = 0

    def branch_snapshot(self, *asked: Any) -> GateSnapshot:
        found = super().branch_snapshot(*asked)
        self.told += len(found.outcomes)
        return found


def told(folder: Path, feeds: Mapping[str, Mapping[str, Any]]) -> int:
    store = Counting(Clock())
    made = Round(folder, feeds, store=store, capacity={"workers": 1, "cpu_available": 0.5, "memory_mb": 6000})
    for lane in Lane:
        for branch_id in made.plan.branches_in(lane):
            assert () == run_branch(made.step(f"branch:{lane}:{branch_id}"), branch_id, lane)
    assert feeds.keys() == made.outcomes.keys()
    return store.told


def test_what_is_done_is_not_read_before_each_batch(tmp_path: Path) -> None:
    """Of batches that depend on nothing, no outcome is read at all but once at the end; else only what is needed."""
    alone = {f"f{number:02}": {} for number in range(BATCHES)}
    chain = {
        feed_id: {"depends_on": [f"f{number - 1:02}"] if number else []}
        for number, feed_id in enumerate(alone)
    }
    assert told(tmp_path / "alone", alone) <= BATCHES
    assert told(tmp_path / "chain", chain) <= 3 * BATCHES
