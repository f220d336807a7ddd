"""From a requirement to agents: SEED 22, 23, 27 and their rulings."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta

import pytest

from airflow_orchestration.agents.agent import Agent, DataIngestionSpecialist, MonitoredAgent
from airflow_orchestration.agents.factory import AgentFactory
from airflow_orchestration.agents.resources import ResourcePool
from airflow_orchestration.agents.templates import AgentTemplate, AgentTemplates, built_in_templates
from airflow_orchestration.domain.agent import (
    AgentPerformance,
    AgentRequirement,
    AgentSpecification,
    Capability,
    PerformanceTargets,
    ResourceRequirements,
    TaskContext,
)
from airflow_orchestration.exceptions import (
    AgentCreationError,
    InputRefusedError,
    NoSuitableAgentError,
    ResourceUnavailableError,
    UnknownAgentTypeError,
)
from tests.unit.agents.builders import BROKEN, NOW, factory, need, specification

INGESTER = "data_ingestion_specialist"
UNMONITORED = TaskContext(monitoring_required=False)


def broken_factory() -> AgentFactory:
    return factory(AgentTemplates([BROKEN]))


def test_seed_22_generation() -> None:
    """A requirement becomes the specification of the best type, with resources, targets and parameters."""
    made = factory().generate(need(batch_size=2000, sla_seconds=100), now=NOW)

    assert (INGESTER, (Capability.DATA_INGESTION,)) == (made.agent_type, made.capabilities)
    assert ResourceRequirements(cpu_millicores=500, memory_mb=262) == made.resource_requirements
    assert (
        PerformanceTargets(response_time_seconds=100, throughput_per_second=20.0) == made.performance_targets
    )
    assert (2000, 100, "data_ingestion_specialist_1") == (
        made.specialization_parameters["batch_size"],
        made.specialization_parameters["response_time_target"],
        made.specialization_parameters["agent_id"],
    )


def test_seed_22_a_task_that_names_nothing() -> None:
    """Without volume and time, there is the base memory, the document's 300 seconds, and no throughput."""
    made = factory().generate(need(Capability.DATA_INGESTION, Capability.DATA_VALIDATION), now=NOW)

    assert "data_generalist" == made.agent_type
    assert ResourceRequirements(cpu_millicores=1000, memory_mb=256) == made.resource_requirements
    assert PerformanceTargets(response_time_seconds=300) == made.performance_targets


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, {"overall": 0.8}),
        ({"quality_requirement": 0.0}, {"overall": 0.0}),
        ({"quality_required": 0.95, "quality_requirement": 0.5}, {"overall": 0.95}),
        ({"quality_required": {"completeness": 0.9}}, {"completeness": 0.9}),
    ],
    ids=str,
)
def test_seed_22_quality_thresholds(asked: dict[str, object], expected: dict[str, float]) -> None:
    """The thresholds are what the task requires, or its standard for the whole, or 0.8."""
    assert expected == factory().generate(need(**asked), now=NOW).quality_thresholds


def test_seed_22_monitoring_is_on_unless_the_context_says_no() -> None:
    """Only a context in which monitoring is not required turns it off."""
    made_by = factory()

    assert made_by.generate(need(), now=NOW).monitoring_enabled
    assert not made_by.generate(need(), now=NOW, context=UNMONITORED).monitoring_enabled


def test_seed_22_a_specification_is_plain_data() -> None:
    """An agent can be created somewhere else, from its specification as JSON."""
    text = factory().generate(need(), now=NOW).model_dump_json()

    with factory().create(AgentSpecification.model_validate(json.loads(text))) as agent:
        assert isinstance(agent, DataIngestionSpecialist)


def test_seed_23_unknown_type() -> None:
    """A type that is not registered is refused, and nothing is held."""
    made_by = factory()

    with pytest.raises(UnknownAgentTypeError):
        made_by.create(specification(made_by, agent_type="os_system"))
    assert () == made_by.resources.holders


def test_seed_23_no_resources() -> None:
    """An agent that the pool can't carry is not made, nor counted."""
    made_by = factory(cpu_millicores=499)

    with pytest.raises(ResourceUnavailableError):
        made_by.create(specification(made_by))
    assert 0 == made_by.templates.statistics(INGESTER).creation_count


