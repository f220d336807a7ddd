"""What the details of a run look like that the page asks for later: timeline, agents, and what was put aside."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from airflow_orchestration.plugins.run_shapes import CountShown, Evidence, Shape


class EventShown(Shape):
    """A line of the timeline."""

    id: int
    """Its number, which grows with time."""
    at: datetime
    """When it happened."""
    round: int
    """0 outside the rounds."""
    unit: str
    """The piece of work that tells it."""
    event: str
    """Its kind."""
    text: str
    """In a sentence."""
    detail: Evidence
    """As it was recorded."""


class TimelinePage(Shape):
    """A page of the timeline."""

    events: list[EventShown]
    """Newest first, at most 200."""
    before: int | None
    """Pass it on for older ones; null where there are none."""


class Sample(Shape):
    """A row that was put aside."""

    origin: str | None
    """The file or place it comes from."""
    position: int | None
    """Its line or number there."""
    column: str | None
    """The column that broke the rule."""
    reason: str | None
    """What is wrong."""
    raw: str | None
    """The row as it came, cut after 1,000 characters. A stranger's text: never markup."""


class RuleBroken(CountShown):
    """How many rows of a feed broke a rule, with some of them."""

    samples: list[Sample]
    """The first ones, at most 5."""


class Quarantine(Shape):
    """What a run put aside."""

    rules: list[RuleBroken]
    """The rule with most rows first."""
    where: Literal["table", "staging", "counts"]
    """Where samples come from: the target's table, staged files, or nowhere, for they could not be read."""
    note: str | None
    """What could not be read, or was left out."""


class CandidateShown(Shape):
    """A type of agent that was compared for a piece of work."""

    agent_type: str
    """The template."""
    score: float | None
    """What it was compared by; null where it lacks a capability."""
    capability_match: float | None
    """0..1; null where it lacks one."""
    success_rate: float
    """0..1, learned."""
    outcomes: int
    """How many stand behind that."""
    resource_efficiency: float
    """0..1."""
    missing: list[str]
    """Capabilities that it lacks."""


class ChoiceShown(Shape):
    """Why an agent was chosen."""

    reason: str
    """In a word."""
    score: float | None
    """Of the one that was chosen."""
    candidates: list[CandidateShown]
    """Everybody who was compared, best first."""


class WorkShown(Shape):
    """What an agent did on all its batches together."""

    seconds: float
    """The sum of its batches'."""
    slowest_seconds: float
    """Of the batch that took longest."""
    records: int
    """Records worked on."""
    throughput: float
    """Records per second."""
    quality: float
    """0..1, the mean over its batches by their records."""


class AgentShown(Shape):
    """One agent of a run."""

    agent_id: str
    """Its name in the run."""
    agent_type: str
    """The template that it is made of."""
    position: int
    """Its place in the order of work; -1 for a coordinator."""
    branch_id: str | None
    """The branch whose batches it has."""
    lane: str | None
    """The lane of these batches."""
    batches: list[str]
    """What it was made for."""
    state: Literal["coordinates", "created", "waiting", "working", "succeeded", "failed"]
    """How far it has come."""
    choice: ChoiceShown | None
    """Why it was chosen; null where no decision is recorded."""
    work: WorkShown | None
    """What it did; null where nothing was measured."""
    failed: list[str]
    """Batches that failed."""
    targets: dict[str, bool | None]
    """By name, whether it was met; empty before its end."""
    wanted: dict[str, float]
    """By target, what was wanted."""
    measured: dict[str, float | None]
    """By target, what was measured."""


class RoundAgentsShown(Shape):
    """The agents of one round."""

    round: int
    """0 for the agents of a queue."""
    agents: list[AgentShown]
    """In the order in which they begin."""
    failures: list[str]
    """What went wrong when they were made."""
    order: Evidence | None
    """The decision about their order, as recorded; null where nobody decided."""
