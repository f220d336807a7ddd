"""What the store keeps of agents: who was made for a round, how their work ended, and what that teaches."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from airflow_orchestration.domain.agent import NO_TENANT, AgentOutcome, AgentSpecification, WorkDay

if TYPE_CHECKING:
    from airflow_orchestration.storage.store import Event, Fence, RunKey

NO_TASK = -1
"""The position of a coordinator."""
CREATION = "dynamic_data_processing_agent_creation"
TOLD = frozenset({"agent_waiting", "agent_started", "agent_progress", "agent_finished"})
"""What an agent tells to the timeline, each with its id as `agent`."""
DECIDED = frozenset({"agent_selection", "agent_order"})
"""The policies that decide about agents."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AssignedAgent:
    """An agent of a run, its specification, and the work that it was made for.

    `work` is plain data: `{"branch_id": ..., "lane": ..., "feeds": [...]}` for batches of a round's plan, or
    `{"batch": {...}}` for a batch of a queue; empty for a coordinator.
    """

    agent_id: str
    position: int
    """Its place in the order of work, from 0: the map index of its task, among those that were made with it.
    A coordinator has `NO_TASK`."""
    specification: AgentSpecification
    work: Mapping[str, Any]
    tenant: str = NO_TENANT
    """Who is lent to for it, and learns from its work."""


class AgentRecords(Protocol):
    """Keeps agents by run, and what their work teaches by tenant: no tenant learns from another one's work."""

    def assign(self, fence: Fence, agents: Sequence[AssignedAgent]) -> Sequence[AssignedAgent]:
        """Keep the agents that the fence's work unit has made, once; whoever comes second gets the first ones back."""
        ...

    def assigned(self, key: RunKey, round_number: int, unit: str | None = None) -> Sequence[AssignedAgent]:
        """The agents of a round by position, or those of one work unit; none before they were assigned."""
        ...

    def one(self, key: RunKey, round_number: int, agent_id: str) -> AssignedAgent | None:
        """One agent of a round; None when nobody has made it there."""
        ...

    def choice(self, key: RunKey, agent_id: str) -> Mapping[str, Any] | None:
        """The decision that led to an agent of a run; None when none has."""
        ...

    def record(self, fence: Fence, tenant: str, outcome: AgentOutcome) -> None:
        """Keep how an agent's work on a batch ended; the newest epoch of the work unit wins.

        Raises `FencedError`: who was fenced off teaches nothing. `tenant` is empty for work of no tenant.

        An outcome teaches at most once, and may be lost: the batch was registered in a transaction before this
        one, and who dies between them is not asked again. A choice that knows one outcome less is no worse for it.
        """
        ...

    def outcomes(self, key: RunKey) -> Sequence[tuple[int, AgentOutcome]]:
        """Every outcome of a run with its round, in the order in which they were recorded."""
        ...

    def decided(self, key: RunKey) -> Sequence[tuple[int, Mapping[str, Any]]]:
        """The decisions about agents of a run (`DECIDED`), each with its round, oldest first."""
        ...

    def told(self, key: RunKey) -> Sequence[Event]:
        """The last event of each kind in `TOLD` of each agent, and every `CREATION`, in the order of the timeline."""
        ...

    def history(self, tenant: str, *, days: int, dag_ids: Collection[str] | None = None) -> Sequence[WorkDay]:
        """What the work of the last `days` days teaches a tenant, by type, kind and day, in that order.

        With `dag_ids` only work in these Dags counts. Days are those of UTC by the store's clock; today is one of them.
        """
        ...


def agent_as_json(agent: AssignedAgent) -> dict[str, Any]:
    """An assigned agent as plain data."""
    return {
        "agent_id": agent.agent_id,
        "position": agent.position,
        "specification": agent.specification.model_dump(mode="json"),
        "work": agent.work,
        "tenant": agent.tenant,
    }


def agent_of(text: str) -> AssignedAgent:
    """The assigned agent that `agent_as_json` told, out of its JSON text."""
    told = json.loads(text)
    specification = AgentSpecification.model_validate(told["specification"])
    return AssignedAgent(**told | {"specification": specification})


def in_order(agents: Iterable[AssignedAgent]) -> tuple[AssignedAgent, ...]:
    """Agents by position; those of one position, as coordinators, by id."""
    return tuple(sorted(agents, key=lambda agent: (agent.position, agent.agent_id)))
