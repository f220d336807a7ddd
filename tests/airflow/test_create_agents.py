"""The operator that creates agents for a queue: SEED 26, 27."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from airflow_orchestration.agents.agent import Agent
from airflow_orchestration.agents.templates import (
    AgentTemplate,
    AgentTemplates,
    built_in_templates,
    register_template,
)
from airflow_orchestration.agents.work import Work, WorkResult
from airflow_orchestration.domain.agent import Capability, ResourceRequirements
from airflow_orchestration.exceptions import InputRefusedError
from airflow_orchestration.get_provider_info import get_provider_info
from airflow_orchestration.operators import create_agents
from airflow_orchestration.operators.create_agents import CreateAgentsOperator
from airflow_orchestration.storage.leases import EVERYBODY
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


class Working(Agent):
    """A worker that needs no lane."""

    def run(self, work: Work) -> WorkResult:
        return WorkResult(records=1)


OWN = [
    AgentTemplate(name=f"own_{capability.value}", capabilities=frozenset({capability}), agent_class=Working)
    for capability in (Capability.DATA_INGESTION, Capability.DATA_VALIDATION)
]
"""By name behind the built-in types, which know just as much."""


@pytest.fixture
def store(migrated: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[PostgresStore]:
    with store_for_tasks(migrated, monkeypatch) as opened:
        for template in OWN:
            register_template(template)
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
    """Each batch has an agent, alike and so in the queue's order, the one that demands nothing too; a coordinator has no task."""
    ids = execute(QUEUE)
    coordinator, *agents = store.agents.assigned(RUN, 0)

    assert [one.agent_id for one in agents] == ids
    assert [
        ("own_data_ingestion", "stream", 0),
        ("own_data_validation", "batch_2", 1),
        ("own_data_validation", "batch_3", 2),
        ("own_data_ingestion", "batch_4", 3),
    ] == [(one.specification.agent_type, one.work["batch"]["id"], one.position) for one in agents]
    assert ("pipeline_coordinator", -1, {}) == (
        coordinator.specification.agent_type,
        coordinator.position,
        coordinator.work,
    )
    assert 5 == len({one.agent_id for one in (coordinator, *agents)})
    assert {"things/1"} == {
        one.specification.specialization_parameters["task_context"]["workflow_id"]  # type: ignore[call-overload, index]
        for one in agents
    }


def test_seed_27_the_event_and_the_decisions_are_kept(store: PostgresStore) -> None:
    """The timeline has the event with the active count; what the queue led to and each choice are decisions."""
    execute(QUEUE)
    decisions = [decision for _, decision in store.decisions(RUN)]

    assert [(5, [])] == [(event["active_count"], event["failures"]) for event in told(store)]
    assert ["agent_requirements", *["agent_selection"] * 5, "agent_order"] == [
        it["policy"] for it in decisions
    ]
    assert (3, 1, {}) == tuple(
        decisions[0]["evidence"][name] for name in ("specialists", "general", "without_agent")
    )


def test_templates_in_the_queue_stay_text(store: PostgresStore) -> None:
    """What looks like a template is not rendered: the queue is data."""
    execute(QUEUE[:1])
    (agent,) = store.agents.assigned(RUN, 0)

    assert "{{ 7*191 }}" == agent.work["batch"]["description"]
    assert () == CreateAgentsOperator.template_fields


def test_a_queue_is_never_given_to_a_type_that_needs_a_lane(store: PostgresStore) -> None:
    """Built-in types are no candidates where they could do nothing; the coordinator may be one of them."""
    execute(QUEUE)
    tables = [
        [row["agent_type"] for row in decision["evidence"]["table"]]
        for _, decision in store.decisions(RUN)
        if decision["policy"] == "agent_selection"
    ]

    assert [[template.name for template in OWN]] * 4 == tables[:4]
    assert "pipeline_coordinator" in tables[4]


