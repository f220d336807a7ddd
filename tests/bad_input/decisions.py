"""What agents, gates and merges make of facts that are wrong, contradict each other, or come too late."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow_orchestration.agents.templates import AgentTemplate, AgentTemplates
from airflow_orchestration.domain.agent import AgentRequirement, Capability, ResourceRequirements
from airflow_orchestration.domain.batch import BatchType
from airflow_orchestration.domain.conf import validated
from airflow_orchestration.engine.staging import StagingArea
from airflow_orchestration.policies.agent_selection import AgentSelection
from airflow_orchestration.policies.leasing import LeaseClaim, LeaseQueue, Leasing, LeasingFacts
from airflow_orchestration.policies.merging import MergeFacts, Merging, SourceFacts
from airflow_orchestration.policies.quality import QualityFacts, QualityGate
from airflow_orchestration.policies.quorum_gate import GateFacts, Member, MemberState, QuorumGate
from airflow_orchestration.storage.memory import MemoryStore
from tests.bad_input.runs import full, late, past, planned
from tests.engine.test_fusing import Given, fused
from tests.storage.builders import RUN, TERMS, claimed, decision, outcome, plan
from tests.storage.conftest import SteppingClock
from tests.unit.agents.builders import NOW, factory, need, specification

Facts = Mapping[str, Any]
SMALL = ResourceRequirements(cpu_millicores=500, memory_mb=256)


def weights(given: Facts, _: Path) -> Facts:
    """Weights of the score by which agents are chosen."""
    capability, performance, efficiency = given["weights"]
    AgentSelection(capability_weight=capability, performance_weight=performance, efficiency_weight=efficiency)
    return {}


def merging(given: Facts, _: Path) -> Facts:
    """Sources with a quality and a time, which may be none."""
    sources = tuple(
        SourceFacts(
            feed_id=name,
            type=BatchType.DATA_INGESTION,
            quality=found.get("quality", 1.0),
            seconds=found.get("seconds"),
        )
        for name, found in given["sources"].items()
    )
    made = Merging().evaluate(MergeFacts(sources=sources, expected_weight=len(sources)))
    return {"shares": made.attribution, "quality": made.overall_quality, "reason": made.reason.value}


def gate(given: Facts, _: Path) -> Facts:
    """How a gate decides before its deadline with so many of three feeds."""
    members = tuple(
        Member(
            id=f"feed_{number}",
            state=MemberState.ARRIVED if number < given["arrived"] else MemberState.PENDING,
        )
        for number in range(3)
    )
    deciding = QuorumGate(
        deadline=timedelta(seconds=given["deadline"]),
        floor=given["floor"],
        grace_period=timedelta(0),
    )
    made = deciding.evaluate(GateFacts(members=members, elapsed=timedelta(0), since_floor=timedelta(0)))
    return {"action": made.action.value, "reason": made.reason.value}


def requirement(given: Facts, _: Path) -> Facts:
    """A task that asks for capabilities by name."""
    asked = validated(AgentRequirement, given["asked"], subject="requirement")
    return {"agent": factory().generate(asked, now=NOW).agent_type}


def tie(_: Facts, __: Path) -> Facts:
    """Two types that are the same but for their names, the later first."""
    alike: Any = {"capabilities": frozenset({Capability.DATA_INGESTION})}
    made_by = factory(AgentTemplates(AgentTemplate(name=name, **alike) for name in ("b", "a")))
    chosen = made_by.select(need())
    return {"agent": chosen.agent_type, "reason": chosen.reason.value}


def capacity(given: Facts, _: Path) -> Facts:
    """A place where an agent can't be lent what it needs, ever."""
    place = ResourceRequirements(**given["place"])
    return {"agent": factory(capacities=[place]).generate(need(), now=NOW).agent_type}


