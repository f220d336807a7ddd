"""What holds for every plan, whatever the work and however many the branches."""

from __future__ import annotations

import math
from collections import deque
from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_orchestration.domain.plan import Plan
from airflow_orchestration.policies.allocation import (
    Allocation,
    AllocationDecision,
    AllocationFacts,
    BatchWork,
)
from tests.property.strategies import works

Works = tuple[BatchWork, ...]
branches = st.integers(1, 6)


def allocate(work: Works, max_branches: int) -> AllocationDecision:
    return Allocation(max_branches=max_branches).evaluate(AllocationFacts(batches=work, round=1))


def simulated(plan: Plan, work: Works) -> dict[str, float]:
    """Run the plan as workers would: each branch in its order, each batch after what it depends on.

    Returns when each batch was finished; what is missing in it never was.
    """
    needs = {batch.feed_id: set(batch.depends_on) for batch in work}
    queues = [deque(branch.batches) for branch in plan.branches]
    free = [0.0] * len(queues)
    finished: dict[str, float] = {}
    moved = True
    while moved:
        moved = False
        for number, queue in enumerate(queues):
            while queue and needs[queue[0].feed_id] <= finished.keys():
                batch = queue.popleft()
                ready = max((finished[need] for need in needs[batch.feed_id]), default=0.0)
                free[number] = finished[batch.feed_id] = max(free[number], ready) + batch.cost
                moved = True
    return finished


def optimum(work: Works, max_branches: int) -> float:
    """The best makespan of independent batches, by trying all placements."""
    best = math.inf
    for placement in product(range(max_branches), repeat=len(work)):
        load = [0.0] * max_branches
        for branch, batch in zip(placement, work, strict=True):
            load[branch] += batch.cost
        best = min(best, max(load))
    return best


@given(work=works(), max_branches=branches)
def test_every_batch_stands_in_exactly_one_branch(work: Works, max_branches: int) -> None:
    """Nothing is lost, nothing is done twice, no branch is empty, and there are not too many."""
    plan = allocate(work, max_branches).plan

    assert sorted(batch.feed_id for batch in work) == sorted(plan.feed_ids)
    assert all(branch.batches for branch in plan.branches)
    assert max_branches >= len(plan.branches)
    assert [f"b{number + 1}" for number in range(len(plan.branches))] == [
        it.branch_id for it in plan.branches
    ]


@given(work=works(), max_branches=branches)
def test_branches_that_wait_for_each_other_always_finish(work: Works, max_branches: int) -> None:
    """Workers that keep to the order of their branch never wait in a circle."""
    assert {batch.feed_id for batch in work} == simulated(allocate(work, max_branches).plan, work).keys()


@given(work=works(), max_branches=branches)
def test_the_estimated_makespan_is_what_the_branches_take(work: Works, max_branches: int) -> None:
    """If the costs are right, the plan takes as long as the decision says."""
    decision = allocate(work, max_branches)
    finished = simulated(decision.plan, work)

    assert math.isclose(
        max(finished.values(), default=0.0), float(str(decision.evidence["estimated_makespan"])), abs_tol=1e-9
    )


@given(work=works(), max_branches=branches)
def test_a_plan_is_at_most_graham_s_bound_from_the_best(work: Works, max_branches: int) -> None:
    """The makespan lies between the lower bound and (2 - 1/branches) times it."""
    evidence = allocate(work, max_branches).evidence
    makespan, bound = float(str(evidence["estimated_makespan"])), float(str(evidence["lower_bound"]))

    assert bound <= makespan + 1e-9
    assert makespan <= (2 - 1 / max_branches) * bound + 1e-9


@settings(max_examples=60)
@given(work=works(max_size=7, independent=True), max_branches=st.integers(1, 3))
def test_independent_batches_take_at_most_four_thirds_of_the_best(work: Works, max_branches: int) -> None:
    """Longest processing time first is within a third of the best of all placements."""
    makespan = float(str(allocate(work, max_branches).evidence["estimated_makespan"]))

    assert makespan <= 4 / 3 * optimum(work, max_branches) + 1e-9


@given(work=works(), max_branches=branches, data=st.data())
def test_the_order_of_the_batches_does_not_matter(
    work: Works, max_branches: int, data: st.DataObject
) -> None:
    """The same work gets the same plan, however it is listed."""
    shuffled = tuple(data.draw(st.permutations(work)))

    assert allocate(work, max_branches) == allocate(shuffled, max_branches)


@given(work=works(independent=True), max_branches=branches)
def test_lanes_cost_no_time(work: Works, max_branches: int) -> None:
    """Keeping to lanes never makes a plan longer than one that has no lanes to keep to."""
    plain = tuple(BatchWork(feed_id=batch.feed_id, lane=work[0].lane, cost=batch.cost) for batch in work)

    assert math.isclose(
        float(str(allocate(plain, max_branches).evidence["estimated_makespan"])),
        float(str(allocate(work, max_branches).evidence["estimated_makespan"])),
        abs_tol=1e-9,
    )
