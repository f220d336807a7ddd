"""Who says the same as whom more often than both being right explains?

Two feeds that are right independently agree at a rate that follows from their accuracies. Good feeds agree
often and that is no fault; what is above the rate is shared errors, hence copying. Without known truth
the accuracies are those that explain most pairs at once: copiers are outliers among the pairs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from airflow_orchestration.policies.trust.ballot import Ballot
from airflow_orchestration.policies.trust.model import DEFAULT_ACCURACY, TrustModel

LEAST_COMMON = 15.0
"""Two feeds with fewer values in common are not compared."""
LEAST_SHARE = 0.15
"""A smaller share is not told from errors in the accuracies."""
SIGMAS = 4.0
"""How far beyond chance the agreement must be."""
PAIR_BUDGET = 1_000_000
"""Pairs that are looked at; ballots beyond it are left out evenly."""
ROUNDS = 12
LEAST_LIFT = 0.05
"""A feed whose agreement says less about another one is not asked."""
LOWEST, HIGHEST = 0.05, 0.99
"""The accuracies that agreement may show."""


@dataclass(slots=True)
class Agreement:
    """How many values two feeds have in common, and in how many they agree."""

    common: float = 0.0
    agreed: float = 0.0

    @property
    def rate(self) -> float:
        """The share of the common values in which they agree."""
        return self.agreed / self.common


Agreements = dict[str, dict[tuple[str, str], Agreement]]
"""Attribute -> pair of feeds in order -> agreement."""


def agreements(ballots: Sequence[Ballot]) -> Agreements:
    """Count how often each pair of feeds agrees."""
    found: Agreements = {}
    for ballot in _affordable(ballots):
        voters = sorted((feed, place) for place, side in enumerate(ballot.sides) for feed in side)
        pairs = found.setdefault(ballot.attribute, {})
        for at, (feed, place) in enumerate(voters):
            for other, its in voters[at + 1 :]:
                one = pairs.get((feed, other))
                if one is None:
                    one = pairs[feed, other] = Agreement()
                one.common += ballot.count
                one.agreed += ballot.count * (place == its)
    return found


def _affordable(ballots: Sequence[Ballot]) -> Iterable[Ballot]:
    cost = sum(ballot.voters * (ballot.voters - 1) // 2 for ballot in ballots)
    return ballots[:: math.ceil(cost / PAIR_BUDGET)] if cost > PAIR_BUDGET else ballots


def expected_rate(one: float, other: float, spread: float) -> float:
    """How often two independent feeds agree, by their accuracies."""
    return one * other + (1 - one) * (1 - other) / spread


def copied_shares(found: Agreements, model: TrustModel) -> dict[str, dict[str, float]]:
    """Return feed -> feed -> the share of what they agree in that is not said independently."""
    excess: dict[tuple[str, str], list[float]] = {}
    for attribute, pairs in found.items():
        spread = model.spread_of(attribute)
        for (feed, other), one in pairs.items():
            rate = expected_rate(
                model.accuracy_of(feed, attribute), model.accuracy_of(other, attribute), spread
            )
            sums = excess.setdefault((feed, other), [0.0, 0.0, 0.0, 0.0])
            sums[0] += one.common
            sums[1] += one.agreed - rate * one.common
            sums[2] += (1 - rate) * one.common
            sums[3] += rate * (1 - rate) * one.common
    shares: dict[str, dict[str, float]] = {}
    for (feed, other), (common, beyond, room, variance) in excess.items():
        if common < LEAST_COMMON or beyond < SIGMAS * math.sqrt(variance) or beyond < LEAST_SHARE * room:
            continue
        share = min(1.0, beyond / room)
        shares.setdefault(feed, {})[other] = share
        shares.setdefault(other, {})[feed] = share
    return shares


def accuracies_from_agreement(found: Agreements, spread: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """Return attribute -> feed -> the accuracy that explains how it agrees with most others."""
    return {attribute: _fitted(pairs, spread.get(attribute, 10.0)) for attribute, pairs in found.items()}


def _fitted(pairs: Mapping[tuple[str, str], Agreement], spread: float) -> dict[str, float]:
    of: dict[str, list[tuple[str, Agreement]]] = {}
    for (feed, other), one in pairs.items():
        if one.common >= LEAST_COMMON:
            of.setdefault(feed, []).append((other, one))
            of.setdefault(other, []).append((feed, one))
    fitted = dict.fromkeys(of, DEFAULT_ACCURACY)
    for _ in range(ROUNDS):
        for feed, others in of.items():
            fitted[feed] = (fitted[feed] + _explaining(others, fitted, spread)) / 2
    return fitted


def _explaining(others: Sequence[tuple[str, Agreement]], fitted: Mapping[str, float], spread: float) -> float:
    """The weighted median of the accuracies that explain the agreement with each other feed."""
    votes = []
    for other, one in others:
        lift = fitted[other] - (1 - fitted[other]) / spread
        if lift > LEAST_LIFT:
            value = (one.rate - (1 - fitted[other]) / spread) / lift
            votes.append((min(HIGHEST, max(LOWEST, value)), math.sqrt(one.common) * lift))
    votes.sort()
    half, passed = math.fsum(weight for _, weight in votes) / 2, 0.0
    for value, weight in votes:
        passed += weight
        if passed >= half:
            return value
    return DEFAULT_ACCURACY
