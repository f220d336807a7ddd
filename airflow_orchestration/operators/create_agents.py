"""Creates agents for batches; an agent is a worker template with a specification, not a language model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from airflow.sdk import timezone
from airflow.sdk.exceptions import AirflowFailException

from airflow_orchestration.agents.templates import registered_templates
from airflow_orchestration.domain.agent import NO_TENANT, read_queue
from airflow_orchestration.domain.tenancy import tenant_problems
from airflow_orchestration.domain.wording import some_of
from airflow_orchestration.exceptions import InputRefusedError, NobodyHiredError
from airflow_orchestration.operators.base import OrchestrationOperator
from airflow_orchestration.storage.agent_records import NO_TASK
from airflow_orchestration.workflow.queue_staffing import staff_queue
from airflow_orchestration.workflow.staffing import Hiring, staff_round

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_orchestration.domain.agent import BatchQueue
    from airflow_orchestration.storage.agent_records import AssignedAgent
    from airflow_orchestration.workflow.step import Step


TOLD_AGENTS = 50
"""Ours: agents that the log names."""


class CreateAgentsOperator(OrchestrationOperator):
    """Decides which agents are needed, chooses and specifies them, and hands on their ids (SEED 22 to 27).

    Map `RunAgentOperator` over them. An agent that can't be had is a recorded failure, not a failed task; the task
    fails when a queue needs agents and nobody could be had at all.

    :param batch_queue: the batches as plain data; a bad one is refused when the Dag is parsed. It renders
        no templates, and is not named `queue`, which is Airflow's word for where a task runs. Left out in a
        pipeline's Dag, where the batches are those of the round's plan.
    :param tenant: whose agents those of a queue are: it is lent to for them, and nobody else learns from their
        work. Those of a pipeline are its tenant's.
    """

    def __init__(
        self,
        *,
        batch_queue: Sequence[Mapping[str, Any]] | None = None,
        tenant: str = NO_TENANT,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if tenant != NO_TENANT and (problems := list(tenant_problems(tenant))):
            raise InputRefusedError("agents of a queue", problems)
        self.batch_queue = None if batch_queue is None else read_queue(batch_queue, subject="batch_queue")
        self.tenant = tenant

    def execute(self, context: Context) -> list[str]:
        """Return the ids of the agents in the order in which they are to begin; a coordinator is not among them."""
        hiring = Hiring(templates=registered_templates(), new_id=lambda: uuid4().hex, now=timezone.utcnow())
        ti = context["ti"]
        mapped = "" if ti.map_index is None or ti.map_index < 0 else f":{ti.map_index}"
        unit = f"agents:{ti.task_id}{mapped}"
        with self.step(context, unit) as step:
            if self.batch_queue is None:
                agents = staff_round(step, hiring)
            else:
                agents = self._staff_queue(step, hiring, self.batch_queue)
        for agent in agents[:TOLD_AGENTS]:
            self.log.info("Agent %s %s", agent.agent_id, _told(agent))
        self.log.info("%d agent%s made", len(agents), " is" if len(agents) == 1 else "s are")
        return [agent.agent_id for agent in agents if agent.position != NO_TASK]

    def _staff_queue(self, step: Step, hiring: Hiring, queue: BatchQueue) -> tuple[AssignedAgent, ...]:
        """Fail for good when nobody could be had: trying again finds the same types and the same limits."""
        try:
            return staff_queue(step, hiring, queue, self.tenant)
        except NobodyHiredError as nobody:
            raise AirflowFailException(str(nobody)) from None


def _told(agent: AssignedAgent) -> str:
    """Say what an agent is there for."""
    work = agent.work
    if "batch" in work:
        return f"works on batch {work['batch']['id']}"
    if "feeds" in work:
        return f"works on branch {work['branch_id']} in lane {work['lane']}: {some_of(work['feeds'])}"
    return "coordinates the others"
