"""Whom to believe: what is known of each feed's reliability, and what it makes of a ballot.

The score of a value is the sum of `ln(n * A / (1 - A))` over the feeds that have it: A is how often the
feed is right in this attribute, n how many wrong values there are to choose from. That is the logarithm of
the odds of the value, up to a constant, if feeds err independently. A feed that copies another adds less.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from airflow_orchestration.policies.trust.ballot import Ballot

DEFAULT_ACCURACY = 0.8
"""Of a feed of which nothing is known, and everywhere when nothing is known of any."""
DEFAULT_SPREAD = 10.0
"""How many wrong values there are to choose from, when nothing is known."""
SURE = 1e-4
"""Nobody is believed to be right, or wrong, more surely than this."""


def weight_of(accuracy: float, spread: float) -> float:
    """Return what a feed adds to the score of the value that it has.

    >>> round(weight_of(0.9, 10), 2), weight_of(0.5, 1)
    (4.5, 0.0)
    """
    bounded = min(1 - SURE, max(SURE, accuracy))
    return math.log(spread * bounded / (1 - bounded))


@dataclass(frozen=True, kw_only=True)
class TrustModel:
    """What is known of feeds: plain figures, so that it can be stored, shown, and made into SQL.

    `accuracy`: attribute -> feed -> how often it is right. `spread`: attribute -> effective number of wrong
    values. `others`: attribute -> the accuracy of a feed that `accuracy` does not name. `copying`: copier ->
    original -> the share of the copier's word that is not its own. `calibration`: points of raw and true
    confidence, rising. `method`: how it was learned.
    """

    accuracy: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    spread: Mapping[str, float] = field(default_factory=dict)
    others: Mapping[str, float] = field(default_factory=dict)
    copying: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    calibration: tuple[tuple[float, float], ...] = ()
    method: str = "vote"

    def spread_of(self, attribute: str) -> float:
        """The effective number of wrong values of an attribute."""
        return self.spread.get(attribute, DEFAULT_SPREAD)

    def accuracy_of(self, feed_id: str, attribute: str) -> float:
        """How often a feed is right in an attribute, as far as is known."""
        known = self.accuracy.get(attribute, {}).get(feed_id)
        return self.others.get(attribute, DEFAULT_ACCURACY) if known is None else known

    def weight(self, feed_id: str, attribute: str) -> float:
        """What a feed adds to the score of its value."""
        known = self.weights.get(attribute, {}).get(feed_id)
        return (
            weight_of(self.accuracy_of(feed_id, attribute), self.spread_of(attribute))
            if known is None
            else known
        )

    @cached_property
    def weights(self) -> Mapping[str, Mapping[str, float]]:
        """Attribute -> feed -> what it adds to the score of its value, for the feeds that are known."""
        return {
            attribute: {feed: weight_of(one, self.spread_of(attribute)) for feed, one in feeds.items()}
            for attribute, feeds in self.accuracy.items()
        }

    def scores(self, ballot: Ballot) -> list[float]:
        """The score of each side."""
        weights = self.weights.get(ballot.attribute, {})
        unknown = {
            feed: self.weight(feed, ballot.attribute)
            for side in ballot.sides
            for feed in side
            if feed not in weights
        }
        weights = {**weights, **unknown} if unknown else weights
        return [side_score(side, weights, self.copying) for side in ballot.sides]

    def raw_confidence(self, ballot: Ballot) -> list[float]:
        """The probability of each side before calibration; the rest is for values that nobody has."""
        return probabilities(self.scores(ballot), self.spread_of(ballot.attribute))

    def confidence(self, raw: float) -> float:
        """The share of values with this raw confidence that are right."""
        return interpolated(self.calibration, raw)

    def as_json(self) -> dict[str, Any]:
        """Plain data, from which `from_json` makes the model again."""
        return {
            "accuracy": {name: dict(feeds) for name, feeds in self.accuracy.items()},
            "spread": dict(self.spread),
            "others": dict(self.others),
            "copying": {name: dict(originals) for name, originals in self.copying.items()},
            "calibration": [list(point) for point in self.calibration],
            "method": self.method,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> TrustModel:
        """Read what `as_json` wrote."""
        points = tuple((float(raw), float(true)) for raw, true in data["calibration"])
        return cls(**{**data, "calibration": points})


def side_score(
    side: Sequence[str], weights: Mapping[str, float], copying: Mapping[str, Mapping[str, float]]
) -> float:
    """Return the sum of a side's weights; who copies somebody heavier on the same side adds less."""
    if not copying or len(side) == 1:
        return math.fsum([weights[feed] for feed in side])
    ordered = sorted(side, key=lambda feed: (-weights[feed], feed))
    return math.fsum(
        weights[feed] * own_share(feed, ordered[:place], copying) for place, feed in enumerate(ordered)
    )


def own_share(feed: str, heavier: Sequence[str], copying: Mapping[str, Mapping[str, float]]) -> float:
    """Return the share of a feed's word that is its own, given who has said the same."""
    originals = copying.get(feed)
    if not originals:
        return 1.0
    return math.prod([1 - originals[other] for other in heavier if other in originals])


def probabilities(scores: Sequence[float], spread: float) -> list[float]:
    """Return the probability of each score, beside the values that nobody has, which score 0."""
    top = max(0.0, *scores) if scores else 0.0
    odds = [math.exp(score - top) for score in scores]
    unseen = max(0.0, spread + 1 - len(scores)) * math.exp(-top)
    total = math.fsum(odds) + unseen
    return [one / total for one in odds]


def interpolated(points: Sequence[tuple[float, float]], raw: float) -> float:
    """Return the height at `raw` of the line through the points; `raw` itself without points."""
    if not points:
        return raw
    after = bisect_right([point[0] for point in points], raw)
    if after == 0:
        return points[0][1]
    if after == len(points):
        return points[-1][1]
    (left, low), (right, high) = points[after - 1], points[after]
    return low + (high - low) * (raw - left) / (right - left)
