"""What the feeds say about one value, with everything left out that does not bear on whom to believe."""

from __future__ import annotations

from dataclasses import dataclass

NOBODY = -1
"""The truth is known, and no feed has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ballot:
    """The sides that feeds take about one attribute of a key; keys with equal sides are one ballot.

    `sides`: for each value that differs from the others, the feeds that have it. `truth`: the side that is
    right, `NOBODY`, or None when that is not known. `count`: how many keys have these sides.
    """

    attribute: str
    sides: tuple[tuple[str, ...], ...]
    truth: int | None = None
    count: float = 1.0

    @property
    def voters(self) -> int:
        """How many feeds have a value."""
        return sum(len(side) for side in self.sides)


@dataclass(slots=True)
class Tally:
    """How often a feed was right, of how many times; both may be fractions, since old runs count less."""

    right: float = 0.0
    total: float = 0.0

    def add(self, right: float, total: float) -> None:
        """Count more."""
        self.right += right
        self.total += total


Tallies = dict[str, dict[str, Tally]]
"""Attribute -> feed -> its tally."""


def tally_of(tallies: Tallies, attribute: str, feed_id: str) -> Tally:
    """The tally of a feed and attribute, begun if there is none."""
    return tallies.setdefault(attribute, {}).setdefault(feed_id, Tally())


def copied(tallies: Tallies) -> Tallies:
    """Tallies with the same figures that may be added to."""
    return {
        attribute: {feed_id: Tally(right=one.right, total=one.total) for feed_id, one in feeds.items()}
        for attribute, feeds in tallies.items()
    }