def test_a_queue_that_nobody_can_work_on_fails_with_every_reason(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A green run in which nobody worked would be a lie; the failures are recorded all the same (SEED 27)."""
    monkeypatch.setattr(create_agents, "registered_templates", built_in_templates)
    words = (
        "nobody could be had for any batch of the queue\n"
        "stream, batch_2, batch_3, batch_4: NoSuitableAgentError: no type of agent with a run() of its own has all the "
        "capabilities; a queue has no lane that would do the work: register a template whose class has one"
    )
    with pytest.raises(AirflowFailException, match=re.escape(words)):
        execute(QUEUE)
    (event,) = told(store)

    assert (0, ["NoSuitableAgentError"] * 4) == (
        event["active_count"],
        [failure["error_type"] for failure in event["failures"]],
    )


def test_a_cleared_task_chooses_anew_where_nobody_could_be_had(store: PostgresStore) -> None:
    """Once there is room, the same task has its agents; a crew of nobody is not kept."""
    store.leases.set_capacity(EVERYBODY, ResourceRequirements(cpu_millicores=1, memory_mb=1))
    with pytest.raises(
        AirflowFailException, match=r"batch_1: ResourceUnavailableError: .*waiting can't help"
    ):
        execute(QUEUE[1:2])
    store.leases.set_capacity(EVERYBODY, None)

    assert 1 == len(execute(QUEUE[1:2], try_number=2))


@pytest.mark.usefixtures("store")
def test_an_empty_queue_has_no_agents() -> None:
    """That is no failure: there was nothing to do for any."""
    assert [] == execute([])


def test_no_batch_of_a_queue_is_left_undone(store: PostgresStore) -> None:
    """Whoever puts a batch into a queue wants it done: one of a type that nobody knows has an agent beside the others."""
    execute([{"id": "stars", "type": "validation"}, {"id": "moons", "type": "nightly"}])

    assert ["stars", "moons"] == [one.work["batch"]["id"] for one in store.agents.assigned(RUN, 0)]


@pytest.mark.usefixtures("store")
def test_a_batch_that_demands_nothing_goes_to_whoever_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """It asks for what a type of the author's own can do, whatever that is."""
    only = AgentTemplates([*built_in_templates().all(), OWN[1]])
    monkeypatch.setattr(create_agents, "registered_templates", lambda: only)

    assert "own_data_validation" == execute([{}])[0].rpartition("_")[0]


@pytest.mark.usefixtures("store")
def test_a_batch_that_nobody_works_on_is_told_with_the_reason(caplog: pytest.LogCaptureFixture) -> None:
    """The others work on, so the log is where a person looks; and no decision is told without what it is about."""
    caplog.set_level("INFO")
    execute([{"id": "sums", "capabilities": ["data_aggregation"]}, {"id": "stars", "type": "validation"}])
    told = [record.getMessage() for record in caplog.records]

    assert [True] == [
        "lacks data_aggregation" in line
        for line in told
        if line.startswith("Nobody works on batch sums: NoSuitableAgentError: ")
    ]
    assert any(
        line.endswith("(batches 2, specialists 2, general 0, coordinators 0, coordinate_above 2)")
        for line in told
    )
    assert any(
        line.endswith(
            "no_suitable_agent because capability_missing (required data_aggregation, candidates 2, suitable 0)"
        )
        for line in told
    )


def test_agents_are_their_tenant_s(store: PostgresStore) -> None:
    """The tenant is said once, where they are made, and kept with each of them."""
    execute(QUEUE, tenant="north")
    assert {"north"} == {agent.tenant for agent in store.agents.assigned(RUN, 0)}


@pytest.mark.usefixtures("store")
def test_a_task_tells_its_own_decisions_alone(caplog: pytest.LogCaptureFixture) -> None:
    """The log of a second task of a run does not repeat those of the first, nor does a second try."""
    caplog.set_level("INFO", logger="airflow_orchestration.workflow.staffing")
    for task_id, queue in (("load", QUEUE[:1]), ("check", QUEUE[1:2]), ("check", QUEUE[1:2])):
        execute(queue, task_id)

    assert ["agent_requirements", "agent_selection"] * 2 == [
        record.message.split(":")[0] for record in caplog.records if "because" in record.message
    ]


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


def test_the_tenant_of_a_queue_can_be_one() -> None:
    """It is lent to under a name that limits can be set for."""
    with pytest.raises(InputRefusedError, match="tenant: 'North' is no name"):
        CreateAgentsOperator(task_id="agents", batch_queue=QUEUE, tenant="North")


def test_the_queue_does_not_hide_airflow_s_own() -> None:
    """The executor queue of the task stays what it was."""
    assert "default" == CreateAgentsOperator(task_id="agents", batch_queue=QUEUE).queue


def test_the_operators_are_announced() -> None:
    """Airflow finds the operators among those of the provider."""
    modules = [name for group in get_provider_info()["operators"] for name in group["python-modules"]]

    assert {"airflow_orchestration.operators.create_agents", "airflow_orchestration.operators.run_agent"} <= {
        *modules
    }
