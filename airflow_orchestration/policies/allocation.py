"""Which branch takes which batch, and in what order (SEED 8)?

The branches are identical machines and the batches are jobs with precedence, so this is list scheduling
(Graham 1966): whenever a branch is idle and a batch is ready, the one with the longest way still to go
starts there. That is at most 2 - 1/branches times the best possible, and without dependencies at most
4/3 of it (longest processing time first, Graham 1969).

Batches are appended to their branches in the order in which they start. This one order respects every
dependency and every branch, hence branches that wait for each other's batches always finish.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from heapq import heapify, heappop, heappush
from itertools import count

from airflow_orchestration.domain.batch import Lane
from airflow_orchestration.domain.decision import Decision, Json
from airflow_orchestration.domain.dependencies import in_order
from airflow_orchestration.domain.plan import Branch, Plan, PlannedBatch

LEAST_ENGINE_MB = 256
"""What an engine needs to spill instead of giving up: measured with three million keys."""
BEYOND_BUFFERS = 1.5
"""A process holds up to so many times the memory that its engine's buffers are allowed..."""
BEYOND_BUFFERS_MB = 300
"""...and so many MiB more: texts and lists are outside the buffers."""


def process_memory_mb(engine_mb: int) -> float:
    """What a process may hold whose engine has so much for its buffers; all in MiB."""
    return engine_mb * BEYOND_BUFFERS + BEYOND_BUFFERS_MB


def engine_memory_mb(memory_mb: int, processes: int = 1) -> int:
    """What each engine may use for its buffers when so many processes share the memory; all in MiB.

    Together the processes stay within it, unless that leaves an engine less than `LEAST_ENGINE_MB`.

    >>> engine_memory_mb(8192, 4), engine_memory_mb(1024, 4)
    (1165, 256)
    """
    share = memory_mb / max(1, processes)
    return max(LEAST_ENGINE_MB, int((share - BEYOND_BUFFERS_MB) / BEYOND_BUFFERS))


class AllocationAction(StrEnum):
    """What the coordinator does with the plan (SEED 1)."""

    DISPATCH = "dispatch"
    SKIP_TO_SYNC_POINT = "skip_to_sync_point"


