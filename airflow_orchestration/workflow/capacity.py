"""What can this machine carry, and what may a step use of it? Measured, unless the author declared it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from airflow_orchestration.domain.pipeline import Capacity
from airflow_orchestration.domain.plan import Plan
from airflow_orchestration.policies.allocation import (
    LEAST_ENGINE_MB,
    engine_memory_mb,
    process_memory_mb,
)
from airflow_orchestration.policies.workflow_mode import CapacityFacts
from airflow_orchestration.workflow.step import Step

MEMORY_PER_BRANCH_MB = int(process_memory_mb(LEAST_ENGINE_MB))
"""More branches than have so much memory each are not allocated by themselves."""
CONTAINERS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)
"""Where Linux tells the limit of a container's memory, and its use; the second for cgroups of version 1."""
MIB = 2**20


def measure_capacity(declared: Capacity) -> CapacityFacts:
    """Return the declared capacity, with what is left out read from the machine.

    CPU available is the share of cores that the last minute left idle.
    """
    cores = os.cpu_count() or 1
    memory = declared.memory_mb or available_memory_mb()
    by_memory = max(1, memory // MEMORY_PER_BRANCH_MB)
    idle = max(0.0, 1.0 - os.getloadavg()[0] / cores)
    return CapacityFacts(
        workers=declared.workers or min(cores * 2, by_memory),
        cpu_available=idle if declared.cpu_available is None else declared.cpu_available,
        memory_mb=memory,
    )


def branch_memory_mb(step: Step, plan: Plan) -> int:
    """What the engine of one branch may use for its buffers, in MiB: its share of what the run has."""
    return engine_memory_mb(_memory_mb(step), len(plan.branches))


def whole_memory_mb(step: Step) -> int:
    """What an engine may use for its buffers that works alone on the run, in MiB."""
    return engine_memory_mb(_memory_mb(step))


def available_memory_mb() -> int:
    """What this machine, or the container that this process is in, has left, in MiB."""
    return max(0, min(_of_machine(), *_of_containers())) // MIB


def _memory_mb(step: Step) -> int:
    """What the analysis said, or what this machine has left if that is less and nothing was declared."""
    here = available_memory_mb()
    if step.spec.pipeline.capacity.memory_mb is not None:
        return step.spec.pipeline.capacity.memory_mb
    return min(int(step.run.mode["evidence"].get("memory_mb", here)), here)


def _of_machine() -> int:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _of_containers() -> Iterator[int]:
    """What is left below each limit; there may be none, and then everything is."""
    yield sys.maxsize
    for limit, used in CONTAINERS:
        try:
            yield int(Path(limit).read_text()) - int(Path(used).read_text())
        except (OSError, ValueError):  # no such cgroup, or the limit is `max`
            continue
