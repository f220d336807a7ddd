"""What holds for every choice of an agent and for every pool, whoever asks for what."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count

from hypothesis import given
from hypothesis import strategies as st

from airflow_orchestration.agents.factory import AgentFactory
from airflow_orchestration.agents.resources import Lease, ResourcePool
from airflow_orchestration.agents.templates import AgentTemplate, AgentTemplates, built_in_templates
from airflow_orchestration.domain.agent import (
    AgentOutcome,
    AgentRequirement,
    BatchComplexity,
    Capability,
    QueuedBatch,
    ResourceRequirements,
)
from airflow_orchestration.exceptions import ResourceUnavailableError
from airflow_orchestration.policies.agent_requirements import AgentRequirements, AgentRequirementsFacts
from airflow_orchestration.policies.agent_selection import (
    AgentCandidate,
    AgentSelection,
    AgentSelectionFacts,
)
from tests.property.strategies import shares

NOW = datetime(2026, 11, 22, tzinfo=UTC)
capabilities = st.frozensets(st.sampled_from(Capability), min_size=1)
coarse = st.sampled_from([0.0, 0.5, 1.0]) | shares
candidates = st.lists(
    st.builds(
        AgentCandidate,
        name=st.integers(0, 99).map("t{:02}".format),
        capabilities=capabilities,
        success_rate=coarse,
        resource_efficiency=coarse,
    ),
    max_size=8,
    unique_by=lambda candidate: candidate.name,
).map(tuple)
selection_facts = st.builds(AgentSelectionFacts, required=capabilities, candidates=candidates)
resources = st.builds(
    ResourceRequirements, cpu_millicores=st.integers(1, 1200), memory_mb=st.integers(1, 1200)
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


def factory(cpu_millicores: int = 10**6) -> AgentFactory:
    numbers = count()
    capacity = ResourceRequirements(cpu_millicores=cpu_millicores, memory_mb=10**7)
    return AgentFactory(built_in_templates(), ResourcePool(capacity), new_id=lambda: str(next(numbers)))


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
        it.name: policy.score(facts.required, it)
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
        0 <= AgentSelection().score(facts.required, it) <= 1
        for it in facts.candidates
        if it.name not in decision.missing
    )


@given(capacity=resources, asked=st.lists(resources, max_size=12), data=st.data())
def test_capacity_is_never_exceeded(
    capacity: ResourceRequirements, asked: list[ResourceRequirements], data: st.DataObject
) -> None:
    """Whatever is asked for and released, in any order, no more is lent out than there is."""
    pool = ResourcePool(capacity)
    leases: list[Lease] = []
    for number, needed in enumerate(asked):
        if leases and data.draw(st.booleans()):
            data.draw(st.sampled_from(leases)).release()
        try:
            leases.append(pool.lease(f"a{number}", needed))
        except ResourceUnavailableError:
            free = (
                capacity.cpu_millicores - pool.cpu_millicores_held,
                capacity.memory_mb - pool.memory_mb_held,
            )
            assert needed.cpu_millicores > free[0] or needed.memory_mb > free[1]
        assert pool.cpu_millicores_held <= capacity.cpu_millicores
        assert pool.memory_mb_held <= capacity.memory_mb
    for lease in leases:
        lease.release()

    assert (0, 0, ()) == (pool.cpu_millicores_held, pool.memory_mb_held, pool.holders)


@given(good=st.lists(requirements, max_size=6), bad=requirements, where=st.integers(0, 6))
def test_one_bad_requirement_never_stops_the_rest(
    good: list[AgentRequirement], bad: AgentRequirement, where: int
) -> None:
    """A requirement that can't be met, put anywhere, changes nothing but that it is recorded."""
    both = (Capability.DATA_INGESTION, Capability.PIPELINE_COORDINATION)
    impossible = bad.model_copy(update={"capabilities_needed": both})
    without = factory().create_all(good, now=NOW)
    found = factory().create_all([*good[:where], impossible, *good[where:]], now=NOW)

    assert [agent.specification.agent_type for agent in without.agents] == [
        agent.specification.agent_type for agent in found.agents
    ]
    assert len(good) + 1 == found.active_count + len(found.failures) == len(found.decisions)
    assert impossible in [failure.requirement for failure in found.failures]


@given(asked=st.lists(requirements, max_size=8), cpu_millicores=st.integers(1, 3000))
def test_agents_that_live_fit_into_the_pool_and_have_their_own_ids(
    asked: list[AgentRequirement], cpu_millicores: int
) -> None:
    """All agents made at a time fit at a time, each with its id; released, they leave nothing."""
    made_by = factory(cpu_millicores)
    with made_by.create_all(asked, now=NOW) as made:
        held = sum(agent.specification.resource_requirements.cpu_millicores for agent in made.agents)
        assert cpu_millicores >= held == made_by.resources.cpu_millicores_held
        assert made.active_count == len(set(made_by.resources.holders))

    assert () == made_by.resources.holders


@given(outcomes=st.lists(st.booleans(), max_size=30), more=st.booleans())
def test_a_success_rate_is_a_share_that_follows_the_outcomes(outcomes: list[bool], more: bool) -> None:
    """The rate lies in 0..1; a success never lowers it, a failure always does."""
    templates = AgentTemplates([AgentTemplate(name="t", capabilities=frozenset(Capability))])
    for succeeded in outcomes:
        templates.record(AgentOutcome(agent_type="t", succeeded=succeeded))
    before = templates.statistics("t").success_rate
    templates.record(AgentOutcome(agent_type="t", succeeded=more))
    after = templates.statistics("t").success_rate

    assert 0 < after <= 1
    assert (after >= before) if more else (after < before)


@given(batches=queues)
def test_a_queue_needs_at_most_one_agent_per_batch_and_a_coordinator(
    batches: tuple[QueuedBatch, ...],
) -> None:
    """There is a coordinator exactly when there are more than two specialists, and every batch is accounted for."""
    decision = AgentRequirements().evaluate(AgentRequirementsFacts(batches=batches))
    specialists, coordinators = (int(str(decision.evidence[it])) for it in ("specialists", "coordinators"))
    without = decision.evidence["without_agent"]

    assert isinstance(without, dict)
    assert len(batches) == specialists + sum(without.values())
    assert coordinators == int(specialists > 2)
    assert len(decision.requirements) == specialists + coordinators
