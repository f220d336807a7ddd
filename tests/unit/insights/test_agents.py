"""What the store knows of agents, for a person: of a run, and of a tenant."""

from __future__ import annotations

import doctest
import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from airflow_orchestration.domain.agent import Capability, QueuedBatch, ResourceRequirements
from airflow_orchestration.insights import narrative
from airflow_orchestration.insights.agents import AgentState, leaderboard, run_agents
from airflow_orchestration.insights.narrative import sentence
from airflow_orchestration.policies.agent_order import AgentOrder, AgentOrderFacts, AssignedBatch, Assignment
from airflow_orchestration.policies.agent_selection import (
    AgentCandidate,
    AgentSelection,
    AgentSelectionDecision,
    AgentSelectionFacts,
)
from airflow_orchestration.storage.memory import MemoryStore
from airflow_orchestration.storage.store import Event
from airflow_orchestration.workflow.agent_monitoring import AgentMonitor
from tests.unit.insights.agent_builders import (
    NOW,
    RUN,
    VALIDATOR,
    assigned,
    failed,
    fence,
    lease,
    memory_store,
    outcome,
)

SMALL = ResourceRequirements(cpu_millicores=500, memory_mb=256)


@pytest.fixture
def store() -> MemoryStore:
    return memory_store()


def choice(*, success_rate: float = 1.0) -> AgentSelectionDecision:
    """The real decision between a specialist, a generalist, and somebody who can't do it."""
    able = {
        VALIDATOR: {Capability.DATA_VALIDATION},
        "data_generalist": set(Capability),
        "data_ingestion_specialist": {Capability.DATA_INGESTION},
    }
    candidates = tuple(
        AgentCandidate(
            name=name,
            capabilities=frozenset(found),
            success_rate=success_rate,
            outcomes=3,
            footprint=SMALL,
        )
        for name, found in able.items()
    )
    needs = frozenset({Capability.DATA_VALIDATION})
    return AgentSelection().evaluate(AgentSelectionFacts(required=needs, needed=SMALL, candidates=candidates))


def one_agent(store: MemoryStore, **changes: Any) -> AgentMonitor:
    """One agent for a queue, chosen and assigned, before it begins."""
    staff = fence(store, "staff", 0)
    store.record_decision(staff, choice().leading_to(f"{VALIDATOR}_1", {}))
    agent = assigned(work={"batch": {"id": "planes"}}, **changes)
    store.agents.assign(staff, [agent])
    return AgentMonitor(store=store, fence=fence(store, round_number=0), agent=agent)


def seen(store: MemoryStore) -> Any:
    [found] = run_agents(store, RUN)
    [agent] = found.agents
    return agent


def test_an_agent_has_its_candidates_best_first(store: MemoryStore) -> None:
    """The chosen type stands first, who lacks a capability last and with what it lacks."""
    one_agent(store)
    found = seen(store).choice
    assert [VALIDATOR, "data_generalist", "data_ingestion_specialist"] == [
        it.agent_type for it in found.candidates
    ]
    assert ("highest_score", 1.0, 3) == (found.reason, found.score, found.candidates[0].outcomes)
    assert (None, ("data_validation",)) == (found.candidates[2].score, found.candidates[2].missing)


def test_a_decision_of_a_newer_package_is_read(store: MemoryStore) -> None:
    """What it knows of a candidate beyond what is shown is passed over."""
    staff = fence(store, "staff", 0)
    decision = choice().leading_to(f"{VALIDATOR}_1", {})
    table = [{**row, "shoe_size": 43} for row in decision.as_json()["evidence"]["table"]]  # type: ignore[index, call-overload, union-attr]
    store.record_decision(staff, replace(decision, evidence={**decision.evidence, "table": table}))
    store.agents.assign(staff, [assigned(work={"batch": {"id": "planes"}})])

    assert VALIDATOR == seen(store).choice.candidates[0].agent_type


def test_a_state_follows_the_timeline(store: MemoryStore) -> None:
    """Created, waiting, working, and how it ended."""
    monitor = one_agent(store)
    states = [seen(store).state]
    for step in (
        lambda: monitor.waiting(lease("no_room")),
        monitor.started,
        lambda: monitor.finished(succeeded=False),
    ):
        step()
        states.append(seen(store).state)
    assert [AgentState.CREATED, AgentState.WAITING, AgentState.WORKING, AgentState.FAILED] == states


