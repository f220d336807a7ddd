"""Which agents does a round need, and what is each of them to do (SEED 22, 26, 27)?

The other binding of the lanes: where a Dag file binds a task for each lane, here an agent is chosen for each
branch in each lane, by what it can do and has done.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from airflow_orchestration.agents.created import CREATION_EVENT, AgentFailure, CreatedAgents
from airflow_orchestration.agents.factory import AgentFactory
from airflow_orchestration.agents.templates import AgentTemplates
from airflow_orchestration.domain.agent import (
    NO_TENANT,
    AgentRequirement,
    AgentSpecification,
    Capability,
    TaskContext,
    each_once,
    kinds_of,
)
from airflow_orchestration.domain.batch import Lane
from airflow_orchestration.domain.decision import Decision, Json
from airflow_orchestration.domain.feed import Feed
from airflow_orchestration.domain.outcome import FeedOutcome, OutcomeStatus
from airflow_orchestration.domain.pipeline import Agents
from airflow_orchestration.domain.plan import Plan, PlannedBatch
from airflow_orchestration.exceptions import FeedCode
from airflow_orchestration.policies.agent_order import (
    AgentOrder,
    AgentOrderFacts,
    AssignedBatch,
    Assignment,
)
from airflow_orchestration.policies.agent_requirements import coordinated
from airflow_orchestration.policies.agent_success import HISTORY_DAYS, AgentSuccess
from airflow_orchestration.policies.allocation import process_memory_mb
from airflow_orchestration.storage.agent_records import NO_TASK, AssignedAgent
from airflow_orchestration.storage.store import Store
from airflow_orchestration.workflow.capacity import MEMORY_PER_BRANCH_MB, branch_memory_mb
from airflow_orchestration.workflow.step import Step

OUTSIDE = {"database", "outbox", "kafka"}
"""Sources that take a connection; an agent works on one batch after the other, and so never holds two."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hiring:
    """Where agents come from: the registered types, new ids, and the time."""

    templates: AgentTemplates
    new_id: Callable[[], str]
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What one agent of a round has to do: the batches of a branch in one lane."""

    branch_id: str
    lane: Lane
    batches: tuple[PlannedBatch, ...]

    @property
    def feeds(self) -> tuple[str, ...]:
        """The batches by name."""
        return tuple(batch.feed_id for batch in self.batches)

    def as_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {"branch_id": self.branch_id, "lane": self.lane.value, "feeds": list(self.feeds)}


def staff_round(step: Step, hiring: Hiring) -> tuple[AssignedAgent, ...]:
    """Choose the agents of the round, once, and return them in the order in which they begin.

    Batches for which nobody can be had fail at once, with the reason.
    """
    known = step.store.agents.assigned(step.run_key, step.round, step.fence.unit.unit)
    if known:
        return tuple(known)
    plan = step.store.rounds(step.run_key)[step.round - 1].plan
    shares = _shares(plan)
    factory = _factory_of(step, hiring, int(process_memory_mb(branch_memory_mb(step, plan))))
    created = factory.generate_all(
        coordinated(tuple(requirement_of(step, share.feeds) for share in shares)),
        now=hiring.now,
        context=TaskContext(workflow_id=workflow_id(step), monitoring_required=_terms(step).monitoring),
    )
    record_decisions(step, created.decisions)
    # Failures first: whoever tries again finds the agents kept, and looks no further.
    _fail_without_agent(step, shares, created)
    return keep_crew(step, _assigned(step, shares, created), created)


def record_decisions(step: Step, decisions: Iterable[Decision]) -> None:
    """Keep decisions, and tell them in the log of the task."""
    for decision in decisions:
        step.store.record_decision(step.fence, decision)
        gist = _gist(decision.evidence)
        told = decision.policy, decision.action, decision.reason, f" ({gist})" if gist else ""
        log.info("%s: %s because %s%s", *told)


def _gist(evidence: Mapping[str, Json]) -> str:
    """The agent that came of a decision; where it was about no single one, the figures behind it."""
    if "agent_id" in evidence:
        return str(evidence["agent_id"])
    asked = [f"required {kind}" for kind in _listed(evidence.get("required"))]
    figures = [
        f"{name} {str(value).lower() if isinstance(value, bool) else format(value, 'g')}"
        for name, value in evidence.items()
        if isinstance(value, int | float)
    ]
    return ", ".join([*asked, *figures])


def _listed(value: Json) -> Iterable[Json]:
    return value if isinstance(value, list) else ()


def keep_crew(
    step: Step, agents: Sequence[AssignedAgent], created: CreatedAgents
) -> tuple[AssignedAgent, ...]:
    """Keep the agents that were chosen, and tell who was made.

    A crew in which nobody has a task is not kept: who clears the task when the cause is mended gets another one.
    """
    workers = any(agent.position != NO_TASK for agent in agents)
    kept = step.store.agents.assign(step.fence, agents) if workers else ()
    step.store.add_event(step.fence, CREATION_EVENT, created_as_told(kept, created))
    return tuple(kept)


def factory_of(store: Store, tenant: str, hiring: Hiring) -> AgentFactory:
    """Return a factory that knows what a tenant's agents have done, and what they could be lent at all."""
    learned = AgentSuccess().learn(store.agents.history(tenant, days=HISTORY_DAYS))
    return AgentFactory(
        templates=hiring.templates,
        new_id=hiring.new_id,
        experiences=lambda agent_type, needed: learned.experience(agent_type, kinds_of(needed)),
        capacities=[store.leases.limit_of(tenant)],
        tenant=tenant,
    )


