"""What holds for the mode, the merge, the quality gate and the load balancer, whatever the facts."""

from __future__ import annotations

import json
import math
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from airflow_orchestration.domain.batch import WorkflowMode
from airflow_orchestration.domain.outcome import QualityMeasures
from airflow_orchestration.policies.merging import MergeFacts, Merging, SourceFacts, wilson_interval
from airflow_orchestration.policies.quality import (
    QualityAction,
    QualityFacts,
    QualityGate,
    QualityScore,
)
from airflow_orchestration.policies.rebalancing import (
    FeedStatus,
    RebalanceAction,
    RebalanceFacts,
    Rebalancing,
)
from airflow_orchestration.policies.workflow_mode import (
    BatchFacts,
    CapacityFacts,
    ModeFacts,
    WorkflowModePolicy,
    complexity,
    dependency,
)
from tests.property.strategies import (
    measures,
    quality_facts,
    queues,
    rebalance_facts,
    shares,
    sources,
)


@given(
    queue=queues(), workers=st.integers(0, 20), cpu=shares, forced=st.none() | st.sampled_from(WorkflowMode)
)
def test_there_are_branches_and_no_more_than_workers(
    queue: tuple[BatchFacts, ...], workers: int, cpu: float, forced: WorkflowMode | None
) -> None:
    """Whatever the work, there is at least one branch and at most one per worker; the decision is plain JSON."""
    capacity = CapacityFacts(workers=workers, cpu_available=cpu, memory_mb=1024)
    decision = WorkflowModePolicy().evaluate(ModeFacts(batches=queue, capacity=capacity, forced=forced))
    plain = decision.as_json()

    assert 1 <= decision.max_branches <= max(1, workers)
    assert forced in {None, decision.mode}
    assert plain == json.loads(json.dumps(plain))


@given(queue=queues())
def test_scores_are_shares(queue: tuple[BatchFacts, ...]) -> None:
    """Complexity, its parts and the dependency score lie in 0..1."""
    how_complex, how_serial = complexity(queue), dependency(queue)
    found = (
        how_complex.score,
        how_complex.volume,
        how_complex.schema,
        how_complex.work,
        how_serial.score,
        how_serial.edge_density,
    )

    assert all(0 <= score <= 1 for score in found)


@given(queue=queues(), extra=queues())
def test_more_work_is_no_less_complex(queue: tuple[BatchFacts, ...], extra: tuple[BatchFacts, ...]) -> None:
    """A batch more never lowers the complexity."""
    assert complexity(queue).score <= complexity((*queue, *extra)).score + 1e-12


@given(costs=st.lists(st.floats(0.1, 100), min_size=2, max_size=8))
def test_a_chain_is_serial_and_loose_work_is_not(costs: list[float]) -> None:
    """The dependency score is 1 for every chain and 0 for the same batches without order."""
    loose = [
        BatchFacts(feed_id=f"f{number}", bytes=1, rows=1, columns=1, cost=cost)
        for number, cost in enumerate(costs)
    ]
    chain = [
        replace(batch, depends_on=(f"f{number - 1}",) if number else ()) for number, batch in enumerate(loose)
    ]

    assert 0.0 == dependency(loose).score
    assert math.isclose(1.0, dependency(chain).score)


def merged(found: tuple[SourceFacts, ...]) -> MergeFacts:
    return MergeFacts(sources=found, expected_weight=math.fsum(source.trust for source in found) + 1)


@given(found=sources)
def test_attribution_is_a_distribution(found: tuple[SourceFacts, ...]) -> None:
    """Shares are at least 0, sum to 1, and fall with the rank, in the whole and in every type."""
    decision = Merging().evaluate(merged(found))
    shares_by_rank = [source.share for source in decision.sources]
    totals = [math.fsum(shares_by_rank)] + [
        math.fsum(synthesis.attribution.values()) for synthesis in decision.syntheses.values()
    ]

    assert all(share >= 0 for share in shares_by_rank)
    assert sorted(shares_by_rank, reverse=True) == shares_by_rank
    assert all(math.isclose(1.0, total) or total == 0 for total in totals)
    assert bool(found) == math.isclose(1.0, totals[0])


@given(found=sources)
def test_merge_scores_are_shares(found: tuple[SourceFacts, ...]) -> None:
    """However broken the measurements, quality and confidence lie in 0..1 and the decision is plain JSON."""
    decision = Merging().evaluate(merged(found))
    plain = decision.as_json()
    scores = [decision.overall_quality, decision.integration_confidence, *decision.quality_by_type.values()]

    assert all(0 <= score <= 1 for score in scores)
    assert decision.integration_confidence <= decision.overall_quality
    assert plain == json.loads(json.dumps(plain, allow_nan=False))


@given(found=sources, data=st.data())
def test_merging_is_independent_of_the_order_of_its_sources(
    found: tuple[SourceFacts, ...], data: st.DataObject
) -> None:
    """The same sources in another order give the same decision, to the last bit."""
    shuffled = tuple(data.draw(st.permutations(found)))

    assert Merging().evaluate(merged(found)) == Merging().evaluate(merged(shuffled))


@given(share=shares, rows=st.integers(1, 10**9))
def test_an_interval_holds_its_share(share: float, rows: int) -> None:
    """The share that was seen lies in its interval, and more rows make the interval no wider."""
    low, high = wilson_interval(share, rows)
    narrow_low, narrow_high = wilson_interval(share, rows * 10)

    assert 0 <= low <= share + 1e-12
    assert share - 1e-12 <= high <= 1
    assert narrow_high - narrow_low <= high - low + 1e-12


@given(given_measures=measures)
def test_a_score_lies_between_its_measures(given_measures: QualityMeasures) -> None:
    """A score is a mean: no better than the best measure, no worse than the worst."""
    parts = (given_measures.completeness, given_measures.validity, given_measures.uniqueness)

    assert min(parts) - 1e-12 <= QualityScore().score(given_measures) <= max(parts) + 1e-12


@given(facts=quality_facts)
def test_only_what_meets_the_standard_is_approved(facts: QualityFacts) -> None:
    """Approval means rows, a table and feeds at the standard; a revision means that a round is left."""
    decision = QualityGate().evaluate(facts)
    good = facts.rows > 0 and min([facts.overall, *(feed.score for feed in facts.feeds)]) >= 0.8 - 1e-9

    assert good == (decision.action is QualityAction.QUALITY_APPROVED)
    assert decision.action is not QualityAction.NEEDS_REVISION or facts.round < facts.max_rounds


@given(facts=rebalance_facts)
def test_only_what_is_not_right_runs_again(facts: RebalanceFacts) -> None:
    """What arrived is never run again, and a round that runs has work and was allowed."""
    decision = Rebalancing().evaluate(facts)
    arrived = {feed.feed_id for feed in facts.feeds if feed.status is FeedStatus.ARRIVED}
    others = {feed.feed_id for feed in facts.feeds} - arrived

    assert not arrived & set(decision.rerun)
    assert (others if decision.action is RebalanceAction.RUN_AGAIN else set()) == set(decision.rerun)
    assert (bool(others) and facts.round < 3) == bool(decision.rerun)
