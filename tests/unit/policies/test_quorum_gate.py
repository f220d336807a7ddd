"""The quorum gate: SEED 2, 13, 14 and their rulings."""

from __future__ import annotations

import json
import math
import re
from datetime import timedelta
from typing import Any

import pytest

from airflow_orchestration.policies.quorum_gate import (
    GateAction,
    GateDecision,
    GateFacts,
    Member,
    MemberState,
    QuorumGate,
)
from tests.unit.policies.vectors import cases

DESCRIBED = re.compile(r"(?P<required>required )?((?P<weight>[\d.]+) )?(?P<state>[a-z]+)( x(?P<times>\d+))?")


def members(described: list[str]) -> tuple[Member, ...]:
    found = [match for text in described if (match := DESCRIBED.fullmatch(text))]
    repeated = [match for match in found for _ in range(int(match["times"] or 1))]
    return tuple(
        Member(
            id=f"m{number}",
            weight=float(match["weight"] or 1),
            required=match["required"] is not None,
            state=MemberState(match["state"]),
        )
        for number, match in enumerate(repeated, start=1)
    )


def seconds(value: float | None) -> timedelta | None:
    return None if value is None else timedelta(seconds=value)


def decide(row: dict[str, Any]) -> GateDecision:
    gate = QuorumGate(
        floor=row.get("floor", 0.75),
        deadline=timedelta(seconds=600),
        grace_period=seconds(row.get("grace_period")),
    )
    facts = GateFacts(
        members=members(row["members"]),
        elapsed=timedelta(seconds=row.get("elapsed", 60)),
        since_floor=seconds(row.get("since_floor")),
    )
    return gate.evaluate(facts)


def check(row: dict[str, Any]) -> None:
    decision = decide(row)

    assert row["expected"] == {
        "action": decision.action,
        "status": decision.status,
        "reason": decision.reason,
    }


@cases("quorum_gate", "seed_01")
def test_seed_01_nothing_to_dispatch(row: dict[str, Any]) -> None:
    """A round without members goes straight on."""
    check(row)


@cases("quorum_gate", "seed_13")
def test_seed_13_progress(row: dict[str, Any]) -> None:
    """Progress of 100 % proceeds, 75 % waits for the last ones, less waits."""
    check(row)


@cases("quorum_gate", "ruling_grace_period")
def test_ruling_grace_period(row: dict[str, Any]) -> None:
    """At the floor the rest is waited for until the grace period ends: 0 not at all, none to the deadline."""
    check(row)


@cases("quorum_gate", "ruling_deadline")
def test_ruling_deadline(row: dict[str, Any]) -> None:
    """At the deadline the gate decides with what is there."""
    check(row)


@cases("quorum_gate", "ruling_failed_is_not_arrived")
def test_ruling_failed_is_not_arrived(row: dict[str, Any]) -> None:
    """Only successes arrive; what can't come any more is not waited for."""
    check(row)


@cases("quorum_gate", "ruling_weights")
def test_ruling_weights(row: dict[str, Any]) -> None:
    """Progress is a share of the weight."""
    check(row)


@cases("quorum_gate", "ruling_required")
def test_ruling_required(row: dict[str, Any]) -> None:
    """Without a required member there is no floor."""
    check(row)


@cases("quorum_gate", "bounds")
def test_bounds(row: dict[str, Any]) -> None:
    """The ends of the ranges mean what they say."""
    check(row)


@cases("quorum_gate", "ruling_head_count")
def test_ruling_head_count_is_the_default(row: dict[str, Any]) -> None:
    """With equal weights, heads are counted: so many of so many reach 75 %."""
    expected = int(row["claim"].rpartition(" ")[2])
    reached = [
        arrived
        for arrived in range(expected + 1)
        if decide({"members": ["arrived"] * arrived + ["pending"] * (expected - arrived)}).floor_reached
    ]

    assert list(range(row["expected"], expected + 1)) == reached


