"""From a requirement to agents: SEED 22, 23, 27 and their rulings."""

from __future__ import annotations

import json
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest

from airflow_orchestration.agents.agent import DataIngestionSpecialist, QualityMonitoringSpecialist
from airflow_orchestration.agents.templates import AgentTemplate, AgentTemplates, built_in_templates
from airflow_orchestration.domain.agent import (
    AgentSpecification,
    Capability,
    PerformanceTargets,
    ResourceRequirements,
    TaskContext,
)
from airflow_orchestration.domain.conf import validated
from airflow_orchestration.exceptions import (
    AgentCreationError,
    InputRefusedError,
    NoSuitableAgentError,
    ResourceUnavailableError,
    UnknownAgentTypeError,
)
from airflow_orchestration.policies.agent_success import Experience
from tests.unit.agents.builders import BROKEN, NOW, factory, need, specification

INGESTER = "data_ingestion_specialist"
UNMONITORED = TaskContext(monitoring_required=False)
IMPOSSIBLE = need(Capability.DATA_INGESTION, Capability.PIPELINE_COORDINATION, task_description="both")


def test_seed_22_generation() -> None:
    """A requirement becomes the specification of the best type, with resources, targets and parameters."""
    made = factory().generate(need(batch_size=2000, sla_seconds=100, connections=2), now=NOW)

    assert (INGESTER, (Capability.DATA_INGESTION,)) == (made.agent_type, made.capabilities)
    assert (
        ResourceRequirements(cpu_millicores=500, memory_mb=258, connections=2) == made.resource_requirements
    )
    assert (
        PerformanceTargets(response_time_seconds=100, throughput_per_second=20.0) == made.performance_targets
    )
    assert (2000, 100, "data_ingestion_specialist_1") == (
        made.specialization_parameters["batch_size"],
        made.specialization_parameters["response_time_target"],
        made.agent_id,
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
    text = factory().generate(need(batch_size=7), now=NOW).model_dump_json()
    agent = factory().create(AgentSpecification.model_validate(json.loads(text)))

    assert DataIngestionSpecialist is type(agent)
    assert ("data_ingestion_specialist_1", 7) == (agent.parameters.agent_id, agent.parameters.batch_size)  # type: ignore[attr-defined]


def test_the_place_of_work_has_the_last_word() -> None:
    """What refines a specification is heard before it is compared with what there is."""
    small = ResourceRequirements(cpu_millicores=1, memory_mb=1)
    made_by = factory(capacities=[small])
    object.__setattr__(
        made_by, "refine", lambda _, made: made.model_copy(update={"resource_requirements": small})
    )

    assert small == made_by.generate(need(), now=NOW).resource_requirements


def test_seed_23_unknown_type() -> None:
    """A type that is not registered is refused with those that are."""
    made_by = factory()

    with pytest.raises(UnknownAgentTypeError, match="'os_system' is not registered; there are: data_agg"):
        made_by.create(specification(made_by, agent_type="os_system"))


@pytest.mark.parametrize("path", ["os.system", "waiting_to_be_imported.Agent", "waiting_to_be_imported"])
def test_a_class_path_in_data_is_never_imported(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A specification whose type is the path of a class is refused, however it comes, and imports nothing."""
    (tmp_path / "waiting_to_be_imported.py").write_text("Agent = object")
    monkeypatch.syspath_prepend(str(tmp_path))
    good = specification(factory())
    before = {*sys.modules}
    with pytest.raises(UnknownAgentTypeError):
        factory().create(good.model_copy(update={"agent_type": path}))
    if "." in path:
        with pytest.raises(InputRefusedError, match="agent_type"):
            validated(AgentSpecification, good.model_dump(mode="json") | {"agent_type": path}, subject="a")

    assert before == {*sys.modules}


@pytest.mark.parametrize("capacity", [(499, 256, 1), (500, 255, 1), (500, 256, 0)], ids=str)
def test_seed_23_no_resources(capacity: tuple[int, int, int]) -> None:
    """An agent that could never be lent what it needs, of anything, is refused at once with the amounts."""
    cpu_millicores, memory_mb, connections = capacity
    least = ResourceRequirements(cpu_millicores=500, memory_mb=256, connections=1)
    there = ResourceRequirements(cpu_millicores=cpu_millicores, memory_mb=memory_mb, connections=connections)
    beyond = next(name for name in type(there).model_fields if getattr(there, name) < getattr(least, name))
    words = (
        f"data_ingestion_specialist_1 needs {getattr(least, beyond)} of {getattr(there, beyond)} {beyond}: "
    )

    remedy = "airflow orchestration agents capacity --cpu 0.5 --memory-mb 256 --connections 1"
    assert least == factory(capacities=[least]).generate(need(connections=1), now=NOW).resource_requirements
    with pytest.raises(ResourceUnavailableError, match=f"^{words}waiting can't help; .*`{remedy}`"):
        factory(capacities=[least, there]).generate(need(connections=1), now=NOW)


def test_seed_23_creation_failure() -> None:
    """An agent whose class fails is an `AgentCreationError`, and the cause is kept."""
    made_by = factory(AgentTemplates([BROKEN]))

    with pytest.raises(AgentCreationError, match="broken_1 could not be made: no licence") as failed:
        made_by.create(made_by.generate(need(Capability.PIPELINE_COORDINATION), now=NOW))
    assert RuntimeError is type(failed.value.__cause__)


def test_seed_24_no_suitable_agent() -> None:
    """A task that nobody can do whole is refused, with what each type lacks."""
    with pytest.raises(NoSuitableAgentError) as refused:
        factory().generate(IMPOSSIBLE, now=NOW)
    assert "data_ingestion_specialist lacks pipeline_coordination" in str(refused.value)
    with pytest.raises(NoSuitableAgentError, match="none is registered"):
        factory(AgentTemplates()).generate(IMPOSSIBLE, now=NOW)


def test_ruling_learning_changes_the_choice() -> None:
    """Of two types that are alike, the one that is believed to fail in such work gives way to the other."""
    alike: dict[str, Any] = {
        "capabilities": frozenset({Capability.DATA_INGESTION, Capability.DATA_VALIDATION})
    }

    def experiences(agent_type: str, needed: Collection[Capability]) -> Experience:
        fails = agent_type == "a" and Capability.DATA_INGESTION in needed
        return Experience(success_rate=0.8 if fails else 1.0, outcomes=4)

    made_by = factory(
        AgentTemplates(AgentTemplate(name=name, **alike) for name in ("a", "b")), experiences=experiences
    )

    assert ("b", "a") == (
        made_by.select(need()).agent_type,
        made_by.select(need(Capability.DATA_VALIDATION)).agent_type,
    )


def test_what_is_known_of_a_type_is_asked_once_for_each_set_of_capabilities() -> None:
    """A thousand tasks of any size learn no more of the history than the first one of their kind."""
    asked: list[str] = []

    def experiences(agent_type: str, _: Collection[Capability]) -> Experience:
        asked.append(agent_type)
        return Experience(success_rate=1.0, outcomes=0)

    made_by = factory(experiences=experiences)
    for size in (1, 10**6, 10**9, 1):
        made_by.select(need(batch_size=size))
    assert [it.name for it in built_in_templates().all()] == asked

    made_by.select(need(Capability.DATA_VALIDATION))
    assert 2 * len(built_in_templates().all()) == len(asked)


def test_tasks_that_are_alike_have_one_decision_and_others_their_own() -> None:
    """What differs in capabilities, memory or connections is decided anew, and a table is not made twice."""
    made_by = factory()
    first, again, larger, connected = (
        made_by.select(need(**asked))
        for asked in ({}, {"sla_seconds": 7}, {"batch_size": 10**6}, {"connections": 1})
    )

    assert first is again
    assert [256, 1256, 256] == [it.evidence["needed"]["memory_mb"] for it in (first, larger, connected)]  # type: ignore[index,call-overload]
    assert [0, 1] == [it.evidence["needed"]["connections"] for it in (first, connected)]  # type: ignore[index,call-overload]


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
    """Parameters that the type does not have, or not so, are refused by name."""
    made_by = factory()
    good = specification(made_by)
    bad = good.model_copy(update={"specialization_parameters": {**good.specialization_parameters, **changes}})

    with pytest.raises(InputRefusedError, match=next(iter(changes))):
        made_by.create(bad)


def test_ruling_ids_of_one_moment_differ() -> None:
    """Agents of one type made at one time have ids of their own."""
    made = factory().generate_all([need()] * 5, now=NOW)

    assert 5 == len({one.agent_id for one in made.specifications})


def test_seed_27_one_failure_never_stops_the_rest() -> None:
    """Of three requirements, one that nobody can do, the other two are agents, each in its place."""
    asked = [need(), IMPOSSIBLE, need(Capability.DATA_VALIDATION)]
    made = factory().generate_all(asked, now=NOW)
    first, failure, last = made.by_requirement

    assert (first, last) == made.specifications
    assert [INGESTER, "data_validation_specialist"] == [one.agent_type for one in made.specifications]
    assert (failure,) == made.failures
    assert [("NoSuitableAgentError", IMPOSSIBLE)] == [
        (failure.error_type, failure.requirement) for failure in made.failures
    ]
    assert [INGESTER, None, "data_validation_specialist"] == [one.agent_type for one in made.decisions]


def test_seed_27_what_can_not_be_lent_is_one_failure_among_others() -> None:
    """A requirement that is too large for the place is recorded, and a small one is an agent."""
    place = ResourceRequirements(cpu_millicores=500, memory_mb=256)
    made = factory(capacities=[place]).generate_all([need(batch_size=1000), need()], now=NOW)

    assert ([INGESTER], ["ResourceUnavailableError"]) == (
        [one.agent_type for one in made.specifications],
        [failure.error_type for failure in made.failures],
    )


def test_seed_27_result() -> None:
    """The result holds the agents, their number, the failures, a timestamp and the event, as plain data."""
    found = factory(AgentTemplates([BROKEN])).generate_all([need(task_description="load")], now=NOW).as_json()
    failure = {
        "status": "failed",
        "error": "no type of agent has all the capabilities\n  broken lacks data_ingestion",
        "error_type": "NoSuitableAgentError",
        "requirement": {"task_description": "load", "capabilities_needed": ["data_ingestion"]},
    }

    assert found == json.loads(json.dumps(found))
    assert ("dynamic_data_processing_agent_creation", "2026-11-22T00:00:00+00:00", 0, [failure]) == (
        found["event"],
        found["timestamp"],
        found["active_count"],
        found["failures"],
    )
    assert 2 == factory().generate_all([need()] * 2, now=NOW).as_json()["active_count"]


def test_a_type_without_parameters_of_its_own_is_made_too() -> None:
    """Its parameters are those of any type."""
    made_by = factory(built_in_templates())
    agent = made_by.create(made_by.generate(need(Capability.QUALITY_MONITORING), now=NOW))

    assert QualityMonitoringSpecialist is type(agent)
    assert 3 == agent.parameters.iteration_limit