def test_what_came_of_it_stands_beside_the_targets(store: MemoryStore) -> None:
    """Records, time and quality are those of its outcomes; targets are judged at the end."""
    monitor = one_agent(store)
    store.agents.record(monitor.fence, "north", outcome(seconds=20, records=1000))
    assert {} == seen(store).targets
    monitor.finished(succeeded=True)
    found = seen(store)
    assert (1000, 50.0) == (found.work.records, found.work.throughput)
    assert {"response_time": False, "throughput": False, "quality": True} == found.targets
    assert (10, 20.0) == (found.wanted["response_time"], found.measured["response_time"])


def test_an_agent_that_is_not_monitored_shows_by_its_outcomes(store: MemoryStore) -> None:
    """Without a line in the timeline, its batches say how far it is."""
    monitor = one_agent(store, monitoring_enabled=False)
    assert AgentState.CREATED is seen(store).state
    store.agents.record(monitor.fence, "north", failed("planes"))
    assert (AgentState.FAILED, ("planes",)) == (seen(store).state, seen(store).failed)


def test_decisions_go_to_the_agents_that_they_name(store: MemoryStore) -> None:
    """Two agents of one type each have their own decision, whatever the order of work."""
    staff = fence(store, "staff", 0)
    for agent_id, rate in (("a", 0.5), ("b", 1.0)):
        decision = choice(success_rate=rate)
        store.record_decision(staff, decision.leading_to(agent_id, {}))
    store.agents.assign(staff, [assigned("b", 0), assigned("a", 1)])
    [found] = run_agents(store, RUN)
    assert [("b", 1.0), ("a", 0.8)] == [(it.agent_id, it.choice.score) for it in found.agents if it.choice]


def test_the_coordinator_and_its_order_are_shown(store: MemoryStore) -> None:
    """A coordinator has no batches; its decision says who goes first and why."""
    staff = fence(store, "staff", 0)
    agents = tuple(
        Assignment(agent_id=name, batches=(AssignedBatch(batch=name, seconds=1),)) for name in ("a", "b", "c")
    )
    store.record_decision(staff, AgentOrder().evaluate(AgentOrderFacts(agents=agents)))
    store.agents.assign(staff, [assigned("boss", -1, work={}), assigned("a", 0)])
    [found] = run_agents(store, RUN)
    assert [AgentState.COORDINATES, AgentState.CREATED] == [it.state for it in found.agents]
    assert found.order is not None
    assert ("order_agents", "nobody_needs_another") == (found.order["action"], found.order["reason"])


def test_a_coordinator_ends_with_its_round(store: MemoryStore) -> None:
    """Its outcome is recorded when the run is closed, outside of the rounds, and still its own."""
    store.agents.assign(fence(store, "staff", 0), [assigned("boss", -1, work={})])
    store.agents.record(fence(store, "close"), "north", outcome("round_1", agent_id="boss"))
    assert AgentState.SUCCEEDED is seen(store).state


def test_an_agent_that_could_not_be_had_is_told(store: MemoryStore) -> None:
    """A round whose agents all failed is shown with the reasons."""
    detail = {"active_count": 0, "agents": [], "failures": [{"error": "nobody can do it"}]}
    store.add_event(fence(store, "staff", 0), "dynamic_data_processing_agent_creation", detail)
    [found] = run_agents(store, RUN)
    assert ("nobody can do it",) == found.failures


def test_a_run_without_agents_shows_none(store: MemoryStore) -> None:
    """Lanes that a Dag file binds are no agents."""
    assert () == run_agents(store, RUN)


def test_the_most_reliable_type_of_a_kind_leads(store: MemoryStore) -> None:
    """Each kind of work has its own order, and a tenant sees its own history alone."""
    told = fence(store)
    for batch, one in (("a", failed("a")), ("b", outcome("b", agent_type="data_generalist", seconds=2))):
        store.agents.record(told, "north", replace(one, batch=batch))
    store.agents.record(told, "south", outcome("c", agent_type="elsewhere"))
    found = leaderboard(store, "north")
    assert [("data_generalist", 1.0), (VALIDATOR, 0.8)] == [
        (it.agent_type, it.experience.success_rate) for it in found
    ]
    assert (1, 1, timedelta(seconds=2), 500.0) == (
        found[0].days,
        found[0].experience.outcomes,
        found[0].experience.execution_time,
        found[0].experience.throughput,
    )
    assert "elsewhere" == leaderboard(store, "south")[0].agent_type


