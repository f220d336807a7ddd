"""Which feeds run again in the next round, if there is one (SEED 3 and rulings)?"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum

from airflow_orchestration.domain.decision import Decision
from airflow_orchestration.domain.defaults import MAX_ROUNDS


class FeedStatus(StrEnum):
    """How a feed stands at the end of a round."""

    ARRIVED = "arrived"
    FAILED = "failed"
    MISSING = "missing"
    BELOW_STANDARD = "below_standard"


class RebalanceAction(StrEnum):
    """What the load balancer does."""

    RUN_AGAIN = "run_again"
    STOP = "stop"


class RebalanceReason(StrEnum):
    """Why it does that."""

    NOTHING_TO_REPAIR = "nothing_to_repair"
    ROUNDS_EXHAUSTED = "rounds_exhausted"
    TIME_IS_OVER = "time_is_over"
    FEEDS_TO_REPAIR = "feeds_to_repair"


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedState:
    """One feed, how it stands, and how often it was tried."""

    feed_id: str
    status: FeedStatus
    attempts: int
    made_of: tuple[str, ...] = ()
    """The feeds whose rows it aggregates: when one of them runs again, its own rows are out of date."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RebalanceFacts:
    """Every feed of the run at the end of a round."""

    round: int
    feeds: tuple[FeedState, ...]
    time_is_over: bool = False
    """The deadline was a time of day, and the round took until then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RebalanceDecision(Decision):
    """The feeds of the next round, in the order of the facts; none when the run stops."""

    action: RebalanceAction
    reason: RebalanceReason
    rerun: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebalancing:
    """Runs again what failed, is missing or is below standard, what is made of it, and nothing else (ruling).

    >>> feeds = (
    ...     FeedState(feed_id="airports", status=FeedStatus.ARRIVED, attempts=1),
    ...     FeedState(feed_id="planes", status=FeedStatus.FAILED, attempts=1),
    ... )
    >>> decision = Rebalancing().evaluate(RebalanceFacts(round=1, feeds=feeds))
    >>> decision.action.value, decision.rerun
    ('run_again', ('planes',))
    """

    max_rounds: int = MAX_ROUNDS

    def __post_init__(self) -> None:
        if self.max_rounds < 1:
            raise ValueError(f"max_rounds {self.max_rounds} runs nothing; use 1 for no second round")

    def evaluate(self, facts: RebalanceFacts) -> RebalanceDecision:
        """Choose the feeds of the next round."""
        to_repair = tuple(feed for feed in facts.feeds if feed.status is not FeedStatus.ARRIVED)
        action, reason = self._verdict(facts, to_repair)
        chosen = _with_what_is_made_of(to_repair, facts.feeds) if action is RebalanceAction.RUN_AGAIN else ()
        counts = Counter(feed.status for feed in facts.feeds)
        return RebalanceDecision(
            policy="rebalancing",
            action=action,
            reason=reason,
            rerun=tuple(feed.feed_id for feed in chosen),
            evidence={
                "round": facts.round,
                "max_rounds": self.max_rounds,
                "time_is_over": facts.time_is_over,
                **{status.value: counts[status] for status in FeedStatus},
                "attempts": {feed.feed_id: feed.attempts for feed in to_repair},
                "made_anew": [feed.feed_id for feed in chosen if feed not in to_repair],
            },
        )

    def _verdict(
        self, facts: RebalanceFacts, to_repair: tuple[FeedState, ...]
    ) -> tuple[RebalanceAction, RebalanceReason]:
        if not to_repair:
            return RebalanceAction.STOP, RebalanceReason.NOTHING_TO_REPAIR
        if facts.round >= self.max_rounds:
            return RebalanceAction.STOP, RebalanceReason.ROUNDS_EXHAUSTED
        if facts.time_is_over:
            return RebalanceAction.STOP, RebalanceReason.TIME_IS_OVER
        return RebalanceAction.RUN_AGAIN, RebalanceReason.FEEDS_TO_REPAIR


def _with_what_is_made_of(
    to_repair: tuple[FeedState, ...], feeds: tuple[FeedState, ...]
) -> tuple[FeedState, ...]:
    """Add the aggregates of what is repaired, and the aggregates of these, in the order of the facts."""
    again, known = {feed.feed_id for feed in to_repair}, -1
    while known != len(again):
        known = len(again)
        again |= {feed.feed_id for feed in feeds if not again.isdisjoint(feed.made_of)}
    return tuple(feed for feed in feeds if feed.feed_id in again)