def requirement_of(step: Step, feed_ids: Sequence[str]) -> AgentRequirement:
    """Return what batches of a round ask of their agent."""
    feeds = [step.spec.feeds[feed_id] for feed_id in feed_ids]
    seconds = [
        int(feed.deadline) for feed in feeds if isinstance(feed.deadline, float) and feed.deadline >= 1
    ]
    sizes = [size for feed in feeds if (size := _size(feed))]
    return AgentRequirement(
        task_description=", ".join(feed_ids)[:1000],
        capabilities_needed=each_once([Capability(feed.type.value) for feed in feeds]),
        data_source=sources.pop() if len(sources := {_source(feed) for feed in feeds}) == 1 else None,
        batch_size=max(sizes) if len(sizes) == len(feeds) else None,
        format=tuple(sorted({feed.format.value for feed in feeds if feed.format})) or None,
        quality_requirement=step.spec.pipeline.quality.approve_at,
        sla_seconds=min(seconds, default=None),
        max_iterations=step.spec.pipeline.max_rounds,
        connections=1 if any(_source(feed) in OUTSIDE for feed in feeds) else None,
    )


def tenant_of(step: Step) -> str:
    """Whose run it is; empty for a run of no tenant."""
    return step.spec.pipeline.tenant or NO_TENANT


def workflow_id(step: Step) -> str:
    """Name the run, as agents are told it."""
    return f"{step.run_key.dag_id}/{step.run_key.run_id}"[:600]


def _terms(step: Step) -> Agents:
    return step.spec.pipeline.agents or Agents()


def _shares(plan: Plan) -> tuple[Share, ...]:
    return tuple(
        Share(
            branch_id=branch.branch_id,
            lane=lane,
            batches=tuple(batch for batch in branch.batches if batch.lane is lane),
        )
        for lane in Lane
        for branch in plan.branches
        if branch.feeds_in(lane)
    )


def _factory_of(step: Step, hiring: Hiring, share_mb: int) -> AgentFactory:
    """A factory whose agents keep to the author's terms and to a branch's share of the memory.

    They are lent all of it where the author declared the memory, or where nobody knows what their batches take.
    """
    terms, declared = _terms(step), step.spec.pipeline.capacity.memory_mb is not None
    factory = factory_of(step.store, tenant_of(step), hiring)
    most_mb = min([share_mb, *(capacity.memory_mb for capacity in factory.capacities)])

    def refine(requirement: AgentRequirement, made: AgentSpecification) -> AgentSpecification:
        asked = made.resource_requirements
        wanted = most_mb if declared or requirement.batch_size is None else min(asked.memory_mb, most_mb)
        memory_mb = max(MEMORY_PER_BRANCH_MB, wanted)
        return made.model_copy(
            update={
                "resource_requirements": asked.model_copy(update={"memory_mb": memory_mb}),
                "max_concurrent_batches": terms.max_concurrent_batches,
                "timeout_seconds": terms.timeout_seconds,
                "retry_attempts": terms.retry_attempts,
            }
        )

    return replace(factory, refine=refine)


