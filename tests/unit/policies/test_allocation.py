"""Allocation: SEED 1, 8, and what a plan must be besides."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_orchestration.domain.batch import Lane
from airflow_orchestration.policies.allocation import (
    LEAST_ENGINE_MB,
    Allocation,
    AllocationDecision,
    AllocationFacts,
    BatchWork,
    engine_memory_mb,
    process_memory_mb,
)
from tests.unit.policies.vectors import cases


def work(text: str) -> BatchWork:
    described, _, needs = text.partition("<")
    feed_id, lane, cost = described.split()
    return BatchWork(feed_id=feed_id, lane=Lane(lane), cost=float(cost), depends_on=tuple(needs.split()))


def decide(row: dict[str, Any]) -> AllocationDecision:
    facts = AllocationFacts(batches=tuple(map(work, row["batches"])), round=2)
    return Allocation(max_branches=row["max_branches"]).evaluate(facts)


def check(row: dict[str, Any]) -> None:
    decision = decide(row)
    branches = decision.plan.branches

    assert row["expected"] == {
        "action": decision.action,
        "reason": decision.reason,
        "branches": [" ".join(batch.feed_id for batch in branch.batches) for branch in branches],
    }
    assert [f"b{number}" for number in range(1, len(branches) + 1)] == [it.branch_id for it in branches]


@cases("allocation", "seed_01")
def test_seed_01_nothing_to_dispatch(row: dict[str, Any]) -> None:
    """Where there is nothing to dispatch, the plan is empty and the decision says so."""
    check(row)


@cases("allocation", "seed_08")
def test_seed_08_allocation(row: dict[str, Any]) -> None:
    """Batches are spread over at most `max_branches` branches, longest first, none empty."""
    check(row)


@cases("allocation", "dependencies")
def test_dependencies(row: dict[str, Any]) -> None:
    """A batch starts after what it depends on, and long chains start early."""
    check(row)


@cases("allocation", "lanes")
def test_lanes(row: dict[str, Any]) -> None:
    """Among equal choices, a branch keeps to the lanes that it has, because each lane of it is a task."""
    check(row)


def test_evidence_shows_how_good_the_plan_is() -> None:
    """The decision holds the makespan, the bound that no plan can beat, and the load per branch."""
    row = {"max_branches": 2, "batches": ["a beta 4", "b beta 4", "c beta 2 < a"]}
    expected = {
        "batches": 3,
        "max_branches": 2,
        "allocated_branches": 2,
        "estimated_makespan": 6.0,
        "lower_bound": 6.0,
        "critical_path": 6.0,
        "total_cost": 10.0,
        "load": {"b1": 6.0, "b2": 4.0},
        "engine_memory_mb": None,
    }

    assert expected == decide(row).evidence


def test_the_plan_knows_its_round_and_its_lanes() -> None:
    """The plan is of the round asked for, and names the branches with work in a lane."""
    plan = decide({"max_branches": 2, "batches": ["a alpha 2", "b beta 1"]}).plan

    assert (2, ("b1",), ("b2",), ()) == (
        plan.round,
        plan.branches_in(Lane.ALPHA),
        plan.branches_in(Lane.BETA),
        plan.branches_in(Lane.GAMMA),
    )


def test_each_branch_that_has_work_gets_its_share_of_the_memory() -> None:
    """Branches that were allowed and not needed get none."""
    batches = tuple(BatchWork(feed_id=name, lane=Lane.BETA, cost=1.0) for name in ("a", "b"))
    facts = AllocationFacts(batches=batches, round=1)
    decision = Allocation(max_branches=5, memory_mb=4096).evaluate(facts)

    assert engine_memory_mb(4096, 2) == decision.evidence["engine_memory_mb"] == 1165


@given(st.integers(0, 10**7), st.integers(1, 1000))
def test_branches_together_stay_within_the_memory(memory_mb: int, branches: int) -> None:
    """What their processes may hold adds up to no more, unless an engine would have too little to work at all."""
    engine = engine_memory_mb(memory_mb, branches)

    assert engine >= LEAST_ENGINE_MB
    assert engine == LEAST_ENGINE_MB or branches * process_memory_mb(engine) <= memory_mb


@pytest.mark.parametrize("value", [0, -1])
def test_at_least_one_branch(value: int) -> None:
    """An allocation to no branch is refused."""
    with pytest.raises(ValueError, match=f"max_branches {value} runs nothing; use 1 or more"):
        Allocation(max_branches=value)


@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf])
def test_cost_is_an_amount_of_work(value: float) -> None:
    """A cost that no schedule could use is refused with the feed's name."""
    with pytest.raises(ValueError, match="of 'a' is no amount of work"):
        BatchWork(feed_id="a", lane=Lane.BETA, cost=value)
