"""What a stack under load holds and has before it, every few seconds, and how fast that grows."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from statistics import median
from typing import Any

from demo.processes import OwnedProcess
from demo.stack import API_SERVER
from tests.torture.stack_machine import SCHEDULER, SECOND_TRIGGERER, TRIGGERER, TorturedStack
from tests.torture.stack_processes import anonymous_mb, beneath

QUEUED = """
SELECT count(*) FILTER (WHERE state IN ('scheduled', 'queued')) AS queued,
       count(*) FILTER (WHERE state = 'running') AS running,
       count(*) FILTER (WHERE state = 'deferred') AS deferred,
       coalesce(extract(epoch FROM clock_timestamp() - min(scheduled_dttm) FILTER (WHERE state IN ('scheduled', 'queued'))), 0)::float
           AS longest_queued
FROM task_instance WHERE state IN ('scheduled', 'queued', 'running', 'deferred')"""
DONE = """
SELECT count(*) AS done FROM task_instance
WHERE state = 'success' AND map_index >= 0 AND split_part(task_id, '.', 2) IN ('alpha', 'beta', 'gamma', 'primary', 'secondary')"""
GATES = """
SELECT count(*) AS open_gates,
       coalesce(extract(epoch FROM clock_timestamp() - min(opened_at)), 0)::float AS oldest_gate
FROM orchestration.round WHERE verdict IS NULL"""
CONNECTIONS = "SELECT count(*) AS open FROM pg_stat_activity WHERE backend_type = 'client backend'"
STORE = """
SELECT (SELECT count(*) FROM orchestration.feed_outcome) AS branches,
       coalesce(sum(n_dead_tup), 0)::float AS dead, coalesce(sum(n_live_tup), 0)::float AS live,
       coalesce(sum(pg_total_relation_size(relid)), 0)::float AS bytes
FROM pg_stat_user_tables WHERE schemaname = 'orchestration'"""
KIB = 1024
NORMAL = 1.96
"""Standard deviations that hold 95 % of what chance brings."""
LEAST_LOOKS = 12
"""Ours: two minutes of looks; fewer tell nothing."""
PAIRS_OF_ALL = 0.5
"""Ours: what was seen in less than half of the time tells nothing about it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """What one part holds now; `life` tells a process from its successor."""

    life: str
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One look. `at` is in seconds since the load began, memory in MiB."""

    at: float
    runs_over: int
    queued: int
    running: int
    deferred: int
    longest_queued: float
    """Seconds that a task waits for a slot already."""
    open_gates: int
    oldest_gate: float
    """Seconds since a round was opened whose gate has not decided."""
    levels: Mapping[str, Level]

    def as_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


class Gauge:
    """Looks at a stack."""

    def __init__(self, machine: TorturedStack, staging: Path) -> None:
        self._machine, self._staging = machine, staging

    def sample(self, at: float, runs_over: int) -> Sample | None:
        """Look once; None when the database does not answer."""
        tasks, gates = self._machine.metadata(QUEUED), self._machine.warehouse(GATES)
        connections, store = self._machine.metadata(CONNECTIONS), self._machine.warehouse(STORE)
        if not tasks or not gates or not connections or not store:
            return None
        held = {"connections": connections[0]["open"], **self._stored(store[0])}
        levels = {**self._memory(), **{name: Level(life="", value=value) for name, value in held.items()}}
        return Sample(at=at, runs_over=runs_over, levels=levels, **tasks[0], **gates[0])

    def _stored(self, store: Mapping[str, float]) -> dict[str, float]:
        """What is kept of each branch, until it is pruned; and how much of the store is waste."""
        branches, rows = store["branches"], store["dead"] + store["live"]
        if not branches or not rows:
            return {}
        staged = sum(path.stat().st_size for path in self._staging.rglob("*.parquet"))
        return {
            "staged files of a branch, KiB": staged / KIB / branches,
            "store of a branch, KiB": store["bytes"] / KIB / branches,
            "dead rows of the store, share": store["dead"] / rows,
        }

    def branches_done(self) -> int:
        """How many tasks that process feeds have ended well."""
        found = self._machine.metadata(DONE)
        return found[0]["done"] if found else 0

    def _memory(self) -> dict[str, Level]:
        recorded = self._machine.stack.processes.recorded()
        levels = {SCHEDULER: _level([recorded[SCHEDULER]])}  # its children are workers, which come and go
        for name in (API_SERVER, TRIGGERER, SECOND_TRIGGERER):
            levels[name] = _level([recorded[name], *beneath(recorded[name])])
        processor = recorded["dag-processor"]
        levels["dag-processor"] = _level([processor])
        if postmaster := self._machine.stack.postgres._postmaster():
            levels["postgres"] = Level(life=str(postmaster.born), value=anonymous_mb(beneath(postmaster)))
        return {f"memory of {name}": level for name, level in levels.items() if level.value}


@dataclass(frozen=True, slots=True, kw_only=True)
class Slope:
    """How much something grows in an hour, as a share of its level; chance alone makes it any from `least` to `most`."""

    least: float
    middle: float
    most: float


def slope_of(samples: Sequence[Sample], part: str) -> Slope | None:
    """How fast a part grows; None if no process of it lived for half of the time, or was seen too seldom.

    The median of the slopes between any two looks at one and the same process (Theil and Sen): a look that is
    wrong does not tilt it. The bounds are those of Sen, at 95 %.
    """
    lives: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for sample in samples:
        if part in sample.levels:
            lives[sample.levels[part].life].append((sample.at, sample.levels[part].value))
    looks = max(lives.values(), key=len, default=[])
    if len(looks) < LEAST_LOOKS or looks[-1][0] - looks[0][0] < PAIRS_OF_ALL * (
        samples[-1].at - samples[0].at
    ):
        return None
    return slope(looks)


def slope(looks: Sequence[tuple[float, float]]) -> Slope:
    """The slope of values over seconds."""
    level, count = abs(median(value for _, value in looks)), len(looks)
    slopes = sorted((later[1] - first[1]) / (later[0] - first[0]) for first, later in combinations(looks, 2))
    spread = NORMAL * math.sqrt(count * (count - 1) * (2 * count + 5) / 18)
    least = max(math.floor((len(slopes) - spread) / 2), 0)
    most = min(math.ceil((len(slopes) + spread) / 2), len(slopes) - 1)
    hourly = [3600 * one / level if level else one for one in (slopes[least], median(slopes), slopes[most])]
    return Slope(least=hourly[0], middle=hourly[1], most=hourly[2])


def level_of(samples: Sequence[Sample], part: str) -> float:
    """The usual value of a part."""
    return round(median(sample.levels[part].value for sample in samples if part in sample.levels), 1)


def backlog_grows(counts: Sequence[float], handful: float) -> bool | None:
    """Whether the last third waits longer than the second: by a third, and by more than a handful; None if unknown."""
    third = len(counts) // 3
    if third < LEAST_LOOKS // 3:
        return None
    before, last = median(counts[third : 2 * third]), median(counts[-third:])
    return last > 1.3 * before + handful


def _level(processes: Sequence[OwnedProcess]) -> Level:
    return Level(life=f"{processes[0].pid}/{processes[0].born}", value=anonymous_mb(processes))
