"""Which agents worked in a run, why these, and what came of it? And which types are good at what, for a tenant?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any

from airflow_orchestration.domain.agent import AgentOutcome
from airflow_orchestration.insights.agent_targets import WorkDone, batches_of, work_done
from airflow_orchestration.policies.agent_success import HISTORY_DAYS, AgentSuccess, Experience
from airflow_orchestration.storage.agent_records import CREATION, NO_TASK, AssignedAgent
from airflow_orchestration.storage.store import Event, RunKey, Store

SELECTION, ORDER = "agent_selection", "agent_order"
"""The policies whose recorded decisions are read."""
OUTSIDE_ROUNDS = 0
"""Where the agents of a queue stand."""


class AgentState(StrEnum):
    """How far an agent has come."""

    COORDINATES = "coordinates"
    """A coordinator whose round is not over."""
    CREATED = "created"
    WAITING = "waiting"
    """For CPU, memory or connections."""
    WORKING = "working"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


END = "agent_finished"
_STATES: Mapping[str, AgentState] = {
    "agent_waiting": AgentState.WAITING,
    "agent_started": AgentState.WORKING,
    "agent_progress": AgentState.WORKING,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A type of agent that was compared for one piece of work; without a score it lacks a capability."""

    agent_type: str
    score: float | None
    capability_match: float | None
    success_rate: float
    outcomes: int
    resource_efficiency: float
    missing: tuple[str, ...]


_CANDIDATE = tuple(one.name for one in fields(Candidate))


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The recorded decision that led to an agent: its reason, and everybody who was compared, best first."""

    reason: str
    score: float | None
    candidates: tuple[Candidate, ...]

    def as_json(self) -> dict[str, Any]:
        """Return plain data."""
        candidates = [{name: getattr(one, name) for name in _CANDIDATE} for one in self.candidates]
        return {"reason": self.reason, "score": self.score, "candidates": candidates}


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSeen:
    """One agent of a run: what it was made for, why it was chosen, and what it has done."""

    agent_id: str
    agent_type: str
    position: int
    """Its place in the order of work; -1 for a coordinator."""
    branch_id: str | None
    lane: str | None
    batches: tuple[str, ...]
    state: AgentState
    choice: Choice | None
    """None where no decision is recorded."""
    work: WorkDone | None
    """None where nothing was measured."""
    failed: tuple[str, ...]
    """Batches that failed."""
    targets: Mapping[str, bool | None]
    """By name, whether it was met; empty before its end. None where nobody measured it."""
    wanted: Mapping[str, float]
    measured: Mapping[str, float | None]

    def as_json(self) -> dict[str, Any]:
        """Return plain data."""
        told = {one.name: getattr(self, one.name) for one in fields(self)}
        return {
            **told,
            "choice": None if self.choice is None else self.choice.as_json(),
            "work": None if self.work is None else self.work.as_json(),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundAgents:
    """The agents of one round in the order in which they begin, and what went wrong when they were made."""

    round: int
    """0 for the agents of a queue."""
    agents: tuple[AgentSeen, ...]
    failures: tuple[str, ...]
    order: Mapping[str, Any] | None
    """The decision about their order, as recorded; None where nobody decided."""

    def as_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "round": self.round,
            "agents": [agent.as_json() for agent in self.agents],
            "failures": list(self.failures),
            "order": self.order,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What is believed of one type of agent in one kind of work."""

    agent_type: str
    kind: str
    experience: Experience
    days: int
    """On how many days it did such work."""

    def as_json(self) -> dict[str, Any]:
        """Return plain data."""
        told = {"agent_type": self.agent_type, "kind": self.kind, "days": self.days}
        return {**told, **self.experience.as_json()}


def run_agents(store: Store, key: RunKey) -> tuple[RoundAgents, ...]:
    """Return the agents of a run by round; none for a run that the store does not know, or that has none."""
    course = _Course.of(store, key)
    rounds = (OUTSIDE_ROUNDS, *(opened.round for opened in store.rounds(key)))
    found = (_round(number, store.agents.assigned(key, number), course) for number in rounds)
    return tuple(one for one in found if one.agents or one.failures)


