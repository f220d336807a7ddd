"""What would a gate have decided, and when, had its members come like this?

The gate is asked at every moment at which its answer can change: at each arrival and failure, when a grace
period is over, and at each deadline. Nothing is guessed: where the answer hangs on something that the record
does not say, it is `Unknown`.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import cast

from airflow_orchestration.domain.pipeline import ALL_FEEDS
from airflow_orchestration.policies.quorum_gate import (
    GateAction,
    GateDecision,
    GateFacts,
    Member,
    MemberState,
    QuorumGate,
    together,
)

AT_ONCE = timedelta(0)
MARGIN = 1e-6
"""So near to the floor the gate itself is asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What a member became, and when, from the opening of the round."""

    at: timedelta
    state: MemberState


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """What is known of one member over time; before its first change it was pending."""

    changes: tuple[Change, ...] = ()
    by: Change | None = None
    """A change of which only the latest possible moment is known."""
    seen_until: timedelta | None = None
    """It had not come until then, and nobody looked afterwards. None: there is nothing more to know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The members of a round, and the gates over all and over some of them, by the name of the sync point."""

    members: Mapping[str, Member]
    gates: Mapping[str, QuorumGate]
    points: Mapping[str, tuple[str, ...]]
    """Sync point -> ids of its members; `feeds` is the one over all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a gate decided. `after` is the time from the opening of its round."""

    action: GateAction
    reason: str
    after: timedelta
    arrived: frozenset[str]
    weight_share: float

    @property
    def is_open(self) -> bool:
        """Whether the merge started."""
        return self.action in {GateAction.PROCEED_TO_DATA_MERGE, GateAction.CONDITIONAL_PROCEED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """The answer hangs on when these members came, and that was not recorded."""

    members: tuple[str, ...]


def play(rules: Rules, courses: Mapping[str, Course]) -> Ending | Unknown:
    """Let the members come, and return the first decision that ends the waiting.

    Members of which only the latest moment is known are let come at once, and at that moment: an earlier
    change only ever ends the waiting earlier, so if both give one answer, everything between does.
    """
    late = _play(rules, courses, early=False)
    unsure = tuple(name for name, course in courses.items() if course.by is not None)
    if unsure and _play(rules, courses, early=True) != late:
        return Unknown(members=unsure)
    unseen = tuple(
        name
        for name, course in courses.items()
        if course.seen_until is not None and course.seen_until < late.after
    )
    return Unknown(members=unseen) if unseen else late


def _play(rules: Rules, courses: Mapping[str, Course], *, early: bool) -> Ending:
    waiting = _Waiting(rules, _changes(courses, early=early))
    while True:
        now, decision = waiting.next_look()
        if decision.is_settled:
            return Ending(
                action=decision.action,
                reason=decision.reason.value,
                after=now,
                arrived=waiting.arrived,
                weight_share=cast("float", decision.evidence["progress"]),
            )


class _Waiting:
    """A round between two looks of its gate."""

    def __init__(self, rules: Rules, changes: list[tuple[timedelta, str, MemberState]]) -> None:
        """:param changes: the first one last."""
        self._rules, self._changes = rules, changes
        self._members = dict(rules.members)
        self._floors: dict[str, timedelta] = {}
        self._weight, self._total = 0.0, sum(member.weight for member in rules.members.values())
        deadlines = (gate.deadline for gate in rules.gates.values())
        self._moments = sorted({AT_ONCE, *(at for at, _, _ in changes), *deadlines})

    @property
    def arrived(self) -> frozenset[str]:
        """Who is there."""
        return frozenset(
            name for name, member in self._members.items() if member.state is MemberState.ARRIVED
        )

    def next_look(self) -> tuple[timedelta, GateDecision]:
        """Go to the next moment at which the answer can change; there is one until the last deadline."""
        now = heapq.heappop(self._moments)
        while self._only_arrives_below_floor(now):
            now = heapq.heappop(self._moments)
        found = {point: self._decision(point, now) for point in self._rules.gates}
        return now, together(found.pop(ALL_FEEDS), found)

    def _only_arrives_below_floor(self, now: timedelta) -> bool:
        """Let come what comes now, and say whether no gate has to be asked: most moments are like that.

        An arrival that leaves the weight below the floor ends no waiting. With further sync points it may
        be the moment of another floor.
        """
        gate = self._rules.gates[ALL_FEEDS]
        quiet = AT_ONCE < now < gate.deadline and len(self._rules.gates) == 1
        while self._changes and self._changes[-1][0] <= now:
            _, name, state = self._changes.pop()
            member = self._members[name]
            if member.state is MemberState.ARRIVED:
                continue  # who is there stays
            self._members[name] = Member(id=name, weight=member.weight, required=member.required, state=state)
            if state is MemberState.ARRIVED:
                self._weight += member.weight
            else:
                quiet = False
        return quiet and self._weight < (gate.floor - MARGIN) * self._total

    def _decision(self, point: str, now: timedelta) -> GateDecision:
        gate, floor_at = self._rules.gates[point], self._floors.get(point)
        facts = GateFacts(
            members=tuple(self._members[name] for name in self._rules.points[point]),
            elapsed=now,
            since_floor=None if floor_at is None else now - floor_at,
        )
        decision = gate.evaluate(facts)
        if decision.floor_reached and floor_at is None:
            self._floors[point] = now
            if gate.grace_period is not None:
                heapq.heappush(self._moments, now + gate.grace_period)
        return decision


def _changes(courses: Mapping[str, Course], *, early: bool) -> list[tuple[timedelta, str, MemberState]]:
    """Every change, the first one last."""
    found: list[tuple[timedelta, str, MemberState]] = []
    for name, course in courses.items():
        found.extend((change.at, name, change.state) for change in _certain(course, early=early))
    return sorted(found, reverse=True)


def _certain(course: Course, *, early: bool) -> Iterable[Change]:
    if course.by is None:
        return course.changes
    return replace(course.by, at=AT_ONCE) if early else course.by, *course.changes
