"""In what order do the agents of a round begin: the pipeline coordinator's decision (SEED 26)?

Airflow starts mapped tasks by map index, so an agent's position is its turn for a worker and for a lease.
The rule is the one that places batches on branches (`allocation`): whoever has the longest way to go comes
first. An agent that others need inherits the longest of their ways, so it never stands behind them.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from airflow_orchestration.domain.decision import Decision, Json
from airflow_orchestration.domain.defaults import COORDINATE_ABOVE
from airflow_orchestration.domain.dependencies import cycle_in, in_order


class AgentOrderAction(StrEnum):
    """What becomes of the order in which the agents were given."""

    KEEP_ORDER = "keep_order"
    ORDER_AGENTS = "order_agents"


class AgentOrderReason(StrEnum):
    """Why that becomes of it."""

    FEW_AGENTS = "few_agents"
    NOBODY_NEEDS_ANOTHER = "nobody_needs_another"
    NEEDED_FIRST = "needed_first"
    SOME_NEED_EACH_OTHER = "some_need_each_other"


@dataclass(frozen=True, slots=True, kw_only=True)
class AssignedBatch:
    """A batch of an agent, and the batches that must be done before it, its own or other agents'."""

    batch: str
    seconds: float
    """How long it is estimated to take."""
    depends_on: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.seconds < math.inf:
            raise ValueError(f"seconds {self.seconds} of {self.batch!r} are no amount of time; use 0 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """An agent and its batches, in the order in which it does them."""

    agent_id: str
    batches: tuple[AssignedBatch, ...]
    place: int = 0
    """Among agents that are equal in all else, the smallest begins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentOrderFacts:
    """The agents of a round, without their coordinator. A batch that nobody here has holds nothing up.

    Raises `ValueError` for an agent or a batch that stands there twice, and for batches that wait in a circle:
    no order of agents could help them.
    """

    agents: tuple[Assignment, ...]

    def __post_init__(self) -> None:
        problems = list(self._problems())
        if problems:
            raise ValueError("; ".join(problems))

    def _problems(self) -> Iterator[str]:
        batches = [it for agent in self.agents for it in agent.batches]
        names = {"agent": [it.agent_id for it in self.agents], "batch": [it.batch for it in batches]}
        for kind, found in names.items():
            for name in (name for name, times in Counter(found).items() if times > 1):
                yield f"{kind} {name!r} stands here twice; give each {kind} once"
        circle = cycle_in({it.batch: it.depends_on for it in batches})
        if circle:
            yield f"batches wait in a circle: {' -> '.join(circle)}; take one of these dependencies away"


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentOrderDecision(Decision):
    """The agents in the order in which they begin: the place in it is the map index."""

    action: AgentOrderAction
    reason: AgentOrderReason
    order: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentOrder:
    """Whoever is needed stands before those who need it, and the longest way to go comes first (SEED 26).

    Agents that need each other's batches stand side by side: their batches wait for each other while they work.

    >>> def assigned(agent_id: str, seconds: float, *needs: str) -> Assignment:
    ...     batch = AssignedBatch(batch=f"{agent_id}_batch", seconds=seconds, depends_on=needs)
    ...     return Assignment(agent_id=agent_id, batches=(batch,))
    >>> agents = (assigned("report", 60, "load_batch"), assigned("check", 30), assigned("load", 5))
    >>> decision = AgentOrder().evaluate(AgentOrderFacts(agents=agents))
    >>> decision.order, decision.evidence["critical_path_seconds"]
    (('load', 'report', 'check'), 65.0)
    """

    def evaluate(self, facts: AgentOrderFacts) -> AgentOrderDecision:
        """Give every agent its position."""
        needs = _Needs.of(facts)
        action, reason = self._verdict(facts, needs)
        given = tuple(agent.agent_id for agent in facts.agents)
        ordered = action is AgentOrderAction.ORDER_AGENTS
        return AgentOrderDecision(
            policy="agent_order",
            action=action,
            reason=reason,
            order=tuple(sorted(given, key=needs.turn)) if ordered else given,
            evidence=self._evidence(facts, needs),
        )

    def _verdict(self, facts: AgentOrderFacts, needs: _Needs) -> tuple[AgentOrderAction, AgentOrderReason]:
        if len(facts.agents) <= COORDINATE_ABOVE:
            return AgentOrderAction.KEEP_ORDER, AgentOrderReason.FEW_AGENTS
        if needs.circles:
            return AgentOrderAction.ORDER_AGENTS, AgentOrderReason.SOME_NEED_EACH_OTHER
        if len(needs.waves) > 1:
            return AgentOrderAction.ORDER_AGENTS, AgentOrderReason.NEEDED_FIRST
        return AgentOrderAction.ORDER_AGENTS, AgentOrderReason.NOBODY_NEEDS_ANOTHER

    def _evidence(self, facts: AgentOrderFacts, needs: _Needs) -> dict[str, Json]:
        path = needs.work.critical_path
        return {
            "agents": len(facts.agents),
            "coordinate_above": COORDINATE_ABOVE,
            "batches": len(needs.work.seconds),
            "total_seconds": math.fsum(needs.work.seconds.values()),
            "critical_path_seconds": needs.work.way[path[0]] if path else 0.0,
            "critical_path": [{"agent_id": needs.work.agent_of[name], "batch": name} for name in path],
            "waves": [list(wave) for wave in needs.waves],
            "circles": [list(circle) for circle in needs.circles],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """The batches of all agents, and how far it is from the beginning of each to the end."""

    agent_of: Mapping[str, str]
    seconds: Mapping[str, float]
    needs: Mapping[str, frozenset[str]]
    """What each batch depends on, among these."""
    later: Mapping[str, frozenset[str]]
    """What can only begin after each: what depends on it, and what its agent does next."""
    way: Mapping[str, float]
    """The seconds of a batch and of the longest chain of batches after it."""

    @property
    def critical_path(self) -> tuple[str, ...]:
        """The longest of these chains, among equals the first by name."""
        path: list[str] = []
        following = frozenset(self.way)
        while following:
            path.append(min(following, key=lambda name: (-self.way[name], name)))
            following = self.later[path[-1]]
        return tuple(path)

    @classmethod
    def of(cls, facts: AgentOrderFacts) -> _Work:
        batches = {it.batch: it for agent in facts.agents for it in agent.batches}
        needs = {name: frozenset(it.depends_on) & batches.keys() for name, it in batches.items()}
        before = _with_own_order(facts, needs)
        later = _turned_round(before)
        way: dict[str, float] = {}
        for name in reversed(in_order({name: sorted(earlier) for name, earlier in before.items()})):
            way[name] = batches[name].seconds + max((way[it] for it in later[name]), default=0.0)
        return cls(
            agent_of={it.batch: agent.agent_id for agent in facts.agents for it in agent.batches},
            seconds={name: it.seconds for name, it in batches.items()},
            needs=needs,
            later=later,
            way=way,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Needs:
    """Who needs whom, and how urgent that makes each agent."""

    work: _Work
    reach: Mapping[str, frozenset[str]]
    """Each agent with all that it needs, also through others. Who need each other have the same."""
    own_way: Mapping[str, float]
    """The longest way from a batch of the agent; 0 for one without batches."""
    urgency: Mapping[str, float]
    """The longest way of the agent and of those who need it."""
    place: Mapping[str, int]
    """Its place among equals."""

    def turn(self, agent_id: str) -> tuple[float, int, float, int, str]:
        """The smallest is first. Who needs another reaches further than it, and is never more urgent."""
        place = self.place[agent_id]
        return -self.urgency[agent_id], len(self.reach[agent_id]), -self.own_way[agent_id], place, agent_id

    def circle_of(self, agent_id: str) -> frozenset[str]:
        """The agent and those that it needs and that need it."""
        reach = self.reach[agent_id]
        return frozenset(it for it in reach if len(self.reach[it]) == len(reach))

    @property
    def circles(self) -> tuple[tuple[str, ...], ...]:
        """The agents that need each other, each group and all groups by name."""
        groups = {tuple(sorted(self.circle_of(agent_id))) for agent_id in self.reach}
        return tuple(sorted(group for group in groups if len(group) > 1))

    @property
    def waves(self) -> tuple[tuple[str, ...], ...]:
        """The agents that could begin together, then those that need one of them, and so on."""
        wave: dict[str, int] = {}
        for agent_id in sorted(self.reach, key=lambda name: len(self.reach[name])):
            earlier = self.reach[agent_id] - self.circle_of(agent_id)
            wave[agent_id] = 1 + max((wave[it] for it in earlier), default=-1)
        members: list[list[str]] = [[] for _ in set(wave.values())]
        for agent_id in sorted(wave, key=self.turn):
            members[wave[agent_id]].append(agent_id)
        return tuple(map(tuple, members))

    @classmethod
    def of(cls, facts: AgentOrderFacts) -> _Needs:
        work = _Work.of(facts)
        direct = {
            agent.agent_id: frozenset(
                work.agent_of[need] for it in agent.batches for need in work.needs[it.batch]
            )
            for agent in facts.agents
        }
        reach = {agent_id: _reached(agent_id, direct) for agent_id in direct}
        own_way = {
            agent.agent_id: max((work.way[it.batch] for it in agent.batches), default=0.0)
            for agent in facts.agents
        }
        urgency = dict(own_way)
        for agent_id, reached in reach.items():
            for needed in reached:
                urgency[needed] = max(urgency[needed], own_way[agent_id])
        place = {agent.agent_id: agent.place for agent in facts.agents}
        return cls(work=work, reach=reach, own_way=own_way, urgency=urgency, place=place)


def _with_own_order(
    facts: AgentOrderFacts, needs: Mapping[str, frozenset[str]]
) -> Mapping[str, frozenset[str]]:
    """Add that an agent does one batch after the other, unless that closes a circle: then it takes what is ready."""
    own = {
        later.batch: {earlier.batch} for agent in facts.agents for earlier, later in pairwise(agent.batches)
    }
    before = {name: needed | own.get(name, set()) for name, needed in needs.items()}
    return before if cycle_in({name: sorted(it) for name, it in before.items()}) is None else needs


def _turned_round(before: Mapping[str, frozenset[str]]) -> dict[str, frozenset[str]]:
    later: dict[str, set[str]] = {name: set() for name in before}
    for name, earlier in before.items():
        for it in earlier:
            later[it].add(name)
    return {name: frozenset(after) for name, after in later.items()}


def _reached(start: str, direct: Mapping[str, frozenset[str]]) -> frozenset[str]:
    reached, left = {start}, [start]
    while left:
        fresh = direct[left.pop()] - reached
        reached |= fresh
        left.extend(fresh)
    return frozenset(reached)
