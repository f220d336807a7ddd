"""What both stores have in common: the numbers behind their promises, and the words of their refusals."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from airflow_orchestration.domain.pipeline import ALL_FEEDS
from airflow_orchestration.domain.stream import StreamRange
from airflow_orchestration.exceptions import FencedError, PrunedRunError, StreamTakenError, UnknownRunError
from airflow_orchestration.storage.events import as_text
from airflow_orchestration.storage.store import Attempt, Fence, GateTerms, RunKey, StoredPoint, WorkUnit

LEASE = timedelta(seconds=60)
"""How long a second start of the same attempt is kept out; a new try number gets in at once."""
SHORTEST_ROUND = timedelta(milliseconds=1)
"""What is left to a round that opens when its time of day is over."""
RECENT_SUCCESSES = 10
ENOUGH_SUCCESSES = 3


def points_of(terms: GateTerms, opened_at: datetime) -> dict[str, StoredPoint]:
    """Turn the terms of a gate into moments: each after the opening, none after the gate's own."""
    last = _moment(terms.deadline, opened_at)
    named = {name: min(_moment(deadline, opened_at), last) for name, deadline in sorted(terms.points.items())}
    return {name: StoredPoint(deadline_at=moment) for name, moment in {ALL_FEEDS: last, **named}.items()}


def _moment(deadline: timedelta | datetime, opened_at: datetime) -> datetime:
    moment = deadline if isinstance(deadline, datetime) else opened_at + deadline
    return max(moment, opened_at + SHORTEST_ROUND)


def unknown_run(run: RunKey) -> UnknownRunError:
    """What is told of a run that is not there."""
    return UnknownRunError(f"the store knows no run {run.run_id} of {run.dag_id}")


def pruned_run(run: RunKey, moment: datetime) -> PrunedRunError:
    """What an execution is told whose run is deleted."""
    return PrunedRunError(
        f"{run.dag_id}/{run.run_id} was pruned on {moment:%Y-%m-%d} and can't begin anew; trigger a new run"
    )


def stale_attempt(unit: WorkUnit, attempt: Attempt) -> FencedError:
    """What an attempt is told that may not begin."""
    return FencedError(
        f"{unit.run.dag_id}/{unit.run.run_id}, round {unit.round}, {unit.unit}: try {attempt.try_number} may not "
        f"begin: a newer try has, or the same one did elsewhere less than {LEASE.total_seconds():g} s ago, or the "
        "run has ended since it was started; let the newer one work, or clear the task, and if it is told so again, set "
        "the clock of its worker"
    )


def stream_taken(run: RunKey, feed_id: str, by: str, taken: Sequence[StreamRange]) -> StreamTakenError:
    """What a run is told that read what is held already."""
    return StreamTakenError(
        f"{run.dag_id}/{run.run_id}: {by} has registered {', '.join(map(str, as_text(taken)))} of {feed_id!r}; "
        "nothing was registered, read the stream again"
    )


def taken_over(fence: Fence) -> FencedError:
    """What an execution is told that has been superseded."""
    unit = fence.unit
    return FencedError(
        f"{unit.run.dag_id}/{unit.run.run_id}, round {unit.round}, {unit.unit}: epoch {fence.epoch} was taken over "
        "by a newer execution; nothing was written, stop this one"
    )
