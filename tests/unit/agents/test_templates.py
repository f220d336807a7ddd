"""The registry of agent types: SEED 21 and the ruling on what is learned."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from airflow_orchestration.agents.agent import (
    Agent,
    DataIngestionSpecialist,
    DataTransformationSpecialist,
    DataValidationSpecialist,
)
from airflow_orchestration.agents.templates import AgentTemplate, AgentTemplates, built_in_templates
from airflow_orchestration.domain.agent import (
    AgentOutcome,
    AgentPerformance,
    Capability,
    ResourceRequirements,
)
from airflow_orchestration.exceptions import UnknownAgentTypeError

INGESTION = frozenset({Capability.DATA_INGESTION})
NEEDED = ResourceRequirements(cpu_millicores=500, memory_mb=512)


def ended(sign: str, performance: AgentPerformance | None = None) -> AgentOutcome:
    return AgentOutcome(agent_type="loader", succeeded=sign == "+", performance=performance)


def loader(**changes: Any) -> AgentTemplate:
    return AgentTemplate(**{"name": "loader", "capabilities": INGESTION, **changes})


def test_seed_21_a_new_template() -> None:
    """A template is registered with a class and capabilities; it was never used and always succeeded."""
    templates = AgentTemplates([loader(agent_class=DataIngestionSpecialist)])
    record = templates.statistics("loader")

    assert (DataIngestionSpecialist, INGESTION) == (
        templates.get("loader").agent_class,
        templates.get("loader").capabilities,
    )
    assert (0, 1.0, {}) == (record.creation_count, record.success_rate, record.avg_performance)


def test_seed_21_average_performance() -> None:
    """The average is over the outcomes that were measured, whether they were good or bad."""
    templates = AgentTemplates([loader()])
    fast = AgentPerformance(execution_time=timedelta(seconds=10), data_quality_score=1.0, records=1000)
    timeless = AgentPerformance(execution_time=timedelta(0), data_quality_score=0.5, records=1000)
    for outcome in (ended("+", fast), ended("-", timeless), ended("+")):
        templates.record(outcome)

    assert {"execution_time": 5.0, "data_quality_score": 0.75, "throughput": 50.0} == templates.statistics(
        "loader"
    ).avg_performance


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        pytest.param("", 1.0, id="new"),
        pytest.param("+++", 1.0, id="always well"),
        pytest.param("-", 0.8, id="a first failure costs a fifth"),
        pytest.param("+-+-", 0.75, id="half and half"),
        pytest.param("-" * 12, 0.25, id="never well"),
    ],
)
def test_ruling_success_rate_is_learned(outcomes: str, expected: float) -> None:
    """The success rate starts at 1.0, as much as four outcomes count, and follows what is recorded."""
    templates = AgentTemplates([loader()])
    for outcome in outcomes:
        templates.record(ended(outcome))

    assert expected == templates.statistics("loader").success_rate
    assert [expected] == [candidate.success_rate for candidate in templates.candidates(NEEDED)]


def test_ruling_resource_efficiency_is_a_fact() -> None:
    """A candidate comes with how well its size suits the task."""
    large = ResourceRequirements(cpu_millicores=1000, memory_mb=1024)
    candidates = AgentTemplates([loader(footprint=large)]).candidates(NEEDED)

    assert [0.5] == [candidate.resource_efficiency for candidate in candidates]


@pytest.mark.parametrize("capability", Capability)
def test_seed_25_every_capability_has_a_specialist(capability: Capability) -> None:
    """For each capability there is a built-in type that does just this."""
    names = [
        it.name
        for it in built_in_templates().candidates(NEEDED)
        if it.capabilities == frozenset({capability})
    ]

    assert 1 == len(names)


@pytest.mark.parametrize(
    ("name", "agent_class"),
    [
        ("data_ingestion_specialist", DataIngestionSpecialist),
        ("data_validation_specialist", DataValidationSpecialist),
        ("data_transformation_specialist", DataTransformationSpecialist),
        ("pipeline_coordinator", Agent),
    ],
)
def test_seed_25_specialists_are_registered(name: str, agent_class: type[Agent]) -> None:
    """The three specialists of the document are there under their names."""
    assert agent_class is built_in_templates().get(name).agent_class


def test_registering_twice_is_refused() -> None:
    """A name stands for one template."""
    templates = AgentTemplates([loader()])

    with pytest.raises(ValueError, match="'loader' is registered already; choose another name"):
        templates.register(loader(capabilities=frozenset(Capability)))


@pytest.mark.parametrize("name", ["", "Loader", "a.b", "loader\n", "a" * 64])
def test_names_are_names(name: str) -> None:
    """A name that could be a path or a text is refused."""
    with pytest.raises(ValueError, match="is no name"):
        loader(name=name)


def test_empty_capabilities_are_refused() -> None:
    """A type that can do nothing is refused."""
    with pytest.raises(ValueError, match="'loader' has no capability; name at least one"):
        loader(capabilities=frozenset())


@pytest.mark.parametrize("given", ["os.system", "airflow_orchestration.agents.agent.Agent", print, dict])
def test_ruling_only_code_brings_classes(given: object) -> None:
    """A class path, a function and a class of another kind are no agents."""
    with pytest.raises(TypeError, match="needs a subclass of Agent, not"):
        loader(agent_class=given)


@pytest.mark.parametrize("name", ["os.system", "builtins.eval", "unheard_of"])
def test_unknown_types_are_refused(name: str) -> None:
    """Whoever asks for an unknown type is told which ones there are."""
    templates = AgentTemplates([loader()])
    unknown = AgentOutcome(agent_type=name, succeeded=True)

    with pytest.raises(UnknownAgentTypeError, match="is not registered; there are: loader"):
        templates.get(name)
    with pytest.raises(UnknownAgentTypeError):
        templates.record(unknown)
    with pytest.raises(UnknownAgentTypeError, match="there are: none"):
        AgentTemplates().get(name)


def test_registries_learn_apart() -> None:
    """What one registry learned of the built-in types, another does not know."""
    first, second = built_in_templates(), built_in_templates()
    first.record(AgentOutcome(agent_type="data_generalist", succeeded=False))

    assert (0.8, 1.0) == (
        first.statistics("data_generalist").success_rate,
        second.statistics("data_generalist").success_rate,
    )
