"""Plans a round and chooses the lanes that have work in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.branch import BranchMixIn

from airflow_orchestration.domain.batch import Lane
from airflow_orchestration.domain.wording import MOST_NAMES, some_of
from airflow_orchestration.operators.base import OrchestrationOperator
from airflow_orchestration.workflow.plan import lane_payloads, plan_round

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_orchestration.storage.store import StoredRound


class PlanRoundOperator(OrchestrationOperator, BranchMixIn):
    """Allocates batches to branches and opens the gate; lanes without work are skipped (SEED 8 to 10).

    From round 2 on it is the load balancer: only what failed, is missing or is below standard runs again.

    :param always: ids of the tasks that follow in any case: the round's gate, and who creates its agents.
    :param routes: lane -> id of the task that hands the lane its branches.
    """

    inherits_from_skipmixin = True

    def __init__(self, *, always: Sequence[str], routes: Mapping[Lane, str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.always = list(always)
        self.routes = dict(routes)

    def execute(self, context: Context) -> dict[str, list[str]]:
        """Return the feeds of each branch."""
        with self.step(context, "plan") as step:
            stored = plan_round(step)
        self._tell(stored)
        taken = [task_id for lane, task_id in self.routes.items() if stored.plan.branches_in(lane)]
        self.do_branch(context, [*self.always, *taken])
        return {
            branch.branch_id: [batch.feed_id for batch in branch.batches] for branch in stored.plan.branches
        }

    def _tell(self, stored: StoredRound) -> None:
        plan = stored.plan
        self.log.info(
            "Round %d has %d feeds on %d branches; its gate decides at %s UTC at the latest",
            self.round_number,
            sum(len(branch.batches) for branch in plan.branches),
            len(plan.branches),
            f"{stored.deadline_at:%Y-%m-%d %H:%M:%S}",
        )
        for branch in plan.branches[:MOST_NAMES]:
            batches = some_of(f"{batch.feed_id} in {batch.lane.value}" for batch in branch.batches)
            self.log.info("Branch %s, cost %.3g: %s", branch.branch_id, branch.cost, batches)
        if len(plan.branches) > MOST_NAMES:
            self.log.info("The other %d branches are on the page", len(plan.branches) - MOST_NAMES)


class RouteLaneOperator(OrchestrationOperator):
    """Hands a lane the ids of its branches: the lane's task is mapped over them.

    What the lane is told of each batch (SEED 9, 10) stands in XCom `payload`, for people to read.

    :param lane: one of the five lanes.
    """

    def __init__(self, *, lane: Lane, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.lane = lane

    def execute(self, context: Context) -> list[str]:
        """Return the branch ids, made by the plan and by nobody else."""
        with self.step(context, f"route:{self.lane}") as step:
            plan = step.store.rounds(step.run_key)[self.round_number - 1].plan
            payloads = lane_payloads(step.spec, plan, self.lane)
        context["ti"].xcom_push(key="payload", value=payloads)
        branches = list(plan.branches_in(self.lane))
        self.log.info(
            "Lane %s has work on %d branches: %s", self.lane.value, len(branches), some_of(branches)
        )
        return branches
