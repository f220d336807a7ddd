"""Do a feed's rows look as they usually do?

Each signal (the volume; of each column the share of empty cells, the mean and the share of different values) is
compared with its own history by a robust z-score: how many usual deviations it lies from the usual value. One bad
day in the history changes neither the median nor the deviation much.

Three things keep a steady feed quiet. A deviation is never taken for smaller than what sampling alone explains, nor
than what nobody cares about. The threshold widens with the number of signals, of which the most unusual is judged.
And it widens while the history is short, whose deviation is itself uncertain.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import NormalDist, median
from typing import Any

from airflow_orchestration.domain.decision import Decision, Json
from airflow_orchestration.domain.profile import ColumnProfile, FeedProfile
from airflow_orchestration.domain.statistics import robust_z

THRESHOLD = 3.5
"""Deviations; the usual bound for a robust z-score (Iglewicz and Hoaglin 1993)."""
ENOUGH_PROFILES = 7
"""Fewer earlier runs say nothing: a week of daily ones."""
RECENT_PROFILES = 30
"""Older runs than the last so many are forgotten."""
FALSE_ALARMS = 0.01
"""The chance of a false alarm, over all signals of a feed, that widens the threshold when there are many."""
SHORT_HISTORY = (10.0, 100.0)
"""The threshold widens by 10/n + 100/n^2 after n runs: calibrated on normal values, by simulation."""
DRIFT_FACTOR = 0.5
"""What the weight of a feed that drifted is multiplied by, if the pipeline says `lower_weight`."""

LEAST_VOLUME_CHANGE = 0.01
"""Of the usual rows. This and the next two are deviations that nobody cares about."""
LEAST_SHARE_CHANGE = 0.002
LEAST_MEAN_CHANGE = 0.02
"""Of the deviation between the rows."""
ROUNDING = 1e-9
"""Of the mean: sums of floats differ in their last digits from run to run."""
DISTINCT_ERROR = 0.03
"""Of the number of different values, which is an estimate."""
SHOWN_SIGNALS = 10
"""So many of the most unusual signals stand in the evidence."""


class DriftAction(StrEnum):
    """Whether the feed is as it was."""

    STEADY = "steady"
    DRIFTED = "drifted"


class DriftReason(StrEnum):
    """Why that is said."""

    TOO_LITTLE_HISTORY = "too_little_history"
    AS_USUAL = "as_usual"
    UNUSUAL = "unusual"


class Signal(StrEnum):
    """What is compared."""

    VOLUME = "volume"
    NULL_SHARE = "null_share"
    MEAN = "mean"
    DISTINCT_SHARE = "distinct_share"


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftFacts:
    """A feed's profile, and those of earlier runs in any order. The newest `RECENT_PROFILES` are meant."""

    feed_id: str
    profile: FeedProfile
    history: tuple[FeedProfile, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One signal with its usual value, and how unusual it is."""

    signal: Signal
    column: str | None
    value: float
    usual: float
    z: float
    runs: int
    """How many earlier runs had a value."""

    def as_json(self) -> dict[str, Json]:
        """The figures as they are shown."""
        return {
            "signal": self.signal.value,
            "column": self.column,
            "value": _short(self.value),
            "usual": _short(self.usual),
            "z": round(self.z, 1),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftDecision(Decision):
    """What is unusual about a feed, the most unusual first."""

    action: DriftAction
    reason: DriftReason
    unusual: tuple[Reading, ...]

    @property
    def has_drifted(self) -> bool:
        """Whether anything is unusual."""
        return self.action is DriftAction.DRIFTED


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """Compares a feed with its history.

    Half of the usual rows, after ten runs of about a thousand:

    >>> from airflow_orchestration.domain.statistics import Share
    >>> def rows(number: int) -> FeedProfile:
    ...     all_of_them = Share(part=number, whole=number)
    ...     return FeedProfile(
    ...         rows=number, completeness=all_of_them, validity=all_of_them, uniqueness=all_of_them, columns=()
    ...     )
    >>> history = tuple(rows(1000 + day % 3) for day in range(10))
    >>> decision = Drift().evaluate(DriftFacts(feed_id="airports", profile=rows(500), history=history))
    >>> decision.action.value, decision.reason.value, decision.unusual[0].as_json()["usual"]
    ('drifted', 'unusual', 1001.0)
    """

    threshold: float = THRESHOLD
    enough: int = ENOUGH_PROFILES

    def __post_init__(self) -> None:
        if not 0 < self.threshold < math.inf or self.enough < 1:
            raise ValueError(
                f"threshold {self.threshold} and enough {self.enough} judge nothing; use more than 0, and 1 or more"
            )

    def evaluate(self, facts: DriftFacts) -> DriftDecision:
        """Say what is unusual."""
        if len(facts.history) < self.enough:
            return self._decision(facts, DriftAction.STEADY, DriftReason.TOO_LITTLE_HISTORY, math.inf, ())
        found = sorted(_readings(facts, self.enough), key=lambda one: -abs(one.z))
        bound = self.bound(len(found), len(facts.history))
        unusual = tuple(one for one in found if abs(one.z) > self.bound(len(found), one.runs))
        if not unusual:
            return self._decision(facts, DriftAction.STEADY, DriftReason.AS_USUAL, bound, ())
        return self._decision(facts, DriftAction.DRIFTED, DriftReason.UNUSUAL, bound, unusual)

    def bound(self, signals: int, runs: int) -> float:
        """How many deviations are unusual, for the most unusual of so many signals after so many runs."""
        many = NormalDist().inv_cdf(1 - FALSE_ALARMS / 2 / max(1, signals))
        once, twice = SHORT_HISTORY
        return max(self.threshold, many) * (1 + once / runs + twice / runs**2)

    def _decision(
        self,
        facts: DriftFacts,
        action: DriftAction,
        reason: DriftReason,
        bound: float,
        unusual: tuple[Reading, ...],
    ) -> DriftDecision:
        return DriftDecision(
            policy="drift",
            action=action,
            reason=reason,
            unusual=unusual,
            evidence={
                "feed": facts.feed_id,
                "history": len(facts.history),
                "rows": facts.profile.rows,
                "bound": None if math.isinf(bound) else round(bound, 1),
                "unusual": len(unusual),
                "signals": [one.as_json() for one in unusual[:SHOWN_SIGNALS]],
            },
        )


def _readings(facts: DriftFacts, enough: int) -> Iterator[Reading]:
    """A column is compared with the runs that had it: one run without it must not hide it for a month."""
    rows = [float(known.rows) for known in facts.history]
    least = max(LEAST_VOLUME_CHANGE * median(rows), math.sqrt(median(rows)), 1.0)
    yield _reading(Signal.VOLUME, None, float(facts.profile.rows), rows, least)
    earlier = [{column.name: column for column in known.columns} for known in facts.history]
    for column in facts.profile.columns:
        known = [columns[column.name] for columns in earlier if column.name in columns]
        if len(known) >= enough:
            yield from _column_readings(column, known)


def _column_readings(column: ColumnProfile, known: Sequence[ColumnProfile]) -> Iterator[Reading]:
    for signal, measure, least in _OF_COLUMNS:
        value = measure(column)
        usual = [found for one in known if (found := measure(one)) is not None]
        # A column that is not filled anywhere has no mean and no variety: its emptiness says it.
        if value is not None and 2 * len(usual) > len(known):
            yield _reading(signal, column.name, value, usual, least(column, known))


def _reading(
    signal: Signal, column: str | None, value: float, usual: Sequence[float], least: float
) -> Reading:
    z = robust_z(value, usual, least=least)
    return Reading(signal=signal, column=column, value=value, usual=median(usual), z=z, runs=len(usual))


def _null_share(column: ColumnProfile) -> float | None:
    return 1 - column.completeness.value if column.rows else None


def _distinct_share(column: ColumnProfile) -> float | None:
    return column.uniqueness.value if column.sampled else None


def _mean(column: ColumnProfile) -> float | None:
    return column.mean


def _least_null_share(column: ColumnProfile, known: Sequence[ColumnProfile]) -> float:
    usual = median(1 - one.completeness.value for one in known)
    return max(LEAST_SHARE_CHANGE, _share_error(usual, column.rows))


def _least_distinct_share(column: ColumnProfile, known: Sequence[ColumnProfile]) -> float:
    usual = median(one.uniqueness.value for one in known)
    return max(LEAST_SHARE_CHANGE, _share_error(usual, column.sampled), DISTINCT_ERROR * usual)


def _least_mean(column: ColumnProfile, known: Sequence[ColumnProfile]) -> float:
    """What sampling explains. A column of one value has no deviation, and any change of it means something."""
    deviation = median(one.deviation or 0.0 for one in known)
    error = deviation * max(LEAST_MEAN_CHANGE, 1 / math.sqrt(max(1, column.sampled)))
    largest = max(abs(one.mean or 0.0) for one in (column, *known))
    return max(error, ROUNDING * largest, sys.float_info.min)


def _share_error(usual: float, rows: int) -> float:
    """The standard error of a share, seen in so many rows and in one more on either side."""
    near = (usual * rows + 1) / (rows + 2)
    return math.sqrt(near * (1 - near) / max(1, rows))


def shown(evidence: Mapping[str, Any]) -> Iterator[str]:
    """The unusual signals of a decision, each in a few words.

    >>> signals = [{"signal": "null_share", "column": "name", "value": 0.5, "usual": 0.01, "z": 40.2}]
    >>> list(shown({"signals": signals}))
    ['null_share of name is 0.5, usually 0.01']
    """
    for one in evidence["signals"]:
        of = f" of {one['column']}" if one["column"] else ""
        yield f"{one['signal']}{of} is {one['value']:g}, usually {one['usual']:g}"


def _short(value: float) -> float:
    return float(f"{value:.4g}")


_OF_COLUMNS: Sequence[
    tuple[
        Signal,
        Callable[[ColumnProfile], float | None],
        Callable[[ColumnProfile, Sequence[ColumnProfile]], float],
    ]
] = (
    (Signal.NULL_SHARE, _null_share, _least_null_share),
    (Signal.MEAN, _mean, _least_mean),
    (Signal.DISTINCT_SHARE, _distinct_share, _least_distinct_share),
)
"""What is compared of a column: the signal, its measure, and the least deviation that means anything."""
