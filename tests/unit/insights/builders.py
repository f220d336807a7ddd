"""Small gates that the tests of replay and simulation are made of."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow_orchestration.insights.recorded_gate import RecordedDecision, RecordedFeed, RecordedGate
from airflow_orchestration.policies.quorum_gate import (
    GateFacts,
    Member,
    MemberState,
    QuorumGate,
    together,
)

STATES = {"a": MemberState.ARRIVED, "f": MemberState.FAILED, "p": MemberState.PENDING}


def seconds(value: float) -> timedelta:
    return timedelta(seconds=value)


def decided(members: dict[str, str], *, at: float, since: float | None = None, **terms: Any) -> Any:
    """What the real gate says: `members` is name -> a, f or p, followed by `*` when it is required."""
    grace = terms.get("grace")
    gate = QuorumGate(
        deadline=seconds(terms.get("deadline", 60)),
        floor=terms.get("floor", 0.75),
        grace_period=None if grace is None else seconds(grace),
    )
    facts = GateFacts(
        members=tuple(
            Member(id=name, state=STATES[code[0]], required=code.endswith("*"))
            for name, code in members.items()
        ),
        elapsed=seconds(at),
        since_floor=None if since is None else seconds(since),
    )
    return gate.evaluate(facts)


def recorded(
    members: dict[str, str],
    came: dict[str, tuple[str, float]] | None = None,
    *,
    at: float,
    points: dict[str, Any] | None = None,
    own: dict[str, float] | None = None,
    **terms: Any,
) -> RecordedGate:
    """A gate that decided `at`; `came` is name -> how and when a feed was registered, with 10 rows for each."""
    decision = together(decided(members, at=at, **terms), points or {})
    assert decision.is_settled
    feeds = {
        name: RecordedFeed.model_validate({"status": how, "seconds": when, "rows": 10})
        for name, (how, when) in (came or {}).items()
    }
    feeds |= {name: RecordedFeed(deadline_seconds=when) for name, when in (own or {}).items()}
    return RecordedGate(
        dag_id="night",
        run_id="1",
        feeds=feeds,
        decision=RecordedDecision.model_validate(decision.as_json()),
    )
