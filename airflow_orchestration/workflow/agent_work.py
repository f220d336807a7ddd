"""An agent at work: it holds what it needs, works on its batches one after the other, and what came of it is kept."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cached_property, partial

from airflow_orchestration.agents.agent import Agent
from airflow_orchestration.agents.work import Work, WorkResult
from airflow_orchestration.domain.agent import AgentOutcome, AgentPerformance, QueuedBatch, kinds_of
from airflow_orchestration.domain.batch import Lane
from airflow_orchestration.domain.outcome import FeedOutcome
from airflow_orchestration.exceptions import (
    AgentWorkError,
    FeedCode,
    FeedError,
    LeaseLostError,
    OrchestrationError,
    ResourceUnavailableError,
)
from airflow_orchestration.policies.leasing import LeaseAction, LeaseDecision
from airflow_orchestration.storage.agent_records import AssignedAgent
from airflow_orchestration.storage.gate_facts import arrived, is_over, standing_outcomes
from airflow_orchestration.storage.leases import LeaseRequest, waited
from airflow_orchestration.storage.store import GateSnapshot
from airflow_orchestration.workflow.agent_monitoring import AgentMonitor
from airflow_orchestration.workflow.branch import (
    Waiting,
    WaitsFor,
    failed_feeds,
    failed_needs,
    late_ones_count,
    run_branch,
)
from airflow_orchestration.workflow.staffing import fail_batches
from airflow_orchestration.workflow.step import Step
from airflow_orchestration.workflow.stopping import Bounds, Worker, until, verdict_stops
from airflow_orchestration.workflow.stopping import Work as Task

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class AgentAtWork:
    """One execution of an agent's task."""

    step: Step
    assigned: AssignedAgent
    monitor: AgentMonitor

    @property
    def holder(self) -> str:
        """The name under which it holds things."""
        return self.assigned.agent_id

    def ask(self) -> LeaseDecision:
        """Ask for what it needs; who has to wait keeps a place in the queue."""
        decision = self.step.store.leases.ask(
            LeaseRequest(
                holder=self.holder,
                tenant=self.assigned.tenant,
                epoch=self.step.fence.epoch,
                needed=self.assigned.specification.resource_requirements,
            )
        )
        if decision.action is LeaseAction.WAIT:
            self.monitor.waiting(decision)
        elif decision.action is LeaseAction.GRANT:
            self.monitor.started(waited(decision))
        return decision

    def give_back(self) -> None:
        """Release what it holds, or leave the queue; what a newer execution has taken over stays with that."""
        self.step.store.leases.release(self.holder, self.step.fence.epoch)

    def is_over(self) -> bool:
        """Whether its round takes in nothing more; a queue is never over."""
        return "feeds" in self.assigned.work and is_over(self._snapshot())

    def is_late(self) -> bool:
        """Whether what it would do now is of no use to anybody."""
        return self.is_over() and not late_ones_count(self.step, self._snapshot())

    def late(self) -> tuple[Waiting, ...]:
        """End without having worked, and return what is left of its batches."""
        snapshot = self._snapshot()
        standing = standing_outcomes(snapshot.round.plan, snapshot.outcomes)
        left = [feed_id for feed_id in self.assigned.work["feeds"] if feed_id not in standing]
        self.monitor.finished(succeeded=not left and not self.failed())
        return tuple(Waiting(feed_id=feed_id, kind=WaitsFor.NOTHING, on="") for feed_id in left)

    def failed(self) -> list[str]:
        """Those of its batches of a round that have failed."""
        work = self.assigned.work
        return failed_feeds(self.step, work["branch_id"], Lane(work["lane"]))

    def run_branch(self, agent: Agent, *, last_try: bool) -> tuple[Waiting, ...]:
        """Process the agent's batches of a round, and return what those wait for that can't be processed yet."""
        work = self.assigned.work
        lane, memory_mb = Lane(work["lane"]), self.assigned.specification.resource_requirements.memory_mb
        step = replace(self.step, memory_mb=memory_mb, on_outcome=self._keep)
        worker = _by(agent, step, self._apart)
        waiting = run_branch(step, work["branch_id"], lane, last_try=last_try, worker=worker)
        if all(obstacle.kind is WaitsFor.NOTHING for obstacle in waiting):
            self.monitor.finished(succeeded=not waiting and not self.failed())
        return waiting

    def run_batch(self, agent: Agent) -> AgentOutcome:
        """Work on a batch of a queue, and record what came of it; whatever the agent raises goes on its way.

        A lost lease is recorded as nothing: the next try begins anew.
        """
        batch, started = self._batch, time.monotonic()
        try:
            result = agent.run(self._queued(batch))
            _refuse_no_result(result, agent)
        except LeaseLostError:
            raise  # no word about the agent or its batch
        except BaseException:
            self._record(batch, succeeded=False)
            raise
        elapsed = timedelta(seconds=time.monotonic() - started)
        return self._record(batch, succeeded=True, result=result, elapsed=elapsed)

    def fail(self, error: OrchestrationError) -> str:
        """Fail what is left of its work with the reason, so that a gate need not find out by itself; return the reason.

        A type of which no agent can be made has failed; that there was no room for it teaches nothing.
        """
        work, words = self.assigned.work, f"{type(error).__name__}: {error}"
        teaches = not isinstance(error, ResourceUnavailableError)
        if "batch" in work and teaches:
            self._record(self._batch, succeeded=False)
            return words
        if "feeds" in work:
            step = replace(self.step, on_outcome=self._keep) if teaches else self.step
            fail_batches(step, work["branch_id"], work["feeds"], words)
        self.monitor.finished(succeeded=False)
        return words

    def _snapshot(self) -> GateSnapshot:
        return self.step.store.gate_snapshot(self.step.run_key, self.step.round)

    @property
    def _batch(self) -> QueuedBatch:
        return QueuedBatch.model_validate_json(json.dumps(self.assigned.work["batch"]))

    @property
    def _kind(self) -> str:
        return kinds_of(self.assigned.specification.capabilities)[-1]

    def _queued(self, batch: QueuedBatch) -> Work:
        return Work(
            batch_id=str(batch.id),
            kind=self._kind,
            folder=self.step.folder("work"),
            process=partial(_has_no_lane, self.assigned),
            batch=batch,
            progress=self._progress,
        )

    def _progress(self, done: int, of: int) -> None:
        """Say how far it is, and stop it when it holds nothing any more."""
        self._refuse_lost()
        self.monitor.reached(done, of)

    def _record(
        self,
        batch: QueuedBatch,
        *,
        succeeded: bool,
        result: WorkResult | None = None,
        elapsed: timedelta = timedelta(0),
    ) -> AgentOutcome:
        performance = None
        if result is not None:
            performance = AgentPerformance(
                execution_time=elapsed, data_quality_score=result.quality_score, records=result.records
            )
        outcome = self._outcome(self._kind, str(batch.id), succeeded=succeeded, performance=performance)
        self._tell(outcome, done=1, of=1)
        self.monitor.finished(succeeded=succeeded)
        return outcome

    def _keep(self, outcome: FeedOutcome) -> None:
        """Learn from a batch of a round, unless another batch is to blame that it failed."""
        feed = self.step.spec.feeds[outcome.feed_id]
        if not arrived(outcome) and failed_needs(feed, self.step.standing(self.step.round)):
            return
        performance = AgentPerformance(
            execution_time=outcome.elapsed,
            data_quality_score=outcome.quality_score,
            records=outcome.rows_in,
            peak_memory_mb=outcome.peak_memory_mb,
        )
        mine = self._outcome(
            feed.type.value,
            feed.id,
            succeeded=arrived(outcome),
            performance=performance if arrived(outcome) else None,
        )
        self._done.add(feed.id)
        self._tell(mine, done=len(self._done), of=len(self.assigned.work["feeds"]))

    def _outcome(
        self, kind: str, batch: str, *, succeeded: bool, performance: AgentPerformance | None
    ) -> AgentOutcome:
        return AgentOutcome(
            agent_id=self.assigned.agent_id,
            agent_type=self.assigned.specification.agent_type,
            kind=kind,
            batch=batch,
            succeeded=succeeded,
            performance=performance,
        )

    def _tell(self, outcome: AgentOutcome, *, done: int, of: int) -> None:
        self.step.store.agents.record(self.step.fence, self.assigned.tenant, outcome)
        self.monitor.progressed(done, of, outcome)

    @cached_property
    def _done(self) -> set[str]:
        """Its batches that have an outcome, also of earlier executions: read once, and added to."""
        known = self.step.store.agents.outcomes(self.step.run_key)
        return {one.batch for _, one in known if one.agent_id == self.assigned.agent_id}

    def _apart(self, task: Task, bounds: Bounds) -> FeedOutcome:
        """Have a batch processed in a process of its own; many short ones must keep the lease as one long one does."""
        self._refuse_lost()
        return until(self._over, task, bounds)

    def _over(self) -> bool:
        """Stay heard of while a batch is being worked on, and say whether nobody waits for it any more."""
        self._refuse_lost()
        return verdict_stops(self.step)

    def _refuse_lost(self) -> None:
        """A store that can't be asked for a moment takes nothing away; the lease ends by itself if that lasts."""
        try:
            held = self.step.store.leases.renew(self.holder, self.step.fence.epoch)
        except Exception:
            log.warning("The lease of %s can't be renewed; trying again", self.holder, exc_info=True)
            return
        if not held:
            raise LeaseLostError(
                f"{self.holder} holds nothing any more: it was not heard of in time, or a newer execution of its task has "
                "taken over; it is tried again as often as its task may be"
            )