def _assigned(step: Step, shares: Sequence[Share], created: CreatedAgents) -> list[AssignedAgent]:
    made = created.by_requirement
    specified = {
        specification.agent_id: (specification, share)
        for specification, share in zip(made, shares, strict=False)
        if isinstance(specification, AgentSpecification)
    }
    order = AgentOrder().evaluate(
        AgentOrderFacts(
            agents=tuple(
                _assignment(step, agent_id, share, place)
                for place, (agent_id, (_, share)) in enumerate(specified.items())
            )
        )
    )
    record_decisions(step, [order])
    agents = [
        AssignedAgent(
            agent_id=agent_id,
            position=position,
            specification=specified[agent_id][0],
            work=specified[agent_id][1].as_json(),
            tenant=tenant_of(step),
        )
        for position, agent_id in enumerate(order.order)
    ]
    coordinators = [one for one in made[len(shares) :] if isinstance(one, AgentSpecification)]
    return agents + [
        AssignedAgent(
            agent_id=one.agent_id, position=NO_TASK, specification=one, work={}, tenant=tenant_of(step)
        )
        for one in coordinators
    ]


def _assignment(step: Step, agent_id: str, share: Share, place: int) -> Assignment:
    return Assignment(
        agent_id=agent_id,
        place=place,
        batches=tuple(
            AssignedBatch(
                batch=batch.feed_id,
                seconds=batch.cost,
                depends_on=step.spec.feeds[batch.feed_id].depends_on,
            )
            for batch in share.batches
        ),
    )


def _fail_without_agent(step: Step, shares: Sequence[Share], created: CreatedAgents) -> None:
    for share, made in zip(shares, created.by_requirement, strict=False):
        if isinstance(made, AgentFailure):
            error = f"{made.error_type}: {made.error}"
            log.warning("Nobody works on %s: %s", ", ".join(share.feeds), error)
            fail_batches(step, share.branch_id, share.feeds, error)


def fail_batches(step: Step, branch_id: str, feeds: Collection[str], error: str) -> None:
    """Register batches as failed that nobody has worked on; what came of others in this round stays."""
    known = {outcome.feed_id for outcome in step.store.outcomes(step.run_key) if outcome.round == step.round}
    for feed_id in [feed_id for feed_id in feeds if feed_id not in known]:
        step.register(
            FeedOutcome(
                feed_id=feed_id,
                round=step.round,
                branch_id=branch_id,
                status=OutcomeStatus.FAILED,
                elapsed=timedelta(0),
                error=error,
                error_code=FeedCode.AGENT,
            )
        )


def created_as_told(agents: Sequence[AssignedAgent], created: CreatedAgents) -> dict[str, Json]:
    """Return the timeline's words for who was made, and who could not be (SEED 27)."""
    chosen = {
        decision.evidence.get("agent_id"): {
            "score": decision.evidence["score"],
            "candidates": decision.evidence["suitable"],
        }
        for decision in created.decisions
    }
    return {
        "active_count": len(agents),
        "agents": [
            {
                "agent_id": agent.agent_id,
                "agent_type": agent.specification.agent_type,
                **chosen.get(agent.agent_id, {}),
                **agent.work,
            }
            for agent in agents
        ],
        "failures": [failure.as_json() for failure in created.failures],
    }


def _size(feed: Feed) -> int | None:
    stream = feed.outbox or feed.kafka
    return stream.batch.records if stream else feed.usual_rows


def _source(feed: Feed) -> str:
    kinds: Mapping[str, object] = {
        name: getattr(feed, name) for name in ("database", "outbox", "kafka", "aggregate")
    }
    return next((name for name, source in kinds.items() if source is not None), "files")
