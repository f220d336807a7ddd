"""Which feeds will never come because the task that had them is over?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from airflow_orchestration.domain.batch import Lane
from airflow_orchestration.domain.plan import Plan
from airflow_orchestration.storage.agent_records import AssignedAgent

States = Mapping[str, str | None]
"""`<task id>_<map index>`, or the bare task id of a task that is not expanded -> Airflow's state."""
SUCCESS = "success"
ENDED_WITHOUT_RESULT = frozenset({"failed", "upstream_failed", "skipped", "removed"})
OVER = ENDED_WITHOUT_RESULT | {SUCCESS}
AGENTS = "agents"
"""Stands for the lanes where agents process the batches."""


def dead_feeds(
    plan: Plan, tasks: Mapping[str, str], states: States, agents: Sequence[AssignedAgent] = ()
) -> list[str]:
    """Return the feeds whose task has ended. One that registered an outcome before counts by that outcome.

    `tasks` is lane -> task id, or `AGENTS` -> task id with the round's agents.
    """
    return [
        feed_id
        for worker, task_id in tasks.items()
        for index, feeds in _shares(plan, worker, agents)
        if states.get(f"{task_id}_{index}", states.get(task_id)) in OVER
        for feed_id in feeds
    ]


def _shares(plan: Plan, worker: str, agents: Sequence[AssignedAgent]) -> Iterator[tuple[int, Sequence[str]]]:
    """Which feeds each map index of a task has."""
    if worker == AGENTS:
        yield from _shares_of_agents(plan, agents)
        return
    lane = Lane(worker)
    for index, branch_id in enumerate(plan.branches_in(lane)):
        yield index, plan.branch(branch_id).feeds_in(lane)


def _shares_of_agents(plan: Plan, agents: Sequence[AssignedAgent]) -> Iterator[tuple[int, Sequence[str]]]:
    """Feeds that no agent has share the fate of the task that was never expanded: no index of it is theirs."""
    at_work = [agent for agent in agents if agent.position >= 0]
    yield from ((agent.position, agent.work["feeds"]) for agent in at_work)
    taken = {feed_id for agent in at_work for feed_id in agent.work["feeds"]}
    yield -1, [feed_id for feed_id in plan.feed_ids if feed_id not in taken]
