"""Which metrics do agents give? Everything that is told to a meter stands in this table, and on its page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Protocol

Tags = Mapping[str, str]
"""By name. Only what there are few of: an agent's id is none."""


class MetricKind(StrEnum):
    """How values of a metric are put together."""

    COUNTER = "counter"
    TIMER = "timer"
    GAUGE = "gauge"


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One metric: its name as the author of a dashboard finds it, after the prefix that Airflow puts before it."""

    name: str
    kind: MetricKind
    unit: str
    tags: tuple[str, ...]
    """`tenant` is left out where the work has none."""
    meaning: str
    alert: str
    """What to be told about, and from when on; `-` where it only explains others."""


class Meter(Protocol):
    """Takes what is measured."""

    def count(self, name: str, by: int, tags: Tags) -> None:
        """Add to a counter."""
        ...

    def timing(self, name: str, elapsed: timedelta, tags: Tags) -> None:
        """Take how long something took."""
        ...

    def gauge(self, name: str, value: float, tags: Tags) -> None:
        """Take what something is now."""
        ...


class SilentMeter:
    """Takes what is measured, and tells nobody: where there is no Airflow."""

    def count(self, name: str, by: int, tags: Tags) -> None:
        """Tell nobody."""

    def timing(self, name: str, elapsed: timedelta, tags: Tags) -> None:
        """Tell nobody."""

    def gauge(self, name: str, value: float, tags: Tags) -> None:
        """Tell nobody."""


STARTED = Metric(
    name="orchestration.agent.started",
    kind=MetricKind.COUNTER,
    unit="agents",
    tags=("agent_type", "tenant"),
    meaning="agents that began to work; once more when one goes on after a pause, or is tried again",
    alert="-",
)
FINISHED = Metric(
    name="orchestration.agent.finished",
    kind=MetricKind.COUNTER,
    unit="agents",
    tags=("agent_type", "tenant", "outcome"),
    meaning="agents whose work ended; `outcome` is `success` or `failed`",
    alert="more than 1 in 10 `failed` in an hour, by `agent_type`",
)
WAITING_SECONDS = Metric(
    name="orchestration.agent.waiting_seconds",
    kind=MetricKind.TIMER,
    unit="milliseconds",
    tags=("agent_type", "tenant"),
    meaning="how long an agent waited for CPU, memory and connections before it began",
    alert="the 95th percentile is above a tenth of the gate's deadline: give more capacity",
)
SECONDS = Metric(
    name="orchestration.agent.seconds",
    kind=MetricKind.TIMER,
    unit="milliseconds",
    tags=("agent_type", "tenant", "kind"),
    meaning="how long the work on one batch took",
    alert="the 95th percentile has doubled since last week",
)
RECORDS = Metric(
    name="orchestration.agent.records",
    kind=MetricKind.COUNTER,
    unit="records",
    tags=("agent_type", "tenant", "kind"),
    meaning="records of the batches that were worked on",
    alert="0 in a day in which there usually are some",
)
QUALITY = Metric(
    name="orchestration.agent.quality",
    kind=MetricKind.GAUGE,
    unit="0..1",
    tags=("agent_type", "tenant", "kind"),
    meaning="quality of the batch that was worked on last",
    alert="below the quality that the specifications ask for",
)
TARGET_MISSED = Metric(
    name="orchestration.agent.target_missed",
    kind=MetricKind.COUNTER,
    unit="agents",
    tags=("agent_type", "tenant", "target"),
    meaning="agents that missed a target: `response_time`, `throughput` or `quality`",
    alert="any `quality`; more than 1 in 10 agents for the others",
)
METRICS = (STARTED, WAITING_SECONDS, SECONDS, RECORDS, QUALITY, FINISHED, TARGET_MISSED)
"""All of them, in the order in which an agent gives them."""
