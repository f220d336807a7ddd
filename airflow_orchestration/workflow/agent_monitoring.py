"""What does an agent tell while it works? Lines of the timeline, metrics, and at the end which targets it met.

An agent whose specification has `monitoring_enabled: false` tells nothing (SEED 22).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from airflow_orchestration.domain.agent import AgentOutcome, AgentPerformance
from airflow_orchestration.domain.decision import Decision, Json
from airflow_orchestration.domain.outcome import OutcomeStatus
from airflow_orchestration.insights.agent_targets import Target, WorkDone, batches_of, targets, work_done
from airflow_orchestration.storage.agent_records import AssignedAgent
from airflow_orchestration.storage.store import Fence, Store
from airflow_orchestration.workflow import agent_metrics
from airflow_orchestration.workflow.agent_metrics import Meter, Metric, SilentMeter, Tags

WAITING, STARTED, PROGRESS, FINISHED = (
    "agent_waiting",
    "agent_started",
    "agent_progress",
    "agent_finished",
)
"""The timeline's names for what an agent tells."""
NO_TIME = timedelta(0)
TENTHS = 10
"""Ours: lines of progress within one batch, at most."""


@dataclass(slots=True, kw_only=True)
class AgentMonitor:
    """Tells what one agent does: to the timeline of its run, and to a meter.

    Raises `FencedError` wherever the fence is an old one: who was fenced off tells nothing.
    """

    store: Store
    fence: Fence
    agent: AssignedAgent
    meter: Meter = field(default_factory=SilentMeter)
    _tenth: int = field(default=0, init=False)

    def waiting(self, decision: Decision) -> None:
        """It can't have what it needs yet; `decision` says why."""
        if self._is_on:
            self._tell(WAITING, {**decision.evidence, "reason": decision.reason.value})

    def started(self, waited: timedelta = NO_TIME) -> None:
        """It has what it needs, after waiting so long, and begins."""
        if self._is_on:
            batches: list[Json] = [*batches_of(self.agent)]
            self._tell(STARTED, {"batches": batches, "waited_seconds": waited.total_seconds()})
            self._time(agent_metrics.WAITING_SECONDS, waited)
            self._count(agent_metrics.STARTED)

    def reached(self, done: int, of: int) -> None:
        """It is so far within one batch; each further tenth is a line, whatever the agent's idea of often is."""
        tenth = TENTHS * done // of if of > 0 else 0
        if self._is_on and tenth > self._tenth:
            self._tenth = tenth
            self._tell(PROGRESS, {"done": done, "of": of})

    def progressed(self, done: int, of: int, outcome: AgentOutcome) -> None:
        """It has ended its work on one batch, well or badly: so many of so many."""
        self._tenth = 0
        if self._is_on:
            work = work_done([outcome])
            detail: dict[str, Json] = {"done": done, "of": of, "batch": outcome.batch, "kind": outcome.kind}
            measured = {} if work is None else work.as_json()
            self._tell(PROGRESS, {**detail, "succeeded": outcome.succeeded, **measured})
            if outcome.performance is not None:
                self._measure(outcome.kind, outcome.performance)

    def finished(self, *, succeeded: bool) -> None:
        """Its work has ended: what it did is read back from the store, also what it did before it was interrupted."""
        if not self._is_on:
            return
        recorded = self.store.agents.outcomes(self.fence.unit.run)
        work = work_done([one for _, one in recorded if one.agent_id == self.agent.agent_id])
        found = targets(self.agent.specification, work)
        self._tell(FINISHED, _ending(work, found, succeeded=succeeded))
        outcome = OutcomeStatus.SUCCESS if succeeded else OutcomeStatus.FAILED
        self._count(agent_metrics.FINISHED, outcome=outcome.value)
        for about in sorted({target.about for target in found if target.met is False}):
            self._count(agent_metrics.TARGET_MISSED, target=about)

    @property
    def _is_on(self) -> bool:
        return self.agent.specification.monitoring_enabled

    def _measure(self, kind: str, performance: AgentPerformance) -> None:
        self._time(agent_metrics.SECONDS, performance.execution_time, kind=kind)
        self._count(agent_metrics.RECORDS, performance.records, kind=kind)
        tags = self._tags(agent_metrics.QUALITY, kind=kind)
        self.meter.gauge(agent_metrics.QUALITY.name, performance.data_quality_score, tags)

    def _count(self, metric: Metric, by: int = 1, **tags: str) -> None:
        self.meter.count(metric.name, by, self._tags(metric, **tags))

    def _time(self, metric: Metric, elapsed: timedelta, **tags: str) -> None:
        self.meter.timing(metric.name, elapsed, self._tags(metric, **tags))

    def _tell(self, event: str, detail: Mapping[str, Json]) -> None:
        who = {"agent": self.agent.agent_id, "agent_type": self.agent.specification.agent_type}
        self.store.add_event(self.fence, event, {**who, **detail})

    def _tags(self, metric: Metric, **more: str) -> Tags:
        known = {"agent_type": self.agent.specification.agent_type, "tenant": self.agent.tenant, **more}
        return {name: known[name] for name in metric.tags if known[name]}


def _ending(work: WorkDone | None, found: Sequence[Target], *, succeeded: bool) -> dict[str, Json]:
    measured = {} if work is None else work.as_json()
    return {
        "succeeded": succeeded,
        **measured,
        "targets": {target.name: target.met for target in found},
        "wanted": {target.name: target.wanted for target in found},
        "measured": {target.name: target.measured for target in found},
    }
