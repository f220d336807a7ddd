"""Shares with their intervals, and how unusual a value is among earlier ones.

A few lines each, so no library: the ones that have them take seconds to import.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean, median

from airflow_orchestration.domain.defaults import CONFIDENCE_LEVEL

MAD_TO_DEVIATION = 1.4826
"""The median absolute deviation of normal values, times this, is their standard deviation..."""
MEAN_TO_DEVIATION = 1.2533
"""...and so is their mean absolute deviation, times this (Iglewicz and Hoaglin 1993)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """So many of so many; of none, all."""

    part: int
    whole: int

    @property
    def value(self) -> float:
        """The share, 0..1."""
        return self.part / self.whole if self.whole else 1.0

    @property
    def interval(self) -> tuple[float, float]:
        """Where the true share lies with the confidence of `CONFIDENCE_LEVEL`: of none, anywhere."""
        return wilson_interval(self.value, self.whole) if self.whole else (0.0, 1.0)


def wilson_interval(share: float, rows: int) -> tuple[float, float]:
    """Return where the true share lies with 95 % confidence, given the share seen in so many rows.

    >>> tuple(round(bound, 3) for bound in wilson_interval(0.9, 100))
    (0.826, 0.945)
    """
    z = NormalDist().inv_cdf((1 + CONFIDENCE_LEVEL) / 2)
    spread = z * z / rows
    middle = (share + spread / 2) / (1 + spread)
    margin = z * math.sqrt(share * (1 - share) / rows + spread / (4 * rows)) / (1 + spread)
    # Rounding must not push the share out of its own interval: at 0 of n rows, the lower end is 0.
    return max(0.0, min(share, middle - margin)), min(1.0, max(share, middle + margin))


def robust_deviation(values: Sequence[float]) -> float:
    """How far values usually lie from their median, in the units of a standard deviation; 0 when all are equal.

    From the median absolute deviation, which half of the values may lie about without changing it much. It is 0
    when more than half of the values are equal: then from the mean absolute deviation.

    >>> round(robust_deviation([98, 99, 100, 101, 9000]), 2), round(robust_deviation([7, 7, 7, 7, 9]), 2)
    (1.48, 0.5)
    """
    middle = median(values)
    distances = [abs(value - middle) for value in values]
    return MAD_TO_DEVIATION * median(distances) or MEAN_TO_DEVIATION * fmean(distances)


def robust_z(value: float, usual: Sequence[float], *, least: float) -> float:
    """How many usual deviations a value lies above the median of the usual ones; below, negative.

    `least` is the smallest deviation that means anything, above 0: what is steadier than that is not surprised
    by less.

    >>> round(robust_z(50, [98, 99, 100, 101, 102], least=1), 1)
    -33.7
    >>> robust_z(101, [100, 100, 100, 100, 100], least=1)
    1.0
    """
    return (value - median(usual)) / max(robust_deviation(usual), least)
