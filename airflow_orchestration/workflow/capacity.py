"""What can this machine carry? Measured, unless the author declared it."""

from __future__ import annotations

import os

from airflow_orchestration.domain.pipeline import Capacity
from airflow_orchestration.policies.workflow_mode import CapacityFacts

MEMORY_PER_BRANCH_MB = 512


def measure_capacity(declared: Capacity) -> CapacityFacts:
    """Return the declared capacity, with what is left out read from the machine.

    CPU available is the share of cores that the last minute left idle.
    """
    cores = os.cpu_count() or 1
    memory = declared.memory_mb or _available_memory_mb()
    by_memory = max(1, memory // MEMORY_PER_BRANCH_MB)
    idle = max(0.0, 1.0 - os.getloadavg()[0] / cores)
    return CapacityFacts(
        workers=declared.workers or min(cores * 2, by_memory),
        cpu_available=idle if declared.cpu_available is None else declared.cpu_available,
        memory_mb=memory,
    )


def _available_memory_mb() -> int:
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20
