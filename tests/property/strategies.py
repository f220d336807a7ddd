"""Facts for the laws: any members, work and sources, with the awkward values among them."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import strategies as st

from airflow_orchestration.domain.batch import BatchType, Lane
from airflow_orchestration.domain.outcome import QualityMeasures
from airflow_orchestration.policies.allocation import BatchWork
from airflow_orchestration.policies.merging import SourceFacts
from airflow_orchestration.policies.quality import FeedQuality, QualityFacts
from airflow_orchestration.policies.quorum_gate import GateFacts, Member, MemberState, QuorumGate
from airflow_orchestration.policies.rebalancing import FeedState, FeedStatus, RebalanceFacts
from airflow_orchestration.policies.workflow_mode import BatchFacts

shares = st.sampled_from([0.0, 0.25, 0.5, 0.75, 0.8, 1.0]) | st.floats(0, 1)
weights = st.sampled_from([0.1, 1.0, 1.0, 2.0, 3.0]) | st.floats(0.001, 1000)
seconds = st.sampled_from([0, 30, 60, 599, 600, 601]) | st.integers(-10, 2000)
durations = seconds.map(lambda value: timedelta(seconds=value))
costs = st.integers(0, 5).map(float) | st.floats(0, 100)

members = st.lists(
    st.builds(
        Member,
        id=st.uuids().map(str),
        weight=weights,
        required=st.sampled_from([False, False, False, True]),
        state=st.sampled_from(MemberState),
    ),
    max_size=12,
    unique_by=lambda member: member.id,
).map(tuple)
gates = st.builds(
    QuorumGate,
    floor=shares,
    deadline=st.sampled_from([timedelta(seconds=60), timedelta(seconds=600)]),
    grace_period=st.none() | st.sampled_from([timedelta(0), timedelta(seconds=30), timedelta(seconds=900)]),
)
gate_facts = st.builds(GateFacts, members=members, elapsed=durations, since_floor=st.none() | durations)


@st.composite
def works(draw: st.DrawFn, *, max_size: int = 14, independent: bool = False) -> tuple[BatchWork, ...]:
    """Batches of which each may depend on earlier ones, in any order."""
    size = draw(st.integers(0, max_size))
    batches = []
    for number in range(size):
        earlier = [f"f{index}" for index in range(number)]
        needs = [] if independent or not earlier else draw(st.lists(st.sampled_from(earlier), max_size=3))
        lane, cost = draw(st.sampled_from(Lane)), draw(costs)
        batches.append(BatchWork(feed_id=f"f{number}", lane=lane, cost=cost, depends_on=tuple(needs)))
    return tuple(draw(st.permutations(batches)))


@st.composite
def queues(draw: st.DrawFn) -> tuple[BatchFacts, ...]:
    """A queue of batches of any size."""
    amounts = st.integers(0, 10**6) | st.integers(0, 10**12)
    return tuple(
        BatchFacts(
            feed_id=work.feed_id,
            bytes=draw(amounts),
            rows=draw(amounts),
            columns=draw(st.integers(0, 1000)),
            nesting=draw(st.integers(0, 5)),
            rules=draw(st.integers(0, 50)),
            aggregations=draw(st.integers(0, 5)),
            cost=work.cost,
            depends_on=work.depends_on,
        )
        for work in draw(works())
    )


measures = st.builds(QualityMeasures, completeness=shares, validity=shares, uniqueness=shares)
sources = st.lists(
    st.builds(
        SourceFacts,
        feed_id=st.integers(0, 10**6).map("f{}".format),
        type=st.sampled_from(BatchType),
        quality=st.none() | shares | st.floats(),
        seconds=st.none() | st.integers(0, 10**6).map(float) | st.floats(),
        trust=st.just(0.0) | weights,
        rows=st.integers(0, 10**9),
        measures=st.none() | measures,
    ),
    max_size=8,
    unique_by=lambda source: source.feed_id,
).map(tuple)

feed_qualities = st.lists(st.builds(FeedQuality, feed_id=st.uuids().map(str), score=shares), max_size=6).map(
    tuple
)
quality_facts = st.builds(
    QualityFacts,
    feeds=feed_qualities,
    overall=shares,
    rows=st.integers(0, 3),
    round=st.integers(1, 4),
    max_rounds=st.integers(1, 4),
)
rebalance_facts = st.builds(
    RebalanceFacts,
    round=st.integers(1, 4),
    feeds=st.lists(
        st.builds(
            FeedState,
            feed_id=st.uuids().map(str),
            status=st.sampled_from(FeedStatus),
            attempts=st.integers(1, 4),
        ),
        max_size=6,
        unique_by=lambda feed: feed.feed_id,
    ).map(tuple),
)
