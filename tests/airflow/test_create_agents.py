"""The operator that creates agents for a queue: SEED 26, 27."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from airflow_orchestration.agents.templates import AgentTemplates
from airflow_orchestration.domain.agent import ResourceRequirements
from airflow_orchestration.exceptions import InputRefusedError
from airflow_orchestration.get_provider_info import get_provider_info
from airflow_orchestration.operators import create_agents
from airflow_orchestration.operators.create_agents import CreateAgentsOperator
from airflow_orchestration.storage.postgres import PostgresStore
from airflow_orchestration.storage.store import RunKey
from tests.airflow.agent_tasks import CONN_ID, RUN, context, store_for_tasks

EVENT = "dynamic_data_processing_agent_creation"
QUEUE: list[dict[str, Any]] = [
    {"id": "stream", "type": "streaming", "complexity": "high", "description": "{{ 7*191 }}"},
    {"type": "validation", "quality": 0.9},
    {"type": "validation"},
    {},
]


@pytest.fixture
def store(database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[PostgresStore]:
    with store_for_tasks(database, monkeypatch) as opened:
        yield opened


def execute(
    queue: list[dict[str, Any]], task_id: str = "agents", *, tenant: str = "", **told: Any
) -> list[str]:
    operator = CreateAgentsOperator(
        task_id=task_id, batch_queue=queue, orchestration_conn_id=CONN_ID, tenant=tenant
    )
    found: list[str] = operator.execute(context(task_id, **told))
    return found


def told(store: PostgresStore, event: str = EVENT) -> list[Any]:
    return [line.detail for line in store.timeline(RUN) if line.event == event]


def test_seed_27_the_agents_of_a_queue(store: PostgresStore) -> None:
    """Three specialists come of the queue in its order, each for its batch, and a coordinator that has no task."""
    ids = execute(QUEUE)
    coordinator, *agents = store.agents.assigned(RUN, 0)

    assert [one.agent_id for one in agents] == ids
    assert [
        ("data_ingestion_specialist", "stream", 0),
        ("data_validation_specialist", "batch_2", 1),
        ("data_validation_specialist", "batch_3", 2),
    ] == [(one.specification.agent_type, one.work["batch"]["id"], one.position) for one in agents]
    assert ("pipeline_coordinator", -1, {}) == (
        coordinator.specification.agent_type,
        coordinator.position,
        coordinator.work,
    )
    assert 4 == len({one.agent_id for one in (coordinator, *agents)})
    assert {"things/1"} == {
        one.specification.specialization_parameters["task_context"]["workflow_id"]  # type: ignore[call-overload, index]
        for one in agents
    }


def test_seed_27_the_event_and_the_decisions_are_kept(store: PostgresStore) -> None:
    """The timeline has the event with the active count; what the queue led to and each choice are decisions."""
    execute(QUEUE)
    decisions = [decision for _, decision in store.decisions(RUN)]

    assert [(4, [])] == [(event["active_count"], event["failures"]) for event in told(store)]
    assert ["agent_requirements", *["agent_selection"] * 4] == [it["policy"] for it in decisions]
    assert {"general": 1} == decisions[0]["evidence"]["without_agent"]


def test_templates_in_the_queue_stay_text(store: PostgresStore) -> None:
    """What looks like a template is not rendered: the queue is data."""
    execute(QUEUE[:1])
    (agent,) = store.agents.assigned(RUN, 0)

    assert "{{ 7*191 }}" == agent.work["batch"]["description"]
    assert () == CreateAgentsOperator.template_fields


def test_seed_27_a_task_without_agents_does_not_fail(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When no type is registered, every requirement is a recorded failure."""
    monkeypatch.setattr(create_agents, "registered_templates", AgentTemplates)

    assert [] == execute(QUEUE)
    (event,) = told(store)
    assert (0, ["NoSuitableAgentError"] * 4) == (
        event["active_count"],
        [failure["error_type"] for failure in event["failures"]],
    )


def test_seed_27_one_failure_stops_no_other(store: PostgresStore) -> None:
    """What its tenant may never have is a recorded failure; the agents behind it keep their batches."""
    store.leases.set_capacity("north", ResourceRequirements(cpu_millicores=500, memory_mb=300))
    queue = [
        {"type": "validation", "id": "small"},
        {"type": "streaming", "complexity": "high", "size": 10**6},
    ]

    assert 1 == len(execute([*queue[::-1]], tenant="north"))
    (agent,) = store.agents.assigned(RUN, 0)
    assert ("small", 0) == (agent.work["batch"]["id"], agent.position)
    assert ["ResourceUnavailableError"] == [it["error_type"] for it in told(store)[0]["failures"]]


def test_a_second_try_gets_the_agents_of_the_first(store: PostgresStore) -> None:
    """Agents are created once, however often the task is run."""
    assert execute(QUEUE) == execute(QUEUE, try_number=2)
    assert 1 == len(told(store))


def test_two_tasks_of_a_run_have_agents_of_their_own(store: PostgresStore) -> None:
    """Each `CreateAgentsOperator` answers for its own queue, also one that is mapped, and in every run anew."""
    first, second = execute(QUEUE[:1], "load"), execute(QUEUE[1:2], "check")
    mapped = [execute(QUEUE[1:2], "mapped", map_index=index) for index in range(2)]
    other = execute(QUEUE[:1], "load", run=RunKey(dag_id=RUN.dag_id, run_id="2"))

    assert [1] * 5 == [len(ids) for ids in (first, second, *mapped, other)]
    assert 5 == len({*first, *second, *mapped[0], *mapped[1], *other})
    assert first == execute(QUEUE[:1], "load", try_number=2)
    assert {*first, *second, *mapped[0], *mapped[1]} == {
        one.agent_id for one in store.agents.assigned(RUN, 0)
    }


def test_a_bad_queue_is_refused_when_the_dag_is_parsed() -> None:
    """The constructor names every batch that is wrong."""
    with pytest.raises(InputRefusedError) as refused:
        CreateAgentsOperator(task_id="agents", batch_queue=[{"size": "1000"}, {}, {"tpye": "validation"}])

    assert ["batches[0].size", "batches[2].tpye"] == [problem.path for problem in refused.value.problems]


def test_the_queue_does_not_hide_airflow_s_own() -> None:
    """The executor queue of the task stays what it was."""
    assert "default" == CreateAgentsOperator(task_id="agents", batch_queue=QUEUE).queue


def test_the_operators_are_announced() -> None:
    """Airflow finds the operators among those of the provider."""
    modules = [name for group in get_provider_info()["operators"] for name in group["python-modules"]]

    assert {"airflow_orchestration.operators.create_agents", "airflow_orchestration.operators.run_agent"} <= {
        *modules
    }
