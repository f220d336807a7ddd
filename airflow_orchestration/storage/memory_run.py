"""What the store in memory knows of one run, and what follows from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from airflow_orchestration.domain.outcome import FeedOutcome, OutcomeStatus
from airflow_orchestration.domain.profile import FeedProfile
from airflow_orchestration.policies.drift import RECENT_PROFILES
from airflow_orchestration.storage.store import (
    Attempt,
    DecidedGate,
    Event,
    MergeRecord,
    Registration,
    RunKey,
    RunState,
    StoredRound,
    StoredRun,
    WorkUnit,
)


@dataclass(slots=True)
class Claim:
    """Who holds a work unit."""

    epoch: int
    attempt: Attempt
    lease_until: datetime | None
    shut_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Registered:
    """An outcome as it was told, and the profile that came with it."""

    epoch: int
    order: int
    outcome: FeedOutcome
    at: datetime
    profile: FeedProfile | None


@dataclass(slots=True)
class Run:
    """Everything that is known of one run."""

    saved: StoredRun | None = None
    state: RunState | None = None
    manifest: Mapping[str, Any] | None = None
    ended_at: datetime | None = None
    rounds: dict[int, StoredRound] = field(default_factory=dict)
    outcomes: dict[tuple[int, str], Registered] = field(default_factory=dict)
    waiting: dict[WorkUnit, frozenset[str]] = field(default_factory=dict)
    merges: dict[tuple[int, str], tuple[int, MergeRecord]] = field(default_factory=dict)
    decisions: list[tuple[int, Mapping[str, Any]]] = field(default_factory=list)
    timeline: list[Event] = field(default_factory=list)


def may_take_over(held: Claim, attempt: Attempt, now: datetime) -> bool:
    """Whether an attempt may begin although another one did, or the unit was shut."""
    if held.shut_at is not None and (attempt.began_at or now) < held.shut_at:
        return False
    if attempt.try_number != held.attempt.try_number:
        return attempt.try_number > held.attempt.try_number
    lease_is_over = held.lease_until is None or held.lease_until < now
    return attempt.process == held.attempt.process or lease_is_over


def may_end(run: Run, state: RunState, manifest: Mapping[str, Any]) -> bool:
    """Whether a run may end so: the first end stays, unless more is published than before."""
    if run.state is None or run.manifest is None:
        return True
    if state is RunState.NOT_PUBLISHED:
        return False
    newer = int(run.manifest.get("version", 0)) < int(manifest.get("version", 0))
    return run.state is RunState.NOT_PUBLISHED or newer


def round_of(run: Run, round_number: int) -> StoredRound:
    """A round of the run; raises `KeyError` when it is not open."""
    if round_number not in run.rounds:
        raise KeyError(f"round {round_number}")
    return run.rounds[round_number]


def decided_gate(key: RunKey, run: Run, known: StoredRound) -> DecidedGate:
    """The verdict of a round's gate, and when each feed came."""
    again = known.plan.feed_ids
    registered = {
        feed_id: Registration(status=kept.outcome.status, at=kept.at, rows=kept.outcome.rows_staged)
        for (number, feed_id), kept in sorted(run.outcomes.items())
        if number == known.round or (number < known.round and feed_id not in again)
    }
    feeds = run.saved.spec.get("pipeline", {}).get("feeds", ()) if run.saved else ()
    return DecidedGate(
        run=key,
        round=known.round,
        run_started_at=run.saved.started_at if run.saved else known.opened_at,
        opened_at=known.opened_at,
        verdict=known.verdict or {},
        registered=registered,
        feed_deadlines={feed["id"]: feed["deadline"] for feed in feeds if feed.get("deadline") is not None},
    )


def successes_in(run: Run, feed_id: str, before: datetime | None) -> Sequence[Registered]:
    """The successes of a feed in a run that has ended; with `before` the last one, if the run had started then."""
    if run.manifest is None:
        return []
    found = [
        run.outcomes[at]
        for at in sorted(run.outcomes)
        if at[1] == feed_id and run.outcomes[at].outcome.status is OutcomeStatus.SUCCESS
    ]
    if before is None:
        return found
    return found[-1:] if run.saved is not None and run.saved.started_at < before else []


def published_profiles(runs: Iterable[Run], feed_id: str, before: datetime) -> list[FeedProfile]:
    """What a feed looked like in runs that were published, newest first."""
    found = [
        known[-1]
        for run in runs
        if run.state in {RunState.PUBLISHED, RunState.PUBLISHED_DEGRADED}
        and (known := successes_in(run, feed_id, before))
    ]
    found.sort(key=lambda known: known.order, reverse=True)
    return [known.profile for known in found[:RECENT_PROFILES] if known.profile is not None]
