"""The pool that agents draw on: SEED 23 and the ruling on leases."""

from __future__ import annotations

import pytest

from airflow_orchestration.agents.resources import ResourcePool
from airflow_orchestration.domain.agent import ResourceRequirements
from airflow_orchestration.exceptions import ResourceUnavailableError


def resources(cpu_millicores: int, memory_mb: int) -> ResourceRequirements:
    return ResourceRequirements(cpu_millicores=cpu_millicores, memory_mb=memory_mb)


def held(pool: ResourcePool) -> tuple[int, int]:
    return pool.cpu_millicores_held, pool.memory_mb_held


def test_seed_23_a_pool_can_be_used_up_and_no_further() -> None:
    """The last millicore is lent out; after it, the refusal says what is held and by how many."""
    pool = ResourcePool(resources(1000, 512))
    pool.lease("a", resources(600, 100))
    pool.lease("b", resources(400, 100))

    with pytest.raises(ResourceUnavailableError, match=r"1000 millicores and 200 MB of .* held by 2 others"):
        pool.lease("c", resources(1, 1))
    assert (1000, 200) == held(pool)
    assert ("a", "b") == pool.holders


def test_memory_counts_as_well() -> None:
    """Free CPU does not help one who needs memory."""
    pool = ResourcePool(resources(1000, 512))
    pool.lease("a", resources(1, 500))

    with pytest.raises(ResourceUnavailableError):
        pool.lease("b", resources(1, 13))


@pytest.mark.parametrize("needed", [resources(1001, 1), resources(1, 513)])
def test_what_can_never_be_had_is_said(needed: ResourceRequirements) -> None:
    """A need beyond the whole pool is refused as hopeless, not as a matter of time."""
    with pytest.raises(ResourceUnavailableError, match="so waiting can't help"):
        ResourcePool(resources(1000, 512)).lease("a", needed)


def test_ruling_leases_end_with_success_and_with_failure() -> None:
    """However a block ends, what it held is free again, and its error goes on its way."""
    pool = ResourcePool(resources(1000, 512))
    with pool.lease("a", resources(1000, 512)):
        assert (1000, 512) == held(pool)
    assert (0, 0) == held(pool)
    with pytest.raises(KeyError), pool.lease("a", resources(1000, 512)):
        raise KeyError("a")
    assert (0, 0) == held(pool)


def test_ruling_a_second_release_frees_nothing_of_others() -> None:
    """Releasing twice is releasing once, even when the name holds something new by then."""
    pool = ResourcePool(resources(1000, 512))
    old = pool.lease("a", resources(10, 10))
    old.release()
    pool.lease("a", resources(20, 20))
    old.release()

    assert (20, 20) == held(pool)


def test_ruling_ids_are_unique() -> None:
    """Two agents that live at a time can't have one id."""
    pool = ResourcePool(resources(1000, 512))
    pool.lease("a", resources(1, 1))

    with pytest.raises(ResourceUnavailableError, match="ids of agents must be unique"):
        pool.lease("a", resources(1, 1))
