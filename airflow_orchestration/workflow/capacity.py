"""What can this machine carry, and what may a step use of it? Measured, unless the author declared it."""

from __future__ import annotations

import os
from dataclasses import dataclass
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
MIB = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """Where Linux tells the memory of a container: files of its cgroup."""

    folder: Path
    limit: str
    used: str
    """It counts the pages of files that were read or written, which Linux gives up when memory is wanted."""
    given_up: str
    """The line of `memory.stat` that tells those of them that it gives up first."""

    def left(self) -> int | None:
        """The bytes that are left below the limit; None without a limit."""
        try:
            limit, used = (int((self.folder / name).read_text()) for name in (self.limit, self.used))
        except (OSError, ValueError):  # no such cgroup, or the limit is `max`
            return None
        return limit - max(0, used - self._given_up())

    def _given_up(self) -> int:
        try:
            lines = (self.folder / "memory.stat").read_text().splitlines()
            return next(int(line.split()[1]) for line in lines if line.startswith(f"{self.given_up} "))
        except (OSError, StopIteration):
            return 0


CONTAINERS = (
    Container(
        folder=Path("/sys/fs/cgroup"), limit="memory.max", used="memory.current", given_up="inactive_file"
    ),
    Container(
        folder=Path("/sys/fs/cgroup/memory"),
        limit="memory.limit_in_bytes",
        used="memory.usage_in_bytes",
        given_up="total_inactive_file",
    ),
)
"""Cgroups of version 2, and of version 1."""


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
    """What the engine of one branch may use for its buffers, in MiB: what it was lent, or its share of the run's."""
    if step.memory_mb is not None:
        return engine_memory_mb(step.memory_mb)
    return engine_memory_mb(_memory_mb(step), len(plan.branches))


def whole_memory_mb(step: Step) -> int:
    """What an engine may use for its buffers that works alone on the run, in MiB."""
    return engine_memory_mb(_memory_mb(step))


def available_memory_mb() -> int:
    """What this machine, or the container that this process is in, has left, in MiB."""
    limited = [left for container in CONTAINERS if (left := container.left()) is not None]
    return max(0, min([_of_machine(), *limited])) // MIB


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