def lease(_: Facts, __: Path) -> Facts:
    """A place where somebody else holds what an agent needs."""

    def claim(holder: str) -> LeaseClaim:
        return LeaseClaim(holder=holder, tenant="north", needed=SMALL, asked_at=NOW, unserved_since=NOW)

    queue = LeaseQueue(
        now=NOW,
        capacity=SMALL,
        tenant_capacities={"north": SMALL},
        held=(claim("first"),),
        waiting=(claim("second"),),
    )
    made = Leasing().evaluate(LeasingFacts(queue=queue, holder="second"))
    return {"action": made.action.value, "reason": made.reason.value}


def returned(_: Facts, __: Path) -> Facts:
    """The same place, once it was given back."""
    claim = LeaseClaim(holder="second", tenant="north", needed=SMALL, asked_at=NOW, unserved_since=NOW)
    queue = LeaseQueue(now=NOW, capacity=SMALL, tenant_capacities={"north": SMALL}, held=(), waiting=(claim,))
    made = Leasing().evaluate(LeasingFacts(queue=queue, holder="second"))
    return {"action": made.action.value}


def agent_type(given: Facts, _: Path) -> Facts:
    """A specification that somebody has changed between two tasks."""
    made_by = factory()
    made = made_by.create(specification(made_by).model_copy(update={"agent_type": given["agent_type"]}))
    return {"agent": type(made).__name__}


def staged(given: Facts, folder: Path) -> Facts:
    """A staged file of which one bit is another when it is read again."""
    area, made = StagingArea(folder / "staging"), folder / "rows.parquet"
    made.write_bytes(b"PAR1 and so on")
    kept = area.store(made, "run/rows.parquet", rows=1)
    data = bytearray(Path(kept.uri).read_bytes())
    data[given["byte"]] ^= 1
    Path(kept.uri).write_bytes(data)
    return {"bytes": area.fetch(kept, folder).stat().st_size}


def merge(given: Facts, folder: Path) -> Facts:
    """Sources with the keys that they have; the heaviest comes first."""
    sources = [
        Given(name, found["weight"], [{"a0_1": key, "p0": 1, "name": name} for key in found["keys"]])
        for name, found in given["sources"].items()
    ]
    made = fused(sources, folder)
    return {"rows": made.rows, "published": made.published, "superseded": made.superseded}


def quality(given: Facts, _: Path) -> Facts:
    """A merged table of so many rows."""
    facts = QualityFacts(feeds=(), overall=given["overall"], rows=given["rows"], round=1, max_rounds=3)
    made = QualityGate(approve_at=0.8, fail_below=0.5).evaluate(facts)
    return {"action": made.action.value, "reason": made.reason.value}


def registered(given: Facts, _: Path) -> Facts:
    """A branch that reports its rows; the gate may have decided before."""
    store = MemoryStore(SteppingClock())
    fence = claimed(store, "plan", 1)
    store.open_round(fence, plan(feeds=("a", "b")), TERMS)
    branch = claimed(store, "branch:beta:b1", 1)
    if given.get("decided"):
        store.record_verdict(RUN, 1, decision(share=0.5))
    store.register(branch, outcome("a", **given.get("outcome", {})))
    verdict = store.rounds(RUN)[0].verdict
    return {
        "registered": [one.feed_id for one in store.outcomes(RUN)],
        "share": verdict["evidence"]["share"] if verdict else "none",
        "told": [event.event for event in store.timeline(RUN) if event.event == "feed_registered"],
    }


SITUATIONS: Mapping[str, Callable[[Facts, Path], Facts]] = {
    one.__name__: one
    for one in (
        weights,
        merging,
        gate,
        requirement,
        tie,
        capacity,
        lease,
        agent_type,
        staged,
        merge,
        quality,
        registered,
        returned,
        planned,
        past,
        late,
        full,
    )
}


def decide(given: Facts, folder: Path) -> Facts:
    """What comes of a situation; `situation` names one above, the rest is about it."""
    return SITUATIONS[given["situation"]](given, folder)
