"""What does a task take, and what counts as success? The document asks for both and names no formula.

The formulas are ours. Resources follow the capabilities and the volume, targets follow the time allowed.
"""

from __future__ import annotations

from airflow_orchestration.agents.specialization import RESPONSE_TIME_TARGET
from airflow_orchestration.domain.agent import (
    MAX_CONCURRENT_BATCHES,
    OVERALL,
    AgentRequirement,
    PerformanceTargets,
    ResourceRequirements,
    Thresholds,
)
from airflow_orchestration.domain.defaults import APPROVE_AT

MILLICORES_PER_CAPABILITY = 500
BASE_MEMORY_MB = 256
RECORDS_PER_MB = 1000
"""A record of about a kilobyte."""


def estimate_resources(requirement: AgentRequirement) -> ResourceRequirements:
    """Return half a CPU per capability, and memory for as many batches as an agent works on at a time."""
    records = MAX_CONCURRENT_BATCHES * (requirement.batch_size or 0)
    return ResourceRequirements(
        cpu_millicores=MILLICORES_PER_CAPABILITY * len(requirement.capabilities_needed),
        memory_mb=BASE_MEMORY_MB + -(-records // RECORDS_PER_MB),
    )


def performance_targets(requirement: AgentRequirement) -> PerformanceTargets:
    """Return the time allowed, and the throughput that brings one batch through in it."""
    seconds = requirement.sla_seconds or RESPONSE_TIME_TARGET
    return PerformanceTargets(
        response_time_seconds=seconds,
        throughput_per_second=requirement.batch_size / seconds if requirement.batch_size else None,
    )


def quality_thresholds(requirement: AgentRequirement) -> Thresholds:
    """Return the thresholds that the task names, or its one threshold for the whole."""
    asked = requirement.quality_requirement
    return requirement.quality_required or {OVERALL: APPROVE_AT if asked is None else asked}