def test_seed_23_creation_failure_releases_what_was_allocated() -> None:
    """An agent whose class fails is an `AgentCreationError`, nothing is held, and the cause is kept."""
    made_by = broken_factory()

    with pytest.raises(AgentCreationError, match="broken_1 could not be made: no licence") as failed:
        made_by.create(made_by.generate(need(Capability.PIPELINE_COORDINATION), now=NOW))
    assert () == made_by.resources.holders
    assert isinstance(failed.value.__cause__, RuntimeError)
    assert 0 == made_by.templates.statistics("broken").creation_count


def test_seed_23_monitoring_wraps_the_agent() -> None:
    """With monitoring the agent comes wrapped; without, it comes as it is."""
    made_by = factory()
    watched = made_by.create(specification(made_by))
    plain = made_by.create(made_by.generate(need(), now=NOW, context=UNMONITORED))

    assert isinstance(watched, MonitoredAgent)
    assert isinstance(plain, DataIngestionSpecialist)
    assert isinstance(watched.agent, DataIngestionSpecialist)
    assert (watched.specification, watched.parameters) == (
        watched.agent.specification,
        watched.agent.parameters,
    )


def test_seed_23_creations_are_counted() -> None:
    """Each agent that is made counts for its type."""
    made_by = factory()
    for _ in range(2):
        made_by.create(specification(made_by)).release()

    assert 2 == made_by.templates.statistics(INGESTER).creation_count


def test_seed_24_no_suitable_agent() -> None:
    """A task that nobody can do whole is refused, with what each type lacks."""
    asked = need(Capability.DATA_INGESTION, Capability.PIPELINE_COORDINATION)

    with pytest.raises(NoSuitableAgentError) as refused:
        factory().generate(asked, now=NOW)
    assert "data_ingestion_specialist lacks pipeline_coordination" in str(refused.value)
    with pytest.raises(NoSuitableAgentError, match="none is registered"):
        factory(AgentTemplates()).generate(asked, now=NOW)


def test_ruling_containment_holds_for_written_specifications() -> None:
    """A specification that asks a type for more than it can do is refused."""
    made_by = factory()
    too_much = specification(made_by, capabilities=(Capability.DATA_INGESTION, Capability.DATA_VALIDATION))

    with pytest.raises(NoSuitableAgentError, match="'data_ingestion_specialist' lacks data_validation"):
        made_by.create(too_much)


@pytest.mark.parametrize(
    "changes",
    [{"batch_size": "1000"}, {"data_source": "kafka"}, {"hook": "os.system"}, {"agent_id": ""}],
    ids=str,
)
def test_ruling_parameters_are_those_of_the_type(changes: dict[str, object]) -> None:
    """Parameters that the type does not have, or not so, are refused before anything is held."""
    made_by = factory()
    good = specification(made_by)
    bad = good.model_copy(update={"specialization_parameters": {**good.specialization_parameters, **changes}})

    with pytest.raises(InputRefusedError, match=next(iter(changes))):
        made_by.create(bad)
    assert () == made_by.resources.holders


def test_ruling_leases_end_when_the_work_does() -> None:
    """An agent holds its resources while it works, and neither success nor failure keeps them."""
    made_by = factory()
    with made_by.create(specification(made_by)) as agent:
        assert (agent.lease.holder,) == made_by.resources.holders
    assert () == made_by.resources.holders
    with pytest.raises(OSError), made_by.create(specification(made_by)):  # noqa: PT011  # any will do
        raise OSError
    assert () == made_by.resources.holders


def test_ruling_success_is_learned_from_work() -> None:
    """A monitored agent's end is recorded with what it measured; its creation alone is no success."""
    made_by = factory()
    record = made_by.templates.statistics(INGESTER)
    measured = AgentPerformance(execution_time=timedelta(seconds=2), data_quality_score=0.9, records=10)
    with made_by.create(specification(made_by)) as agent:
        agent.performance = measured
    with pytest.raises(OSError), made_by.create(specification(made_by)):  # noqa: PT011  # any will do
        raise OSError
    made_by.create(specification(made_by)).release()

    assert (1, 1, 3) == (record.successes, record.failures, record.creation_count)
    assert measured.measures() == record.avg_performance


