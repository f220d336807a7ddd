"""Who is lent what, and who waits."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from airflow_orchestration.domain.agent import ResourceRequirements
from airflow_orchestration.policies.leasing import (
    DEFAULT_CAPACITY,
    PATIENCE,
    LeaseClaim,
    LeaseDecision,
    LeaseQueue,
    Leasing,
    LeasingFacts,
)
from tests.unit.policies.vectors import cases

MIDNIGHT = datetime(2026, 11, 22)  # noqa: DTZ001  # the policy only compares
NOW = MIDNIGHT + PATIENCE


def amounts(text: str) -> ResourceRequirements:
    cpu_millicores, memory_mb, connections = map(int, text.split("/"))
    return ResourceRequirements(cpu_millicores=cpu_millicores, memory_mb=memory_mb, connections=connections)


def claims(told: dict[str, str]) -> tuple[LeaseClaim, ...]:
    return tuple(
        claim(holder, minute, *text.split()) for minute, (holder, text) in enumerate(told.items(), start=1)
    )


def claim(holder: str, minute: int, tenant: str, needed: str, unserved: str = "") -> LeaseClaim:
    return LeaseClaim(
        holder=holder,
        tenant=tenant.strip("'"),
        needed=amounts(needed),
        asked_at=MIDNIGHT + timedelta(minutes=minute),
        unserved_since=MIDNIGHT + timedelta(minutes=int(unserved or minute)),
    )


def decided(row: dict[str, Any]) -> LeaseDecision:
    limits = {} if row.get("halves") else dict.fromkeys(("north", "south", "west"), "99/99/99")
    limits |= row.get("limits", {})
    queue = LeaseQueue(
        now=NOW + timedelta(minutes=row.get("later", 0)),
        capacity=amounts(row.get("capacity", "10/10/10")),
        tenant_capacities={tenant: amounts(text) for tenant, text in limits.items()},
        held=claims(row.get("held", {})),
        waiting=claims(row["waiting"]),
    )
    return Leasing().evaluate(LeasingFacts(queue=queue, holder=row["asks"]))


@cases("leasing", "one_request")
def test_one_request(row: dict[str, Any]) -> None:
    """Lent is what there is room for; what there could never be room for is refused."""
    decision = decided(row)

    assert row["expected"] == {"action": decision.action, "reason": decision.reason}


@cases("leasing", "queue")
def test_queue(row: dict[str, Any]) -> None:
    """Who holds least is first, then who waited longest, and nobody is passed over."""
    decision = decided(row)

    assert row["expected"] == {"action": decision.action, "reason": decision.reason}


def test_the_evidence_has_the_numbers() -> None:
    """What is needed, held and there, by all and by the tenant, and how long it has been."""
    row = {
        "limits": {"north": "5/10/10"},
        "held": {"n1": "north 4/1/0", "s1": "south 1/2/3"},
        "waiting": {"n2": "north 2/1/0", "s2": "south 1/1/0"},
        "asks": "n2",
    }

    assert {
        "holder": "n2",
        "tenant": "north",
        "needed": [2, 1, 0],
        "held": [5, 3, 3],
        "capacity": [10, 10, 10],
        "tenant_held": [4, 1, 0],
        "tenant_capacity": [5, 10, 10],
        "tenant_share": 0.4,
        "waiting": 2,
        "since_asked_seconds": 4 * 60.0,
    } == decided(row).evidence


def test_a_refusal_says_why_and_what_to_do() -> None:
    """The sentence for an error message names who, the numbers and the remedy."""
    row = {"limits": {"south": "5/10/10"}, "waiting": {"s1": "south 6/1/0"}, "asks": "s1"}

    assert (
        "more_than_tenant_may_have: s1 needs 6 millicores, 1 MB and 0 connections; "
        "0 millicores, 0 MB and 0 connections of 10 millicores, 10 MB and 10 connections are held by all; "
        "0 millicores, 0 MB and 0 connections of 5 millicores, 10 MB and 10 connections by tenant south; "
        "waiting can't help: ask for less, or raise the capacity with "
        "`airflow orchestration agents capacity south --cpu 0.006 --memory-mb 10 --connections 10`"
    ) == decided(row).explanation()


def test_a_limit_of_all_together_is_raised_for_all() -> None:
    """Where there is not as much as somebody needs, his tenant's own limit would not help."""
    row = {"limits": {"south": "5/10/10"}, "waiting": {"s1": "south 60/1/0"}, "asks": "s1"}

    assert (
        decided(row)
        .explanation()
        .endswith("with `airflow orchestration agents capacity --cpu 0.06 --memory-mb 10 --connections 10`")
    )


def test_who_waits_is_not_told_that_waiting_is_in_vain() -> None:
    """While waiting can help, the sentence only tells what is held."""
    row = {
        "limits": {"south": "10/10/10"},
        "held": {"n1": "north 9/1/0"},
        "waiting": {"s1": "south 6/1/0"},
        "asks": "s1",
    }

    assert (
        "no_room: s1 needs 6 millicores, 1 MB and 0 connections; "
        "9 millicores, 1 MB and 0 connections of 10 millicores, 10 MB and 10 connections are held by all; "
        "0 millicores, 0 MB and 0 connections of 10 millicores, 10 MB and 10 connections by tenant south"
    ) == decided(row).explanation()


def test_there_is_a_default_capacity() -> None:
    """Where nobody said what there is: 64 CPUs, 256 GiB, 1000 connections."""
    assert amounts(f"{64 * 1000}/{256 * 1024}/1000") == DEFAULT_CAPACITY