def _by(agent: Agent, step: Step, worker: Worker) -> Worker:
    """Let an agent do what a lane would do to a batch, in the worker's own process."""

    def work(task: Task, bounds: Bounds) -> FeedOutcome:
        return worker(lambda: _done_by(agent, step, task, bounds), bounds)

    return work


def _done_by(agent: Agent, step: Step, task: Callable[[], FeedOutcome], bounds: Bounds) -> FeedOutcome:
    done: list[FeedOutcome] = []

    def process() -> WorkResult:
        done.append(task())
        return WorkResult(records=done[-1].rows_in, quality_score=done[-1].quality_score)

    feed = step.spec.feeds[bounds.feed_id]
    try:
        agent.run(
            Work(
                batch_id=feed.id,
                kind=feed.type.value,
                folder=step.folder(f"{feed.id}-agent"),
                process=process,
            )
        )
    except AgentWorkError as refused:
        raise FeedError(f"{feed.id}: {refused}", code=FeedCode.REFUSED) from refused
    if not done:
        raise FeedError(
            f"{feed.id}: its agent, a {agent.specification.agent_type}, ended without having processed it; call "
            "work.process() in its run()",
            code=FeedCode.AGENT,
        )
    return done[-1]


def _has_no_lane(assigned: AssignedAgent) -> WorkResult:
    raise AgentWorkError(
        f"a batch of a queue has no lane that could process it: agent type {assigned.specification.agent_type!r} needs "
        "a run() of its own; or declare the batch as a feed of a pipeline"
    )


def _refuse_no_result(result: object, agent: Agent) -> None:
    if not isinstance(result, WorkResult):
        raise AgentWorkError(
            f"run() of agent type {agent.specification.agent_type!r} returned {type(result).__name__}, not a WorkResult"
        )
