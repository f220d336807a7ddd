"""What would have changed had recorded gates had another policy?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import chain
from statistics import fmean, median
from typing import Any

from airflow_orchestration.domain.outcome import OutcomeStatus
from airflow_orchestration.domain.pipeline import ALL_FEEDS
from airflow_orchestration.insights.courses import Change, Course, Ending, Rules, Unknown, play
from airflow_orchestration.insights.recorded_gate import RecordedFeed, RecordedGate
from airflow_orchestration.policies.quorum_gate import GateAction, GateFacts, Member, MemberState, QuorumGate

UNTIL_DEADLINE = timedelta.max
"""As a grace period: none; the gate holds to its deadline."""
A_MOMENT = timedelta(microseconds=1)
NOWHERE = RecordedFeed()
SEEN_AS = {
    MemberState.ARRIVED: "arrived_ids",
    MemberState.FAILED: "failed_ids",
    MemberState.PENDING: "missing_ids",
}
STATE_OF = {OutcomeStatus.SUCCESS: MemberState.ARRIVED, OutcomeStatus.FAILED: MemberState.FAILED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What is changed of a gate's policy; None leaves it as it was."""

    floor: float | None = None
    deadline: timedelta | None = None
    """From the opening of the round."""
    grace_period: timedelta | None = None
    """`UNTIL_DEADLINE` takes the grace period away."""

    def of(self, gate: QuorumGate) -> QuorumGate:
        """Return the gate with these terms; raises `ValueError` for terms that no gate can have."""
        grace = gate.grace_period if self.grace_period is None else self.grace_period
        return QuorumGate(
            floor=gate.floor if self.floor is None else self.floor,
            deadline=gate.deadline if self.deadline is None else self.deadline,
            grace_period=None if grace == UNTIL_DEADLINE else grace,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One recorded gate, as it went and as it would have gone."""

    gate: RecordedGate
    deadline: timedelta
    """The recorded one, by which both are judged."""
    recorded: Ending
    before: Ending
    """By the recorded policy."""
    after: Ending | Unknown
    """By the other one."""

    @property
    def changed(self) -> bool:
        """Whether anything is known to be different."""
        return isinstance(self.after, Ending) and self.after != self.before

    @property
    def differs(self) -> bool:
        """Whether it changed, or may have."""
        return self.after != self.before

    def in_time(self, ending: Ending) -> bool:
        """Whether the merge started by the recorded deadline."""
        return ending.is_open and ending.after <= self.deadline

    def rows(self, ending: Ending) -> int | None:
        """The rows that went into the merge; None where rows were not recorded."""
        found = [self.gate.feeds.get(name, NOWHERE).rows for name in ending.arrived]
        return sum(rows for rows in found if rows is not None) if self.gate.feeds else None


def trial(gate: RecordedGate, terms: Terms) -> Trial:
    """Let the feeds of a gate come as they did, under another policy.

    Before and after are both told by when things happened, as if the gate had looked at once each time: so
    they differ by the policy alone. Where that does not say how it went before, `before` is the record.
    """
    rules, courses, recorded = rules_of(gate), courses_of(gate), recorded_ending(gate)
    others = with_terms(rules, terms)
    played = play(rules, courses)
    before = played if isinstance(played, Ending) else recorded
    return Trial(
        gate=gate,
        deadline=rules.gates[ALL_FEEDS].deadline,
        recorded=recorded,
        before=before,
        after=before if others == rules else play(others, courses),
    )


def rules_of(gate: RecordedGate) -> Rules:
    """Make the members and policies of a round again."""
    evidence = gate.decision.evidence
    members = GateFacts.recorded(evidence).members
    gates, points = {ALL_FEEDS: QuorumGate.recorded(evidence)}, {ALL_FEEDS: tuple(one.id for one in members)}
    for name, point in sorted(evidence.get("sync_points", {}).items()):
        gates[name] = QuorumGate.recorded(point["evidence"])
        points[name] = tuple(one.id for one in GateFacts.recorded(point["evidence"]).members)
    return Rules(
        members={one.id: Member(id=one.id, weight=one.weight, required=one.required) for one in members},
        gates=gates,
        points=points,
    )


def with_terms(rules: Rules, terms: Terms) -> Rules:
    """Change the gate over all feeds; raises `ValueError` for terms that no gate can have.

    Named sync points keep their terms, but none waits longer than that gate, and one that had its
    deadline has it still.
    """
    before = rules.gates[ALL_FEEDS]
    overall = terms.of(before)
    gates = {
        name: replace(
            gate,
            deadline=overall.deadline
            if gate.deadline == before.deadline
            else min(gate.deadline, overall.deadline),
        )
        for name, gate in rules.gates.items()
    }
    return replace(rules, gates={**gates, ALL_FEEDS: overall})


def recorded_ending(gate: RecordedGate) -> Ending:
    """Return the decision as it was recorded; a gate that looked late has decided at its deadline."""
    evidence = gate.decision.evidence
    return Ending(
        action=GateAction(gate.decision.action),
        reason=gate.decision.reason,
        after=timedelta(seconds=min(evidence["elapsed_seconds"], evidence["deadline_seconds"])),
        arrived=frozenset(evidence["arrived_ids"]),
        weight_share=evidence["progress"],
    )


def courses_of(gate: RecordedGate) -> dict[str, Course]:
    """Say of each member what is known of when it came."""
    evidence = gate.decision.evidence
    looked = timedelta(seconds=evidence["elapsed_seconds"])
    decided = recorded_ending(gate).after
    return {
        name: _course(state, gate.feeds.get(name, NOWHERE), looked, decided)
        for state, ids in SEEN_AS.items()
        for name in evidence[ids]
    }


def _course(seen: MemberState, feed: RecordedFeed, looked: timedelta, decided: timedelta) -> Course:
    """Put together what the gate saw and what was registered.

    :param seen: what the gate saw when it looked for the last time.
    :param decided: the same moment, or the deadline when it looked after it.
    """
    given_up = _change(feed.deadline_seconds, MemberState.FAILED)
    registered = _change(feed.seconds, STATE_OF[feed.status] if feed.status else None)
    before = [change for change in registered if change.at <= looked]
    if seen is MemberState.PENDING:
        # What was registered in the moment in which the gate looked came too late for it.
        later = [replace(change, at=max(change.at, looked + A_MOMENT)) for change in registered]
        return Course(changes=(*given_up, *later), seen_until=None if registered else looked)
    if [change.state for change in before] == [seen]:
        return Course(changes=(*given_up, *before))
    later = [change for change in registered if change.at > looked]
    if seen is MemberState.FAILED and given_up and given_up[0].at <= looked:
        return Course(changes=(*given_up, *later))
    return Course(changes=tuple(later), by=Change(at=decided, state=seen))


def _change(seconds: float | None, state: MemberState | None) -> tuple[Change, ...]:
    if seconds is None or state is None:
        return ()
    return (Change(at=timedelta(seconds=seconds), state=state),)


def summary(trials: Sequence[Trial]) -> dict[str, Any]:
    """Count what changed, as plain data. Gates of which the answer is unknown are counted apart."""
    known = [(one, one.after) for one in trials if isinstance(one.after, Ending)]
    flips = Counter(
        f"{one.before.action.value} -> {after.action.value}"
        for one, after in known
        if one.before.action != after.action
    )
    return {
        "gates": len(trials),
        "unknown": len(trials) - len(known),
        "changed": sum(one.changed for one in trials),
        "looked_late": sum(one.before.action != one.recorded.action for one in trials),
        "flips": dict(sorted(flips.items())),
        "before": _figures([(one, one.before) for one, _ in known]),
        "after": _figures(known),
    }


def _figures(told: Sequence[tuple[Trial, Ending]]) -> dict[str, Any]:
    if not told:
        return {}
    rows = [one.rows(ending) for one, ending in told if ending.is_open]
    return {
        "opened": sum(ending.is_open for _, ending in told),
        "in_time": sum(one.in_time(ending) for one, ending in told),
        "median_seconds": median(ending.after.total_seconds() for _, ending in told),
        "mean_weight_share": fmean(ending.weight_share for _, ending in told),
        "rows_merged": sum(count for count in rows if count is not None),
    }


def trial_as_json(one: Trial) -> dict[str, Any]:
    """Return a trial as plain data."""
    told: dict[str, Any] = {"gate": one.gate.name, "before": _ending_as_json(one, one.before)}
    if isinstance(one.after, Unknown):
        return {**told, "after": None, "unknown": list(one.after.members)}
    return {**told, "after": _ending_as_json(one, one.after)}


def _ending_as_json(one: Trial, ending: Ending) -> dict[str, Any]:
    return {
        "action": ending.action.value,
        "reason": ending.reason,
        "seconds": ending.after.total_seconds(),
        "in_time": one.in_time(ending),
        "weight_share": ending.weight_share,
        "rows": one.rows(ending),
        "arrived": sorted(ending.arrived),
    }


def members_in(trials: Sequence[Trial]) -> list[str]:
    """Name the members on which the unknown answers hang, the most frequent first."""
    unknown = (one.after.members for one in trials if isinstance(one.after, Unknown))
    return [name for name, _ in Counter(chain.from_iterable(unknown)).most_common()]
