"""What did earlier runs settle? Counts right and wrong feeds, and lets old runs count less."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from airflow_orchestration.policies.trust.ballot import Ballot, Tallies, tally_of
from airflow_orchestration.policies.trust.choosing import winner
from airflow_orchestration.policies.trust.model import TrustModel

SETTLED_AT = 0.9
"""A value with this confidence is taken for true, when later runs learn from it."""
LEAST_VOTERS = 2
"""What only one feed says settles nothing: it can't be wrong."""


def settled(model: TrustModel, ballots: Iterable[Ballot]) -> Tallies:
    """Count who was right where the truth is known, or the value sure enough."""
    tallies: Tallies = {}
    for ballot in ballots:
        truth = _truth(model, ballot)
        if truth is None:
            continue
        for place, side in enumerate(ballot.sides):
            for feed in side:
                right = ballot.count if place == truth else 0.0
                tally_of(tallies, ballot.attribute, feed).add(right, ballot.count)
    return tallies


def _truth(model: TrustModel, ballot: Ballot) -> int | None:
    if ballot.truth is not None:
        return ballot.truth
    best, raw = winner(model, ballot)
    sure = ballot.voters >= LEAST_VOTERS and model.confidence(raw) >= SETTLED_AT
    return best if sure else None


def decayed(runs: Sequence[Tallies], half_life: int) -> Tallies:
    """Add up the tallies of runs, oldest first; after `half_life` further runs one counts half."""
    tallies: Tallies = {}
    for age, run in enumerate(reversed(runs)):
        share = 0.5 ** (age / half_life)
        for attribute, feeds in run.items():
            for feed, one in feeds.items():
                tally_of(tallies, attribute, feed).add(one.right * share, one.total * share)
    return tallies


def differs_from_vote(model: TrustModel, ballots: Iterable[Ballot]) -> dict[str, int]:
    """Count, per attribute, the keys of which a plain vote would have said another value.

    Where most feeds are on several sides, the vote says none, and nothing is counted.
    """
    found: dict[str, int] = {}
    for ballot in ballots:
        sizes = [len(side) for side in ballot.sides]
        most = max(sizes)
        best, _ = winner(model, ballot)
        differs = sizes.count(most) == 1 and sizes[best] != most
        found[ballot.attribute] = found.get(ballot.attribute, 0) + round(ballot.count) * differs
    return found


def as_counts(tallies: Tallies) -> dict[str, dict[str, list[float]]]:
    """Plain data: attribute -> feed -> right, total."""
    return {
        name: {feed: [one.right, one.total] for feed, one in feeds.items()} for name, feeds in tallies.items()
    }


def from_counts(counts: Mapping[str, Mapping[str, Sequence[float]]]) -> Tallies:
    """Read what `as_counts` wrote."""
    tallies: Tallies = {}
    for attribute, feeds in counts.items():
        for feed, (right, total) in feeds.items():
            tally_of(tallies, attribute, feed).add(right, total)
    return tallies
