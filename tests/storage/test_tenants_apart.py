"""What one tenant reads is never changed by what another one does: every reading method of both stores."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest

from airflow_orchestration.domain.agent import (
    AgentOutcome,
    AgentPerformance,
    AgentSpecification,
    Capability,
    PerformanceTargets,
    ResourceRequirements,
)
from airflow_orchestration.domain.outcome import FeedOutcome
from airflow_orchestration.domain.profile import ColumnProfile, FeedProfile
from airflow_orchestration.domain.statistics import Share
from airflow_orchestration.domain.stream import StreamRange
from airflow_orchestration.policies.leasing import LeaseAction, LeaseReason
from airflow_orchestration.storage.agent_records import AgentRecords, AssignedAgent
from airflow_orchestration.storage.leases import LeaseRequest, Leases
from airflow_orchestration.storage.registry import Registry
from airflow_orchestration.storage.store import RunKey, RunState, Store, Streams
from airflow_orchestration.storage.trust_history import Taught, TrustHistory
from tests.storage.builders import TERMS, claimed, decision, delivered, merge_record, plan

NEIGHBOURS = [("a", "a_b"), ("a_b", "axb"), ("north", "north_east"), ("north", "")]
"""One name begins with the other, or matches it where `_` is a wildcard; work of no tenant has an empty name."""
STATES = (RunState.PUBLISHED, RunState.PUBLISHED_DEGRADED, RunState.PUBLISHED, RunState.NOT_PUBLISHED)
PROTOCOLS = {
    "": Store,
    "streams.": Streams,
    "trust.": TrustHistory,
    "agents.": AgentRecords,
    "leases.": Leases,
    "registry.": Registry,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """A tenant with one job; all tenants use the same names of jobs, runs, feeds, agents and batches."""

    name: str

    @property
    def dag_id(self) -> str:
        return f"{self.name}__load" if self.name else "load"

    @property
    def holder(self) -> str:
        return f"{self.dag_id}/agent"

    @property
    def runs(self) -> list[RunKey]:
        return [RunKey(dag_id=self.dag_id, run_id=f"run_{number}") for number in range(len(STATES))]

    @property
    def next_run(self) -> RunKey:
        return RunKey(dag_id=self.dag_id, run_id="next")


def of_feed(number: int, amount: int) -> FeedOutcome:
    whole = Share(part=amount, whole=amount)
    column = ColumnProfile(name="a", rows=amount, filled=amount, sampled=amount, distinct=amount, mean=1.5)
    profile = FeedProfile(
        rows=amount,
        completeness=whole,
        validity=whole,
        uniqueness=whole,
        columns=(column,),
        age_seconds=float(amount),
    )
    read = StreamRange(partition="t[0]", start=(number * amount,), stop=((number + 1) * amount,))
    return replace(delivered("a", amount, seconds=float(amount)), profile=profile, ranges=(read,))


def agent(amount: int) -> AssignedAgent:
    specification = AgentSpecification(
        agent_type="reader",
        capabilities=(Capability.DATA_INGESTION,),
        resource_requirements=ResourceRequirements(cpu_millicores=amount, memory_mb=256),
        performance_targets=PerformanceTargets(response_time_seconds=60),
        specialization_parameters={"batch_size": amount},
    )
    return AssignedAgent(agent_id="agent", position=0, specification=specification, work={"feeds": ["a"]})


def worked(amount: int) -> AgentOutcome:
    seconds = timedelta(seconds=amount)
    performance = AgentPerformance(execution_time=seconds, data_quality_score=0.5, records=amount)
    return AgentOutcome(
        agent_id="agent",
        agent_type="reader",
        kind="csv",
        batch="a",
        succeeded=amount % 2 == 0,
        performance=performance,
    )


def run_once(store: Store, tenant: Tenant, number: int, amount: int) -> None:
    """Everything that one run of the job writes, with numbers that tell whose it is."""
    run = tenant.runs[number]
    planning, closing = claimed(store, "plan", 1, run=run), claimed(store, "close_out", run=run)
    store.save_run(closing, {"amount": amount}, decision(amount=amount))
    store.open_round(planning, plan(), TERMS)
    store.register(claimed(store, "branch:alpha:b1", 1, run=run), of_feed(number, amount))
    store.set_waiting(claimed(store, "branch:beta:b1", 1, run=run), ["b"] if amount % 2 else [])
    store.mark_floor_reached(run, 1)
    store.record_verdict(run, 1, decision(amount=amount))
    store.record_decision(planning, decision(amount=-amount, agent_id="agent"))
    store.save_merge(claimed(store, "merge", 1, run=run), merge_record(content_sha256=str(amount)))
    store.record_decision(planning, replace(decision(amount=amount), policy="agent_selection"))
    store.add_event(planning, "counted", {"amount": amount})
    store.add_event(planning, "agent_progress", {"agent": "agent", "amount": amount})
    store.agents.assign(planning, [agent(amount)])
    store.agents.record(claimed(store, "agent:agent", 1, run=run), tenant.name, worked(amount))
    right = Taught(attribute="name", feed_id="a", right=amount, total=2.0 * amount, accuracy=0.5)
    store.trust.teach(closing, "airport", "both", [right])
    store.finish(closing, STATES[number], {"amount": amount})


def live(store: Store, tenant: Tenant, amount: int) -> None:
    """All that a tenant does: runs, an agent at work, and its jobs in the registry."""
    for number in range(len(STATES)):
        run_once(store, tenant, number, amount)
    if tenant.name:
        limit = ResourceRequirements(cpu_millicores=amount, memory_mb=256)
        store.leases.set_capacity(tenant.name, limit)
    needed = agent(amount).specification.resource_requirements
    store.leases.ask(LeaseRequest(holder=tenant.holder, tenant=tenant.name, needed=needed, epoch=1))
    for job in ("load", "old"):
        store.registry.put(tenant.name, job, [(f"{job}.yaml", f"amount: {amount}")], changed_by="somebody")
    store.registry.remove(tenant.name, "old", changed_by="somebody")


def gone(store: Store, tenant: Tenant) -> None:
    """All that a tenant can take away again."""
    store.leases.release(tenant.holder, 1)
    if tenant.name:
        store.leases.set_capacity(tenant.name, None)
    store.registry.remove(tenant.name, "load", changed_by="somebody")
    store.streams.give_back(claimed(store, "close_out", run=tenant.next_run), ["a"], of=tenant.runs[-1])


Read = Callable[[Store, Tenant], Any]


def each_run(read: Callable[[Store, RunKey], Any]) -> Read:
    return lambda store, tenant: [read(store, run) for run in tenant.runs]


def own_leases(store: Store, tenant: Tenant) -> Any:
    return [lease for lease in store.leases.leases() if lease.claim.tenant == tenant.name]


def later(store: Store, tenant: Tenant) -> Any:
    """The moment at which the next run has started."""
    store.save_run(claimed(store, "close_out", run=tenant.next_run), {}, decision())
    return store.run(tenant.next_run).started_at


def snapshots(store: Store, tenant: Tenant) -> Any:
    rounds = [(run, 1) for run in tenant.runs]
    found = store.gate_snapshots(rounds)
    return [replace(found[key], now=found[key].round.opened_at) for key in rounds]


def snapshot(store: Store, run: RunKey) -> Any:
    found = store.gate_snapshot(run, 1)
    return replace(found, now=found.round.opened_at)


def branch_snapshot(store: Store, run: RunKey) -> Any:
    found = store.branch_snapshot(run, store.rounds(run)[0], ["a"])
    return replace(found, now=found.round.opened_at)


READS: Mapping[str, Read] = {
    "run": each_run(lambda store, run: store.run(run)),
    "rounds": each_run(lambda store, run: store.rounds(run)),
    "outcomes": each_run(lambda store, run: store.outcomes(run)),
    "gate_snapshot": each_run(snapshot),
    "gate_snapshots": snapshots,
    "branch_snapshot": each_run(branch_snapshot),
    "decided_gates": lambda store, tenant: store.decided_gates(dag_id=tenant.dag_id),
    "decisions": each_run(lambda store, run: store.decisions(run)),
    "merges": each_run(lambda store, run: store.merges(run, 1)),
    "timeline": each_run(lambda store, run: store.timeline(run)),
    "degraded_runs": lambda store, tenant: store.degraded_runs(tenant.dag_id, timedelta(days=1)),
    "manifest": each_run(lambda store, run: store.manifest(run)),
    "usual_rows": lambda store, tenant: store.usual_rows(tenant.dag_id, ["a"], later(store, tenant)),
    "profiles": lambda store, tenant: store.profiles(tenant.dag_id, "a", later(store, tenant)),
    "observed_seconds": lambda store, tenant: store.observed_seconds(tenant.dag_id, ["a"]),
    "streams.marks": lambda store, tenant: store.streams.marks(tenant.next_run, "a"),
    "streams.holders": lambda store, tenant: store.streams.holders(tenant.next_run),
    "trust.history": lambda store, tenant: store.trust.history(tenant.dag_id, "airport", runs=9),
    "agents.assigned": each_run(lambda store, run: store.agents.assigned(run, 1)),
    "agents.one": each_run(lambda store, run: store.agents.one(run, 1, "agent")),
    "agents.choice": each_run(lambda store, run: store.agents.choice(run, "agent")),
    "agents.outcomes": each_run(lambda store, run: store.agents.outcomes(run)),
    "agents.decided": each_run(lambda store, run: store.agents.decided(run)),
    "agents.told": each_run(lambda store, run: store.agents.told(run)),
    "agents.history": lambda store, tenant: store.agents.history(tenant.name, days=30),
    "leases.leases": own_leases,
    "leases.turns": lambda store, tenant: [
        (one.action, one.reason) for one in store.leases.turns([tenant.holder]).values()
    ],
    "leases.capacities": lambda store, tenant: (
        store.leases.capacities().get(tenant.name) if tenant.name else "that of all"
    ),
    "leases.limit_of": lambda store, tenant: store.leases.limit_of(tenant.name),
    "registry.jobs": lambda store, tenant: [
        job for job in store.registry.jobs() if job.change.tenant == tenant.name
    ],
    "registry.job": lambda store, tenant: store.registry.job(tenant.name, "load"),
    "registry.listed": lambda store, tenant: store.registry.listed(tenant=tenant.name),
    "registry.changes": lambda store, tenant: (
        store.registry.changes(tenant.name),
        store.registry.changes(tenant.name, "load"),
    ),
}
"""What a tenant reads of its own, by method of the store."""
SHARED = {"registry.revision", "registry.change"}
"""The number of changes by all tenants, and what one of them was: the bundle makes the Dags of all."""
WRITES = {
    *(
        "claim",
        "shut",
        "save_run",
        "open_round",
        "register",
        "set_waiting",
        "end_lease",
        "mark_floor_reached",
    ),
    *("record_verdict", "record_decision", "save_merge", "add_event", "finish"),
    *("streams.give_back", "streams.take_again", "trust.teach", "agents.assign", "agents.record"),
    *("leases.ask", "leases.renew", "leases.release", "leases.set_capacity"),
    *("registry.put", "registry.remove"),
}


def everything(store: Store, tenant: Tenant) -> dict[str, Any]:
    return {name: read(store, tenant) for name, read in READS.items()}


@pytest.mark.parametrize(("one", "other"), NEIGHBOURS + [pair[::-1] for pair in NEIGHBOURS])
def test_a_tenant_reads_the_same_whatever_its_neighbour_does(store: Store, one: str, other: str) -> None:
    """Nothing that a tenant reads changes when another one works, or takes away all that is its own."""
    tenant, neighbour = Tenant(name=one), Tenant(name=other)
    live(store, tenant, 10)
    before = everything(store, tenant)
    live(store, neighbour, 7)
    beside = everything(store, neighbour)
    gone(store, neighbour)

    assert before == everything(store, tenant)
    unlike = {name for name in READS if before[name] != beside[name]}
    assert {"degraded_runs", "leases.turns", "leases.capacities"} >= READS.keys() - unlike


def test_every_method_of_a_store_is_known_here() -> None:
    """A new method of a store is a way to read another tenant's, until it has a line in this module."""
    methods = {
        f"{prefix}{name}"
        for prefix, protocol in PROTOCOLS.items()
        for name, found in vars(protocol).items()
        if callable(found) and not name.startswith("_")
    }

    assert methods == READS.keys() | SHARED | WRITES


def test_a_tenant_s_limit_is_its_own(store: Store) -> None:
    """What one tenant holds counts towards no other tenant's limit, and towards none of who has none."""
    one = ResourceRequirements(cpu_millicores=100, memory_mb=100)
    store.leases.set_capacity("a", one)
    store.leases.set_capacity("a_b", one)
    asked = [
        store.leases.ask(LeaseRequest(holder=holder, tenant=tenant, needed=one, epoch=1))
        for tenant, holder in (("a", "1"), ("a_b", "2"), ("", "3"), ("axb", "4"), ("a", "5"), ("a_b", "6"))
    ]

    assert [LeaseAction.GRANT] * 4 == [found.action for found in asked[:4]]
    assert [LeaseReason.TENANT_AT_LIMIT] * 2 == [found.reason for found in asked[4:]]
