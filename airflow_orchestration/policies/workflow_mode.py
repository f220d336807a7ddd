"""How many branches does today's work deserve: parallel, sequential or adaptive?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum

from airflow_orchestration.domain.batch import WorkflowMode
from airflow_orchestration.domain.decision import Decision
from airflow_orchestration.domain.dependencies import in_order

COMPLEXITY_ABOVE = 0.8
"""SEED 7: work more complex than this is worth every branch, if the CPUs are free."""
CPU_ABOVE = 0.7
"""SEED 7: the share of the CPUs that must be available, not used, for parallel work (ruling)."""
DEPENDENCY_ABOVE = 0.6
"""SEED 7: work more serial than this gains nothing from a second branch."""
BRANCHES: Mapping[WorkflowMode, int] = {
    WorkflowMode.PARALLEL: 5,
    WorkflowMode.SEQUENTIAL: 1,
    WorkflowMode.ADAPTIVE: 3,
}
"""SEED 7: branches at most, per mode; always clamped to 1..workers (ruling)."""

# SEED 6 names the three parts of complexity and no numbers; these are ours. Each part is x / (x + half):
# 0 for nothing, 0.5 at the half point, near 1 far beyond it.
VOLUME_WEIGHT, SCHEMA_WEIGHT, WORK_WEIGHT = 0.5, 0.2, 0.3
HALF_BYTES = 128 * 1024 * 1024
"""A volume that one worker reads in seconds."""
HALF_ROWS = 1_000_000
"""As many rows; whichever of bytes and rows is the larger part counts."""
HALF_COLUMNS = 50
"""Columns of all batches, each counted once more per level of nesting."""
HALF_CHECKS = 10_000_000
"""Rules and aggregations, each applied to each row."""


class ModeReason(StrEnum):
    """Why this mode."""

    FORCED = "forced"
    COMPLEX_AND_CPU_FREE = "complex_and_cpu_free"
    STRONG_DEPENDENCIES = "strong_dependencies"
    MODERATE_WORK = "moderate_work"


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchFacts:
    """What is known of one batch before it is read; `cost` is its estimated work, in any one unit."""

    feed_id: str
    bytes: int
    rows: int
    columns: int
    nesting: int = 0
    rules: int = 0
    aggregations: int = 0
    cost: float
    depends_on: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.cost < math.inf:
            raise ValueError(f"cost {self.cost} of {self.feed_id!r} is no amount of work; use 0 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacityFacts:
    """What the machines offer now (SEED 6); `cpu_available` is the share of the CPUs that is free."""

    workers: int
    cpu_available: float
    memory_mb: int
    network_mbps: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.cpu_available <= 1:
            raise ValueError(f"cpu_available {self.cpu_available} is no share; use 0..1, 1 for idle machines")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModeFacts:
    """The work, the machines, and the mode that a person asked for, if one did."""

    batches: tuple[BatchFacts, ...]
    capacity: CapacityFacts
    forced: WorkflowMode | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Complexity:
    """How much there is to do, 0..1, and the three parts that it is made of."""

    score: float
    volume: float
    schema: float
    work: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependency:
    """How serial the work is, 0..1, and what that was computed from, in units of cost."""

    score: float
    critical_path: float
    largest: float
    total: float
    edge_density: float
    """The share of all possible pairs of batches of which one waits for the other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModeDecision(Decision):
    """The mode is the action; `max_branches` is what the allocation may use."""

    action: WorkflowMode
    reason: ModeReason
    max_branches: int

    @property
    def mode(self) -> WorkflowMode:
        """The chosen workflow mode."""
        return self.action


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowModePolicy:
    """Complex work on free machines runs in parallel, serial work in sequence, the rest adaptively (SEED 7).

    Small work on idle machines is not worth five branches:

    >>> small = BatchFacts(feed_id="airports", bytes=300_000, rows=9_000, columns=6, cost=9_000.0)
    >>> idle = CapacityFacts(workers=8, cpu_available=0.95, memory_mb=8192)
    >>> decision = WorkflowModePolicy().evaluate(ModeFacts(batches=(small,), capacity=idle))
    >>> decision.mode.value, decision.reason.value, decision.max_branches
    ('adaptive', 'moderate_work', 3)
    """

    complexity_above: float = COMPLEXITY_ABOVE
    cpu_above: float = CPU_ABOVE
    dependency_above: float = DEPENDENCY_ABOVE

    def __post_init__(self) -> None:
        for name in ("complexity_above", "cpu_above", "dependency_above"):
            value: float = getattr(self, name)
            if not 0 <= value <= 1:
                raise ValueError(f"{name} {value} is no share; use 0..1, 1 to never cross it")

    def evaluate(self, facts: ModeFacts) -> ModeDecision:
        """Choose the mode and the number of branches."""
        how_complex, how_serial = complexity(facts.batches), dependency(facts.batches)
        mode, reason = self._mode(facts, how_complex.score, how_serial.score)
        max_branches = max(1, min(BRANCHES[mode], facts.capacity.workers))
        return ModeDecision(
            policy="workflow_mode",
            action=mode,
            reason=reason,
            max_branches=max_branches,
            evidence={
                "complexity_score": how_complex.score,
                "complexity": asdict(how_complex),
                "data_dependency_score": how_serial.score,
                "data_dependency": asdict(how_serial),
                "cpu_available": facts.capacity.cpu_available,
                "cluster_utilization": 1 - facts.capacity.cpu_available,
                "memory_mb": facts.capacity.memory_mb,
                "network_mbps": facts.capacity.network_mbps,
                "workers": facts.capacity.workers,
                "max_branches": max_branches,
            },
        )

    def _mode(self, facts: ModeFacts, complexity_score: float, dependency_score: float) -> _Choice:
        if facts.forced is not None:
            return facts.forced, ModeReason.FORCED
        if complexity_score > self.complexity_above and facts.capacity.cpu_available > self.cpu_above:
            return WorkflowMode.PARALLEL, ModeReason.COMPLEX_AND_CPU_FREE
        if dependency_score > self.dependency_above:
            return WorkflowMode.SEQUENTIAL, ModeReason.STRONG_DEPENDENCIES
        return WorkflowMode.ADAPTIVE, ModeReason.MODERATE_WORK