def leaderboard(store: Store, tenant: str, dag_ids: Collection[str] | None = None) -> tuple[Standing, ...]:
    """Return what the agents of a tenant have shown, by kind of work, the most reliable type first.

    :param tenant: empty for work of no tenant.
    :param dag_ids: with these, what was done in other Dags does not count.
    """
    learned = AgentSuccess().learn(store.agents.history(tenant, days=HISTORY_DAYS, dag_ids=dag_ids))
    standings = [
        Standing(
            agent_type=agent_type,
            kind=kind,
            experience=learned.experience(agent_type, [kind]),
            days=len({day.days_ago for day in days}),
        )
        for (agent_type, kind), days in learned.by_work.items()
    ]
    return tuple(sorted(standings, key=lambda it: (it.kind, -it.experience.success_rate, it.agent_type)))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Course:
    """What is recorded of a run; an agent's id is its own in the whole of it."""

    events: Sequence[Event]
    """What agents told last of each kind, and what was told when they were made."""
    decisions: Sequence[tuple[int, Mapping[str, Any]]]
    told: Mapping[str, Sequence[Event]]
    """Events by agent."""
    outcomes: Mapping[str, Sequence[AgentOutcome]]
    """By agent: a coordinator's are recorded when its round is over."""

    @classmethod
    def of(cls, store: Store, key: RunKey) -> _Course:
        events = store.agents.told(key)
        told: defaultdict[str, list[Event]] = defaultdict(list)
        for event in events:
            if event.event != CREATION:
                told[str(event.detail["agent"])].append(event)
        outcomes: defaultdict[str, list[AgentOutcome]] = defaultdict(list)
        for _, outcome in store.agents.outcomes(key):
            outcomes[outcome.agent_id].append(outcome)
        return cls(events=events, decisions=store.agents.decided(key), told=told, outcomes=outcomes)

    def decided(self, round_number: int, policy: str) -> list[Mapping[str, Any]]:
        """The decisions of a policy in a round, oldest first."""
        return [one for at, one in self.decisions if at == round_number and one["policy"] == policy]


def _round(number: int, assigned: Sequence[AssignedAgent], course: _Course) -> RoundAgents:
    choices = {one["evidence"].get("agent_id"): one for one in course.decided(number, SELECTION)}
    orders = course.decided(number, ORDER)
    created: Iterable[Any] = (
        it.detail["failures"] for it in course.events if it.round == number and it.event == CREATION
    )
    return RoundAgents(
        round=number,
        agents=tuple(
            _agent(
                agent,
                choices.get(agent.agent_id),
                course.told.get(agent.agent_id, ()),
                course.outcomes.get(agent.agent_id, ()),
            )
            for agent in assigned
        ),
        failures=tuple(str(failure["error"]) for failures in created for failure in failures),
        order=orders[-1] if orders else None,
    )


def _agent(
    agent: AssignedAgent,
    choice: Mapping[str, Any] | None,
    events: Sequence[Event],
    outcomes: Sequence[AgentOutcome],
) -> AgentSeen:
    ends = [event.detail for event in events if event.event == END]
    end: Mapping[str, Any] = ends[-1] if ends else {}
    return AgentSeen(
        agent_id=agent.agent_id,
        agent_type=agent.specification.agent_type,
        position=agent.position,
        branch_id=agent.work.get("branch_id"),
        lane=agent.work.get("lane"),
        batches=batches_of(agent),
        state=_state(agent, events, outcomes),
        choice=None if choice is None else _choice(choice),
        work=work_done(outcomes),
        failed=tuple(outcome.batch for outcome in outcomes if not outcome.succeeded),
        targets=end.get("targets", {}),
        wanted=end.get("wanted", {}),
        measured=end.get("measured", {}),
    )


def _state(agent: AssignedAgent, events: Sequence[Event], outcomes: Sequence[AgentOutcome]) -> AgentState:
    if agent.position == NO_TASK and not outcomes:
        return AgentState.COORDINATES
    if not events:
        return _unwatched(agent, outcomes)
    last = events[-1]
    if last.event in _STATES:
        return _STATES[last.event]
    return AgentState.SUCCEEDED if last.detail["succeeded"] else AgentState.FAILED


def _unwatched(agent: AssignedAgent, outcomes: Collection[AgentOutcome]) -> AgentState:
    """An agent that is not monitored leaves outcomes alone."""
    if len(outcomes) < len(batches_of(agent)):
        return AgentState.WORKING if outcomes else AgentState.CREATED
    succeeded = all(outcome.succeeded for outcome in outcomes)
    return AgentState.SUCCEEDED if succeeded else AgentState.FAILED


def _choice(decision: Mapping[str, Any]) -> Choice:
    candidates = map(_candidate, decision["evidence"]["table"])
    best_first = sorted(candidates, key=lambda it: (it.score is None, -(it.score or 0.0), it.agent_type))
    return Choice(
        reason=decision["reason"], score=decision["evidence"]["score"], candidates=tuple(best_first)
    )


def _candidate(row: Mapping[str, Any]) -> Candidate:
    """A stored decision may know more of a candidate than this."""
    return Candidate(
        agent_type=row["agent_type"],
        score=row["score"],
        capability_match=row["capability_match"],
        success_rate=row["success_rate"],
        outcomes=row["outcomes"],
        resource_efficiency=row["resource_efficiency"],
        missing=tuple(row["missing"]),
    )
