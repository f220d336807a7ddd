"""What holds for every choice of an agent and for all that is learned of them, whoever asks for what."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count

from hypothesis import given
from hypothesis import strategies as st

from airflow_orchestration.agents.factory import AgentFactory
from airflow_orchestration.agents.templates import built_in_templates
from airflow_orchestration.domain.agent import (
    AgentRequirement,
    BatchComplexity,
    Capability,
    QueuedBatch,
    ResourceRequirements,
    WorkDay,
)
from airflow_orchestration.policies.agent_requirements import AgentRequirements, AgentRequirementsFacts
from airflow_orchestration.policies.agent_selection import (
    AgentCandidate,
    AgentSelection,
    AgentSelectionFacts,
)
from airflow_orchestration.policies.agent_success import NEWCOMER, AgentSuccess
from tests.property.strategies import shares

NOW = datetime(2026, 11, 22, tzinfo=UTC)
ALMOST = 1e-12
capabilities = st.frozensets(st.sampled_from(Capability), min_size=1)
coarse = st.sampled_from([0.0, 0.5, 0.9, 1.0]) | shares
units = st.sampled_from([1, 250, 500, 1000, 1001]) | st.integers(1, 10**6)
resources = st.builds(ResourceRequirements, cpu_millicores=units, memory_mb=units)
candidates = st.lists(
    st.builds(
        AgentCandidate,
        name=st.integers(0, 99).map("t{:02}".format),
        capabilities=capabilities,
        success_rate=coarse,
        outcomes=st.integers(0, 500),
        footprint=resources,
    ),
    max_size=12,
    unique_by=lambda candidate: candidate.name,
).map(tuple)
selection_facts = st.builds(
    AgentSelectionFacts, required=capabilities, needed=resources, candidates=candidates
)
selections = st.sampled_from(
    [(0.4, 0.4, 0.2), (0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (0.25, 0.25, 0.5), (1.0, 0.0, 0.0)]
).map(
    lambda weights: AgentSelection(
        capability_weight=weights[0], performance_weight=weights[1], efficiency_weight=weights[2]
    )
)
requirements = st.builds(
    AgentRequirement,
    capabilities_needed=capabilities.map(tuple),
    batch_size=st.none() | st.integers(1, 10**9),
    sla_seconds=st.none() | st.integers(1, 1000),
)
queues = st.lists(
    st.builds(
        QueuedBatch,
        type=st.sampled_from(["streaming", "validation", "general", "transformation"]),
        complexity=st.sampled_from(BatchComplexity),
    ),
    max_size=8,
).map(tuple)
numbers = st.integers(0, 20) | st.integers(0, 1000)
work_days = st.lists(
    st.builds(
        WorkDay,
        agent_type=st.sampled_from(["a", "b"]),
        kind=st.sampled_from(["csv", "json"]),
        days_ago=st.integers(0, 60),
        successes=numbers,
        failures=numbers,
    ),
    max_size=10,
)
KINDS = ("csv", "json")


def factory() -> AgentFactory:
    made = count()
    return AgentFactory(templates=built_in_templates(), new_id=lambda: str(next(made)))


def rate(days: Sequence[WorkDay]) -> float:
    return AgentSuccess().learn(days).experience("a", KINDS).success_rate


@given(facts=selection_facts)
def test_the_chosen_agent_has_every_required_capability(facts: AgentSelectionFacts) -> None:
    """Somebody is chosen exactly when somebody can do it all, and it is one of those."""
    able = {it.name for it in facts.candidates if facts.required <= it.capabilities}
    chosen = AgentSelection().evaluate(facts).agent_type

    assert bool(able) == (chosen is not None)
    assert chosen in able | {None}


@given(facts=selection_facts)
def test_nobody_able_scores_higher_than_the_chosen(facts: AgentSelectionFacts) -> None:
    """The choice has the highest score, and the first name of those that have it."""
    policy = AgentSelection()
    scores = {
        it.name: policy.score(facts.required, facts.needed, it)
        for it in facts.candidates
        if facts.required <= it.capabilities
    }
    best = [name for name, score in sorted(scores.items()) if score == max(scores.values())]

    assert next(iter(best), None) == policy.evaluate(facts).agent_type


@given(facts=selection_facts, data=st.data())
def test_the_order_of_the_templates_does_not_matter(facts: AgentSelectionFacts, data: st.DataObject) -> None:
    """The same templates in another order give the same decision, to the last field."""
    shuffled = replace(facts, candidates=tuple(data.draw(st.permutations(facts.candidates))))

    assert AgentSelection().evaluate(facts) == AgentSelection().evaluate(shuffled)


@given(facts=selection_facts)
def test_renaming_changes_the_winner_only_through_its_name(facts: AgentSelectionFacts) -> None:
    """New names that keep the alphabetical order keep the winner."""
    renamed = tuple(replace(it, name=f"x{it.name}") for it in facts.candidates)
    before = AgentSelection().evaluate(facts).agent_type
    after = AgentSelection().evaluate(replace(facts, candidates=renamed)).agent_type

    assert (None if before is None else f"x{before}") == after


@given(facts=selection_facts)
def test_a_selection_is_plain_json_and_its_scores_are_shares(facts: AgentSelectionFacts) -> None:
    """A decision survives the trip through JSON, and no score lies outside 0..1."""
    decision = AgentSelection().evaluate(facts)
    plain = decision.as_json()

    assert plain == json.loads(json.dumps(plain, allow_nan=False))
    assert all(
        0 <= AgentSelection().score(facts.required, facts.needed, it) <= 1
        for it in facts.candidates
        if it.name not in decision.missing
    )


@given(policy=selections, facts=selection_facts, others=st.lists(resources, max_size=5))
def test_a_prepared_selection_chooses_what_the_evaluation_chooses(
    policy: AgentSelection, facts: AgentSelectionFacts, others: list[ResourceRequirements]
) -> None:
    """Task after task, with any weights, the fast way and the one with evidence agree."""
    prepared = policy.prepare(facts.candidates)
    tasks = [replace(facts, needed=needed) for needed in (facts.needed, *others)]

    assert [policy.evaluate(task).agent_type for task in tasks] == [
        prepared.choose(task.required, task.needed) for task in tasks
    ]


@given(good=st.lists(requirements, max_size=6), bad=requirements, where=st.integers(0, 6))
def test_one_bad_requirement_never_stops_the_rest(
    good: list[AgentRequirement], bad: AgentRequirement, where: int
) -> None:
    """A requirement that can't be met, put anywhere, changes nothing but that it is recorded."""
    both = (Capability.DATA_INGESTION, Capability.PIPELINE_COORDINATION)
    impossible = bad.model_copy(update={"capabilities_needed": both})
    without = factory().generate_all(good, now=NOW)
    found = factory().generate_all([*good[:where], impossible, *good[where:]], now=NOW)

    assert [made.agent_type for made in without.specifications] == [
        made.agent_type for made in found.specifications
    ]
    assert len(good) + 1 == len(found.specifications) + len(found.failures) == len(found.decisions)
    assert impossible in [failure.requirement for failure in found.failures]


