"""What can be said of an agent: SEED 19, 20."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_orchestration.domain.agent import (
    AgentRequirement,
    AgentSpecification,
    BatchQueue,
    Capability,
    PerformanceTargets,
    ResourceRequirements,
)
from airflow_orchestration.domain.conf import validated
from airflow_orchestration.exceptions import InputRefusedError

SMALLEST: dict[str, Any] = {
    "agent_type": "data_ingestion_specialist",
    "capabilities": ["data_ingestion"],
    "resource_requirements": {"cpu_millicores": 500, "memory_mb": 256},
    "performance_targets": {"response_time_seconds": 300},
    "specialization_parameters": {},
}


def read(**changes: Any) -> AgentSpecification:
    return validated(AgentSpecification, SMALLEST | changes, subject="agent")


def test_seed_19_capabilities() -> None:
    """There are six capabilities."""
    expected = [
        "data_ingestion",
        "data_validation",
        "data_transformation",
        "data_aggregation",
        "quality_monitoring",
        "pipeline_coordination",
    ]

    assert expected == list(Capability)


def test_seed_20_fields() -> None:
    """A specification has the ten fields of the document and no other."""
    expected = [
        "agent_type",
        "capabilities",
        "resource_requirements",
        "performance_targets",
        "specialization_parameters",
        "max_concurrent_batches",
        "timeout_seconds",
        "retry_attempts",
        "quality_thresholds",
        "monitoring_enabled",
    ]

    assert expected == list(AgentSpecification.model_fields)


def test_seed_20_defaults() -> None:
    """Left out, there are 3 batches at a time, 300 seconds, 3 retries, no thresholds, and monitoring."""
    found = read()

    assert (3, 300, 3, {}, True) == (
        found.max_concurrent_batches,
        found.timeout_seconds,
        found.retry_attempts,
        found.quality_thresholds,
        found.monitoring_enabled,
    )


def test_seed_20_is_plain_data() -> None:
    """A specification that went through JSON is the same."""
    found = read(quality_thresholds={"overall": 0.9}, specialization_parameters={"batch_size": 7})

    assert found == AgentSpecification.model_validate_json(found.model_dump_json())


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"agent_type": "os.system"}, "agent_type"),
        ({"agent_type": ""}, "agent_type"),
        ({"capabilities": []}, "capabilities"),
        ({"capabilities": ["telepathy"]}, "capabilities[0]"),
        ({"max_concurrent_batches": 0}, "max_concurrent_batches"),
        ({"max_concurrent_batches": 1001}, "max_concurrent_batches"),
        ({"max_concurrent_batches": "3"}, "max_concurrent_batches"),
        ({"timeout_seconds": 0}, "timeout_seconds"),
        ({"timeout_seconds": 10**9}, "timeout_seconds"),
        ({"retry_attempts": -1}, "retry_attempts"),
        ({"retry_attempts": 11}, "retry_attempts"),
        ({"retry_attempts": True}, "retry_attempts"),
        ({"quality_thresholds": {"overall": 1.1}}, "quality_thresholds.overall"),
        ({"quality_thresholds": {"overall": float("nan")}}, "quality_thresholds.overall"),
        (
            {"resource_requirements": {"cpu_millicores": 0, "memory_mb": 1}},
            "resource_requirements.cpu_millicores",
        ),
        (
            {"resource_requirements": {"cpu_millicores": 1, "memory_mb": 1.5}},
            "resource_requirements.memory_mb",
        ),
        ({"performance_targets": {"response_time_seconds": 0}}, "performance_targets.response_time_seconds"),
        (
            {"resource_requirements": {"cpu_millicores": 1, "memory_mb": 1, "connections": -1}},
            "resource_requirements.connections",
        ),
        ({"monitoring_enabled": "yes"}, "monitoring_enabled"),
        ({"class": "os.system"}, "class"),
    ],
    ids=str,
)
def test_seed_20_bounds(changes: dict[str, Any], path: str) -> None:
    """What no agent can be is refused with its path."""
    with pytest.raises(InputRefusedError) as refused:
        read(**changes)

    assert [path] == [problem.path for problem in refused.value.problems]


def test_capabilities_have_one_order() -> None:
    """However they are listed, capabilities stand in one order and once each."""
    listed = ["data_validation", "data_ingestion", "data_validation"]

    assert (Capability.DATA_INGESTION, Capability.DATA_VALIDATION) == read(capabilities=listed).capabilities


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"format": "csv"}, ("format", ("csv",))),
        ({"format": ["csv", "json"]}, ("format", ("csv", "json"))),
        ({"quality_required": 0.9}, ("quality_required", {"overall": 0.9})),
        ({"quality_required": {"completeness": 0.5}}, ("quality_required", {"completeness": 0.5})),
    ],
    ids=str,
)
def test_one_value_stands_for_a_list_of_one(asked: dict[str, Any], expected: tuple[str, object]) -> None:
    """A single format and a single threshold may be written without their brackets."""
    name, value = expected
    found = validated(AgentRequirement, {"capabilities_needed": ["data_ingestion"], **asked}, subject="need")

    assert value == getattr(found, name)


@pytest.mark.parametrize(
    ("batch", "path"),
    [
        ({"size": "1000"}, "batches[0].size"),
        ({"size": 0}, "batches[0].size"),
        ({"deadline": -1}, "batches[0].deadline"),
        ({"quality": 95}, "batches[0].quality"),
        ({"complexity": "extreme"}, "batches[0].complexity"),
        ({"type": "{{ 7*191 }}"}, "batches[0].type"),
        ({"source": "file:///etc/passwd"}, "batches[0].source"),
        ({"agent_class": "os.system"}, "batches[0].agent_class"),
    ],
    ids=str,
)
def test_ruling_numbers_are_numbers(batch: dict[str, Any], path: str) -> None:
    """A batch of the queue is data: numbers are not texts, and names are neither code nor locations."""
    with pytest.raises(InputRefusedError) as refused:
        validated(BatchQueue, {"batches": [batch]}, subject="queue")

    assert [path] == [problem.path for problem in refused.value.problems]


def test_small_models_stand_alone() -> None:
    """Resources and targets are typed; without a word there are no connections, and no throughput without a volume."""
    assert {"cpu_millicores": 1, "memory_mb": 1, "connections": 0} == ResourceRequirements(
        cpu_millicores=1, memory_mb=1
    ).model_dump()
    assert PerformanceTargets(response_time_seconds=1).throughput_per_second is None
