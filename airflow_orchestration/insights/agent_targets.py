"""What did an agent do on all its batches together, and which of its targets did it meet?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from airflow_orchestration.domain.agent import OVERALL, AgentOutcome, AgentPerformance, AgentSpecification
from airflow_orchestration.domain.decision import Json
from airflow_orchestration.storage.agent_records import AssignedAgent

RESPONSE_TIME, THROUGHPUT, QUALITY = "response_time", "throughput", "quality"
"""What targets are about."""
NO_TIME = timedelta(0)
MARKS: Mapping[bool | None, str] = {True: "met", False: "missed", None: "not measured"}
"""What is said of a target."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkDone:
    """What an agent did on all its batches together, as far as it was measured."""

    elapsed: timedelta
    slowest: timedelta
    """The time of the batch that took longest."""
    records: int
    quality_score: float
    """The mean over its batches, by their records; over the batches alone when none has any."""

    @property
    def throughput(self) -> float:
        """Records per second, 0 when no time was measured (SEED 11)."""
        seconds = self.elapsed.total_seconds()
        return self.records / seconds if seconds > 0 else 0.0

    def as_json(self) -> dict[str, Json]:
        """Return it as plain data."""
        return {
            "seconds": self.elapsed.total_seconds(),
            "slowest_seconds": self.slowest.total_seconds(),
            "records": self.records,
            "throughput": self.throughput,
            "quality": self.quality_score,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What was wanted of an agent in one respect, and what was measured: seconds, records per second, 0..1."""

    name: str
    """`response_time`, `throughput`, `quality`, or `quality_` and the name of a measure."""
    wanted: float
    measured: float | None
    """None where nobody measured it."""

    @property
    def met(self) -> bool | None:
        """Whether it was met; None where nobody measured it."""
        if self.measured is None:
            return None
        return self.measured <= self.wanted if self.name == RESPONSE_TIME else self.measured >= self.wanted

    @property
    def about(self) -> str:
        """`response_time`, `throughput` or `quality`: names of measures are the author's, and may be many."""
        return QUALITY if self.name.startswith(QUALITY) else self.name


def work_done(outcomes: Sequence[AgentOutcome]) -> WorkDone | None:
    """Put together what was measured of an agent's batches; None where nothing was.

    The time is the sum of the batches' own: waiting for a file or for resources is not the agent's.
    """
    measured = [outcome.performance for outcome in outcomes if outcome.performance is not None]
    if not measured:
        return None
    return WorkDone(
        elapsed=sum((one.execution_time for one in measured), NO_TIME),
        slowest=max(one.execution_time for one in measured),
        records=sum(one.records for one in measured),
        quality_score=_quality(measured),
    )


def targets(specification: AgentSpecification, work: WorkDone | None) -> tuple[Target, ...]:
    """Hold what was measured against what was wanted: the response time is that of one batch, so the slowest counts."""
    wanted = specification.performance_targets
    found = [
        Target(
            name=RESPONSE_TIME,
            wanted=wanted.response_time_seconds,
            measured=None if work is None else work.slowest.total_seconds(),
        )
    ]
    if wanted.throughput_per_second is not None:
        measured = None if work is None else work.throughput
        found.append(Target(name=THROUGHPUT, wanted=wanted.throughput_per_second, measured=measured))
    known = {} if work is None else {OVERALL: work.quality_score}
    for name, threshold in sorted(specification.quality_thresholds.items()):
        shown = QUALITY if name == OVERALL else f"{QUALITY}_{name}"
        found.append(Target(name=shown, wanted=threshold, measured=known.get(name)))
    return tuple(found)


def summary(outcome: AgentOutcome, specification: AgentSpecification) -> str:
    """Say in one line what came of a batch, and which of its agent's targets were met."""
    work = work_done([outcome])
    if work is None:
        return f"Batch {outcome.batch}: {'done' if outcome.succeeded else 'failed'}, nothing was measured"
    found = ", ".join(f"{one.name} {MARKS[one.met]}" for one in targets(specification, work))
    return (
        f"Batch {outcome.batch}: {work.records:,} {'record' if work.records == 1 else 'records'} in "
        f"{work.elapsed.total_seconds():.3f} s, quality {work.quality_score:.3f}; targets: {found}"
    )


def batches_of(agent: AssignedAgent) -> tuple[str, ...]:
    """Name the batches that an agent was made for: feeds, or a batch of a queue; none for a coordinator."""
    work = agent.work
    if "batch" in work:
        return (str(work["batch"].get("id") or work["batch"].get("type", "")),)
    return tuple(work.get("feeds", ()))


def _quality(measured: Sequence[AgentPerformance]) -> float:
    records = sum(one.records for one in measured)
    weights = [one.records if records else 1 for one in measured]
    scores = [one.data_quality_score for one in measured]
    return math.fsum(map(math.prod, zip(weights, scores, strict=True))) / sum(weights)
