"""What is kept of agents, in memory."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from airflow_orchestration.domain.agent import AgentOutcome, WorkDay
from airflow_orchestration.storage.agent_records import (
    CREATION,
    DECIDED,
    TOLD,
    AssignedAgent,
    agent_as_json,
    agent_of,
    in_order,
)
from airflow_orchestration.storage.rows import json_text
from airflow_orchestration.storage.store import Event, Fence, RunKey, WorkUnit


@dataclass(frozen=True, slots=True, kw_only=True)
class _Recorded:
    epoch: int
    tenant: str
    outcome: AgentOutcome
    at: datetime


class MemoryAgentRecords:
    """Keeps agents and outcomes. `fenced` holds a claim; the others are the store's."""

    def __init__(
        self,
        fenced: Callable[[Fence], AbstractContextManager[object]],
        clock: Callable[[], datetime],
        decisions: Callable[[RunKey], Sequence[tuple[int, Mapping[str, Any]]]],
        timeline: Callable[[RunKey], Sequence[Event]],
    ) -> None:
        self._fenced = fenced
        self._clock = clock
        self._decisions = decisions
        self._timeline = timeline
        self._agents: dict[WorkUnit, Sequence[AssignedAgent]] = {}
        self._recorded: dict[tuple[WorkUnit, str], _Recorded] = {}

    def assign(self, fence: Fence, agents: Sequence[AssignedAgent]) -> Sequence[AssignedAgent]:
        """Keep the agents that the fence's work unit has made, once."""
        at = fence.unit
        with self._fenced(fence):
            if at not in self._agents:
                self._agents[at] = in_order(agent_of(json_text(agent_as_json(agent))) for agent in agents)
            return self._agents[at]

    def assigned(self, key: RunKey, round_number: int, unit: str | None = None) -> Sequence[AssignedAgent]:
        """The agents of a round by position, or those of one work unit."""
        return in_order(
            agent
            for at, agents in list(self._agents.items())
            if (at.run, at.round) == (key, round_number) and unit in {None, at.unit}
            for agent in agents
        )

    def one(self, key: RunKey, round_number: int, agent_id: str) -> AssignedAgent | None:
        """One agent of a round."""
        found = (agent for agent in self.assigned(key, round_number) if agent.agent_id == agent_id)
        return next(found, None)

    def choice(self, key: RunKey, agent_id: str) -> Mapping[str, Any] | None:
        """The decision that led to an agent of a run."""
        told = (decision for _, decision in self._decisions(key))
        return next((one for one in told if one["evidence"].get("agent_id") == agent_id), None)

    def record(self, fence: Fence, tenant: str, outcome: AgentOutcome) -> None:
        """Keep how an agent's work on a batch ended; the newest epoch of the work unit wins."""
        at = (fence.unit, outcome.batch)
        with self._fenced(fence):
            known = self._recorded.get(at)
            if known is None or known.epoch < fence.epoch:
                self._recorded.pop(at, None)
                self._recorded[at] = _Recorded(
                    epoch=fence.epoch, tenant=tenant, outcome=outcome, at=self._clock()
                )

    def outcomes(self, key: RunKey) -> Sequence[tuple[int, AgentOutcome]]:
        """Every outcome of a run with its round, as recorded."""
        known = list(self._recorded.items())
        return [(unit.round, one.outcome) for (unit, _), one in known if unit.run == key]

    def decided(self, key: RunKey) -> Sequence[tuple[int, Mapping[str, Any]]]:
        """The decisions about agents of a run, each with its round."""
        return [(number, one) for number, one in self._decisions(key) if one["policy"] in DECIDED]

    def told(self, key: RunKey) -> Sequence[Event]:
        """What each agent told last of each kind, and what was told when they were made."""
        last: dict[tuple[str, object], int] = {}
        events = self._timeline(key)
        for place, event in enumerate(events):
            if event.event in TOLD:
                last[event.event, event.detail["agent"]] = place
            elif event.event == CREATION:
                last[event.event, place] = place
        return [events[place] for place in sorted(last.values())]

    def history(self, tenant: str, *, days: int, dag_ids: Collection[str] | None = None) -> Sequence[WorkDay]:
        """What the work of the last days teaches, by type, kind and day."""
        today = self._clock().astimezone(UTC).date()
        found: defaultdict[tuple[str, str, int], list[AgentOutcome]] = defaultdict(list)
        for (unit, _), one in list(self._recorded.items()):
            if dag_ids is not None and unit.run.dag_id not in dag_ids:
                continue
            days_ago = (today - one.at.astimezone(UTC).date()).days
            if one.tenant == tenant and days_ago < days:
                found[one.outcome.agent_type, one.outcome.kind, days_ago].append(one.outcome)
        return [_work_day(*at, found[at]) for at in sorted(found)]


def _work_day(agent_type: str, kind: str, days_ago: int, outcomes: Sequence[AgentOutcome]) -> WorkDay:
    performances = [it.performance for it in outcomes if it.performance is not None]
    successes = sum(it.succeeded for it in outcomes)
    return WorkDay(
        agent_type=agent_type,
        kind=kind,
        days_ago=days_ago,
        successes=successes,
        failures=len(outcomes) - successes,
        measured=len(performances),
        seconds=sum(it.execution_time.total_seconds() for it in performances),
        records=sum(it.records for it in performances),
        quality=sum(it.data_quality_score for it in performances),
        peak_memory_mb=max((it.peak_memory_mb or 0.0 for it in performances), default=0.0),
    )
