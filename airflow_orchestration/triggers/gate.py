"""Waits beside the watched tasks until the quorum policy decides; no worker is held meanwhile.

A trigger may ask Airflow for task states and XComs of its run, and nothing else: any other message
is never answered. So every look is bounded in time, and a look that fails is taken again.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

from airflow.sdk.execution_time.xcom import XCom
from airflow.triggers.base import BaseTrigger, TriggerEvent
from asgiref.sync import sync_to_async

from airflow_orchestration.policies.quorum_gate import GateDecision

POLL_SECONDS = 0.5
LOOK_TIMEOUT = timedelta(seconds=30)
GIVE_UP_AFTER = timedelta(minutes=10)
"""Looks that fail for so long fail the trigger; Airflow then retries the gate."""


class GateTrigger(BaseTrigger):
    """Looks again and again until there is a decision, then ends the task itself.

    :param poll_interval: seconds between two looks.
    """

    poll_interval: float = POLL_SECONDS

    @abstractmethod
    def look(self) -> GateDecision:
        """Gather the facts of this moment and evaluate the policy."""

    @abstractmethod
    def end_event(self, decision: GateDecision) -> TriggerEvent:
        """Say how the task ends with a settled decision."""

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield one event, when the gate is settled."""
        decision = await self._settled()
        await sync_to_async(self._record)(decision)
        self.log.info("%s", decision)
        yield self.end_event(decision)

    async def _settled(self) -> GateDecision:
        loop = asyncio.get_running_loop()
        last_look = loop.time()
        while True:
            try:
                decision = await asyncio.wait_for(sync_to_async(self.look)(), LOOK_TIMEOUT.total_seconds())
                last_look = loop.time()
                if decision.is_settled:
                    return decision
            except Exception:
                if loop.time() - last_look > GIVE_UP_AFTER.total_seconds():
                    raise
                self.log.warning("Could not look at the gate; trying again", exc_info=True)
            await asyncio.sleep(self.poll_interval)

    def _record(self, decision: GateDecision) -> None:
        for key in ("return_value", "decision"):
            XCom.set(key=key, value=decision.as_json(), **self.coordinates())

    def coordinates(self) -> dict[str, Any]:
        """Where this gate stands in Airflow."""
        ti: Any = self.task_instance
        return {"dag_id": ti.dag_id, "run_id": ti.run_id, "task_id": ti.task_id, "map_index": -1}
