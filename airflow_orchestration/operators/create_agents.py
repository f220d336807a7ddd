"""Creates agents for the batches of a queue; an agent is a worker template, not a language model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from airflow.sdk import BaseOperator, timezone

from airflow_orchestration.agents.factory import AgentFactory
from airflow_orchestration.agents.resources import ResourcePool
from airflow_orchestration.agents.templates import AgentTemplates, built_in_templates
from airflow_orchestration.domain.agent import BatchQueue, TaskContext
from airflow_orchestration.domain.conf import validated
from airflow_orchestration.policies.agent_requirements import AgentRequirements, AgentRequirementsFacts

if TYPE_CHECKING:
    from airflow.sdk import Context


class CreateAgentsOperator(BaseOperator):
    """Decides which agents a queue needs, creates them, and hands on their specifications (SEED 22 to 27).

    That they can live at the same time is what creating them shows; they are released when the task ends,
    and whoever does the work creates them again from their specifications. An agent that can't be had is
    a recorded failure, not a failed task.

    :param batch_queue: the batches as plain data; a bad one is refused when the Dag is parsed. It renders
        no templates, and is not named `queue`, which is Airflow's word for where a task runs.
    :param templates: the types of agent; the built-in ones when left out.
    """

    template_fields = ()

    def __init__(
        self,
        *,
        batch_queue: Sequence[Mapping[str, Any]],
        templates: AgentTemplates | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.batch_queue = validated(BatchQueue, {"batches": batch_queue}, subject="batch_queue")
        self.templates = built_in_templates() if templates is None else templates

    def execute(self, context: Context) -> dict[str, Any]:
        """Return the specifications, how many there are, the failures and the decisions, as plain data."""
        run = context["dag_run"]
        factory = AgentFactory(self.templates, ResourcePool(), new_id=lambda: uuid4().hex)
        needed = AgentRequirements().evaluate(AgentRequirementsFacts(batches=self.batch_queue.batches))
        self.log.info("%s", needed)
        where = TaskContext(workflow_id=f"{run.dag_id}/{run.run_id}")
        with factory.create_all(needed.requirements, now=timezone.utcnow(), context=where) as created:
            for decision in created.decisions:
                self.log.info("%s", decision)
            for failure in created.failures:
                self.log.warning("%s: %s", failure.error_type, failure.error)
            return {**created.as_json(), "requirements": needed.as_json()}
