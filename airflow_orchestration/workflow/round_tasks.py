"""Which feeds will never come because the task that had them is over?"""

from __future__ import annotations

from collections.abc import Mapping

from airflow_orchestration.domain.batch import Lane
from airflow_orchestration.domain.plan import Plan

States = Mapping[str, str | None]
"""`<task id>_<map index>`, or the bare task id of a task that is not expanded -> Airflow's state."""
SUCCESS = "success"
ENDED_WITHOUT_RESULT = frozenset({"failed", "upstream_failed", "skipped", "removed"})
OVER = ENDED_WITHOUT_RESULT | {SUCCESS}


def dead_feeds(plan: Plan, lanes: Mapping[str, str], states: States) -> list[str]:
    """Return the feeds whose task has ended. One that registered an outcome before counts by that outcome.

    `lanes` is lane -> task id.
    """
    dead: list[str] = []
    for lane_name, task_id in lanes.items():
        lane = Lane(lane_name)
        for index, branch_id in enumerate(plan.branches_in(lane)):
            state = states.get(f"{task_id}_{index}", states.get(task_id))
            if state in OVER:
                dead.extend(plan.branch(branch_id).feeds_in(lane))
    return dead