@pytest.mark.parametrize(
    ("action", "is_open", "is_settled"),
    [
        (GateAction.PROCEED_TO_DATA_MERGE, True, True),
        (GateAction.CONDITIONAL_PROCEED, True, True),
        (GateAction.TIMEOUT_RECOVERY, False, True),
        (GateAction.CONTINUE_WAITING, False, False),
    ],
)
def test_seed_02_next_step(action: GateAction, is_open: bool, is_settled: bool) -> None:
    """Two actions lead to the merge, one to the load balancer, one back to the sync point."""
    rows = {
        GateAction.PROCEED_TO_DATA_MERGE: {"members": ["arrived"]},
        GateAction.CONDITIONAL_PROCEED: {"members": ["arrived x3", "failed"]},
        GateAction.TIMEOUT_RECOVERY: {"members": ["failed"]},
        GateAction.CONTINUE_WAITING: {"members": ["pending"]},
    }
    decision = decide(rows[action])

    assert (action, is_open, is_settled) == (decision.action, decision.is_open, decision.is_settled)


def test_seed_14_metrics() -> None:
    """The evidence holds progress, who is there, who is not and why, and every time that mattered."""
    expected = {
        "status": "waiting_final",
        "progress": 0.8,
        "floor": 0.75,
        "expected": 4,
        "arrived": 2,
        "failed": 1,
        "pending": 1,
        "expected_weight": 10.0,
        "arrived_weight": 8.0,
        "pending_weight": 1.0,
        "arrived_ids": ["m1", "m2"],
        "failed_ids": ["m3"],
        "missing_ids": ["m4"],
        "required_missing_ids": [],
        "required_ids": [],
        "weights": [5.0, 3.0, 1.0, 1.0],
        "elapsed_seconds": 60.0,
        "deadline_seconds": 600.0,
        "since_floor_seconds": 5.0,
        "grace_period_seconds": 30.0,
    }
    row = {"members": ["5 arrived", "3 arrived", "failed", "pending"], "grace_period": 30, "since_floor": 5}

    assert expected == decide(row).evidence


def test_seed_14_required_members_that_are_missing_are_named() -> None:
    """The evidence names the required members that are pending or failed."""
    row = {"members": ["required arrived", "required pending", "required failed", "pending"]}

    assert ["m2", "m3"] == decide(row).evidence["required_missing_ids"]


def test_lists_of_ids_are_complete() -> None:
    """However many members there are, the decision names each: the merge takes exactly these."""
    evidence = decide({"members": ["arrived x900", "pending x100"]}).evidence

    assert [f"m{number}" for number in range(1, 901)] == evidence["arrived_ids"]
    assert [f"m{number}" for number in range(901, 1001)] == evidence["missing_ids"]


def test_a_decision_survives_json() -> None:
    """What goes to XCom and the audit table is plain data."""
    plain = decide({"members": ["arrived x3", "pending"]}).as_json()

    assert plain == json.loads(json.dumps(plain))


@pytest.mark.parametrize(
    ("thresholds", "message"),
    [
        ({"floor": 1.5}, "floor 1.5 is no share; use 0..1, 1 to wait for everybody"),
        ({"floor": -0.1}, "floor -0.1 is no share"),
        ({"floor": math.nan}, "floor nan is no share"),
        ({"deadline": timedelta(0)}, "deadline 0 s is over before the round starts; use more than 0"),
        ({"grace_period": timedelta(seconds=-1)}, "is negative; use 0 for none, or leave it out"),
    ],
)
def test_nonsense_is_refused(thresholds: dict[str, Any], message: str) -> None:
    """A threshold that means nothing is refused with its value and the alternative."""
    with pytest.raises(ValueError, match=message):
        QuorumGate(**{"deadline": timedelta(seconds=600), **thresholds})


@pytest.mark.parametrize("weight", [0.0, -1.0, math.nan, math.inf])
def test_a_member_has_a_weight(weight: float) -> None:
    """A weight that counts for nothing, or for everything, is refused with the member's id."""
    with pytest.raises(ValueError, match="of 'planes' counts for nothing; use more than 0"):
        Member(id="planes", weight=weight)