_Choice = tuple[WorkflowMode, ModeReason]


def complexity(batches: Sequence[BatchFacts]) -> Complexity:
    """Score volume, schema and computation of a whole queue (SEED 6)."""
    volume = max(
        _saturating(sum(batch.bytes for batch in batches), HALF_BYTES),
        _saturating(sum(batch.rows for batch in batches), HALF_ROWS),
    )
    schema = _saturating(sum(batch.columns * (1 + batch.nesting) for batch in batches), HALF_COLUMNS)
    checks = sum(batch.rows * (batch.rules + batch.aggregations) for batch in batches)
    work = _saturating(checks, HALF_CHECKS)
    score = VOLUME_WEIGHT * volume + SCHEMA_WEIGHT * schema + WORK_WEIGHT * work
    return Complexity(score=score, volume=volume, schema=schema, work=work)


def dependency(batches: Sequence[BatchFacts]) -> Dependency:
    """Score how serial the work is: 0 when every batch could run at once, 1 for a chain (SEED 6).

    It is the part of the critical path that order alone explains: what exceeds the largest batch, as a
    share of what could exceed it. A dependency on a batch that is not in the queue holds nothing up.
    """
    cost = {batch.feed_id: batch.cost for batch in batches}
    needs = {batch.feed_id: [need for need in batch.depends_on if need in cost] for batch in batches}
    finish: dict[str, float] = {}
    for feed_id in in_order(needs):
        finish[feed_id] = cost[feed_id] + max((finish[need] for need in needs[feed_id]), default=0.0)
    total = math.fsum(cost.values())
    largest, critical_path = max(cost.values(), default=0.0), max(finish.values(), default=0.0)
    return Dependency(
        score=min(1.0, (critical_path - largest) / (total - largest)) if total > largest else 0.0,
        critical_path=critical_path,
        largest=largest,
        total=total,
        edge_density=_edge_density(needs),
    )


def _edge_density(needs: Mapping[str, Sequence[str]]) -> float:
    edges = sum(len(set(needed)) for needed in needs.values())
    pairs = math.comb(len(needs), 2)
    return edges / pairs if pairs else 0.0


def _saturating(amount: float, half: float) -> float:
    return amount / (amount + half)
