"""Where does each feed stand in a round?"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from airflow_orchestration.domain.outcome import FeedOutcome, OutcomeStatus
from airflow_orchestration.storage.store import GateSnapshot


def newest_outcomes(outcomes: Iterable[FeedOutcome]) -> dict[str, FeedOutcome]:
    """Return each feed's outcome of its latest round."""
    newest: dict[str, FeedOutcome] = {}
    for outcome in sorted(outcomes, key=lambda outcome: outcome.round):
        newest[outcome.feed_id] = outcome
    return newest


GATE_OVERDUE = timedelta(minutes=1)
"""A gate that has not decided so long after its deadline is taken for dead: nobody waits for it any more."""


def is_over(snapshot: GateSnapshot) -> bool:
    """Whether a round takes in nothing more: its gate has decided, or should have long ago."""
    return snapshot.round.verdict is not None or snapshot.now > snapshot.round.deadline_at + GATE_OVERDUE


def arrived(outcome: FeedOutcome | None) -> bool:
    """Whether a feed is there: failures are counted apart (rulings of SEED 13)."""
    return outcome is not None and outcome.status is OutcomeStatus.SUCCESS
