"""Who begins first in a queue: SEED 26, outside any pipeline."""

from __future__ import annotations

from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from airflow_orchestration.agents.agent import Agent
from airflow_orchestration.agents.templates import AgentTemplate, AgentTemplates, built_in_templates
from airflow_orchestration.agents.work import Work, WorkResult
from airflow_orchestration.domain.agent import AgentOutcome, AgentPerformance, BatchQueue, Capability
from airflow_orchestration.domain.conf import validated
from airflow_orchestration.engine.staging import StagingArea
from airflow_orchestration.insights.agents import AgentState, leaderboard, run_agents
from airflow_orchestration.storage.agent_records import AssignedAgent
from airflow_orchestration.storage.memory import MemoryStore
from airflow_orchestration.storage.store import Attempt, WorkUnit
from airflow_orchestration.workflow.queue_staffing import staff_queue
from airflow_orchestration.workflow.staffing import Hiring
from airflow_orchestration.workflow.step import Step
from tests.unit.workflow.rounds import KEY, NOW

LOADS, CHECKS = ["data_ingestion"], ["data_validation"]


class Working(Agent):
    """A worker that needs no lane."""

    def run(self, work: Work) -> WorkResult:
        return WorkResult(records=1)


TEMPLATES = AgentTemplates(
    [
        *built_in_templates().all(),
        *(
            AgentTemplate(name=f"own_{it.value}", capabilities=frozenset({it}), agent_class=Working)
            for it in (Capability.DATA_INGESTION, Capability.DATA_VALIDATION)
        ),
    ]
)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore(lambda: NOW)


def step(store: MemoryStore, unit: str = "agents:create", try_number: int = 1) -> Step:
    work = WorkUnit(run=KEY, round=0, unit=unit)
    return Step(
        store=store,
        fence=store.claim(work, Attempt(try_number=try_number, ti_id=f"{unit}-{try_number}", process="p")),
        scratch=Path("unused"),
        open_staging=lambda root: StagingArea(Path(root)),
    )


def hire(
    store: MemoryStore, *batches: tuple[str, list[str], int | None], try_number: int = 1
) -> tuple[AssignedAgent, ...]:
    """Have agents chosen for a queue of batches: id, capabilities, records."""
    queue = [{"id": name, "capabilities": needed, "size": size} for name, needed, size in batches]
    numbers = count(1000, -1)  # so that ids are not in the order of the queue
    hiring = Hiring(templates=TEMPLATES, new_id=lambda: f"{try_number}_{next(numbers):04}", now=NOW)
    checked = validated(BatchQueue, {"batches": queue}, subject="queue")
    return staff_queue(step(store, try_number=try_number), hiring, checked, "north")


def order_of(agents: tuple[AssignedAgent, ...]) -> list[str]:
    """The batches in the order in which their agents begin."""
    return [agent.work["batch"]["id"] for agent in agents if agent.position >= 0]


def decided(store: MemoryStore) -> list[Any]:
    return [it["reason"] for _, it in store.decisions(KEY) if it["policy"] == "agent_order"]


def test_seed_26_a_coordinated_queue_begins_with_the_longest_work(store: MemoryStore) -> None:
    """The largest batch is first, one of unknown size counts as the document's thousand; the decision is kept."""
    agents = hire(
        store, ("small", LOADS, 10), ("unknown", LOADS, None), ("large", CHECKS, 5000), ("more", LOADS, 2000)
    )

    assert ["large", "more", "unknown", "small"] == order_of(agents)
    assert [-1, 0, 1, 2, 3] == [agent.position for agent in agents]
    assert ["nobody_needs_another"] == decided(store)


def test_what_was_learned_of_the_pace_counts(store: MemoryStore) -> None:
    """Who checks ten records a second is longer at work on a thousand than who loads a hundred is on nine thousand."""
    for kind, records in (("data_ingestion", 1000), ("data_validation", 100)):
        performance = AgentPerformance(
            execution_time=timedelta(seconds=10), data_quality_score=1.0, records=records
        )
        for number in range(3):
            told = AgentOutcome(
                agent_id="x", agent_type=f"own_{kind}", kind=kind, batch=f"{kind}_{number}", succeeded=True,
                performance=performance,
            )  # fmt: skip
            store.agents.record(step(store, told.batch).fence, "north", told)
    agents = hire(store, ("load", LOADS, 9000), ("less", LOADS, 10), ("check", CHECKS, 1000))

    assert ["check", "load", "less"] == order_of(agents)


def test_equal_batches_keep_the_order_of_the_queue(store: MemoryStore) -> None:
    """Ids of agents are drawn, and must not decide who begins."""
    names = ["d", "a", "c", "b"]

    assert names == order_of(hire(store, *((name, LOADS, 100) for name in names)))


def test_two_agents_keep_the_order_of_the_queue(store: MemoryStore) -> None:
    """There is no coordinator, and nothing to decide."""
    assert ["small", "large"] == order_of(hire(store, ("small", LOADS, 10), ("large", LOADS, 5000)))
    assert [] == decided(store)
    assert [] == store.agents.outcomes(KEY)


def test_the_coordinator_of_a_queue_has_done_its_work_with_the_order(store: MemoryStore) -> None:
    """It is shown as succeeded, and its tenant learns of it."""
    hire(store, *((name, LOADS, 100) for name in "abc"))
    coordinator, *workers = run_agents(store, KEY)[0].agents

    assert AgentState.SUCCEEDED is coordinator.state
    assert {AgentState.CREATED} == {it.state for it in workers}
    assert [("queue", "pipeline_coordination", True)] == [
        (it.batch, it.kind, it.succeeded) for _, it in store.agents.outcomes(KEY)
    ]
    assert [("pipeline_coordinator", 1)] == [
        (it.agent_type, it.experience.outcomes) for it in leaderboard(store, "north")
    ]


def test_who_chooses_anew_after_a_death_counts_the_coordination_once(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The outcome is that of the agents that are kept, not of those that were lost with the task."""
    batches = [(name, LOADS, 100) for name in "abc"]

    def dies(*_: object) -> None:
        raise ConnectionError

    with monkeypatch.context() as dying:
        dying.setattr(store.agents, "assign", dies)
        with pytest.raises(ConnectionError):
            hire(store, *batches)
    coordinator = hire(store, *batches, try_number=2)[0]

    assert [coordinator.agent_id] == [it.agent_id for _, it in store.agents.outcomes(KEY)]
