"""The workflow mode: SEED 6, 7 and their rulings."""

from __future__ import annotations

import math
from typing import Any

import pytest

from airflow_orchestration.domain.batch import WorkflowMode
from airflow_orchestration.policies.workflow_mode import (
    HALF_BYTES,
    HALF_CHECKS,
    HALF_COLUMNS,
    HALF_ROWS,
    BatchFacts,
    CapacityFacts,
    ModeDecision,
    ModeFacts,
    WorkflowModePolicy,
    complexity,
    dependency,
)
from tests.unit.policies.vectors import cases


def batch(feed_id: str, *depends_on: str, cost: float = 1.0, **changes: int) -> BatchFacts:
    sizes = {"bytes": 1000, "rows": 10, "columns": 5, "rules": 3} | changes
    return BatchFacts(feed_id=feed_id, cost=cost, depends_on=depends_on, **sizes)


def batches(complexity_score: float, dependency_score: float) -> tuple[BatchFacts, ...]:
    """Three batches of just these scores: a large one, one that waits for it, one that does not."""
    halves = complexity_score / (1 - complexity_score)
    large = batch(
        "large",
        cost=10,
        bytes=round(halves * HALF_BYTES),
        rows=1,
        columns=round(halves * HALF_COLUMNS),
        rules=round(halves * HALF_CHECKS),
    )
    nothing = {"bytes": 0, "rows": 0, "columns": 0}
    waiting = batch("waiting", "large", cost=dependency_score, **nothing)
    return large, waiting, batch("loose", cost=1 - dependency_score, **nothing)


def decide(row: dict[str, Any]) -> ModeDecision:
    facts = ModeFacts(
        batches=batches(row["complexity"], row["dependency"]),
        capacity=CapacityFacts(
            workers=row.get("workers", 8), cpu_available=row.get("cpu_available", 0.9), memory_mb=4096
        ),
        forced=WorkflowMode(row["forced"]) if "forced" in row else None,
    )
    return WorkflowModePolicy().evaluate(facts)


def check(row: dict[str, Any]) -> None:
    decision = decide(row)

    assert row["expected"] == {
        "mode": decision.mode,
        "reason": decision.reason,
        "max_branches": decision.max_branches,
    }


@cases("workflow_mode", "seed_07")
def test_seed_07_mode(row: dict[str, Any]) -> None:
    """The mode follows complexity and free CPUs first, then dependencies, by strict comparison."""
    check(row)


@cases("workflow_mode", "ruling_max_branches_is_clamped")
def test_ruling_max_branches_is_clamped(row: dict[str, Any]) -> None:
    """The number of branches is at least 1 and at most the number of workers."""
    check(row)


@cases("workflow_mode", "forced")
def test_forced_mode(row: dict[str, Any]) -> None:
    """A mode that a person asked for is taken, and the decision says so."""
    check(row)


@pytest.mark.parametrize(
    ("threshold", "score"),
    [("complexity_above", "complexity_score"), ("dependency_above", "data_dependency_score")],
)
def test_seed_07_scores_are_compared_strictly(threshold: str, score: str) -> None:
    """A score that equals its threshold does not cross it."""
    facts = ModeFacts(
        batches=(batch("a"), batch("b", "a"), batch("c")),
        capacity=CapacityFacts(workers=8, cpu_available=0.9, memory_mb=4096),
    )
    value = float(str(WorkflowModePolicy().evaluate(facts).evidence[score]))
    at = {"complexity_above": 1.0, "dependency_above": 1.0} | {threshold: value}
    below = at | {threshold: value - 0.001}

    assert WorkflowMode.ADAPTIVE is WorkflowModePolicy(**at).evaluate(facts).mode
    assert WorkflowMode.ADAPTIVE is not WorkflowModePolicy(**below).evaluate(facts).mode


