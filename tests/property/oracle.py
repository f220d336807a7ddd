"""The rule of the quorum gate a second time, and every state of up to eight members to hold the gate against it.

The rule is written as one claim for each reason. The claims know nothing of each other and of no order, so it
is also checked that in every state exactly one of them is true. Shares are exact fractions.

Members of the same weight, duty and state are alike, hence states that differ only in who is who are tried
once; that the order does not matter is a law of its own. For each state the floors are those at which its
answer can change, and the times are both sides of every limit.

`pytest` tries equal weights up to eight members and three weights up to three members, within seconds.
`python -m tests.property.oracle` tries three weights up to eight members on all processors: about a million
states, with two processors a quarter of an hour.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from fractions import Fraction
from functools import cache
from itertools import combinations_with_replacement, product
from multiprocessing import Pool
from typing import NamedTuple

from airflow_orchestration.policies.quorum_gate import GateFacts, Member, MemberState, QuorumGate

Answer = tuple[str, str, str]
"""Action, status and reason."""
Counterexample = tuple[QuorumGate, GateFacts, Answer, Answer]

EQUAL = (1.0,)
UNEQUAL = (0.1, 1.0, 3.0)
MOST_MEMBERS = 8
AGREEING_DIGITS = Fraction(1, 10**9)
"""A share that agrees with the floor so far reaches it."""

GO, CONDITIONAL = "proceed_to_data_merge", "conditional_proceed"
WAIT, RECOVER = "continue_waiting", "timeout_recovery"
ANSWERS = {
    "nothing_expected": (GO, "completed"),
    "all_arrived": (GO, "completed"),
    "only_failed_missing": (CONDITIONAL, "waiting_final"),
    "grace_period_over": (CONDITIONAL, "waiting_final"),
    "deadline_at_floor": (CONDITIONAL, "waiting_final"),
    "waiting_for_stragglers": (WAIT, "waiting_final"),
    "required_failed": (RECOVER, "timed_out"),
    "floor_unreachable": (RECOVER, "timed_out"),
    "deadline_without_required": (RECOVER, "timed_out"),
    "deadline_below_floor": (RECOVER, "timed_out"),
    "waiting_for_required": (WAIT, "waiting"),
    "waiting_for_floor": (WAIT, "waiting"),
}

JUST = timedelta(microseconds=1)
MINUTE, DEADLINE = timedelta(minutes=1), timedelta(minutes=10)
NO_TIME = timedelta(0)
PATIENCES: Sequence[tuple[timedelta | None, timedelta | None]] = (
    (None, None),
    (None, DEADLINE),
    (NO_TIME, None),
    (NO_TIME, NO_TIME),
    (MINUTE, None),
    (MINUTE, MINUTE - JUST),
    (MINUTE, MINUTE),
)
"""Grace periods, each with times since the floor."""
TIMES = (DEADLINE - JUST, DEADLINE)


class Standing(NamedTuple):
    """What a state amounts to: exact shares of the weight, and who matters."""

    anybody: bool
    somebody_pending: bool
    somebody_failed: bool
    required_missing: bool
    required_failed: bool
    arrived: Fraction
    possible: Fraction


class Claims(NamedTuple):
    """All that the rule asks."""

    anybody: bool
    somebody_pending: bool
    somebody_failed: bool
    required_missing: bool
    required_failed: bool
    enough: bool
    enough_possible: bool
    grace_is_over: bool
    deadline_is_over: bool


def standing(members: Sequence[Member]) -> Standing:
    """Count the members."""
    weights = {state: Fraction(0) for state in MemberState}
    for one in members:
        weights[one.state] += Fraction(str(one.weight))
    total = sum(weights.values()) or Fraction(1)
    missing = [one for one in members if one.state != "arrived"]
    return Standing(
        anybody=bool(members),
        somebody_pending=any(one.state == "pending" for one in members),
        somebody_failed=any(one.state == "failed" for one in members),
        required_missing=any(one.required for one in missing),
        required_failed=any(one.required and one.state == "failed" for one in missing),
        arrived=weights[MemberState.ARRIVED] / total,
        possible=(weights[MemberState.ARRIVED] + weights[MemberState.PENDING]) / total,
    )


def expected(gate: QuorumGate, facts: GateFacts) -> Answer:
    """Answer by the rule."""
    return answer(standing(facts.members), gate, facts)


def answer(found: Standing, gate: QuorumGate, facts: GateFacts) -> Answer:
    """Answer by the rule for members that are counted already."""
    floor = Fraction(gate.floor) - AGREEING_DIGITS
    waited = facts.since_floor or NO_TIME
    return _answer(
        Claims(
            *found[:5],
            enough=found.arrived >= floor,
            enough_possible=found.possible >= floor,
            grace_is_over=gate.grace_period is not None and waited >= gate.grace_period,
            deadline_is_over=facts.elapsed >= gate.deadline,
        )
    )


@cache
def _answer(claims: Claims) -> Answer:
    true = [reason for reason, holds in reasons(claims).items() if holds]
    if len(true) != 1:
        raise AssertionError(f"the rule gives {len(true)} answers for {claims}: {true}")
    return *ANSWERS[true[0]], true[0]


def reasons(it: Claims) -> dict[str, bool]:
    """Say of every reason whether it holds."""
    complete = not it.somebody_pending and not it.somebody_failed
    at_floor = it.enough and not it.required_missing and not complete
    below = not complete and not at_floor
    alive = below and it.enough_possible and not it.required_failed
    return {
        "nothing_expected": complete and not it.anybody,
        "all_arrived": complete and it.anybody,
        "only_failed_missing": at_floor and not it.somebody_pending,
        "grace_period_over": at_floor and it.somebody_pending and it.grace_is_over,
        "deadline_at_floor": at_floor
        and it.somebody_pending
        and not it.grace_is_over
        and it.deadline_is_over,
        "waiting_for_stragglers": at_floor
        and it.somebody_pending
        and not it.grace_is_over
        and not it.deadline_is_over,
        "required_failed": below and it.required_failed,
        "floor_unreachable": below and not it.required_failed and not it.enough_possible,
        "deadline_without_required": alive and it.deadline_is_over and it.enough,
        "deadline_below_floor": alive and it.deadline_is_over and not it.enough,
        "waiting_for_required": alive and not it.deadline_is_over and it.enough,
        "waiting_for_floor": alive and not it.deadline_is_over and not it.enough,
    }


def kinds(weights: Sequence[float]) -> list[tuple[float, bool, MemberState]]:
    """Every weight, duty and state that a member can have."""
    return list(product(weights, (False, True), MemberState))


def states(weights: Sequence[float], size: int) -> Iterator[tuple[Member, ...]]:
    """Every state of so many members, once for all orders of them."""
    for chosen in combinations_with_replacement(kinds(weights), size):
        yield tuple(
            Member(id=f"m{number}", weight=weight, required=required, state=state)
            for number, (weight, required, state) in enumerate(chosen)
        )


def floors(found: Standing) -> set[float]:
    """The floors that the state hits exactly, those that it just misses, and the ends of the range."""
    hit = {float(found.arrived), float(found.possible)}
    just_above = {share + beside for share in hit for beside in (1e-10, 1e-6)}
    return {floor for floor in hit | just_above | {0.0, 1.0} if floor <= 1}


def counterexamples(members: tuple[Member, ...]) -> tuple[int, list[Counterexample]]:
    """Ask the gate with every floor and time; return how often, and where it differs from the rule."""
    found = standing(members)
    asked, wrong = 0, []
    for floor, (grace, since) in product(floors(found), PATIENCES):
        gate = QuorumGate(deadline=DEADLINE, floor=floor, grace_period=grace)
        for elapsed in TIMES:
            facts = GateFacts(members=members, elapsed=elapsed, since_floor=since)
            right, decision = answer(found, gate, facts), gate.evaluate(facts)
            said = decision.action.value, decision.status.value, decision.reason.value
            asked += 1
            if said != right:
                wrong.append((gate, facts, right, said))
    return asked, wrong


def summary(weights: Sequence[float], sizes: Iterable[int], asked: int, tried: int) -> str:
    """Say how much was tried."""
    stands_for = sum(len(kinds(weights)) ** size for size in sizes)
    return (
        f"weights {', '.join(map(str, weights))}: {tried:,} states, which stand for {stands_for:,} in any order; "
        f"{asked:,} decisions"
    )


def main() -> int:
    """Try everything, on all processors; 1 when the gate and the rule differ anywhere."""
    tried = asked = 0
    sizes = range(MOST_MEMBERS + 1)
    everything = (state for size in sizes for state in states(UNEQUAL, size))
    with Pool(os.cpu_count()) as pool:
        for questions, wrong in pool.imap_unordered(counterexamples, everything, chunksize=200):
            tried, asked = tried + 1, asked + questions
            if wrong:
                print(
                    "\nThe gate differs from the rule (gate, facts, rule, gate's answer):", *wrong, sep="\n"
                )
                return 1
            if tried % 1000 == 0:
                print(f"\r{tried:,} states", end="", file=sys.stderr, flush=True)
    print("\r" + summary(UNEQUAL, sizes, asked, tried))
    return 0


if __name__ == "__main__":
    sys.exit(main())
