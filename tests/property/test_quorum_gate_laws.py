"""What holds for every gate, whoever it waits for and however long it has been."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from fractions import Fraction
from itertools import product

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from airflow_orchestration.policies.quorum_gate import (
    GateAction,
    GateDecision,
    GateFacts,
    Member,
    MemberState,
    QuorumGate,
)
from tests.property.strategies import durations, gate_facts, gates

BESIDE_THE_TOLERANCE = 1e-8
NO_TIME, A_MINUTE, DEADLINE = timedelta(0), timedelta(minutes=1), timedelta(minutes=10)


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


def oracle(gate: QuorumGate, facts: GateFacts) -> str:
    """The rulings once more, in exact fractions and in the order of the prose; returns the action."""
    weight = {member.id: Fraction(str(member.weight)) for member in facts.members}
    by_state = {
        state: {member.id for member in facts.members if member.state == state} for state in MemberState
    }
    there, open_, lost = (
        by_state[state] for state in (MemberState.ARRIVED, MemberState.PENDING, MemberState.FAILED)
    )
    needed = {member.id for member in facts.members if member.required}
    enough = Fraction(str(gate.floor)) * sum(weight.values())
    if there == set(weight):
        return "proceed_to_data_merge"
    possible = sum(weight[name] for name in there | open_) >= enough and not needed & lost
    reached = sum(weight[name] for name in there) >= enough and needed <= there
    if not possible:
        return "timeout_recovery"
    late = facts.elapsed >= gate.deadline
    if not reached:
        return "timeout_recovery" if late else "continue_waiting"
    patience = gate.grace_period if gate.grace_period is not None else timedelta.max
    impatient = (facts.since_floor or NO_TIME) >= patience
    return "conditional_proceed" if late or impatient or not open_ else "continue_waiting"


def all_members(size: int) -> list[tuple[Member, ...]]:
    """Every combination of states, with two patterns of weights and three of required members."""
    found = []
    for states in product(MemberState, repeat=size):
        for weights, required in product(((1.0,), (3.0, 0.1, 1.0)), ((), (0,), (1, 3))):
            found.append(
                tuple(
                    Member(
                        id=f"m{number}",
                        weight=weights[number % len(weights)],
                        required=number in required,
                        state=state,
                    )
                    for number, state in enumerate(states)
                )
            )
    return found


TIMES = [(NO_TIME, None), (A_MINUTE, NO_TIME), (A_MINUTE, A_MINUTE), (DEADLINE, None), (DEADLINE, A_MINUTE)]


@pytest.mark.parametrize("size", range(7))
def test_the_gate_agrees_with_an_independent_reading_of_the_rulings(size: int) -> None:
    """Over all states of up to six members, the gate and a second implementation decide alike."""
    policies = [
        QuorumGate(floor=floor, deadline=DEADLINE, grace_period=grace)
        for floor, grace in ((0.75, None), (0.75, A_MINUTE), (0.5, NO_TIME), (1.0, NO_TIME))
    ]
    disagreements = [
        (gate, facts)
        for members in all_members(size)
        for elapsed, since_floor in TIMES
        for facts in [GateFacts(members=members, elapsed=elapsed, since_floor=since_floor)]
        for gate in policies
        if gate.evaluate(facts).action != oracle(gate, facts)
    ]

    assert [] == disagreements


@given(gate=gates, facts=gate_facts)
def test_the_oracle_holds_for_any_weights(gate: QuorumGate, facts: GateFacts) -> None:
    """Beside the tolerance for float sums, exact fractions give the same action."""
    progress = [
        sum(one.weight for one in facts.members if one.state in states)
        / sum(one.weight for one in facts.members)
        for states in ({MemberState.ARRIVED}, {MemberState.ARRIVED, MemberState.PENDING})
        if facts.members
    ]
    assume(all(abs(share - gate.floor) > BESIDE_THE_TOLERANCE for share in progress))

    assert oracle(gate, facts) == gate.evaluate(facts).action
