"""The gate over any task instances of a run, in the triggerer."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from airflow.sdk import timezone
from airflow.sdk.execution_time.xcom import XCom
from airflow.triggers.base import TaskFailedEvent, TaskSkippedEvent, TaskSuccessEvent, TriggerEvent

from airflow_orchestration.policies.quorum_gate import GateDecision
from airflow_orchestration.triggers.gate import POLL_SECONDS, GateTrigger
from airflow_orchestration.triggers.task_states import task_states
from airflow_orchestration.triggers.watched_tasks import WatchedTasks

FLOOR_REACHED_AT = "floor_reached_at"
"""XCom of the gate itself: a triggerer that takes over must not start the grace period anew."""


class QuorumGateTrigger(GateTrigger):
    """The gate over any task instances of the same run: needs no store.

    :param watched: what `WatchedTasks.as_json` gives.
    :param run_started_at: ISO time from which the deadline counts.
    :param soft_fail: skip instead of failing when the quorum is not reached.
    """

    def __init__(
        self,
        watched: dict[str, Any],
        run_started_at: str,
        soft_fail: bool,
        poll_interval: float = POLL_SECONDS,
    ) -> None:
        super().__init__()
        self.watched = watched
        self.run_started_at = run_started_at
        self.soft_fail = soft_fail
        self.poll_interval = poll_interval
        self._looked_before = False
        self._floor_reached_at: datetime | None = None

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

    def decide(self) -> GateDecision:
        """Evaluate the states of the watched task instances."""
        where = self.coordinates()
        watched = WatchedTasks.from_json(self.watched)
        states = task_states(where["dag_id"], where["run_id"], watched.task_ids)
        now, started = timezone.utcnow(), datetime.fromisoformat(self.run_started_at)
        reached = self._kept_floor_reached_at(where)
        since = None if reached is None else now - reached
        decision = watched.evaluate(states, elapsed=now - started, since_floor=since)
        if decision.floor_reached and reached is None:
            XCom.set(key=FLOOR_REACHED_AT, value=now.isoformat(), **where)
            self._floor_reached_at = now
        return decision

    def _kept_floor_reached_at(self, where: dict[str, Any]) -> datetime | None:
        """When the floor was reached: asked of Airflow once, for what a triggerer before this one has seen."""
        if not self._looked_before:
            kept = XCom.get_one(key=FLOOR_REACHED_AT, **where)
            self._floor_reached_at = None if kept is None else datetime.fromisoformat(str(kept))
            self._looked_before = True
        return self._floor_reached_at

    def end_event(self, decision: GateDecision) -> TriggerEvent:
        """Succeed when the gate is open; otherwise fail, or skip if the author asked for it."""
        if decision.is_open:
            return TaskSuccessEvent()
        return TaskSkippedEvent() if self.soft_fail else TaskFailedEvent()
