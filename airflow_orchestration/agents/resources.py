"""What agents hold while they live: leases on a pool that never gives out more than it has.

This pool lives in one process and ends with it, so a dead worker leaves nothing behind.
"""

from __future__ import annotations

from threading import Lock
from types import TracebackType
from typing import Self

from airflow_orchestration.domain.agent import ResourceRequirements
from airflow_orchestration.exceptions import ResourceUnavailableError

DEFAULT_CAPACITY = ResourceRequirements(cpu_millicores=64_000, memory_mb=262_144)
"""Ours: 64 CPUs and 256 GiB, a middling cluster, for a pool of which nobody said how large it is."""


class Lease:
    """What one agent holds; released once, however often that is asked for."""

    def __init__(self, pool: ResourcePool, holder: str, held: ResourceRequirements) -> None:
        self.pool = pool
        self.holder = holder
        self.held = held

    def release(self) -> None:
        """Give everything back."""
        self.pool.release(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()


class ResourcePool:
    """A capacity that is lent out; safe to use from several threads."""

    def __init__(self, capacity: ResourceRequirements = DEFAULT_CAPACITY) -> None:
        self.capacity = capacity
        self._leases: dict[str, Lease] = {}
        self._lock = Lock()

    def lease(self, holder: str, needed: ResourceRequirements) -> Lease:
        """Lend what is needed, at once or not at all; raises `ResourceUnavailableError`."""
        with self._lock:
            self._refuse(holder, needed)
            lease = Lease(self, holder, needed)
            self._leases[holder] = lease
            return lease

    def release(self, lease: Lease) -> None:
        """Take a lease back; one that was given back before changes nothing."""
        with self._lock:
            if self._leases.get(lease.holder) is lease:
                del self._leases[lease.holder]

    @property
    def holders(self) -> tuple[str, ...]:
        """Who holds something, in the order in which they came."""
        return tuple(self._leases)

    @property
    def cpu_millicores_held(self) -> int:
        """The CPU that is lent out."""
        return sum(lease.held.cpu_millicores for lease in self._leases.values())

    @property
    def memory_mb_held(self) -> int:
        """The memory that is lent out."""
        return sum(lease.held.memory_mb for lease in self._leases.values())

    def _refuse(self, holder: str, needed: ResourceRequirements) -> None:
        if holder in self._leases:
            raise ResourceUnavailableError(f"{holder} holds a lease already; ids of agents must be unique")
        if not _covers(self.capacity, needed, cpu_millicores=0, memory_mb=0):
            raise ResourceUnavailableError(
                f"{holder} needs {_shown(needed)}; the whole pool has {_shown(self.capacity)}, "
                "so waiting can't help"
            )
        cpu_millicores, memory_mb = self.cpu_millicores_held, self.memory_mb_held
        if not _covers(self.capacity, needed, cpu_millicores=cpu_millicores, memory_mb=memory_mb):
            raise ResourceUnavailableError(
                f"{holder} needs {_shown(needed)}; {cpu_millicores} millicores and {memory_mb} MB "
                f"of {_shown(self.capacity)} are held by {len(self._leases)} others"
            )


def _covers(
    capacity: ResourceRequirements, needed: ResourceRequirements, *, cpu_millicores: int, memory_mb: int
) -> bool:
    return (
        cpu_millicores + needed.cpu_millicores <= capacity.cpu_millicores
        and memory_mb + needed.memory_mb <= capacity.memory_mb
    )


def _shown(resources: ResourceRequirements) -> str:
    return f"{resources.cpu_millicores} millicores and {resources.memory_mb} MB"
