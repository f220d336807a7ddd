"""Is enough there to go on? The one place that decides when a round stops waiting (SEED 2, 13 and rulings).

The gate asks three questions, in this order:

* Has everybody arrived? Then the merge starts at once.
* Is the floor reached, by weight and with every required member? Then only the others are waited for:
  until the grace period or the deadline ends, or until none of them can come any more.
* Can the floor still be reached in time? If not, the load balancer takes over at once.

Only successes arrive. A failed member counts against the floor, a pending one may still come.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from airflow_orchestration.domain.decision import Decision, Json
from airflow_orchestration.domain.defaults import FLOOR

TOLERANCE = 1e-9
"""Three members of weight 0.1 and a floor of 0.3: a sum of floats must not keep the gate shut."""


class MemberState(StrEnum):
    """What is known of a member now."""

    ARRIVED = "arrived"
    FAILED = "failed"
    PENDING = "pending"


class GateAction(StrEnum):
    """Where the round goes next (SEED 2)."""

    PROCEED_TO_DATA_MERGE = "proceed_to_data_merge"
    CONDITIONAL_PROCEED = "conditional_proceed"
    CONTINUE_WAITING = "continue_waiting"
    TIMEOUT_RECOVERY = "timeout_recovery"


OPEN = frozenset({GateAction.PROCEED_TO_DATA_MERGE, GateAction.CONDITIONAL_PROCEED})
"""What lets a round go on."""
PROMPT = timedelta(seconds=5)
"""Ours: a gate that decides at its deadline writes the verdict when it has looked, up to 2 s later; busy machines double that."""


def deadline_met(
    action: str | None, *, decided_at: datetime | None, deadline_at: datetime, is_published: bool
) -> bool:
    """Whether a run that ended met its deadline: its last gate let it go on by then, and it published."""
    in_time = decided_at is not None and decided_at <= deadline_at + PROMPT
    return in_time and action in OPEN and is_published


class GateStatus(StrEnum):
    """How far the round is (SEED 13); `timed_out` is a round that ends below the floor."""

    COMPLETED = "completed"
    WAITING_FINAL = "waiting_final"
    WAITING = "waiting"
    TIMED_OUT = "timed_out"


class GateReason(StrEnum):
    """Why the gate is open, shut or given up."""

    NOTHING_EXPECTED = "nothing_expected"
    ALL_ARRIVED = "all_arrived"
    ONLY_FAILED_MISSING = "only_failed_missing"
    GRACE_PERIOD_OVER = "grace_period_over"
    DEADLINE_AT_FLOOR = "deadline_at_floor"
    WAITING_FOR_STRAGGLERS = "waiting_for_stragglers"
    REQUIRED_FAILED = "required_failed"
    FLOOR_UNREACHABLE = "floor_unreachable"
    DEADLINE_BELOW_FLOOR = "deadline_below_floor"
    DEADLINE_WITHOUT_REQUIRED = "deadline_without_required"
    WAITING_FOR_FLOOR = "waiting_for_floor"
    WAITING_FOR_REQUIRED = "waiting_for_required"


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """Somebody the gate waits for; with the default weights, heads are counted."""

    id: str
    weight: float = 1.0
    required: bool = False
    state: MemberState = MemberState.PENDING

    def __post_init__(self) -> None:
        if not 0 < self.weight < math.inf:
            raise ValueError(
                f"weight {self.weight} of {self.id!r} counts for nothing; use more than 0, or leave it out"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class GateFacts:
    """The members, and how long it has been."""

    members: tuple[Member, ...]
    elapsed: timedelta
    """Since the round's start."""
    since_floor: timedelta | None = None
    """Since the floor was first seen reached; None if it was not before now."""

    @classmethod
    def recorded(cls, evidence: Mapping[str, Any]) -> GateFacts:
        """Make the facts again from a decision's evidence."""
        required, since = set(evidence["required_ids"]), evidence["since_floor_seconds"]
        named = [(name, state) for state, ids in _EVIDENCE_OF_STATE.items() for name in evidence[ids]]
        weights = evidence["weights"] or [1.0] * len(named)
        return cls(
            members=tuple(
                Member(id=name, weight=weight, required=name in required, state=state)
                for (name, state), weight in zip(named, weights, strict=True)
            ),
            elapsed=timedelta(seconds=evidence["elapsed_seconds"]),
            since_floor=None if since is None else timedelta(seconds=since),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class GateDecision(Decision):
    """What the gate says.

    The evidence holds the metrics of SEED 14 except for the name and the time, which are the caller's. Its
    lists of ids are complete: whoever merges takes exactly `arrived_ids`, not what has come since. `weights`
    are in the order of arrived, failed and missing ids, and left out where heads are counted. Policy
    and facts can be made from it again (`QuorumGate.recorded`, `GateFacts.recorded`).
    """

    action: GateAction
    reason: GateReason
    status: GateStatus

    @property
    def is_open(self) -> bool:
        """Whether the merge may start."""
        return self.action in {GateAction.PROCEED_TO_DATA_MERGE, GateAction.CONDITIONAL_PROCEED}

    @property
    def floor_reached(self) -> bool:
        """Whether the floor is reached, by weight and with every required member: `since_floor` starts here."""
        return self.status in {GateStatus.COMPLETED, GateStatus.WAITING_FINAL}

    @property
    def is_settled(self) -> bool:
        """Whether there is nothing more to wait for."""
        return self.action is not GateAction.CONTINUE_WAITING


@dataclass(frozen=True, slots=True, kw_only=True)
class QuorumGate:
    """Everybody at once, the floor after a while, or not at all (SEED 13 and its rulings).

    Why did the gate open with one of four missing? Three of four are 75 %, and the grace period was over:

    >>> members = tuple(
    ...     Member(id=name, state=MemberState.PENDING if name == "planes" else MemberState.ARRIVED)
    ...     for name in ("airports", "flights", "planes", "weather")
    ... )
    >>> gate = QuorumGate(deadline=timedelta(minutes=10), grace_period=timedelta(minutes=2))
    >>> facts = GateFacts(members=members, elapsed=timedelta(minutes=5), since_floor=timedelta(minutes=2))
    >>> decision = gate.evaluate(facts)
    >>> decision.action.value, decision.reason.value, decision.evidence["missing_ids"]
    ('conditional_proceed', 'grace_period_over', ['planes'])
    """

    deadline: timedelta
    floor: float = FLOOR
    grace_period: timedelta | None = None
    """How long the rest is waited for once the floor is reached: 0 not at all, None until the deadline."""

    def __post_init__(self) -> None:
        if not 0 <= self.floor <= 1:
            raise ValueError(f"floor {self.floor} is no share; use 0..1, 1 to wait for everybody")
        if self.deadline <= timedelta(0):
            raise ValueError(
                f"deadline {_told(self.deadline)} is over before the round starts; use more than 0"
            )
        if self.grace_period is not None and self.grace_period < timedelta(0):
            raise ValueError(
                f"grace_period {_told(self.grace_period)} is negative; use 0 for none, or leave it out"
            )

    @classmethod
    def recorded(cls, evidence: Mapping[str, Any]) -> QuorumGate:
        """Make the policy again from a decision's evidence."""
        grace = evidence["grace_period_seconds"]
        return cls(
            deadline=timedelta(seconds=evidence["deadline_seconds"]),
            floor=evidence["floor"],
            grace_period=None if grace is None else timedelta(seconds=grace),
        )

    def evaluate(self, facts: GateFacts) -> GateDecision:
        """Decide with what is known now; the same facts always get the same decision."""
        tally = _Tally.of(facts.members)
        action, status, reason = self._verdict(tally, facts)
        return GateDecision(
            policy="quorum_gate",
            action=action,
            reason=reason,
            status=status,
            evidence={"status": status.value, **tally.evidence(), **self._timing(facts)},
        )

    def _verdict(self, tally: _Tally, facts: GateFacts) -> _Verdict:
        if tally.arrived == tally.expected:
            return _complete(tally)
        if self._covers_floor(tally.arrived_weight, tally) and not tally.required_missing:
            return self._at_floor(tally, facts)
        return self._out_of_reach(tally) or self._below_floor(tally, facts)

    def _covers_floor(self, weight: float, tally: _Tally) -> bool:
        return weight / tally.total_weight >= self.floor - TOLERANCE

    def _at_floor(self, tally: _Tally, facts: GateFacts) -> _Verdict:
        go, wait = GateAction.CONDITIONAL_PROCEED, GateAction.CONTINUE_WAITING
        if not tally.pending:
            return go, GateStatus.WAITING_FINAL, GateReason.ONLY_FAILED_MISSING
        if self.grace_period is not None and (facts.since_floor or timedelta(0)) >= self.grace_period:
            return go, GateStatus.WAITING_FINAL, GateReason.GRACE_PERIOD_OVER
        if facts.elapsed >= self.deadline:
            return go, GateStatus.WAITING_FINAL, GateReason.DEADLINE_AT_FLOOR
        return wait, GateStatus.WAITING_FINAL, GateReason.WAITING_FOR_STRAGGLERS

    def _out_of_reach(self, tally: _Tally) -> _Verdict | None:
        recover = GateAction.TIMEOUT_RECOVERY
        if any(member.state is MemberState.FAILED for member in tally.required_missing):
            return recover, GateStatus.TIMED_OUT, GateReason.REQUIRED_FAILED
        if not self._covers_floor(tally.arrived_weight + tally.pending_weight, tally):
            return recover, GateStatus.TIMED_OUT, GateReason.FLOOR_UNREACHABLE
        return None

    def _below_floor(self, tally: _Tally, facts: GateFacts) -> _Verdict:
        recover, wait = GateAction.TIMEOUT_RECOVERY, GateAction.CONTINUE_WAITING
        has_weight = self._covers_floor(tally.arrived_weight, tally)
        if facts.elapsed >= self.deadline:
            if has_weight:
                return recover, GateStatus.TIMED_OUT, GateReason.DEADLINE_WITHOUT_REQUIRED
            return recover, GateStatus.TIMED_OUT, GateReason.DEADLINE_BELOW_FLOOR
        if has_weight:
            return wait, GateStatus.WAITING, GateReason.WAITING_FOR_REQUIRED
        return wait, GateStatus.WAITING, GateReason.WAITING_FOR_FLOOR

    def _timing(self, facts: GateFacts) -> dict[str, Json]:
        return {
            "floor": self.floor,
            "elapsed_seconds": facts.elapsed.total_seconds(),
            "deadline_seconds": self.deadline.total_seconds(),
            "since_floor_seconds": _seconds(facts.since_floor),
            "grace_period_seconds": _seconds(self.grace_period),
        }


def together(overall: GateDecision, points: Mapping[str, GateDecision]) -> GateDecision:
    """Return the strictest of a round's decisions; among equals the one over all members, then by name.

    The round is given up as soon as one sync point is, and goes on when none of them waits any more.
    The evidence stays that of all members; its `sync_points` has the others by name, and `decided_by`
    names the one whose word it is.
    """
    named_points = dict(sorted(points.items()))
    strictest = min(
        (overall, *named_points.values()), key=lambda decision: _STRICTEST_FIRST.index(decision.action)
    )
    deciding = [name for name, decision in named_points.items() if decision is strictest]
    named: dict[str, Json] = {"decided_by": deciding[0]} if deciding else {}
    if points:
        named["sync_points"] = {name: decision.as_json() for name, decision in points.items()}
    return replace(strictest, evidence={**overall.evidence, "status": strictest.status.value, **named})


_STRICTEST_FIRST = (
    GateAction.TIMEOUT_RECOVERY,
    GateAction.CONTINUE_WAITING,
    GateAction.CONDITIONAL_PROCEED,
    GateAction.PROCEED_TO_DATA_MERGE,
)
_EVIDENCE_OF_STATE = {
    MemberState.ARRIVED: "arrived_ids",
    MemberState.FAILED: "failed_ids",
    MemberState.PENDING: "missing_ids",
}
_Verdict = tuple[GateAction, GateStatus, GateReason]


def _complete(tally: _Tally) -> _Verdict:
    if not tally.expected:
        return GateAction.PROCEED_TO_DATA_MERGE, GateStatus.COMPLETED, GateReason.NOTHING_EXPECTED
    return GateAction.PROCEED_TO_DATA_MERGE, GateStatus.COMPLETED, GateReason.ALL_ARRIVED


def _told(duration: timedelta) -> str:
    return f"{duration.total_seconds():g} s"


def _seconds(duration: timedelta | None) -> float | None:
    return None if duration is None else duration.total_seconds()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tally:
    """The members in the order of their states, and what they weigh.

    With thousands of members each list that is made counts: of ids and weights there is one, which is cut.
    """

    members: Sequence[Member]
    arrived: int
    failed: int
    pending: int
    weights: Sequence[float]
    required: Sequence[Member]
    arrived_weight: float
    pending_weight: float
    total_weight: float

    @property
    def expected(self) -> int:
        return len(self.members)

    @classmethod
    def of(cls, members: Sequence[Member]) -> _Tally:
        """Weights are summed exactly (`fsum`), so that the order of the members can't matter."""
        here, lost = MemberState.ARRIVED, MemberState.FAILED
        arrived = [member for member in members if member.state is here]
        others = [member for member in members if member.state is not here]
        failed = [member for member in others if member.state is lost]
        pending = [member for member in others if member.state is not lost]
        ordered = [*arrived, *failed, *pending]
        weights = [member.weight for member in ordered]
        return cls(
            members=ordered,
            arrived=len(arrived),
            failed=len(failed),
            pending=len(pending),
            weights=weights,
            required=[member for member in ordered if member.required],
            arrived_weight=math.fsum(weights[: len(arrived)]),
            pending_weight=math.fsum(weights[len(arrived) + len(failed) :]),
            total_weight=math.fsum(weights),
        )

    @property
    def required_missing(self) -> list[Member]:
        """The required members that may still come, then those that can't."""
        missing = [member for member in self.required if member.state is not MemberState.ARRIVED]
        return sorted(missing, key=lambda member: member.state is MemberState.FAILED)

    def evidence(self) -> dict[str, Json]:
        ids: list[Json] = _ids(self.members)
        heads_count = self.weights.count(1.0) == self.expected
        settled = self.arrived + self.failed
        return {
            "progress": self.arrived_weight / self.total_weight if self.expected else 1.0,
            "expected": self.expected,
            "arrived": self.arrived,
            "failed": self.failed,
            "pending": self.pending,
            "expected_weight": self.total_weight,
            "arrived_weight": self.arrived_weight,
            "pending_weight": self.pending_weight,
            "arrived_ids": ids[: self.arrived],
            "failed_ids": ids[self.arrived : settled],
            "missing_ids": ids[settled:],
            "required_missing_ids": _ids(self.required_missing),
            "required_ids": _ids(self.required),
            "weights": [] if heads_count else [*self.weights],
        }


def _ids(members: Sequence[Member]) -> list[Json]:
    return [member.id for member in members]
