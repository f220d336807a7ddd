"""How long does each stage of a run take, alone and under load?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import quantiles
from typing import Any

from tests.torture.stack_faults import Fault
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
SELECT run_id, split_part(task_id, '.', -1) AS stage, start_date AS began, end_date AS ended
FROM task_instance
WHERE state = 'success' AND task_id IN (
    'analyze_batches', 'round_1.plan', 'round_1.decide', 'round_1.merge', 'round_1.validate_quality', 'publish', 'close_out')"""
BRANCHES = """
SELECT run_id, 'branch' AS stage, registered_at - make_interval(secs => elapsed_seconds) AS began, registered_at AS ended
FROM orchestration.feed_outcome"""
GATES = """
SELECT run_id, 'gate' AS stage, last_at AS began, decided_at AS ended
FROM orchestration.round JOIN (
    SELECT dag_id, run_id, round, max(registered_at) AS last_at FROM orchestration.feed_outcome GROUP BY 1, 2, 3
) AS registered USING (dag_id, run_id, round)
WHERE decided_at >= last_at"""
"""From the last feed to the verdict."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stages:
    """The seconds of each stage: of runs that were alone, of all others, and of these where nothing was broken."""

    alone: Mapping[str, Sequence[float]]
    loaded: Mapping[str, Sequence[float]]
    undisturbed: Mapping[str, Sequence[float]] = field(default_factory=dict)

    def slower(self, loaded: Mapping[str, Sequence[float]]) -> dict[str, float | None]:
        """Return how many times longer than alone each stage takes, by the 95th percentile; None if one is not known."""
        return {
            stage: p95(loaded[stage]) / p95(self.alone[stage])
            if loaded.get(stage) and self.alone.get(stage)
            else None
            for stage in STAGES
        }


def stages_of(machine: TorturedStack, alone: str, faults: Sequence[Fault]) -> Stages:
    """Ask how long stages took; runs that were alone have ids that begin so."""
    found: dict[str, dict[str, list[float]]] = {
        name: defaultdict(list) for name in ("alone", "loaded", "undisturbed")
    }
    asked: list[list[dict[str, Any]] | None] = [
        machine.metadata(TASKS),
        machine.warehouse(BRANCHES),
        machine.warehouse(GATES),
    ]
    for line in (line for lines in asked for line in lines or ()):
        seconds = (line["ended"] - line["began"]).total_seconds()
        if line["run_id"].startswith(alone):
            found["alone"][line["stage"]].append(seconds)
            continue
        found["loaded"][line["stage"]].append(seconds)
        if not any(fault.was_about(line["began"], line["ended"]) for fault in faults):
            found["undisturbed"][line["stage"]].append(seconds)
    return Stages(**found)


def p95(values: Sequence[float]) -> float:
    """The value that 95 % do not exceed."""
    return quantiles(values, n=20, method="inclusive")[-1] if len(values) > 1 else values[0]
