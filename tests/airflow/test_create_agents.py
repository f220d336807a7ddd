"""The operator that creates agents for a queue: SEED 26, 27."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_orchestration.agents.templates import AgentTemplates
from airflow_orchestration.exceptions import InputRefusedError
from airflow_orchestration.get_provider_info import get_provider_info
from airflow_orchestration.operators.create_agents import CreateAgentsOperator

CONTEXT: Any = {"dag_run": SimpleNamespace(dag_id="airports", run_id="manual__1")}
QUEUE = [
    {"type": "streaming", "complexity": "high", "description": "{{ 7*191 }}"},
    {"type": "validation", "quality": 0.9},
    {"type": "validation"},
    {},
]


def execute(queue: list[dict[str, Any]], **arguments: Any) -> dict[str, Any]:
    operator = CreateAgentsOperator(task_id="agents", batch_queue=queue, **arguments)
    found: dict[str, Any] = operator.execute(CONTEXT)
    return found


def test_seed_27_execute_returns_the_agents_as_plain_data() -> None:
    """Three specialists and a coordinator come of the queue, each with its id and its context."""
    found = execute(QUEUE)
    parameters = [made["specialization_parameters"] for made in found["specifications"]]

    assert found == json.loads(json.dumps(found))
    assert ("dynamic_data_processing_agent_creation", 4, []) == (
        found["event"],
        found["active_count"],
        found["failures"],
    )
    assert [
        "data_ingestion_specialist",
        "data_validation_specialist",
        "data_validation_specialist",
        "pipeline_coordinator",
    ] == [made["agent_type"] for made in found["specifications"]]
    assert 4 == len({it["agent_id"] for it in parameters})
    assert {"airports/manual__1"} == {it["task_context"]["workflow_id"] for it in parameters}
    assert {"general": 1} == found["requirements"]["evidence"]["without_agent"]


def test_templates_in_the_queue_stay_text() -> None:
    """What looks like a template is not rendered: the queue is data."""
    context = execute(QUEUE)["specifications"][0]["specialization_parameters"]["task_context"]

    assert "{{ 7*191 }}" == context["task_description"]
    assert () == CreateAgentsOperator.template_fields


def test_seed_27_a_task_without_agents_does_not_fail() -> None:
    """When no type is registered, every requirement is a recorded failure."""
    found = execute(QUEUE, templates=AgentTemplates())

    assert (0, ["NoSuitableAgentError"] * 4) == (
        found["active_count"],
        [failure["error_type"] for failure in found["failures"]],
    )
    assert {"no_templates"} == {decision["reason"] for decision in found["decisions"]}


def test_a_bad_queue_is_refused_when_the_dag_is_parsed() -> None:
    """The constructor names every batch that is wrong."""
    with pytest.raises(InputRefusedError) as refused:
        CreateAgentsOperator(task_id="agents", batch_queue=[{"size": "1000"}, {}, {"tpye": "validation"}])

    assert ["batches[0].size", "batches[2].tpye"] == [problem.path for problem in refused.value.problems]


def test_the_queue_does_not_hide_airflow_s_own() -> None:
    """The executor queue of the task stays what it was."""
    assert "default" == CreateAgentsOperator(task_id="agents", batch_queue=QUEUE).queue


def test_the_operator_is_announced() -> None:
    """Airflow finds the operator among those of the provider."""
    modules = [name for group in get_provider_info()["operators"] for name in group["python-modules"]]

    assert CreateAgentsOperator.__module__ in modules
