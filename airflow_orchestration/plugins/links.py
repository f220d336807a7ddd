"""The button on a task that leads to the page of its run, before, while and after the task runs.

The api-server makes it, from the plugin. A link of an operator's own is written by its worker when the task ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar
from urllib.parse import quote

from airflow.sdk import BaseOperatorLink

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey


def run_path(dag_id: str, run_id: str) -> str:
    """The page of a run, as a tab of Airflow; relative to Airflow's address, which may have a path itself.

    >>> run_path("north__sales", "manual__2026-01-02T03:04:05+00:00")
    'dags/north__sales/runs/manual__2026-01-02T03%3A04%3A05%2B00%3A00/plugin/orchestration'
    """
    return f"dags/{quote(dag_id, safe='')}/runs/{quote(run_id, safe='')}/plugin/{TAB}"


TAB = "orchestration"
"""The tab's part of the address."""


class _Operators:
    """The operators that leave their run in the store, imported where Airflow asks for them: in the api-server.

    A gate that stands alone in a Dag keeps nothing there, nor does a task of another run that looks at this one.
    """

    def __get__(self, link: object, owner: type | None = None) -> list[type[BaseOperator]]:
        from airflow_orchestration.operators import (  # noqa: PLC0415
            analyze_batches,
            ask,
            create_agents,
            fork,
            merge_branches,
            plan_round,
            process_branch,
            publish,
            run_agent,
        )
        from airflow_orchestration.sensors import round_gate  # noqa: PLC0415

        return [
            analyze_batches.AnalyzeBatchesOperator,
            ask.AskOperator,
            create_agents.CreateAgentsOperator,
            fork.ForkOperator,
            merge_branches.MergeBranchesOperator,
            plan_round.PlanRoundOperator,
            plan_round.RouteLaneOperator,
            process_branch.IngestionBranchOperator,
            process_branch.ValidationBranchOperator,
            process_branch.TransformationBranchOperator,
            process_branch.AggregationBranchOperator,
            process_branch.QualityBranchOperator,
            publish.CloseOutOperator,
            publish.FailOperator,
            publish.PublishOperator,
            round_gate.RoundGateSensor,
            run_agent.RunAgentOperator,
        ]


class RunLink(BaseOperatorLink):
    """Leads from a task to the page of its run."""

    name = "Orchestration"
    operators: ClassVar[list[type[BaseOperator]]] = _Operators()  # type: ignore[assignment]  # read as a list

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Where the button leads."""
        return run_path(ti_key.dag_id, ti_key.run_id)
