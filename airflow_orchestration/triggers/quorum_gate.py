"""Waits beside the watched tasks until the quorum policy decides; no worker is held meanwhile.

A trigger may ask Airflow for task states and XComs of its run, and nothing else: any other message
is never answered. So every look is bounded in time, and a look that fails is taken again.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import AsyncIterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from airflow.sdk import timezone
from airflow.sdk.execution_time.xcom import XCom
from airflow.triggers.base import (
    BaseTrigger,
    TaskFailedEvent,
    TaskSkippedEvent,
    TaskSuccessEvent,
    TriggerEvent,
)
from asgiref.sync import sync_to_async

from airflow_orchestration.domain.run_spec import RunSpec
from airflow_orchestration.policies.quorum_gate import GateDecision
from airflow_orchestration.storage.store import RunKey
from airflow_orchestration.triggers.shared_store import shared_store
from airflow_orchestration.triggers.task_states import task_states
from airflow_orchestration.triggers.watched_tasks import WatchedTasks
from airflow_orchestration.workflow.gate import decide_gate
from airflow_orchestration.workflow.step import read_spec

LOOK_TIMEOUT = timedelta(seconds=30)
GIVE_UP_AFTER = timedelta(minutes=10)
"""Looks that fail for so long fail the trigger; Airflow then retries the gate."""


class GateTrigger(BaseTrigger):
    """Looks again and again until there is a decision, then ends the task itself.

    :param poll_interval: seconds between two looks.
    """

    poll_interval: float = 1.0

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


class QuorumGateTrigger(GateTrigger):
    """The gate over any task instances of the same run: needs no store.

    :param watched: what `WatchedTasks.as_json` gives.
    :param run_started_at: ISO time from which the deadline counts.
    :param soft_fail: skip instead of failing when the quorum is not reached.
    """

    def __init__(
        self, watched: dict[str, Any], run_started_at: str, soft_fail: bool, poll_interval: float = 1.0
    ) -> None:
        super().__init__()
        self.watched = watched
        self.run_started_at = run_started_at
        self.soft_fail = soft_fail
        self.poll_interval = poll_interval

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return plain data that makes this trigger again."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "watched": self.watched,
                "run_started_at": self.run_started_at,
                "soft_fail": self.soft_fail,
                "poll_interval": self.poll_interval,
            },
        )

    def look(self) -> GateDecision:
        """Evaluate the states of the watched task instances."""
        where = self.coordinates()
        watched = WatchedTasks.from_json(self.watched)
        states = task_states(where["dag_id"], where["run_id"], watched.task_ids)
        now, started = timezone.utcnow(), datetime.fromisoformat(self.run_started_at)
        reached = XCom.get_one(key="floor_reached_at", **where)
        since = None if reached is None else now - datetime.fromisoformat(str(reached))
        decision = watched.evaluate(states, elapsed=now - started, since_floor=since)
        if decision.floor_reached and reached is None:
            XCom.set(key="floor_reached_at", value=now.isoformat(), **where)
        return decision

    def end_event(self, decision: GateDecision) -> TriggerEvent:
        """Succeed when the gate is open; otherwise fail, or skip if the author asked for it."""
        if decision.is_open:
            return TaskSuccessEvent()
        return TaskSkippedEvent() if self.soft_fail else TaskFailedEvent()


class RoundGateTrigger(GateTrigger):
    """The gate of one round of a pipeline Dag: the store says what arrived, Airflow which tasks died.

    :param round_number: the round.
    :param lanes: lane -> task id of the lane's mapped task.
    """

    def __init__(
        self,
        orchestration_conn_id: str,
        round_number: int,
        lanes: Mapping[str, str],
        poll_interval: float = 1.0,
    ) -> None:
        super().__init__()
        self.orchestration_conn_id = orchestration_conn_id
        self.round_number = round_number
        self.lanes = dict(lanes)
        self.poll_interval = poll_interval
        self._spec: RunSpec | None = None

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return plain data that makes this trigger again."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "orchestration_conn_id": self.orchestration_conn_id,
                "round_number": self.round_number,
                "lanes": self.lanes,
                "poll_interval": self.poll_interval,
            },
        )

    def look(self) -> GateDecision:
        """Evaluate what is registered. States are read first: what ended before the look is in the store."""
        where = self.coordinates()
        run = RunKey(dag_id=where["dag_id"], run_id=where["run_id"])
        states = task_states(run.dag_id, run.run_id, list(self.lanes.values()))
        store = shared_store(self.orchestration_conn_id)
        self._spec = self._spec or read_spec(store.run(run))
        return decide_gate(store, run, self._spec, self.round_number, self.lanes, states)

    def end_event(self, decision: GateDecision) -> TriggerEvent:
        """Succeed with any decision: the task after the gate follows it."""
        return TaskSuccessEvent()
