"""How would a gate do over many runs, with arrivals drawn from what was recorded or given?

Each feed is drawn by itself: nights on which several feeds are late together, for one reason, are rarer
here than in life. All policies are tried on the same draws.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import accumulate
from statistics import NormalDist, fmean
from typing import Any

from airflow_orchestration.domain.pipeline import ALL_FEEDS
from airflow_orchestration.exceptions import InputRefusedError, Problem, ProblemCode
from airflow_orchestration.insights.arrivals_file import Arrivals, GivenFeed
from airflow_orchestration.insights.courses import Change, Course, Ending, Rules, Unknown, play
from airflow_orchestration.insights.recorded_gate import RecordedGate
from airflow_orchestration.insights.what_if import Terms, courses_of, rules_of, with_terms
from airflow_orchestration.policies.quorum_gate import Member, MemberState, QuorumGate

UNKNOWN = "unknown"
SMALLEST = 1e-12
"""A draw of 0 has no place on a normal distribution."""
FAR_AWAY = 1e9
"""Seconds after which it makes no difference any more, and durations can still be told."""
QUANTILES = (0.5, 0.9, 0.99)

Dice = Callable[[], float]
"""Gives numbers from 0 up to, not including, 1, each as likely as the others."""
Draw = Callable[[Dice], Course]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What a simulation draws from, and the gate it tries."""

    draws: Mapping[str, Draw]
    rules: Callable[[Terms], Rules]
    observations: Mapping[str, int]
    """How many recorded arrivals stand behind each feed; of given ones there are none."""


@dataclass(slots=True, kw_only=True)
class Simulated:
    """The runs of one policy."""

    gate: QuorumGate
    actions: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    shares: list[float] = field(default_factory=list)
    """The weight that was there, of the runs in which the gate opened."""
    missed: Counter[str] = field(default_factory=Counter)
    """How often the gate opened without a feed."""

    def count(self, ending: Ending | Unknown, members: Iterable[str]) -> None:
        """Take one run in."""
        if isinstance(ending, Unknown):
            self.actions[UNKNOWN] += 1
            return
        self.actions[ending.action.value] += 1
        self.seconds.append(ending.after.total_seconds())
        if ending.is_open:
            self.shares.append(ending.weight_share)
            self.missed.update(name for name in members if name not in ending.arrived)

    def as_json(self) -> dict[str, Any]:
        """Return the figures as plain data; shares are of all runs, those of weight of the opened ones."""
        runs, opened = self.actions.total(), len(self.shares)
        grace = self.gate.grace_period
        return {
            "floor": self.gate.floor,
            "deadline_seconds": self.gate.deadline.total_seconds(),
            "grace_period_seconds": None if grace is None else grace.total_seconds(),
            "runs": runs,
            "actions": {name: self.actions[name] / runs for name in sorted(self.actions)},
            "opened": opened / runs,
            "seconds": {f"p{q * 100:g}": value for q, value in quantiles(self.seconds).items()},
            "mean_weight_share": fmean(self.shares) if opened else None,
            "mean_weight_missing": 1 - fmean(self.shares) if opened else None,
            "least_weight_share": min(self.shares, default=None),
            "missed": {name: count / opened for name, count in self.missed.most_common()},
        }


def simulate(
    source: Source, policies: Sequence[Terms], dice: Dice, runs: Iterable[object]
) -> list[Simulated]:
    """Draw once for each of `runs`, and try every policy on the draw.

    Raises `ValueError` for terms that no gate can have.
    """
    tried = [source.rules(terms) for terms in policies]
    results = [Simulated(gate=rules.gates[ALL_FEEDS]) for rules in tried]
    for _ in runs:
        courses = {name: draw(dice) for name, draw in source.draws.items()}
        for rules, result in zip(tried, results, strict=True):
            result.count(play(rules, courses), courses)
    return results


def recorded_source(gates: Sequence[RecordedGate]) -> Source:
    """Draw from the first rounds of one Dag's runs; members and policy are those of the newest.

    :param gates: oldest first. Raises `InputRefusedError` when they are none, or of several Dags.
    """
    firsts = [gate for gate in gates if gate.round == 1 and gate.dag_id]
    dags = sorted({gate.dag_id for gate in firsts})
    if len(dags) != 1:
        message = (
            f"there are gates of {', '.join(dags)}; choose one with --dag-id"
            if dags
            else "there are no recorded gates; run the Dag first, or give --arrivals"
        )
        code = ProblemCode.CONFLICT if dags else ProblemCode.EMPTY
        raise InputRefusedError("recorded gates", [Problem(code=code, path="", message=message)])
    rules = rules_of(firsts[-1])
    past: dict[str, list[Course]] = {name: [] for name in rules.members}
    for gate in firsts:
        for name, course in courses_of(gate).items():
            if name in past:
                past[name].append(course)
    return Source(
        draws={name: _one_of(courses) for name, courses in past.items()},
        rules=lambda terms: with_terms(rules, terms),
        observations={name: len(courses) for name, courses in past.items()},
    )


def given_source(arrivals: Arrivals) -> Source:
    """Draw from given arrivals; the terms must then name a deadline."""
    members = {
        name: Member(id=name, weight=feed.weight, required=feed.required)
        for name, feed in arrivals.feeds.items()
    }

    def rules(terms: Terms) -> Rules:
        if terms.deadline is None:
            raise ValueError("given arrivals come without a policy; name a --deadline")
        gate = terms.of(QuorumGate(deadline=terms.deadline))
        return Rules(members=members, gates={ALL_FEEDS: gate}, points={ALL_FEEDS: tuple(members)})

    return Source(
        draws={name: _given(feed) for name, feed in arrivals.feeds.items()}, rules=rules, observations={}
    )


def quantiles(values: Sequence[float]) -> dict[float, float]:
    """Return the smallest value that is at least as large as each share of them.

    >>> quantiles([4.0, 1.0, 2.0, 3.0])
    {0.5: 2.0, 0.9: 4.0, 0.99: 4.0}
    """
    ordered = sorted(values)
    return {share: ordered[math.ceil(share * len(ordered)) - 1] for share in QUANTILES if ordered}


def _one_of(courses: Sequence[Course]) -> Draw:
    return lambda dice: courses[int(dice() * len(courses))]


def _given(feed: GivenFeed) -> Draw:
    never, failed, late = accumulate((feed.never_share, feed.failed_share, feed.late_share))

    def draw(dice: Dice) -> Course:
        chance, when = dice(), _moment(feed, dice())
        if chance < never:
            return Course()
        if chance < failed:
            return Course(changes=(Change(at=timedelta(seconds=when), state=MemberState.FAILED),))
        if chance < late:
            when += feed.late_seconds
        return Course(changes=(Change(at=timedelta(seconds=when), state=MemberState.ARRIVED),))

    return draw


def _moment(feed: GivenFeed, chance: float) -> float:
    if feed.seconds is not None:
        return feed.seconds[int(chance * len(feed.seconds))]
    deviations = NormalDist().inv_cdf(max(chance, SMALLEST))
    return min((feed.median_seconds or 0.0) * math.pow(feed.spread, deviations), FAR_AWAY)