class AllocationReason(StrEnum):
    """What the plan's length hangs on."""

    NOTHING_TO_DISPATCH = "nothing_to_dispatch"
    ONE_BRANCH = "one_branch"
    BOUND_BY_CRITICAL_PATH = "bound_by_critical_path"
    BOUND_BY_BRANCHES = "bound_by_branches"


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchWork:
    """One batch to place; `cost` is its estimated work, in any one unit."""

    feed_id: str
    lane: Lane
    cost: float
    depends_on: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.cost < math.inf:
            raise ValueError(f"cost {self.cost} of {self.feed_id!r} is no amount of work; use 0 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class AllocationFacts:
    """The batches of one round. A dependency on a batch of an earlier round holds nothing up."""

    batches: tuple[BatchWork, ...]
    round: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AllocationDecision(Decision):
    """The plan of a round, and how good it is."""

    action: AllocationAction
    reason: AllocationReason
    plan: Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocation:
    """At most `max_branches` branches, none empty, as evenly loaded as dependencies allow (SEED 8).

    The largest batch gets a branch of its own when the others together are no larger:

    >>> costs = {"flights": 6.0, "weather": 3.0, "planes": 2.0, "airports": 1.0}
    >>> work = tuple(BatchWork(feed_id=name, lane=Lane.BETA, cost=cost) for name, cost in costs.items())
    >>> decision = Allocation(max_branches=2).evaluate(AllocationFacts(batches=work, round=1))
    >>> [[batch.feed_id for batch in branch.batches] for branch in decision.plan.branches]
    [['flights'], ['weather', 'planes', 'airports']]
    >>> decision.evidence["estimated_makespan"]
    6.0
    """

    max_branches: int
    memory_mb: int | None = None
    """What the branches have together, in MiB."""

    def __post_init__(self) -> None:
        if self.max_branches < 1:
            raise ValueError(f"max_branches {self.max_branches} runs nothing; use 1 or more")

    def evaluate(self, facts: AllocationFacts) -> AllocationDecision:
        """Place every batch on a branch."""
        graph = _Graph.of(facts.batches)
        schedule = _scheduled(graph, self.max_branches)
        bound = max(graph.critical_path, graph.total_cost / self.max_branches)
        action, reason = self._why(graph)
        return AllocationDecision(
            policy="allocation",
            action=action,
            reason=reason,
            plan=Plan(round=facts.round, branches=schedule.branches),
            evidence=self._evidence(graph, schedule, bound),
        )

    def _why(self, graph: _Graph) -> tuple[AllocationAction, AllocationReason]:
        if not graph.work:
            return AllocationAction.SKIP_TO_SYNC_POINT, AllocationReason.NOTHING_TO_DISPATCH
        if self.max_branches == 1:
            return AllocationAction.DISPATCH, AllocationReason.ONE_BRANCH
        if graph.critical_path >= graph.total_cost / self.max_branches:
            return AllocationAction.DISPATCH, AllocationReason.BOUND_BY_CRITICAL_PATH
        return AllocationAction.DISPATCH, AllocationReason.BOUND_BY_BRANCHES

    def _evidence(self, graph: _Graph, schedule: _Schedule, bound: float) -> dict[str, Json]:
        branches = len(schedule.branches)
        return {
            "batches": len(graph.work),
            "max_branches": self.max_branches,
            "allocated_branches": branches,
            "engine_memory_mb": None
            if self.memory_mb is None
            else engine_memory_mb(self.memory_mb, branches),
            "estimated_makespan": schedule.makespan,
            "lower_bound": bound,
            "critical_path": graph.critical_path,
            "total_cost": graph.total_cost,
            "load": {branch.branch_id: branch.cost for branch in schedule.branches},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Graph:
    """The batches with what is known of each before time starts."""

    work: Mapping[str, BatchWork]
    needs: Mapping[str, frozenset[str]]
    dependents: Mapping[str, Sequence[str]]
    rank: Mapping[str, float]
    """The cost of a batch and of the longest chain of batches that wait for it."""
    turn: Mapping[str, int]
    """Its place among the batches of its lane: among equals, lanes take turns, so that few meet on a branch."""

    @property
    def critical_path(self) -> float:
        return max(self.rank.values(), default=0.0)

    @property
    def total_cost(self) -> float:
        return math.fsum(batch.cost for batch in self.work.values())

    def urgency(self, feed_id: str) -> tuple[float, int, str]:
        """The longest way to go comes first."""
        return -self.rank[feed_id], self.turn[feed_id], feed_id

    @classmethod
    def of(cls, batches: Sequence[BatchWork]) -> _Graph:
        work = {batch.feed_id: batch for batch in batches}
        needs = {name: frozenset(batch.depends_on) & work.keys() for name, batch in work.items()}
        ordered = in_order({name: sorted(needed) for name, needed in needs.items()})
        dependents: dict[str, list[str]] = {name: [] for name in ordered}
        for name in ordered:
            for need in needs[name]:
                dependents[need].append(name)
        rank: dict[str, float] = {}
        for name in reversed(ordered):
            rank[name] = work[name].cost + max((rank[later] for later in dependents[name]), default=0.0)
        turns: dict[Lane, count[int]] = {lane: count() for lane in Lane}
        turn = {name: next(turns[work[name].lane]) for name in sorted(work)}
        return cls(work=work, needs=needs, dependents=dependents, rank=rank, turn=turn)


@dataclass(slots=True, kw_only=True)
class _Machine:
    """A branch while it is being filled."""

    number: int
    batches: list[PlannedBatch] = field(default_factory=list)
    lanes: set[Lane] = field(default_factory=set)

    def take(self, batch: BatchWork) -> None:
        self.batches.append(PlannedBatch(feed_id=batch.feed_id, lane=batch.lane, cost=batch.cost))
        self.lanes.add(batch.lane)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Schedule:
    """The filled branches and when the last of them is done."""

    branches: tuple[Branch, ...]
    makespan: float


def _scheduled(graph: _Graph, max_branches: int) -> _Schedule:
    machines = [_Machine(number=number) for number in range(1, max_branches + 1)][: len(graph.work)]
    idle = list(machines)
    waiting_for = Counter({name: len(needed) for name, needed in graph.needs.items()})
    ready = [graph.urgency(name) for name, needed in graph.needs.items() if not needed]
    heapify(ready)
    running: list[tuple[float, int, str]] = []
    now = 0.0
    while ready or running:
        while ready and idle:
            batch = graph.work[heappop(ready)[-1]]
            machine = _best(idle, batch.lane)
            idle.remove(machine)
            machine.take(batch)
            heappush(running, (now + batch.cost, machine.number, batch.feed_id))
        now = running[0][0]
        while running and running[0][0] == now:
            _, number, done = heappop(running)
            idle.append(machines[number - 1])
            for name in graph.dependents[done]:
                waiting_for[name] -= 1
                if not waiting_for[name]:
                    heappush(ready, graph.urgency(name))
    return _Schedule(branches=_branches(machines), makespan=now)


def _best(idle: Sequence[_Machine], lane: Lane) -> _Machine:
    """Any idle branch starts the batch at once, so the choice is free: the lane it knows, then the emptiest."""
    return min(idle, key=lambda machine: (lane not in machine.lanes, len(machine.batches), machine.number))


def _branches(machines: Sequence[_Machine]) -> tuple[Branch, ...]:
    return tuple(
        Branch(branch_id=f"b{machine.number}", batches=tuple(machine.batches))
        for machine in machines
        if machine.batches
    )
