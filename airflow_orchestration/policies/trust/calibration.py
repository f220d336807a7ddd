"""Is a confidence of 0.9 right nine times of ten? Fits the line from raw to true confidence.

A straight line in log-odds, held near the identity, where little is known; with more known cases, steps that
rise with the raw confidence and are held near that line (isotonic regression of bins).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter

from airflow_orchestration.policies.trust.model import SURE

HOLD = 12.0
"""How strongly the line is held to the identity, in observations of a half."""
BIN_STRENGTH = 40.0
"""How many observations the line counts for in each bin."""
LEAST_BIN = 20
STEPS = 40
LEAST_SLOPE = 0.05
"""More confidence is never less."""
GRID = (0.001, 0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98, 0.99, 0.999)

Observation = tuple[float, bool]
"""The raw confidence of a value, and whether it was right."""
Points = tuple[tuple[float, float], ...]


def calibrated(found: Sequence[Observation]) -> Points:
    """Return points of raw and true confidence, rising in both; none when nothing is known."""
    if not found:
        return ()
    slope, offset = _line(found)
    line = tuple((raw, _on_line(slope, offset, raw)) for raw in GRID)
    bins = _bins(sorted(found), slope, offset)
    return _risen(bins) if len(bins) > 1 else line


def calibration_error(found: Sequence[Observation], bins: int = 10) -> float:
    """Return the mean distance of confidence and share of right values, over bins of equal width."""
    sums = [[0.0, 0.0] for _ in range(bins)]
    for confidence, right in found:
        one = sums[min(bins - 1, int(confidence * bins))]
        one[0] += confidence
        one[1] += right
    return math.fsum(abs(confidence - right) for confidence, right in sums) / max(1, len(found))


def _line(found: Sequence[Observation]) -> tuple[float, float]:
    """Slope and offset in log-odds, by Newton's method on the penalized likelihood."""
    slope, offset = 1.0, 0.0
    points = [(_log_odds(raw), right) for raw, right in found]
    for _ in range(STEPS):
        ds, do = -HOLD * (slope - 1), -HOLD * offset
        ss, so, oo = HOLD, 0.0, HOLD
        for x, right in points:
            p = 1 / (1 + math.exp(-max(-30.0, min(30.0, slope * x + offset))))
            error, curve = right - p, p * (1 - p)
            ds, do = ds + error * x, do + error
            ss, so, oo = ss + curve * x * x, so + curve * x, oo + curve
        determinant = ss * oo - so * so
        step_s, step_o = (oo * ds - so * do) / determinant, (ss * do - so * ds) / determinant
        shorter = 1 / max(1.0, abs(step_s), abs(step_o))
        slope, offset = max(LEAST_SLOPE, slope + shorter * step_s), offset + shorter * step_o
        if abs(step_s) + abs(step_o) < SURE:
            break
    return slope, offset


def _on_line(slope: float, offset: float, raw: float) -> float:
    return 1 / (1 + math.exp(-(slope * _log_odds(raw) + offset)))


def _log_odds(raw: float) -> float:
    bounded = min(1 - SURE, max(SURE, raw))
    return math.log(bounded / (1 - bounded))


@dataclass(slots=True)
class _Bin:
    raw: float
    right: float
    weight: float

    @property
    def height(self) -> float:
        return self.right / self.weight


def _bins(found: Sequence[Observation], slope: float, offset: float) -> list[_Bin]:
    """Bins of about equal size, each with the line counted in; equal confidences are in one bin."""
    size = max(LEAST_BIN, math.isqrt(len(found) * 4))
    bins: list[_Bin] = []
    waiting: list[Observation] = []
    for _, alike in groupby(found, key=itemgetter(0)):
        waiting += alike
        if len(waiting) >= size:
            bins.append(_bin(waiting, slope, offset))
            waiting = []
    return bins


def _bin(found: Sequence[Observation], slope: float, offset: float) -> _Bin:
    raw = math.fsum(one for one, _ in found) / len(found)
    right = sum(right for _, right in found) + BIN_STRENGTH * _on_line(slope, offset, raw)
    return _Bin(raw=raw, right=right, weight=len(found) + BIN_STRENGTH)


def _risen(bins: Sequence[_Bin]) -> Points:
    """Pool neighbours until the heights rise."""
    pooled: list[_Bin] = []
    for one in bins:
        pooled.append(_Bin(raw=one.raw * one.weight, right=one.right, weight=one.weight))
        while len(pooled) > 1 and pooled[-2].height >= pooled[-1].height:
            last = pooled.pop()
            pooled[-1].raw += last.raw
            pooled[-1].right += last.right
            pooled[-1].weight += last.weight
    return tuple((one.raw / one.weight, one.height) for one in pooled)
