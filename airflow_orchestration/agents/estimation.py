"""What does a task take, and what counts as success? The document asks for both and names no formula.

What was learned of the chosen type in such work decides, once enough of it was measured. Until then the formulas
are ours: resources follow the capabilities and the volume, targets the time allowed. Memory is only ever raised by
what was learned: the batches that it was learned of may have been smaller ones.
What the task itself demands is never replaced by what was learned.
"""

from __future__ import annotations

import math

from airflow_orchestration.agents.specialization import RESPONSE_TIME_TARGET
from airflow_orchestration.domain.agent import (
    OVERALL,
    AgentRequirement,
    PerformanceTargets,
    ResourceRequirements,
    Thresholds,
)
from airflow_orchestration.domain.deadline import MAX_SECONDS
from airflow_orchestration.domain.decision import Json
from airflow_orchestration.domain.defaults import APPROVE_AT
from airflow_orchestration.policies.agent_success import NEWCOMER, Experience

MILLICORES_PER_CAPABILITY = 500
BASE_MEMORY_MB = 256
RECORDS_PER_MB = 1000
"""A record of about a kilobyte."""
MEMORY_MARGIN = 1.25
"""Ours: a quarter more than the highest peak, since the next batch may be larger."""
MAX_MEMORY_MB = 10**7
MAX_THROUGHPUT = 1e9
"""The most that a requirement and a target can name."""
TIME_MARGIN = 2.0
"""Ours: twice the mean time, half the mean throughput. About half of all good work is slower than its mean."""
QUALITY_MARGIN = 0.05
"""Ours: how far below its mean the quality of a type may fall before it counts as a target missed."""

TASK, LEARNED, FORMULA, PLACE = "task", "learned", "formula", "place"
"""What an estimate may rest on; the last one is the place of work, which may know better."""


def relied_on(experience: Experience | None) -> Experience:
    """Return what estimates rest on: nothing measured, where too few outcomes stand behind it."""
    return experience if experience is not None and experience.is_enough else NEWCOMER


def estimate_resources(
    requirement: AgentRequirement, experience: Experience | None = None
) -> ResourceRequirements:
    """Return half a CPU per capability, the memory for one batch, since there is one at a time, and connections."""
    return ResourceRequirements(
        cpu_millicores=MILLICORES_PER_CAPABILITY * len(requirement.capabilities_needed),
        memory_mb=_memory_mb(requirement, relied_on(experience).peak_memory_mb),
        connections=requirement.connections or 0,
    )


def performance_targets(
    requirement: AgentRequirement, experience: Experience | None = None
) -> PerformanceTargets:
    """Return the time that the task allows, or that is learned, and the throughput.

    The throughput is what brings one batch through in the time that the task allows, else the learned one, else
    what the default time asks for.
    """
    seconds = requirement.sla_seconds or _response_time(requirement, relied_on(experience))
    throughput = relied_on(experience).throughput
    size = requirement.batch_size
    if throughput and not (requirement.sla_seconds and size):
        return PerformanceTargets(
            response_time_seconds=seconds, throughput_per_second=min(throughput / TIME_MARGIN, MAX_THROUGHPUT)
        )
    return PerformanceTargets(
        response_time_seconds=seconds, throughput_per_second=size / seconds if size else None
    )


def quality_thresholds(requirement: AgentRequirement, experience: Experience | None = None) -> Thresholds:
    """Return the thresholds that the task names, or its one threshold for the whole.

    What was learned may raise the default and never lowers it: bad work must not make worse work good enough.
    """
    if requirement.quality_required:
        return requirement.quality_required
    if requirement.quality_requirement is not None:
        return {OVERALL: requirement.quality_requirement}
    quality = relied_on(experience).data_quality_score
    return {OVERALL: APPROVE_AT if quality is None else max(APPROVE_AT, quality - QUALITY_MARGIN)}


def estimation_basis(requirement: AgentRequirement, experience: Experience | None = None) -> dict[str, Json]:
    """Say for each estimate whether the task named it, or it was learned, or a formula gave it: for the evidence."""
    known = relied_on(experience)
    named_time = requirement.sla_seconds is not None
    named_quality = bool(requirement.quality_required) or requirement.quality_requirement is not None
    pace_follows_time = named_time and requirement.batch_size is not None
    return {
        "measured": 0 if experience is None else experience.measured,
        "memory_mb": LEARNED if _learned_mb(known.peak_memory_mb) > _formula_mb(requirement) else FORMULA,
        "response_time_seconds": _basis(known.execution_time, named=named_time),
        "throughput_per_second": FORMULA if pace_follows_time else _basis(known.throughput or None),
        "quality_thresholds": _basis(known.data_quality_score, named=named_quality),
    }


def _basis(measured: object | None, *, named: bool = False) -> str:
    if named:
        return TASK
    return FORMULA if measured is None else LEARNED


def _memory_mb(requirement: AgentRequirement, peak: float | None) -> int:
    return max(_formula_mb(requirement), _learned_mb(peak))


def _formula_mb(requirement: AgentRequirement) -> int:
    return BASE_MEMORY_MB + -(-(requirement.batch_size or 0) // RECORDS_PER_MB)


def _learned_mb(peak: float | None) -> int:
    return min(math.ceil((peak or 0.0) * MEMORY_MARGIN), MAX_MEMORY_MB)


def _response_time(requirement: AgentRequirement, known: Experience) -> int:
    """Whole seconds for a batch of this size, or of the usual one."""
    if known.throughput and requirement.batch_size:
        seconds = requirement.batch_size / known.throughput
    elif known.execution_time is not None:
        seconds = known.execution_time.total_seconds()
    else:
        return RESPONSE_TIME_TARGET
    return min(max(math.ceil(seconds * TIME_MARGIN), 1), MAX_SECONDS)