@given(days=work_days)
def test_a_success_rate_is_a_share(days: list[WorkDay]) -> None:
    """Whatever was done, what is believed lies in 0..1, and is never quite nothing."""
    assert 0 < rate(days) <= 1


@given(days=work_days, at=st.integers(0, 9), more=st.integers(1, 500))
def test_more_failures_never_raise_a_success_rate(days: list[WorkDay], at: int, more: int) -> None:
    """Failures more, on a day that there is or on another, leave what is believed or lower it."""
    day = (
        days[at]
        if at < len(days)
        else WorkDay(agent_type="a", kind="csv", days_ago=at, successes=0, failures=0)
    )
    worse = [*days[:at], replace(day, failures=day.failures + more), *days[at + 1 :]]

    assert rate(worse) <= rate(days) + ALMOST


@given(days=work_days, at=st.integers(0, 9), more=st.integers(1, 500))
def test_more_successes_never_lower_a_success_rate(days: list[WorkDay], at: int, more: int) -> None:
    """Successes more leave what is believed or raise it."""
    day = (
        days[at]
        if at < len(days)
        else WorkDay(agent_type="a", kind="csv", days_ago=at, successes=0, failures=0)
    )
    better = [*days[:at], replace(day, successes=day.successes + more), *days[at + 1 :]]

    assert rate(better) >= rate(days) - ALMOST


@given(days=work_days, data=st.data())
def test_the_order_of_the_days_does_not_matter(days: list[WorkDay], data: st.DataObject) -> None:
    """The same days in another order teach the same, to the last bit."""
    shuffled = data.draw(st.permutations(days))

    assert AgentSuccess().learn(days).experience("a", KINDS) == AgentSuccess().learn(shuffled).experience(
        "a", KINDS
    )


@given(days=work_days, wait=st.integers(1, 60))
def test_with_nothing_but_time_a_success_rate_returns_to_the_prior(days: list[WorkDay], wait: int) -> None:
    """No new outcome: every day brings what is believed nearer to 1, and a year brings it there."""

    def after(passed: int) -> float:
        return rate([replace(day, days_ago=day.days_ago + passed) for day in days])

    assert rate(days) <= after(wait) + ALMOST
    assert abs(NEWCOMER.success_rate - after(365)) < 1e-9


@given(days=work_days, size=st.integers(1, 10**6))
def test_one_day_never_costs_more_than_ten_failures(days: list[WorkDay], size: int) -> None:
    """However much fails in a day, it costs what ten failures cost, and no more."""
    bad = WorkDay(agent_type="a", kind="csv", days_ago=0, successes=0, failures=size)

    assert rate([*days, bad]) >= rate([*days, replace(bad, failures=10)]) - ALMOST


@given(batches=queues, general=st.sampled_from([None, Capability.DATA_INGESTION]))
def test_a_queue_needs_at_most_one_agent_per_batch_and_a_coordinator(
    batches: tuple[QueuedBatch, ...], general: Capability | None
) -> None:
    """There is a coordinator exactly when there are more than two specialists, and every batch is accounted for."""
    decision = AgentRequirements().evaluate(AgentRequirementsFacts(batches=batches, general=general))
    names = ("specialists", "general", "coordinators")
    specialists, besides, coordinators = (int(str(decision.evidence[it])) for it in names)
    without = decision.evidence["without_agent"]

    assert isinstance(without, dict)
    assert len(batches) == specialists + besides + sum(without.values())
    assert general is None or not without
    assert coordinators == int(specialists + besides > 2)
    assert len(decision.requirements) == specialists + besides + coordinators
