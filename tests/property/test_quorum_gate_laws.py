"""What holds for every gate, whoever it waits for and however long it has been."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

from hypothesis import assume, given
from hypothesis import strategies as st

from airflow_orchestration.policies.quorum_gate import (
    GateAction,
    GateDecision,
    GateFacts,
    MemberState,
    QuorumGate,
)
from tests.property.strategies import durations, gate_facts, gates

NO_TIME = timedelta(0)


def turned(facts: GateFacts, index: int, state: MemberState) -> GateFacts:
    """The same facts, but one member's state."""
    members = list(facts.members)
    members[index] = replace(members[index], state=state)
    return replace(facts, members=tuple(members))


def verdict(decision: GateDecision) -> tuple[str, str, str]:
    return decision.action, decision.status, decision.reason


@given(gate=gates, facts=gate_facts)
def test_same_facts_same_decision(gate: QuorumGate, facts: GateFacts) -> None:
    """The gate is a function of its facts."""
    assert gate.evaluate(facts) == gate.evaluate(replace(facts))


@given(gate=gates, facts=gate_facts, data=st.data())
def test_an_arrival_never_shuts_an_open_gate(gate: QuorumGate, facts: GateFacts, data: st.DataObject) -> None:
    """With the times fixed, one more arrival keeps an open gate open and a settled one settled."""
    pending = [index for index, one in enumerate(facts.members) if one.state is MemberState.PENDING]
    assume(pending)
    before = gate.evaluate(facts)
    after = gate.evaluate(turned(facts, data.draw(st.sampled_from(pending)), MemberState.ARRIVED))

    assert before.is_open <= after.is_open
    assert before.is_settled <= after.is_settled
    assert before.floor_reached <= after.floor_reached


@given(gate=gates, facts=gate_facts, data=st.data())
def test_a_failure_never_reaches_the_floor(gate: QuorumGate, facts: GateFacts, data: st.DataObject) -> None:
    """One more failure leaves progress where it was and reaches no floor."""
    pending = [index for index, one in enumerate(facts.members) if one.state is MemberState.PENDING]
    assume(pending)
    before = gate.evaluate(facts)
    after = gate.evaluate(turned(facts, data.draw(st.sampled_from(pending)), MemberState.FAILED))

    assert before.evidence["progress"] == after.evidence["progress"]
    assert before.floor_reached == after.floor_reached


@given(gate=gates, facts=gate_facts, passed=durations.filter(lambda duration: duration >= NO_TIME))
def test_time_never_shuts_a_gate(gate: QuorumGate, facts: GateFacts, passed: timedelta) -> None:
    """As time passes, an open gate stays open and a settled round stays settled as it was."""
    since_floor = None if facts.since_floor is None else facts.since_floor + passed
    before = gate.evaluate(facts)
    after = gate.evaluate(replace(facts, elapsed=facts.elapsed + passed, since_floor=since_floor))

    assert before.is_open <= after.is_open
    assert not before.is_settled or before.action is after.action


@given(
    gate=gates,
    facts=gate_facts,
    passed=durations.filter(lambda duration: duration >= NO_TIME),
    data=st.data(),
)
def test_arrivals_and_time_together_never_shut_a_gate(
    gate: QuorumGate, facts: GateFacts, passed: timedelta, data: st.DataObject
) -> None:
    """However many arrive while time passes, an open gate stays open, and a round that was given up may only open."""
    pending = [index for index, one in enumerate(facts.members) if one.state is MemberState.PENDING]
    later = facts
    for index in data.draw(st.sets(st.sampled_from(pending))) if pending else ():
        later = turned(later, index, MemberState.ARRIVED)
    since_floor = None if facts.since_floor is None else facts.since_floor + passed
    before = gate.evaluate(facts)
    after = gate.evaluate(replace(later, elapsed=facts.elapsed + passed, since_floor=since_floor))

    assert before.is_open <= after.is_open
    assert before.is_settled <= after.is_settled
    assert before.floor_reached <= after.floor_reached


@given(gate=gates, facts=gate_facts, data=st.data())
def test_what_is_out_of_reach_stays_so(gate: QuorumGate, facts: GateFacts, data: st.DataObject) -> None:
    """A round that is given up before its deadline is not given up too early: no arrivals would have opened it."""
    early = replace(facts, elapsed=NO_TIME)
    assume(gate.evaluate(early).action is GateAction.TIMEOUT_RECOVERY)
    for index, one in enumerate(facts.members):
        if one.state is MemberState.PENDING:
            early = turned(early, index, data.draw(st.sampled_from(MemberState)))

    assert not gate.evaluate(early).is_open


@given(gate=gates, facts=gate_facts)
def test_a_gate_that_waits_can_still_open(gate: QuorumGate, facts: GateFacts) -> None:
    """Nobody is kept waiting in vain: when all that are pending arrive, a gate that waited is open."""
    now = replace(facts, elapsed=NO_TIME, since_floor=None)
    later = now
    for index, one in enumerate(facts.members):
        if one.state is MemberState.PENDING:
            later = turned(later, index, MemberState.ARRIVED)

    assert gate.evaluate(now).is_settled or gate.evaluate(later).is_open


@given(gate=gates, facts=gate_facts, data=st.data())
def test_the_order_of_the_members_does_not_matter(
    gate: QuorumGate, facts: GateFacts, data: st.DataObject
) -> None:
    """Another order of the members changes nothing but the order in which they are listed."""
    members = tuple(data.draw(st.permutations(facts.members)))
    one, other = gate.evaluate(facts), gate.evaluate(replace(facts, members=members))

    assert verdict(one) == verdict(other)
    assert unordered(one) == unordered(other)


def unordered(decision: GateDecision) -> dict[str, object]:
    return {
        name: sorted(map(str, value)) if isinstance(value, list) else value
        for name, value in decision.evidence.items()
    }


@given(gate=gates, facts=gate_facts)
def test_a_round_ends_by_its_deadline(gate: QuorumGate, facts: GateFacts) -> None:
    """From the deadline on, no gate waits."""
    assert gate.evaluate(replace(facts, elapsed=gate.deadline)).is_settled


@given(gate=gates, facts=gate_facts)
def test_nobody_is_waited_for_when_nobody_can_come(gate: QuorumGate, facts: GateFacts) -> None:
    """Without pending members, every gate is settled at once."""
    members = tuple(one for one in facts.members if one.state is not MemberState.PENDING)

    assert gate.evaluate(replace(facts, members=members)).is_settled


@given(gate=gates, facts=gate_facts)
def test_recovery_means_that_the_floor_is_not_reached(gate: QuorumGate, facts: GateFacts) -> None:
    """The load balancer takes over only below the floor, and the merge starts only at it."""
    decision = gate.evaluate(facts)

    assert decision.floor_reached or not decision.is_open
    assert not (decision.floor_reached and decision.action is GateAction.TIMEOUT_RECOVERY)


@given(gate=gates, facts=gate_facts)
def test_the_counts_add_up(gate: QuorumGate, facts: GateFacts) -> None:
    """Every member is arrived, failed or pending, and named in exactly one list; the evidence is plain JSON."""
    evidence = gate.evaluate(facts).as_json()["evidence"]
    assert isinstance(evidence, dict)
    named = [*evidence["arrived_ids"], *evidence["failed_ids"], *evidence["missing_ids"]]

    assert evidence["expected"] == evidence["arrived"] + evidence["failed"] + evidence["pending"]
    assert sorted(member.id for member in facts.members) == sorted(named)
    assert evidence == json.loads(json.dumps(evidence))
