"""How often is each feed right? Learned from ballots whose truth is known, guessed, or both."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from airflow_orchestration.policies.trust.ballot import Ballot, Tallies, Tally, copied
from airflow_orchestration.policies.trust.model import DEFAULT_ACCURACY, DEFAULT_SPREAD, SURE, TrustModel

PRIOR_STRENGTH = 4.0
"""How many observations the default accuracy counts for, where there are none or few."""
STRENGTHS = (2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 256.0, 4096.0)
"""How alike feeds may be: so many observations of the mean each of them starts with."""
SPREAD_STRENGTH = 4.0
"""How many pairs of wrong values the default spread counts for."""
MAX_SPREAD = 100.0

Posterior = Sequence[float]
"""The probability of each side of a ballot; what is missing to 1 is that none is right."""


def known_posterior(ballot: Ballot) -> Posterior:
    """All on the side that is known to be right."""
    return [1.0 if place == ballot.truth else 0.0 for place in range(len(ballot.sides))]


def vote_posterior(ballot: Ballot) -> Posterior:
    """By heads, with one more for the case that nobody is right."""
    return [len(side) / (ballot.voters + 1) for side in ballot.sides]


def count_right(ballots: Iterable[tuple[Ballot, Posterior]], *, start: Tallies | None = None) -> Tallies:
    """Add up how often each feed was right."""
    tallies = copied(start or {})
    for ballot, posterior in ballots:
        feeds = tallies.setdefault(ballot.attribute, {})
        for side, probability in zip(ballot.sides, posterior, strict=True):
            for feed in side:
                one = feeds.get(feed)
                if one is None:
                    one = feeds[feed] = Tally()
                one.right += probability * ballot.count
                one.total += ballot.count
    return tallies


def effective_spread(ballots: Iterable[tuple[Ballot, Posterior]]) -> dict[str, float]:
    """Return, per attribute, one over the share of pairs of wrong values that are the same.

    Feeds that copy errors make it smaller, and so each feed count for less: that is meant.
    """
    pairs: dict[str, list[float]] = {}
    for ballot, posterior in ballots:
        found = pairs.setdefault(ballot.attribute, [0.0, 0.0])
        found[0] += ballot.count * math.fsum(
            len(side) * (len(side) - 1) * (1 - share)
            for side, share in zip(ballot.sides, posterior, strict=True)
        )
        found[1] += ballot.count * _apart(ballot, posterior)
    return {
        attribute: min(
            MAX_SPREAD,
            max(1.0, (same + apart + SPREAD_STRENGTH) / (same + SPREAD_STRENGTH / DEFAULT_SPREAD)),
        )
        for attribute, (same, apart) in pairs.items()
    }


def _apart(ballot: Ballot, posterior: Posterior) -> float:
    """Pairs of feeds on different sides that are both wrong: all but those of which one is right."""
    voters = ballot.voters
    apart = [len(side) * (voters - len(side)) for side in ballot.sides]
    right = [share * pairs for share, pairs in zip(posterior, apart, strict=True)]
    return max(0.0, math.fsum(apart) - 2 * math.fsum(right))


def accuracies(tallies: Tallies) -> tuple[dict[str, dict[str, float]], dict[str, float]]:
    """Return attribute -> feed -> accuracy, and attribute -> accuracy of a feed not seen.

    A feed's accuracy in an attribute starts from the feed's overall one, moved to the attribute's level, and
    the overall one from the mean of all feeds. How strongly is learned: where feeds do not differ more than
    chance explains, they come out equal, and the vote remains.
    """
    overall = _overall(tallies)
    mean, _ = _levels([overall])
    strength = best_strength([(one, mean) for one in overall.values()])
    of_feed = {feed: shrunk(one, mean, strength) for feed, one in overall.items()}
    found: dict[str, dict[str, float]] = {}
    level: dict[str, float] = {}
    for attribute, feeds in tallies.items():
        level[attribute] = _level(feeds, of_feed, mean)
        start = {feed: shifted(of_feed[feed], mean, level[attribute]) for feed in feeds}
        own = best_strength([(one, start[feed]) for feed, one in feeds.items()])
        found[attribute] = {feed: shrunk(one, start[feed], own) for feed, one in feeds.items()}
    return found, level


def _overall(tallies: Tallies) -> dict[str, Tally]:
    overall: dict[str, Tally] = {}
    for feeds in tallies.values():
        for feed, one in feeds.items():
            overall.setdefault(feed, Tally()).add(one.right, one.total)
    return overall


def _levels(groups: Sequence[Mapping[str, Tally]]) -> tuple[float, float]:
    """The mean accuracy of feeds, each counting by its root of observations, and how many there are."""
    weights = [
        (one.right / one.total, math.sqrt(one.total))
        for group in groups
        for one in group.values()
        if one.total > 0
    ]
    total = math.fsum(weight for _, weight in weights)
    right = math.fsum(share * weight for share, weight in weights)
    return (right + PRIOR_STRENGTH * DEFAULT_ACCURACY) / (total + PRIOR_STRENGTH), total


def _level(feeds: Mapping[str, Tally], of_feed: Mapping[str, float], mean: float) -> float:
    """How hard an attribute is: the accuracy that an average feed has in it."""
    total = math.fsum(one.total for one in feeds.values())
    right = math.fsum(one.right for one in feeds.values())
    expected = math.fsum(of_feed[feed] * one.total for feed, one in feeds.items())
    if not total:
        return mean
    observed = (right + PRIOR_STRENGTH * expected / total) / (total + PRIOR_STRENGTH)
    return shifted(mean, expected / total, observed)


def shifted(accuracy: float, before: float, after: float) -> float:
    """Move an accuracy by the odds that lie between two others."""
    return _expit(_logit(accuracy) + _logit(after) - _logit(before))


def shrunk(one: Tally, towards: float, strength: float) -> float:
    """The accuracy that a tally shows, with `strength` observations of another added."""
    return (one.right + strength * towards) / (one.total + strength)


def best_strength(found: Sequence[tuple[Tally, float]]) -> float:
    """Return the strength under which the tallies are most likely (empirical Bayes, beta-binomial)."""
    if not found:
        return PRIOR_STRENGTH
    return max(
        STRENGTHS, key=lambda strength: math.fsum(_likelihood(one, mean, strength) for one, mean in found)
    )


def _likelihood(one: Tally, mean: float, strength: float) -> float:
    a, b = strength * min(1 - SURE, max(SURE, mean)), strength * (1 - min(1 - SURE, max(SURE, mean)))
    return (
        math.lgamma(one.right + a)
        + math.lgamma(max(0.0, one.total - one.right) + b)
        - math.lgamma(one.total + a + b)
        + math.lgamma(a + b)
        - math.lgamma(a)
        - math.lgamma(b)
    )


def _logit(share: float) -> float:
    bounded = min(1 - SURE, max(SURE, share))
    return math.log(bounded / (1 - bounded))


def _expit(odds: float) -> float:
    return 1 / (1 + math.exp(-odds))


def estimated(tallies: Tallies, spread: Mapping[str, float], method: str) -> TrustModel:
    """Put what was counted into a model."""
    found, level = accuracies(tallies)
    return TrustModel(accuracy=found, others=level, spread=spread, method=method)
