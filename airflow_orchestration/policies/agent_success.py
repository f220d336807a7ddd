"""What is a type of agent believed to be good for, after all that its agents did (SEED 21 and ruling)?"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from airflow_orchestration.domain.agent import WorkDay
from airflow_orchestration.domain.decision import Json

PRIOR_SUCCESS_RATE = 1.0
"""SEED 21: what is believed of a type that nobody has used."""
PRIOR_OUTCOMES = 4.0
"""Ours: the prior counts as much as this many outcomes, so a first failure costs a fifth and not everything."""
HALF_LIFE_DAYS = 7.0
"""Ours: an outcome of last week counts half as much as one of today."""
OUTCOMES_PER_DAY = 10.0
"""Ours: one day counts as at most so many outcomes: 500 failures of one bad day have one cause."""
HISTORY_DAYS = 90
"""Ours: how far back to look; by then a whole day counts for less than 0.002 outcomes."""
PEAK_DAYS = 14
"""Ours: a peak of memory is held against a type for two half-lives, and then forgotten."""
ENOUGH_OUTCOMES = 3
"""Ours: from so many measured outcomes on, estimates rest on them; a feed's usual rows need as many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Experience:
    """What is believed of one type of agent in some kinds of work; None where nothing was measured."""

    success_rate: float
    """0..1."""
    outcomes: int
    """How many stand behind the success rate, each counted whole."""
    measured: int = 0
    """How many of them stand behind the rest."""
    execution_time: timedelta | None = None
    """The mean of a batch."""
    throughput: float | None = None
    """Records per second."""
    data_quality_score: float | None = None
    peak_memory_mb: float | None = None
    """The highest of the last `PEAK_DAYS` days."""

    @property
    def is_enough(self) -> bool:
        """Whether estimates may rest on what was measured."""
        return self.measured >= ENOUGH_OUTCOMES

    def as_json(self) -> dict[str, Json]:
        """Return what was learned as plain data; times in seconds."""
        return {
            "success_rate": self.success_rate,
            "outcomes": self.outcomes,
            "measured": self.measured,
            "execution_seconds": None if self.execution_time is None else self.execution_time.total_seconds(),
            "throughput": self.throughput,
            "data_quality_score": self.data_quality_score,
            "peak_memory_mb": self.peak_memory_mb,
        }


NEWCOMER = Experience(success_rate=PRIOR_SUCCESS_RATE, outcomes=0)
"""What is believed of a type that never did this kind of work: the prior alone.

What it did in other kinds says little about this one, and only who is tried can be known.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSuccess:
    """Recent days count more than old ones, no day counts without limit, and with time a type is new again.

    One failure costs a fifth. 500 on one day cost no more than ten, and less with every day that passes:

    >>> def rate(failures, days_ago):
    ...     day = WorkDay(agent_type="a", kind="csv", days_ago=days_ago, successes=0, failures=failures)
    ...     return round(AgentSuccess().learn([day]).experience("a", ["csv"]).success_rate, 2)
    >>> rate(1, 0), rate(10, 0), rate(500, 0), rate(500, 7), rate(500, 28)
    (0.8, 0.29, 0.29, 0.44, 0.86)
    """

    prior_success_rate: float = PRIOR_SUCCESS_RATE
    prior_outcomes: float = PRIOR_OUTCOMES
    half_life_days: float = HALF_LIFE_DAYS
    outcomes_per_day: float = OUTCOMES_PER_DAY

    def __post_init__(self) -> None:
        if not 0 <= self.prior_success_rate <= 1:
            raise ValueError(f"prior_success_rate {self.prior_success_rate} is no share; use 0..1")
        for name in ("prior_outcomes", "half_life_days", "outcomes_per_day"):
            value: float = getattr(self, name)
            if not 0 < value < math.inf:
                raise ValueError(f"{name} {value} is not above 0")

    def learn(self, days: Iterable[WorkDay]) -> Learned:
        """Return what the work of some days teaches, whatever their order."""
        by_work: defaultdict[tuple[str, str], list[WorkDay]] = defaultdict(list)
        for day in days:
            by_work[day.agent_type, day.kind].append(day)
        return Learned(policy=self, by_work=dict(by_work))

    def success_rate(self, days: Iterable[WorkDay]) -> float:
        """Return the believed share of successes in work of one kind."""
        counted = [(self._weight(day), day) for day in days]
        successes = math.fsum(weight * day.successes for weight, day in counted)
        failures = math.fsum(weight * day.failures for weight, day in counted)
        hoped = self.prior_outcomes * self.prior_success_rate
        return min((hoped + successes) / (self.prior_outcomes + successes + failures), 1.0)

    def experience(self, by_kind: Sequence[Sequence[WorkDay]]) -> Experience:
        """Return what is believed of a type with these days in each of its kinds of work."""
        days = [day for of_kind in by_kind for day in of_kind]
        measured = self._sum(days, "measured")
        seconds = self._sum(days, "seconds")
        rates = [self.success_rate(of_kind) for of_kind in by_kind]
        return Experience(
            success_rate=min(rates, default=self.prior_success_rate),
            outcomes=sum(day.successes + day.failures for day in days),
            measured=sum(day.measured for day in days),
            execution_time=timedelta(seconds=seconds / measured) if measured else None,
            throughput=self._sum(days, "records") / seconds if seconds else None,
            data_quality_score=min(self._sum(days, "quality") / measured, 1.0) if measured else None,
            peak_memory_mb=max((day.peak_memory_mb for day in days if day.days_ago < PEAK_DAYS), default=0.0)
            or None,
        )

    def _sum(self, days: Iterable[WorkDay], measure: str) -> float:
        return math.fsum(self._weight(day) * getattr(day, measure) for day in days)

    def _weight(self, day: WorkDay) -> float:
        """What each outcome of a day counts."""
        share = min(1.0, self.outcomes_per_day / max(day.successes + day.failures, 1))
        return share * math.pow(0.5, day.days_ago / self.half_life_days)


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """What some days taught about every type of agent."""

    policy: AgentSuccess
    by_work: Mapping[tuple[str, str], Sequence[WorkDay]]
    """By type of agent and kind of work."""

    def experience(self, agent_type: str, kinds: Collection[str]) -> Experience:
        """Return what is believed of a type in these kinds of work.

        Who is to do several kinds is believed to be as reliable as in the one that it does worst: what it does
        well and often must not hide what it does badly. What was measured is put together.
        """
        return self.policy.experience([self.by_work.get((agent_type, kind), ()) for kind in sorted(kinds)])

    def of_kind(self, kind: str) -> Experience:
        """Return what is believed of all types together in one kind of work."""
        days = [day for (_, known), found in sorted(self.by_work.items()) if known == kind for day in found]
        return self.policy.experience([days])