def test_ruling_an_unmonitored_agent_teaches_nothing() -> None:
    """Without monitoring the success rate stays as it was."""
    made_by = factory()
    unwatched = made_by.generate(need(), now=NOW, context=UNMONITORED)
    with pytest.raises(OSError), made_by.create(unwatched):  # noqa: PT011  # any will do
        raise OSError

    assert 1.0 == made_by.templates.statistics(INGESTER).success_rate
    assert () == made_by.resources.holders


def test_ruling_learning_changes_the_choice() -> None:
    """Of two types that are alike, the one that failed once gives way to the other."""
    alike = {"capabilities": frozenset({Capability.DATA_INGESTION})}
    made_by = factory(AgentTemplates(AgentTemplate(name=name, **alike) for name in ("a", "b")))
    with pytest.raises(OSError), made_by.create(specification(made_by)):  # noqa: PT011  # any will do
        raise OSError

    assert (0.8, "b") == (made_by.templates.statistics("a").success_rate, made_by.select(need()).agent_type)


def test_ruling_ids_of_one_moment_differ() -> None:
    """Agents of one type made at one time have ids of their own."""
    made = factory().create_all([need()] * 5, now=NOW)
    ids = {agent.specification.specialization_parameters["agent_id"] for agent in made.agents}

    assert 5 == len(ids)


def test_ruling_a_repeated_id_is_a_failure_and_no_collision() -> None:
    """Ids that are not unique cost the second agent, not the first."""
    same = AgentFactory(built_in_templates(), ResourcePool(), new_id=lambda: "same")
    made = same.create_all([need(), need()], now=NOW)

    assert (1, ["ResourceUnavailableError"]) == (
        made.active_count,
        [failure.error_type for failure in made.failures],
    )


def test_seed_27_one_failure_never_stops_the_rest() -> None:
    """Of four requirements, one nobody can do and one whose class fails, the other two are agents."""
    templates = built_in_templates()
    templates.register(BROKEN)  # it wins over `pipeline_coordinator` by its name
    impossible = need(Capability.DATA_INGESTION, Capability.PIPELINE_COORDINATION, task_description="both")
    asked = [need(), impossible, need(Capability.PIPELINE_COORDINATION), need(Capability.DATA_VALIDATION)]
    made = factory(templates).create_all(asked, now=NOW)

    assert [INGESTER, "data_validation_specialist"] == [
        agent.specification.agent_type for agent in made.agents
    ]
    assert [("NoSuitableAgentError", impossible), ("AgentCreationError", asked[2])] == [
        (failure.error_type, failure.requirement) for failure in made.failures
    ]
    assert 4 == len(made.decisions)


def test_seed_27_result() -> None:
    """The result holds the agents, their number, the failures, a timestamp and the event, as plain data."""
    made_by = factory(cpu_millicores=500)
    found = made_by.create_all([need(), need(task_description="too much")], now=NOW).as_json()
    failure = {
        "status": "failed",
        "error": "data_ingestion_specialist_2 needs 500 millicores and 256 MB; 500 millicores and 256 MB "
        "of 500 millicores and 100000 MB are held by 1 others",
        "error_type": "ResourceUnavailableError",
        "requirement": {"task_description": "too much", "capabilities_needed": ["data_ingestion"]},
    }

    assert found == json.loads(json.dumps(found))
    assert ("dynamic_data_processing_agent_creation", "2026-11-22T00:00:00+00:00", 1, [failure]) == (
        found["event"],
        found["timestamp"],
        found["active_count"],
        found["failures"],
    )


def test_seed_27_agents_are_released_together() -> None:
    """Leaving the block of created agents frees what all of them held, and teaches nothing."""
    made_by = factory()
    with made_by.create_all([need(), need()], now=NOW) as made:
        assert 2 == made.active_count == len(made_by.resources.holders)

    assert () == made_by.resources.holders
    assert 0 == made_by.templates.statistics(INGESTER).successes


def test_an_interrupted_creation_leaves_nothing_behind() -> None:
    """When requirements end with an error of their own, the agents made so far are released."""
    made_by = factory()

    def requirements() -> Iterator[AgentRequirement]:
        yield need()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        made_by.create_all(requirements(), now=NOW)
    assert () == made_by.resources.holders


def test_the_base_class_is_an_agent_too() -> None:
    """A type without parameters of its own is made from the base class."""
    made_by = factory()
    with made_by.create(made_by.generate(need(Capability.QUALITY_MONITORING), now=NOW)) as agent:
        assert Agent is type(agent)
