"""A Dag for each job of `tenants`, and a template of agents beside the built-in ones."""

from __future__ import annotations

from pathlib import Path

from airflow_orchestration.agents.agent import Agent
from airflow_orchestration.agents.templates import AgentTemplate, register_template
from airflow_orchestration.agents.work import Work, WorkResult
from airflow_orchestration.dags.agent_factory import AgentFactoryHook
from airflow_orchestration.domain.agent import Capability
from airflow_orchestration.exceptions import AgentWorkError

HERE = Path(__file__).resolve().parent


class StrictRefiner(Agent):
    """Takes in and transforms batches, and refuses what is not as good as its task asks for."""

    def run(self, work: Work) -> WorkResult:
        """Do what the lane does, then judge the result."""
        result = work.process()
        if result.quality_score < self.parameters.quality_threshold:
            raise AgentWorkError(
                f"quality {result.quality_score:.3f} is not good enough; have it delivered again"
            )
        return result


register_template(
    AgentTemplate(
        name="strict_refiner",
        capabilities=frozenset({Capability.DATA_INGESTION, Capability.DATA_TRANSFORMATION}),
        agent_class=StrictRefiner,
    )
)
AgentFactoryHook(
    HERE / "tenants", data=HERE.parent / ".orchestration/tenants", shared_conn_ids=["orchestration_default"]
).generate_dags()