def test_seed_06_complexity_weighs_volume_schema_and_work() -> None:
    """Complexity is half volume, a fifth schema and three tenths computation, each 0.5 at its half point."""
    facts = [batch("a", bytes=HALF_BYTES, rows=1, columns=HALF_COLUMNS, rules=HALF_CHECKS)]
    found = complexity(facts)

    assert (0.5, 0.5, 0.5) == (found.volume, found.schema, found.work)
    assert math.isclose(0.5, found.score)
    assert math.isclose(0.5, complexity([batch("a", bytes=0, rows=HALF_ROWS)]).volume)
    assert math.isclose(
        0.5 * complexity([batch("a", bytes=HALF_BYTES * 3, rows=0, columns=0)]).volume,
        complexity([batch("a", bytes=HALF_BYTES * 3, rows=0, columns=0)]).score,
    )


def test_seed_06_nesting_and_aggregations_add_complexity() -> None:
    """A nested column counts once more per level, an aggregation like a rule."""
    assert (
        complexity([batch("a", columns=10, nesting=2)]).schema == complexity([batch("a", columns=30)]).schema
    )
    assert complexity([batch("a", rules=2, aggregations=3)]).work == complexity([batch("a", rules=5)]).work


def test_seed_06_no_batches_are_no_work() -> None:
    """An empty queue scores 0 throughout and is adaptive."""
    capacity = CapacityFacts(workers=8, cpu_available=1.0, memory_mb=4096)
    decision = WorkflowModePolicy().evaluate(ModeFacts(batches=(), capacity=capacity))

    assert WorkflowMode.ADAPTIVE is decision.mode
    assert 0.0 == decision.evidence["complexity_score"] == decision.evidence["data_dependency_score"]


@pytest.mark.parametrize(
    ("work", "expected"),
    [
        pytest.param([batch("a")], 0.0, id="one batch"),
        pytest.param([batch("a"), batch("b", cost=9)], 0.0, id="independent"),
        pytest.param([batch("a"), batch("b", "a", cost=5), batch("c", "b", cost=2)], 1.0, id="chain"),
        pytest.param([batch("a"), batch("b", "a"), batch("c")], 0.5, id="one of two others waits"),
        pytest.param([batch("a", "x"), batch("b", "x")], 0.0, id="needs nothing of this queue"),
        pytest.param([batch("a", cost=0), batch("b", "a", cost=0)], 0.0, id="batches without cost"),
    ],
)
def test_seed_06_dependency(work: list[BatchFacts], expected: float) -> None:
    """The dependency score is 0 where all could run at once and 1 for a pure chain."""
    assert expected == dependency(work).score


def test_seed_06_dependency_breakdown() -> None:
    """The score comes with the critical path, the largest batch, the total and the density of the edges."""
    found = dependency([batch("a", cost=2), batch("b", "a", "a", cost=4), batch("c", cost=3)])

    assert (6.0, 4.0, 9.0) == (found.critical_path, found.largest, found.total)
    assert 0.4 == found.score
    assert math.isclose(1 / 3, found.edge_density)


def test_ruling_cluster_utilization_is_what_is_not_available() -> None:
    """What decides is the free share of the CPUs; what is reported is the used share."""
    capacity = CapacityFacts(workers=3, cpu_available=0.25, memory_mb=2048, network_mbps=100.0)
    evidence = WorkflowModePolicy().evaluate(ModeFacts(batches=(batch("a"),), capacity=capacity)).evidence

    assert (0.25, 0.75) == (evidence["cpu_available"], evidence["cluster_utilization"])
    assert (3, 2048, 100.0) == (evidence["workers"], evidence["memory_mb"], evidence["network_mbps"])


@pytest.mark.parametrize("name", ["complexity_above", "cpu_above", "dependency_above"])
@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan])
def test_thresholds_are_shares(name: str, value: float) -> None:
    """A threshold outside 0..1 is refused by name, with the alternative."""
    with pytest.raises(ValueError, match=f"{name} .* is no share; use 0..1"):
        WorkflowModePolicy(**{name: value})


@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf])
def test_cost_is_an_amount_of_work(value: float) -> None:
    """A cost that no schedule could use is refused with the feed's name."""
    with pytest.raises(ValueError, match="of 'a' is no amount of work"):
        batch("a", cost=value)


@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan])
def test_cpu_available_is_a_share(value: float) -> None:
    """An availability outside 0..1 is refused."""
    with pytest.raises(ValueError, match=r"cpu_available .* is no share"):
        CapacityFacts(workers=1, cpu_available=value, memory_mb=1)
