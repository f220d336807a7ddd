"""Estimates rest on what was learned once it is enough, else on formulas, and never against what a task demands."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from airflow_orchestration.agents.estimation import (
    estimate_resources,
    estimation_basis,
    performance_targets,
    quality_thresholds,
)
from airflow_orchestration.domain.agent import (
    AgentRequirement,
    Capability,
    PerformanceTargets,
    ResourceRequirements,
)
from airflow_orchestration.policies.agent_success import Experience

KNOWN = Experience(
    success_rate=0.9,
    outcomes=9,
    measured=3,
    execution_time=timedelta(seconds=20),
    throughput=500.0,
    data_quality_score=0.99,
    peak_memory_mb=1000.5,
)
LITTLE = replace(KNOWN, measured=2)


def need(**changes: Any) -> AgentRequirement:
    return AgentRequirement(capabilities_needed=(Capability.DATA_INGESTION,), **changes)


@pytest.mark.parametrize("experience", [None, LITTLE, Experience(success_rate=1.0, outcomes=9)])
def test_without_enough_measured_outcomes_the_formulas_hold(experience: Experience | None) -> None:
    """Two that were measured, none, or many that were not change no estimate."""
    asked = need(batch_size=150_000, connections=2)
    resources = ResourceRequirements(cpu_millicores=500, memory_mb=406, connections=2)
    targets = PerformanceTargets(response_time_seconds=300, throughput_per_second=500.0)

    assert resources == estimate_resources(asked, experience)
    assert targets == performance_targets(asked, experience)
    assert {"overall": 0.8} == quality_thresholds(asked, experience)
    assert {"formula"} == set(estimation_basis(asked, experience).values()) - {
        0 if experience is None else experience.measured
    }


def test_from_three_outcomes_on_what_was_learned_holds() -> None:
    """Memory has a margin of a quarter, time of the double, quality of 0.05; the CPU was never measured."""
    asked = need(batch_size=100_000)

    assert ResourceRequirements(cpu_millicores=500, memory_mb=1251) == estimate_resources(asked, KNOWN)
    assert PerformanceTargets(response_time_seconds=400, throughput_per_second=250.0) == performance_targets(
        asked, KNOWN
    )
    assert {"overall": 0.94} == quality_thresholds(asked, KNOWN)
    assert {"measured": 3} | dict.fromkeys(
        ("memory_mb", "response_time_seconds", "throughput_per_second", "quality_thresholds"), "learned"
    ) == estimation_basis(asked, KNOWN)


def test_what_was_learned_never_lowers_the_memory() -> None:
    """Small batches teach nothing of a large one: the formula for its size holds."""
    asked, small = need(batch_size=1_000_000), replace(KNOWN, peak_memory_mb=40.0)

    assert 1256 == estimate_resources(asked).memory_mb == estimate_resources(asked, small).memory_mb
    assert "formula" == estimation_basis(asked, small)["memory_mb"]


def test_an_agent_has_memory_for_one_batch_at_a_time() -> None:
    """A thousand records take a MiB more than nothing: however many batches it has, it has them one by one."""
    assert (256, 257) == (
        estimate_resources(need()).memory_mb,
        estimate_resources(need(batch_size=1000)).memory_mb,
    )


def test_without_a_volume_the_mean_time_of_a_batch_holds() -> None:
    """Twice the mean time is the target of a batch of unknown size."""
    assert 40 == performance_targets(need(), KNOWN).response_time_seconds


def test_what_the_task_demands_is_not_replaced() -> None:
    """A task's own time, the pace that follows from it, and its own quality stay as they were asked for."""
    asked = need(batch_size=1000, sla_seconds=10, quality_requirement=0.5)

    assert PerformanceTargets(response_time_seconds=10, throughput_per_second=100.0) == performance_targets(
        asked, KNOWN
    )
    assert {"overall": 0.5} == quality_thresholds(asked, KNOWN)
    assert {"validity": 0.7} == quality_thresholds(need(quality_required={"validity": 0.7}), KNOWN)
    assert ("task", "formula", "task") == tuple(
        estimation_basis(asked, KNOWN)[name]
        for name in ("response_time_seconds", "throughput_per_second", "quality_thresholds")
    )


def test_bad_work_does_not_lower_the_bar() -> None:
    """A type whose quality was always low still has the document's threshold."""
    assert {"overall": 0.8} == quality_thresholds(need(), replace(KNOWN, data_quality_score=0.3))


def test_extremes_stay_within_what_a_requirement_can_say() -> None:
    """Immense memory and no time at all give legal numbers."""
    huge = replace(KNOWN, peak_memory_mb=1e9, execution_time=timedelta(0), throughput=None)

    assert 10**7 == estimate_resources(need(), huge).memory_mb
    assert PerformanceTargets(response_time_seconds=1) == performance_targets(need(), huge)
    assert 1e9 == performance_targets(need(), replace(KNOWN, throughput=1e12)).throughput_per_second
