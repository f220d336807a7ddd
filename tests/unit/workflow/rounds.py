"""A round of a small pipeline, whose batches lanes or agents process."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, date, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

from airflow_orchestration.agents.templates import AgentTemplates, built_in_templates
from airflow_orchestration.domain.outcome import FeedOutcome
from airflow_orchestration.domain.pipeline import Pipeline
from airflow_orchestration.domain.plan import Plan
from airflow_orchestration.domain.run_spec import RunSpec
from airflow_orchestration.engine.staging import StagingArea
from airflow_orchestration.policies.quorum_gate import GateDecision
from airflow_orchestration.storage.agent_records import AssignedAgent
from airflow_orchestration.storage.memory import MemoryStore
from airflow_orchestration.storage.store import Attempt, RunKey, Store, WorkUnit
from airflow_orchestration.workflow.analyze import analyze_batches
from airflow_orchestration.workflow.gate import decide_gate
from airflow_orchestration.workflow.plan import plan_round
from airflow_orchestration.workflow.round_tasks import AGENTS
from airflow_orchestration.workflow.staffing import Hiring, staff_round
from airflow_orchestration.workflow.step import Step
from tests.unit.workflow.conftest import COLUMNS, CONTRACT

NOW = datetime(2026, 11, 22, 5, tzinfo=UTC)
KEY = RunKey(dag_id="things", run_id="1")
STREAM = {"source_type": "streaming"}
TRANSFORMATION = {"type": "data_transformation"}
GOOD = "code,size\na,1\nb,2\n"
MIXED = "code,size\na,1\nb,-1\n"


class Clock:
    """Moves on by a millisecond with every look, and by hand."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        self.now += timedelta(milliseconds=1)
        return self.now


class Round:
    """The first round of a run, planned, on the store in memory or another one.

    A feed is its declaration's changes; a file is its text.
    """

    def __init__(
        self,
        folder: Path,
        feeds: Mapping[str, Mapping[str, Any]],
        files: Mapping[str, str] | None = None,
        *,
        store: Store | None = None,
        home: str | None = None,
        **pipeline: Any,
    ) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        for feed_id in feeds:
            self.land(feed_id, (files or {}).get(feed_id, GOOD))
        self.clock = Clock()
        self.store: Any = store or MemoryStore(self.clock)
        self.templates = built_in_templates()
        self.spec = RunSpec(
            pipeline=_pipeline(folder, feeds, pipeline),
            contracts=(CONTRACT,),
            run_date=date(2026, 11, 22),
            home=home,
        )
        self._numbers = count(1)
        analyze_batches(self.store, self.step("analyze", round_number=0).fence, self.spec)
        plan_round(self.step("plan"))

    def land(self, feed_id: str, text: str) -> None:
        (self.folder / f"{feed_id}.csv").write_text(text)

    def step(self, unit: str, *, try_number: int = 1, round_number: int = 1) -> Step:
        work = WorkUnit(run=KEY, round=round_number, unit=unit)
        attempt = Attempt(try_number=try_number, ti_id=f"{unit}-{try_number}", process="p")
        scratch = self.folder / "scratch" / f"{unit.replace(':', '-')}-{try_number}-{next(self._numbers)}"
        return Step(
            store=self.store,
            fence=self.store.claim(work, attempt),
            scratch=scratch,
            open_staging=lambda root: StagingArea(Path(root)),
        )

    def hire(
        self, templates: AgentTemplates | None = None, *, try_number: int = 1
    ) -> tuple[AssignedAgent, ...]:
        """Have agents chosen for the round."""
        numbers = count(1)
        hiring = Hiring(
            templates=templates or self.templates, new_id=lambda: f"{try_number}_{next(numbers)}", now=NOW
        )
        return staff_round(self.step("agents:round_1.create_agents", try_number=try_number), hiring)

    def decide(self, states: Mapping[str, str | None]) -> GateDecision:
        """Look at the gate of the agents."""
        return decide_gate(self.store, KEY, self.spec, 1, {AGENTS: "agents"}, states)

    @property
    def plan(self) -> Plan:
        return self.store.rounds(KEY)[0].plan

    @property
    def outcomes(self) -> dict[str, FeedOutcome]:
        return {outcome.feed_id: outcome for outcome in self.store.outcomes(KEY)}

    def decisions(self, policy: str) -> list[Mapping[str, Any]]:
        return [decision for _, decision in self.store.decisions(KEY) if decision["policy"] == policy]

    def told(self, event: str) -> list[Mapping[str, Any]]:
        """What the timeline has of an event."""
        return [line.detail for line in self.store.timeline(KEY) if line.event == event]


def feeds_of(agents: Collection[AssignedAgent]) -> list[list[str]]:
    """What each agent works on, in their order."""
    return [agent.work["feeds"] for agent in agents if agent.position >= 0]


def _pipeline(folder: Path, feeds: Mapping[str, Mapping[str, Any]], changes: Mapping[str, Any]) -> Pipeline:
    return Pipeline.model_validate(
        {
            "id": "things",
            "roots": {"landing": str(folder)},
            "staging": str(folder / "staging"),
            "contract": "unused",
            "capacity": {"workers": 3, "cpu_available": 0.5, "memory_mb": 6000},
            "sync": {"deadline": 60},
            "publish": {"table": "public.thing"},
            "agents": {},
            "feeds": [
                {"id": name, "uri": f"landing/{name}.csv", "format": "csv", "columns": COLUMNS, **feed}
                for name, feed in feeds.items()
            ],
            **changes,
        }
    )
