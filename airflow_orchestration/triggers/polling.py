"""Looks again and again, without a worker, until there is something to tell.

A trigger may ask Airflow for task states and XComs of its run, and nothing else: any other message
is never answered. So every look is bounded in time, and a look that fails is taken again.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from datetime import timedelta
from typing import Any, Generic, TypeVar

from airflow.triggers.base import BaseTrigger
from asgiref.sync import sync_to_async

Found = TypeVar("Found")

LOOK_TIMEOUT = timedelta(seconds=30)
GIVE_UP_AFTER = timedelta(minutes=10)
"""Looks that fail for so long fail the trigger; Airflow then retries the task."""


class PollingTrigger(BaseTrigger, Generic[Found]):
    """A trigger that polls; `poll_interval` is in seconds."""

    poll_interval: float

    @abstractmethod
    def look(self) -> Found | None:
        """Look once; None means that there is nothing to tell yet."""

    async def found(self) -> Found:
        """Return the first thing that a look finds."""
        loop = asyncio.get_running_loop()
        last_look = loop.time()
        while True:
            try:
                seen = await asyncio.wait_for(sync_to_async(self.look)(), LOOK_TIMEOUT.total_seconds())
                last_look = loop.time()
                if seen is not None:
                    return seen
            except (TypeError, ValueError):
                raise  # nonsense stays nonsense, however often it is looked at
            except Exception:
                if loop.time() - last_look > GIVE_UP_AFTER.total_seconds():
                    raise
                self.log.warning("Could not look; trying again", exc_info=True)
            await asyncio.sleep(self.poll_interval)

    def coordinates(self) -> dict[str, Any]:
        """Where the task stands in Airflow."""
        ti: Any = self.task_instance
        return {"dag_id": ti.dag_id, "run_id": ti.run_id, "task_id": ti.task_id, "map_index": ti.map_index}
