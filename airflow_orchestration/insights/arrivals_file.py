"""The arrivals that `airflow orchestration simulate --arrivals` draws from, as an author gives them.

feeds:
  vega: {weight: 3, required: true, median_seconds: 600, spread: 1.5, never_share: 0.02}
  lyra: {seconds: [280, 300, 1900], failed_share: 0.01}
  mira: {median_seconds: 60, late_share: 0.1, late_seconds: 3600}
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from airflow_orchestration.domain.conf import validated
from airflow_orchestration.domain.deadline import MAX_SECONDS
from airflow_orchestration.domain.defaults import MAX_FEEDS
from airflow_orchestration.domain.feed import Weight
from airflow_orchestration.domain.strict import IDENTIFIER, Share, Strict
from airflow_orchestration.domain.yaml_file import read_yaml

MAX_SHARE_SUM = 1 + 1e-9
Arrival = Annotated[float, Field(ge=0, le=MAX_SECONDS)]
"""Seconds from the opening of the round."""


class GivenFeed(Strict):
    """When a feed comes, if it comes: a lognormal distribution, or a list to draw from."""

    weight: Weight = 1.0
    required: bool = False
    median_seconds: Annotated[float, Field(gt=0, le=MAX_SECONDS)] | None = None
    spread: Annotated[float, Field(ge=1, le=100)] = 1.0
    """Two of three arrivals lie between the median divided by this factor and the median times it."""
    seconds: Annotated[tuple[Arrival, ...], Field(min_length=1)] | None = None
    """Arrivals of which each is as likely as the others, instead of a median."""
    never_share: Share = 0.0
    """The share of runs in which it does not come."""
    failed_share: Share = 0.0
    """The share of runs in which it comes and can't be used."""
    late_share: Share = 0.0
    """The share of runs in which it comes `late_seconds` later than usual."""
    late_seconds: Arrival = 0.0

    @model_validator(mode="after")
    def _consistent(self) -> GivenFeed:
        if (self.median_seconds is None) == (self.seconds is None):
            raise ValueError("needs either median_seconds or a list of seconds")
        total = self.never_share + self.failed_share + self.late_share
        if total > MAX_SHARE_SUM:
            raise ValueError(f"never_share, failed_share and late_share add up to {total:g}, more than 1")
        if (self.late_share > 0) != (self.late_seconds > 0):
            raise ValueError("needs late_share and late_seconds together, or neither")
        return self


class Arrivals(Strict):
    """One file of arrivals."""

    feeds: Annotated[
        dict[Annotated[str, Field(pattern=IDENTIFIER)], GivenFeed], Field(min_length=1, max_length=MAX_FEEDS)
    ]


def read_arrivals(path: Path) -> Arrivals:
    """Read a file of arrivals; raises `InputRefusedError` with every problem and its path."""
    return validated(Arrivals, read_yaml(path), subject=f"arrivals file {path.name}")