def test_all_of_it_is_plain_data(store: MemoryStore) -> None:
    """What the command prints as JSON is JSON."""
    monitor = one_agent(store)
    store.agents.record(monitor.fence, "north", outcome())
    monitor.finished(succeeded=True)
    told = json.loads(
        json.dumps(
            [
                [it.as_json() for it in found]
                for found in (run_agents(store, RUN), leaderboard(store, "north"))
            ]
        )
    )
    assert ("succeeded", 2.0) == (
        told[0][0]["agents"][0]["state"],
        told[0][0]["agents"][0]["work"]["seconds"],
    )
    assert 2.0 == told[1][0]["execution_seconds"]


@pytest.mark.parametrize(
    ("reason", "story"),
    [
        ("no_room", "for 0.5 CPUs, 2 GiB, 1 connection: all hold 6.5 GiB of 8 GiB"),
        ("tenant_at_limit", "for 0.5 CPUs, 2 GiB, 1 connection: the tenant holds 2 GiB of 3 GiB"),
    ],
)
def test_a_wait_is_told_with_what_there_is_not_enough_of(store: MemoryStore, reason: str, story: str) -> None:
    """Only what lacks is named, of everybody's or of the tenant's own."""
    one_agent(store).waiting(lease(reason))
    word, told = sentence(store.timeline(RUN)[-1])
    assert ("waiting", f"{VALIDATOR}_1 {story}") == (word, told)


def test_who_waits_though_there_is_room_waits_for_others(store: MemoryStore) -> None:
    """It would fit, but it is not its turn."""
    decision = lease("others_first")
    room = {"held": [0, 0, 0], "capacity": [64_000, 8192, 1000]}
    one_agent(store).waiting(replace(decision, evidence={**decision.evidence, **room}))
    assert sentence(store.timeline(RUN)[-1])[1].endswith(": others come first, 2 wait")


def test_a_life_is_told_in_sentences(store: MemoryStore) -> None:
    """From the start to the end, with what was done and which targets were met."""
    monitor = one_agent(store)
    monitor.started(timedelta(seconds=3))
    monitor.reached(50, 100)
    monitor.progressed(1, 1, outcome(records=3322, seconds=0.4))
    store.agents.record(monitor.fence, "north", outcome(records=3322, seconds=0.4))
    monitor.finished(succeeded=True)
    assert [
        "takes planes after waiting 3.0 s",
        "has done 50 of 100",
        "has done 1 of 1; planes: 3,322 records in 0.4 s",
        "done: 3,322 records in 0.4 s, targets met",
    ] == stories(store)


def test_a_failure_is_told_in_sentences(store: MemoryStore) -> None:
    """Nothing was measured of it, so no target is judged; of a slow one the target is named with both figures."""
    monitor = one_agent(store)
    monitor.progressed(1, 1, failed("planes"))
    monitor.finished(succeeded=False)
    store.agents.record(monitor.fence, "north", outcome(seconds=100, records=100_000))
    monitor.finished(succeeded=True)
    assert [
        "has done 1 of 1; planes: failed",
        "failed: nothing was measured",
        "done: 100,000 records in 100.0 s, missed response time: 100, wanted 10",
    ] == stories(store)


def test_the_choice_of_agents_is_told_in_a_sentence() -> None:
    """Who was chosen with which score among how many, and who could not be had."""
    detail = {
        "active_count": 1,
        "agents": [{"agent_id": "a_1", "agent_type": "a", "score": 0.92, "candidates": 3}],
        "failures": [{"error": "nobody can do it"}],
    }
    event = Event(at=NOW, round=1, event="dynamic_data_processing_agent_creation", detail=detail)
    assert ("agents", "1 agent; a_1 (score 0.92, 3 candidates); nobody can do it") == sentence(event)


def test_examples_in_the_narrative_are_true() -> None:
    """Each doctest is run."""
    found = doctest.testmod(narrative)
    assert (0, True) == (found.failed, found.attempted > 0)


def test_a_batch_without_an_id_is_named_by_its_type(store: MemoryStore) -> None:
    """A queue's batch as it is stored has a name in any case."""
    batch = QueuedBatch(type="streaming").model_dump(mode="json")
    store.agents.assign(fence(store, "staff", 0), [assigned(work={"batch": batch})])
    assert ("streaming",) == seen(store).batches


def stories(store: MemoryStore) -> list[str]:
    return [sentence(event)[1].removeprefix(f"{VALIDATOR}_1 ") for event in store.timeline(RUN)]
