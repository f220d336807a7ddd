"""The gate against a second, naive statement of its rule, over every state of a few members."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import pytest
from hypothesis import assume, given

from airflow_orchestration.policies.quorum_gate import GateFacts, GateReason, QuorumGate
from tests.property.oracle import (
    ANSWERS,
    EQUAL,
    MOST_MEMBERS,
    UNEQUAL,
    Claims,
    counterexamples,
    expected,
    reasons,
    standing,
    states,
    summary,
)
from tests.property.strategies import gate_facts, gates

BESIDE_THE_TOLERANCE = 1e-8
MOST_UNEQUAL_MEMBERS = 3


@pytest.mark.parametrize(
    ("weights", "most"), [(EQUAL, MOST_MEMBERS), (UNEQUAL, MOST_UNEQUAL_MEMBERS)], ids=["equal", "unequal"]
)
def test_the_gate_agrees_with_the_rule_in_every_state(weights: Sequence[float], most: int) -> None:
    """Over all states, at every floor and time where the answer can change, action, status and reason agree."""
    sizes = range(most + 1)
    results = [counterexamples(state) for size in sizes for state in states(weights, size)]
    print(summary(weights, sizes, sum(asked for asked, _ in results), len(results)))

    assert [] == [one for _, wrong in results for one in wrong][:3]


@given(gate=gates, facts=gate_facts)
def test_the_gate_agrees_with_the_rule_for_any_weights(gate: QuorumGate, facts: GateFacts) -> None:
    """Beside the tolerance for float sums, exact fractions give the same answer for any weights, floor and time."""
    found = standing(facts.members)
    assume(
        all(abs(share - gate.floor) > BESIDE_THE_TOLERANCE for share in (found.arrived, found.possible))
        or not facts.members
    )
    decision = gate.evaluate(facts)

    assert expected(gate, facts) == (decision.action, decision.status, decision.reason)


def test_the_rule_gives_one_answer_to_every_question() -> None:
    """Whatever is claimed without contradiction, exactly one reason holds, and each reason somewhere."""
    possible = [
        claims for claims in map(Claims._make, product((False, True), repeat=9)) if consistent(claims)
    ]
    answers = [tuple(reason for reason, holds in reasons(claims).items() if holds) for claims in possible]

    assert {1} == {len(answer) for answer in answers}
    assert set(ANSWERS) == {reason for answer in answers for reason in answer} == set(GateReason)


def consistent(it: Claims) -> bool:
    somebody_missing = it.somebody_pending or it.somebody_failed
    return (
        (it.anybody or not somebody_missing)
        and (somebody_missing or not it.required_missing)
        and (not it.required_failed or (it.somebody_failed and it.required_missing))
        and (it.somebody_pending or not it.required_missing or it.required_failed)
        and (it.enough_possible or not it.enough)
        and (it.somebody_pending or it.enough == it.enough_possible)
    )
