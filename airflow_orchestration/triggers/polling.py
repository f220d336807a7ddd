"""Looks again and again, without a worker, until there is something to tell.

A trigger may ask Airflow for task states and XComs of its run, and nothing else: any other message
is never answered. So every step is bounded in time, and a step that fails is taken again.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

from airflow.triggers.base import BaseTrigger

from airflow_orchestration.triggers.poller import is_nonsense

Found = TypeVar("Found")
Done = TypeVar("Done")

STEP_SECONDS = 120.0
RETRY_SECONDS = 2.0
WARN_EVERY_SECONDS = 60.0
GIVE_UP_SECONDS = 600.0
"""A step that fails for so long fails the trigger; Airflow then retries the task."""


class PollingTrigger(BaseTrigger, Generic[Found]):
    """A trigger that looks until it finds something."""

    @abstractmethod
    async def look(self) -> Found | None:
        """Ask a shared poller, which sets the pace; None means that there is nothing to tell yet."""

    async def found(self) -> Found:
        """Return the first thing that a look finds."""
        while (seen := await self.persistently(self.look)) is None:
            pass
        return seen

    async def persistently(self, step: Callable[[], Awaitable[Done]]) -> Done:
        """Take a step until it succeeds. Nonsense is raised: it stays nonsense, however often it is tried."""
        clock = asyncio.get_running_loop().time
        began, warned = clock(), float("-inf")
        while True:
            try:
                # Not `wait_for`, which in Python 3.11 may return its result instead of being cancelled.
                async with asyncio.timeout(STEP_SECONDS):
                    return await step()
            except Exception as error:
                if is_nonsense(error) or clock() - began > GIVE_UP_SECONDS:
                    raise
                if clock() - warned > WARN_EVERY_SECONDS:
                    warned = clock()
                    self.log.warning("Could not look; trying again", exc_info=True)
            await asyncio.sleep(RETRY_SECONDS)

    def coordinates(self) -> dict[str, Any]:
        """Where the task stands in Airflow."""
        ti: Any = self.task_instance
        return {"dag_id": ti.dag_id, "run_id": ti.run_id, "task_id": ti.task_id, "map_index": ti.map_index}
