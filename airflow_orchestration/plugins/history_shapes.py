"""What runs, feeds and agents look like over time."""

from __future__ import annotations

from datetime import datetime

from airflow_orchestration.plugins.run_shapes import RunStateShown, Shape


class PastRunShown(Shape):
    """A run among others."""

    dag_id: str
    """The Dag."""
    run_id: str
    """The Dag run."""
    state: RunStateShown
    """How it ended, or `running`."""
    started_at: datetime
    """When it was analyzed."""
    finished_at: datetime | None
    """When it ended."""
    deadline_met: bool | None
    """Whether the last gate opened by its deadline and the run published; null while that is open."""
    weight_share: float | None
    """The share of the weight that is in, by the manifest."""
    feeds_in: int | None
    """Feeds that are in."""
    feeds_expected: int | None
    """All feeds."""
    quality: float | None
    """0..1, of the last merge that was judged."""
    rounds: int
    """How many there were."""
    version: int | None
    """How often it published."""


class RunsOverTime(Shape):
    """Runs of the Dags that you may read."""

    since: datetime
    """From when on."""
    runs: list[PastRunShown]
    """Newest first, at most 500."""
    more: bool
    """Whether there are older ones."""


class FeedInRunShown(Shape):
    """How a feed did in one run. Figures are null where it did not arrive."""

    run_id: str
    """The Dag run."""
    started_at: datetime
    """When the run was analyzed."""
    state: str
    """What the manifest says of it; of a run that goes on, how far it is."""
    arrived_after_seconds: float | None
    """From the opening of its round."""
    late_by_seconds: float | None
    """From the gate's decision; negative: earlier."""
    rows: int | None
    """Rows staged."""
    quality_score: float | None
    """0..1."""
    trust: float | None
    """How often it was right, 0..1, the mean over attributes."""


class FeedOverTime(Shape):
    """How a feed did in run after run."""

    feed: str
    """Its id."""
    runs: list[FeedInRunShown]
    """Oldest first."""


class FeedsOverTime(Shape):
    """How the feeds of a Dag did."""

    dag_id: str
    """The Dag."""
    feeds: list[FeedOverTime]
    """Those that were missing most often first, at most 200."""
    more: bool
    """Whether there are others."""


class StandingShown(Shape):
    """What one type of agent has shown in one kind of work; null where nothing was measured."""

    agent_type: str
    """The template."""
    kind: str
    """The kind of work."""
    days: int
    """On how many days it did such work."""
    success_rate: float
    """0..1, recent days counting more."""
    outcomes: int
    """How many stand behind that."""
    measured: int
    """How many stand behind the rest."""
    execution_seconds: float | None
    """The mean of a batch."""
    throughput: float | None
    """Records per second."""
    data_quality_score: float | None
    """0..1."""
    peak_memory_mb: float | None
    """The highest of late."""


class Leaderboard(Shape):
    """Which types of agents are good at what, for a tenant."""

    tenant: str
    """Empty for work of no tenant."""
    standings: list[StandingShown]
    """By kind of work, the most reliable first."""
