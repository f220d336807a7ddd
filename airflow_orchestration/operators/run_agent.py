"""Lets an agent do its work: it acquires what it needs, works, and what came of it is recorded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.sdk import timezone
from airflow.sdk.exceptions import AirflowFailException, AirflowTaskTimeout, TaskDeferred

from airflow_orchestration.agents.agent import Agent
from airflow_orchestration.agents.factory import AgentFactory
from airflow_orchestration.agents.templates import registered_templates
from airflow_orchestration.domain.defaults import LEASE_WAIT_SECONDS, RETRY_ATTEMPTS, TIMEOUT_SECONDS
from airflow_orchestration.exceptions import AgentWorkError, OrchestrationError, ResourceUnavailableError
from airflow_orchestration.hooks.orchestration import OrchestrationHook
from airflow_orchestration.insights.agent_targets import summary
from airflow_orchestration.operators.agent_metrics import AirflowMeter
from airflow_orchestration.operators.process_branch import BatchesOperator, is_last_try
from airflow_orchestration.operators.quality_results import with_quality_results
from airflow_orchestration.policies.leasing import LeaseAction, LeaseDecision
from airflow_orchestration.storage.leases import LEASE_TIME
from airflow_orchestration.triggers.lease_wait import LeaseWaitTrigger
from airflow_orchestration.workflow.agent_monitoring import AgentMonitor
from airflow_orchestration.workflow.agent_work import AgentAtWork
from airflow_orchestration.workflow.branch import Waiting
from airflow_orchestration.workflow.queue_staffing import assigned_agent

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_orchestration.workflow.step import Step


class RunAgentOperator(BatchesOperator):
    """Runs one agent that `CreateAgentsOperator` has made; map it over the ids that it returns.

    While others hold what the agent needs, it waits without a worker slot. Its batches are those of a branch in a
    lane, processed as the lane's own operator would, or a batch of a queue, on which the template's own `run` works.

    How many agents of a run work at a time is the author's to say, with Airflow's `max_active_tis_per_dagrun`: the
    document's 3 (SEED 20) is what a pipeline file begins with.

    :param agent_id: an agent of this run.
    :param wait_seconds: how long it waits for what it needs; then its batches fail with `ResourceUnavailableError`.
    :param execution_timeout: how long it may work without a pause, on all its batches together (SEED 20).
    :param retries: how often its work is tried again (SEED 20). What the author says of these two, here or in
        `default_args`, wins.
    """

    def __init__(
        self,
        *,
        agent_id: str,
        wait_seconds: float = LEASE_WAIT_SECONDS,
        execution_timeout: timedelta | None = timedelta(seconds=TIMEOUT_SECONDS),
        retries: int | None = RETRY_ATTEMPTS,
        **kwargs: Any,
    ) -> None:
        super().__init__(execution_timeout=execution_timeout, retries=retries, **kwargs)
        self.agent_id = agent_id
        self.wait_seconds = wait_seconds

    def execute(self, context: Context) -> dict[str, Any] | None:
        """Work, or wait for what it needs; return what came of a batch of a queue."""
        until = timezone.utcnow() + timedelta(seconds=self.wait_seconds)
        return self._work(context, until)

    def go_on(self, context: Context, event: dict[str, Any], until: str) -> dict[str, Any] | None:
        """Go on after waiting for CPU, memory and connections: they can be had now, or time is up."""
        return self._work(context, datetime.fromisoformat(until))

    def _work(self, context: Context, until: datetime) -> dict[str, Any] | None:
        with self.step(context, f"agent:{self.agent_id}") as step:
            at_work = self._at_work(step)
            work = at_work.assigned.work
            self.name_in(context, at_work.assigned.specification.agent_type, _batches(work))
            self._show_choice(context, step)
            with _giving_back(at_work):
                if not self._lent(at_work, until):
                    self.log.info("The gate has decided: what this agent needs is waited for no more")
                    waiting, failed = at_work.late(), at_work.failed()
                elif "batch" in work:
                    return self._run_batch(at_work, self._made(at_work))
                else:
                    waiting, failed = self._run_branch(context, at_work, self._made(at_work))
        self.end_or_wait(waiting, failed)
        return None

    def _lent(self, at_work: AgentAtWork, until: datetime) -> bool:
        """Ask for what it needs, and wait for it; False when nobody waits for its batches any more."""
        if at_work.is_late():
            return False
        decision = at_work.ask()
        if decision.action is LeaseAction.GRANT:
            return True
        over = timezone.utcnow() >= until
        if decision.action is LeaseAction.REFUSE or over:
            waited = f". It has waited {self.wait_seconds:g} s." if over else ""
            unavailable = ResourceUnavailableError(f"{decision.explanation()}{waited}")
            raise AirflowFailException(at_work.fail(unavailable))
        if not at_work.is_over():
            self._wait_for_its_turn(at_work, decision, until)
        return False

    def _wait_for_its_turn(self, at_work: AgentAtWork, decision: LeaseDecision, until: datetime) -> NoReturn:
        self.log.info("%s", decision.explanation())
        at_work.step.store.end_lease(at_work.step.fence)
        self.defer(
            trigger=LeaseWaitTrigger(
                orchestration_conn_id=self.orchestration_conn_id,
                holder=at_work.holder,
                until=until.isoformat(),
                round_number=at_work.step.round or None,
            ),
            method_name="go_on",
            kwargs={"until": until.isoformat()},
        )

    def _show_choice(self, context: Context, step: Step) -> None:
        """Leave the decision that led to the agent, with all candidates and scores, where Airflow's UI shows it."""
        decision = step.store.agents.choice(step.run_key, self.agent_id)
        if decision is not None:
            context["ti"].xcom_push(key="decision", value=decision)
            score, candidates = decision["evidence"]["score"], decision["evidence"]["suitable"]
            self.log.info(
                "%s was chosen because %s: score %.3f, of %d suitable types",
                self.agent_id,
                decision["reason"],
                score,
                candidates,
            )

    def _at_work(self, step: Step) -> AgentAtWork:
        assigned = assigned_agent(step, self.agent_id)
        monitor = AgentMonitor(store=step.store, fence=step.fence, agent=assigned, meter=AirflowMeter())
        return AgentAtWork(step=step, assigned=assigned, monitor=monitor)

    def _made(self, at_work: AgentAtWork) -> Agent:
        factory = AgentFactory(templates=registered_templates(), new_id=lambda: "")
        try:
            return factory.create(at_work.assigned.specification)
        except OrchestrationError as error:
            raise AirflowFailException(at_work.fail(error)) from error

    def _run_branch(
        self, context: Context, at_work: AgentAtWork, agent: Agent
    ) -> tuple[tuple[Waiting, ...], list[str]]:
        informed = with_quality_results(context, at_work.step, at_work.assigned.work["feeds"])
        at_work = AgentAtWork(step=informed, assigned=at_work.assigned, monitor=at_work.monitor)
        try:
            waiting = at_work.run_branch(agent, last_try=is_last_try(context))
        except AirflowTaskTimeout:
            if is_last_try(context):
                at_work.fail(self._too_slow(at_work))
            raise
        return waiting, at_work.failed()

    def _too_slow(self, at_work: AgentAtWork) -> AgentWorkError:
        seconds = self.execution_timeout.total_seconds() if self.execution_timeout else 0.0
        return AgentWorkError(
            f"{at_work.assigned.agent_id} was still at work after {seconds:g} s, on the last try; raise "
            "timeout_seconds of the pipeline's agents, which is for all batches of an agent together, or give it less"
        )

    def _run_batch(self, at_work: AgentAtWork, agent: Agent) -> dict[str, Any]:
        try:
            with renewing(OrchestrationHook(self.orchestration_conn_id), at_work):
                outcome = at_work.run_batch(agent)
        except AgentWorkError as refused:
            raise AirflowFailException(f"AgentWorkError: {refused}") from refused
        self.log.info("%s", summary(outcome, at_work.assigned.specification))
        measured = outcome.performance.measures() if outcome.performance else {}
        return {"agent_id": outcome.agent_id, "batch": outcome.batch, "succeeded": True, **measured}


def _batches(work: Any) -> list[str]:
    return [work["batch"]["id"]] if "batch" in work else list(work["feeds"])


@contextmanager
def _giving_back(at_work: AgentAtWork) -> Iterator[None]:
    """Give back at the end, however it comes; who is deferred until its turn keeps its place."""
    try:
        yield
    except TaskDeferred:
        raise
    except BaseException:
        at_work.give_back()
        raise
    at_work.give_back()


@contextmanager
def renewing(hook: OrchestrationHook, at_work: AgentAtWork) -> Iterator[None]:
    """Keep a lease while the author's own code works, from a thread with a connection of its own."""
    ended, holder, epoch = Event(), at_work.holder, at_work.step.fence.epoch
    _ = hook.provider_hook  # a thread had better not ask Airflow

    def renew() -> None:
        with hook.store() as store:
            while not ended.wait(LEASE_TIME.total_seconds() / 3):
                try:
                    if not store.leases.renew(holder, epoch):
                        hook.log.warning(
                            "%s holds nothing any more; its next word of progress stops it", holder
                        )
                except Exception:
                    hook.log.warning("The lease of %s can't be renewed; trying again", holder, exc_info=True)

    thread = Thread(target=renew, name=f"lease of {holder}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
