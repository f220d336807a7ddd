"""Waits beside the watched tasks until the quorum policy decides; no worker is held meanwhile."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import AsyncIterator

from airflow.sdk.execution_time.xcom import XCom
from airflow.triggers.base import TriggerEvent

from airflow_orchestration.policies.quorum_gate import GateDecision
from airflow_orchestration.triggers.poller import shared
from airflow_orchestration.triggers.polling import PollingTrigger

REPORT_SECONDS = 10.0
"""An answer that has not come by then is lost: the others must not wait for it."""


class GateTrigger(PollingTrigger[GateDecision]):
    """Evaluates until the decision is settled, then ends the task itself."""

    @abstractmethod
    async def decide(self) -> GateDecision:
        """Gather the facts of this moment and evaluate the policy."""

    @abstractmethod
    def end_event(self, decision: GateDecision) -> TriggerEvent:
        """Say how the task ends with a settled decision."""

    async def look(self) -> GateDecision | None:
        """Return the decision when it is settled."""
        decision = await self.decide()
        return decision if decision.is_settled else None

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield one event, when the gate is settled."""
        decision = await self.found()
        await self.persistently(lambda: self._record(decision))
        self.log.info("%s", decision)
        yield self.end_event(decision)

    async def _record(self, decision: GateDecision) -> None:
        """Tell Airflow, in one message, and one gate after the other.

        A triggerer takes some tens of messages a second of all its triggers, in the order in which they
        come: the looks of those that still wait must not stand behind the reports of hundreds.
        """
        async with shared("report", asyncio.Lock):
            async with asyncio.timeout(REPORT_SECONDS):
                await XCom.aset(key="return_value", value=decision.as_json(), **self.coordinates())
