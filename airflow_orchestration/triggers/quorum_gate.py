"""The gate over any task instances of a run, in the triggerer."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from airflow.sdk import timezone
from airflow.sdk.execution_time.xcom import XCom
from airflow.triggers.base import TaskFailedEvent, TaskSkippedEvent, TaskSuccessEvent, TriggerEvent

from airflow_orchestration.insights.completeness import DAG_RUN_NOTE, gate_note
from airflow_orchestration.policies.quorum_gate import GateDecision, GateStatus
from airflow_orchestration.triggers.gate import GateTrigger
from airflow_orchestration.triggers.task_states import TasksOfRun, task_states_poller
from airflow_orchestration.triggers.watched_tasks import WatchedTasks, floor_moment

FLOOR_REACHED_AT = "floor_reached_at"
"""XCom of the gate itself: a triggerer that takes over must not start the grace period anew."""


class QuorumGateTrigger(GateTrigger):
    """The gate over any task instances of the same run: needs no store.

    :param watched: what `watch_terms` gives.
    :param run_started_at: ISO time from which the deadline counts.
    :param soft_fail: skip instead of failing when the quorum is not reached.
    :param note: leave a note for the Dag run when something is missing.
    """

    def __init__(
        self,
        watched: dict[str, Any],
        run_started_at: str,
        soft_fail: bool,
        note: bool = True,
    ) -> None:
        super().__init__()
        self.watched = watched
        self.run_started_at = run_started_at
        self.soft_fail = soft_fail
        self.note = note
        self._floor_reached_at: datetime | None = None

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return plain data that makes this trigger again."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "watched": self.watched,
                "run_started_at": self.run_started_at,
                "soft_fail": self.soft_fail,
                "note": self.note,
            },
        )

    async def decide(self) -> GateDecision:
        """Evaluate the states of the watched task instances."""
        where = self.coordinates()
        started = datetime.fromisoformat(self.run_started_at)
        watched = WatchedTasks.from_json(self.watched, run_started_at=started)
        asked = TasksOfRun(run_id=where["run_id"], task_ids=tuple(watched.task_ids))
        states = await task_states_poller(where["dag_id"]).answer(asked)
        now = timezone.utcnow()
        elapsed = now - started
        reached = self._floor_reached_at
        since = None if reached is None else now - reached
        decision = watched.evaluate(states, elapsed=elapsed, since_floor=since)
        if reached is None and decision.status is GateStatus.WAITING_FINAL:
            since = now - await self._first_at_floor(started, now)
            decision = watched.evaluate(states, elapsed=elapsed, since_floor=since)
        return decision

    async def _first_at_floor(self, started: datetime, now: datetime) -> datetime:
        """When the floor was reached: now, unless a triggerer before this one has seen it in this run."""
        reached = now
        if self.watched["grace_period"] is not None:  # nothing else depends on it
            where = self.coordinates()
            kept = await XCom.aget_one(key=FLOOR_REACHED_AT, **where)
            before = floor_moment(kept, run_started_at=started)
            reached = before or now
            if before is None:
                await XCom.aset(key=FLOOR_REACHED_AT, value=now.isoformat(), **where)
        self._floor_reached_at = reached
        return reached

    def end_event(self, decision: GateDecision) -> TriggerEvent:
        """Succeed when the gate is open; otherwise fail, or skip if the author asked for it."""
        if decision.is_open:
            return TaskSuccessEvent()
        return TaskSkippedEvent() if self.soft_fail else TaskFailedEvent()

    async def _record(self, decision: GateDecision) -> None:
        await super()._record(decision)
        where = self.coordinates()
        note = gate_note(where["task_id"], decision.as_json()) if self.note else None
        ti: Any = self.task_instance
        if note is not None or (
            ti.try_number > 1 and await XCom.aget_one(key=DAG_RUN_NOTE, **where) is not None
        ):
            await XCom.aset(key=DAG_RUN_NOTE, value=note, **where)
