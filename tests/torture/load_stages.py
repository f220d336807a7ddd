"""How long does each stage of a run take, alone and under load?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import quantiles
from typing import Any

from tests.torture.stack_machine import TorturedStack

STAGES = (
    "analyze_batches",
    "plan",
    "branch",
    "gate",
    "decide",
    "merge",
    "validate_quality",
    "publish",
    "close_out",
)
TASKS = """
SELECT run_id, split_part(task_id, '.', -1) AS stage, extract(epoch FROM end_date - start_date)::float AS seconds
FROM task_instance
WHERE state = 'success' AND task_id IN (
    'analyze_batches', 'round_1.plan', 'round_1.decide', 'round_1.merge', 'round_1.validate_quality', 'publish', 'close_out')"""
BRANCHES = "SELECT run_id, 'branch' AS stage, elapsed_seconds AS seconds FROM orchestration.feed_outcome"
GATES = """
SELECT run_id, 'gate' AS stage, extract(epoch FROM decided_at - last_at)::float AS seconds
FROM orchestration.round JOIN (
    SELECT dag_id, run_id, round, max(registered_at) AS last_at FROM orchestration.feed_outcome GROUP BY 1, 2, 3
) AS registered USING (dag_id, run_id, round)
WHERE decided_at >= last_at"""
"""From the last feed to the verdict."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stages:
    """The seconds of each stage, of runs that were alone and of all others."""

    alone: Mapping[str, Sequence[float]]
    loaded: Mapping[str, Sequence[float]]

    def slower(self) -> dict[str, float | None]:
        """Return how many times longer each stage takes under load, by the 95th percentile; None if one is not known."""
        return {
            stage: p95(self.loaded[stage]) / p95(self.alone[stage])
            if self.loaded.get(stage) and self.alone.get(stage)
            else None
            for stage in STAGES
        }


def stages_of(machine: TorturedStack, alone: str) -> Stages:
    """Ask how long stages took; runs that were alone have ids that begin so."""
    found: dict[bool, dict[str, list[float]]] = {True: defaultdict(list), False: defaultdict(list)}
    asked: list[list[dict[str, Any]] | None] = [
        machine.metadata(TASKS),
        machine.warehouse(BRANCHES),
        machine.warehouse(GATES),
    ]
    for line in (line for lines in asked for line in lines or ()):
        found[line["run_id"].startswith(alone)][line["stage"]].append(line["seconds"])
    return Stages(alone=found[True], loaded=found[False])


def p95(values: Sequence[float]) -> float:
    """The value that 95 % do not exceed."""
    return quantiles(values, n=20, method="inclusive")[-1] if len(values) > 1 else values[0]
