"""Several quorums in one round, and deadlines that are a time of day, with the real steps and a clock by hand."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_orchestration.domain.batch import WorkflowMode
from airflow_orchestration.domain.outcome import FeedOutcome, OutcomeStatus
from airflow_orchestration.domain.pipeline import Pipeline
from airflow_orchestration.domain.run_spec import RunSpec
from airflow_orchestration.policies.quorum_gate import GateDecision
from airflow_orchestration.policies.workflow_mode import ModeDecision, ModeReason
from airflow_orchestration.storage.memory import MemoryStore
from airflow_orchestration.storage.store import Attempt, Fence, RunKey, WorkUnit
from airflow_orchestration.workflow.gate import decide_gate, rounds_allowed, time_is_over
from airflow_orchestration.workflow.in_process import LANES
from airflow_orchestration.workflow.plan import plan_round, rebalance
from airflow_orchestration.workflow.step import Step
from tests.unit.workflow.conftest import COLUMNS, CONTRACT

RUN = RunKey(dag_id="things", run_id="r1")
EVENING = datetime(2026, 11, 22, 22, 0, tzinfo=UTC)
RUNNING = dict.fromkeys(LANES, "running")


@dataclass
class Night:
    """A run whose feeds arrive by hand."""

    sync: dict[str, Any]
    folder: Path
    feeds: dict[str, dict[str, Any]] = field(default_factory=lambda: {name: {} for name in "abcd"})
    now: datetime = EVENING

    def __post_init__(self) -> None:
        self.store = MemoryStore(lambda: self.now)
        self.store.save_run(self.fence("analyze", 0), self.spec.as_json(), MODE)
        self.open(1)

    @property
    def spec(self) -> RunSpec:
        pipeline = {
            "id": "things",
            "roots": {"landing": str(self.folder)},
            "staging": str(self.folder),
            "contract": "unused",
            "sync": self.sync,
            "publish": {"table": "public.thing"},
            "feeds": [
                {"id": name, "uri": f"landing/{name}.csv", "format": "csv", "columns": COLUMNS, **changes}
                for name, changes in self.feeds.items()
            ],
        }
        return RunSpec(
            pipeline=Pipeline.model_validate(pipeline), contracts=(CONTRACT,), run_date=date(2026, 11, 22)
        )

    def open(self, number: int) -> None:
        plan_round(self.step("plan", number))

    def step(self, unit: str, number: int) -> Step:
        return Step(
            store=self.store,
            fence=self.fence(unit, number),
            scratch=self.folder,
            open_staging=lambda _: pytest.fail("staged"),
        )

    def fence(self, unit: str, number: int) -> Fence:
        attempt = Attempt(try_number=1, ti_id="t", process="p")
        return self.store.claim(WorkUnit(run=RUN, round=number, unit=unit), attempt)

    def arrive(self, *feeds: str, number: int = 1, status: OutcomeStatus = OutcomeStatus.SUCCESS) -> None:
        for feed_id in feeds:
            outcome = FeedOutcome(
                feed_id=feed_id, round=number, branch_id="b1", status=status, elapsed=timedelta(seconds=1)
            )
            self.store.register(self.fence(f"branch:{feed_id}", number), outcome)

    def look(self, after: float = 0.0, number: int = 1) -> GateDecision:
        self.now += timedelta(seconds=after)
        return decide_gate(self.store, RUN, self.spec, number, LANES, RUNNING)


MODE = ModeDecision(
    policy="workflow_mode",
    action=WorkflowMode.ADAPTIVE,
    reason=ModeReason.MODERATE_WORK,
    max_branches=2,
    evidence={"max_branches": 2, "complexity_score": 0.0, "data_dependency_score": 0.0},
)


@pytest.fixture
def core(tmp_path: Path) -> Night:
    """Half of the feeds are enough for the whole, but both of the core are wanted."""
    return Night(
        {
            "deadline": 600,
            "floor": 0.5,
            "grace_period": 0,
            "points": {"core": {"feeds": ["a", "b"], "floor": 1.0}},
        },
        tmp_path,
    )


def test_the_merge_waits_for_every_sync_point(core: Night) -> None:
    """The floor of all feeds is reached, that of the core is not; with the core both are."""
    core.arrive("a", "c", "d")
    waiting = core.look(10)
    core.arrive("b")
    there = core.look(10)

    assert ("continue_waiting", "core") == (waiting.action, waiting.evidence["decided_by"])
    assert "proceed_to_data_merge" == there.action


def test_an_open_gate_names_the_point_that_opened_it(tmp_path: Path) -> None:
    """All points are open, one of them not with everybody: the decision is conditional."""
    night = Night(
        {"deadline": 600, "floor": 0.5, "grace_period": 0, "points": {"core": {"feeds": ["a"]}}}, tmp_path
    )
    night.arrive("a", "b")
    decision = night.look(10)
    verdict = night.store.rounds(RUN)[0].verdict

    assert "conditional_proceed" == decision.action
    assert "proceed_to_data_merge" == decision.evidence["sync_points"]["core"]["action"]  # type: ignore[index,call-overload]
    assert verdict is not None
    assert ["a", "b"] == verdict["evidence"]["arrived_ids"]


def test_a_lost_point_ends_the_round_at_once(core: Night) -> None:
    """A core feed that failed can't be replaced by the others."""
    core.arrive("a", "c", "d")
    core.arrive("b", status=OutcomeStatus.FAILED)
    decision = core.look(10)

    assert ("timeout_recovery", "floor_unreachable", "core") == (
        decision.action,
        decision.reason,
        decision.evidence["decided_by"],
    )


def test_each_point_keeps_its_own_floor_and_deadline(tmp_path: Path) -> None:
    """Grace periods count from the point's own floor; no point waits longer than the gate."""
    points = {
        "early": {"feeds": ["a", "b"], "floor": 0.5, "deadline": 60},
        "patient": {"feeds": ["c", "d"], "floor": 0.5, "deadline": 9000},
    }
    night = Night({"deadline": 600, "floor": 0.25, "grace_period": 300, "points": points}, tmp_path)
    night.arrive("a")
    night.look(10)
    night.arrive("c")
    night.look(10)
    stored = night.store.rounds(RUN)[0]

    assert {"early": 60.0, "feeds": 600.0, "patient": 600.0} == {
        name: (point.deadline_at - stored.opened_at).total_seconds() for name, point in stored.points.items()
    }
    assert {"early": 10.0, "feeds": 10.0, "patient": 20.0} == {
        name: (point.floor_reached_at - EVENING).total_seconds()
        for name, point in stored.points.items()
        if point.floor_reached_at
    }
    assert "continue_waiting" == night.look(200).action
    assert "continue_waiting" == night.look(100).action, "patient holds to its deadline"
    assert "conditional_proceed" == night.look(280).action


def test_a_time_of_day_is_for_the_whole_run(tmp_path: Path) -> None:
    """At 06:00 Berlin time the gate decides, and no other round follows."""
    night = Night({"deadline": "06:00 Europe/Berlin"}, tmp_path)
    night.arrive("a", "b")
    waiting = night.look(7 * 3600 - 1)
    decision = night.look(1)
    stored = night.store.rounds(RUN)[0]

    assert "continue_waiting" == waiting.action
    assert ("timeout_recovery", "deadline_below_floor") == (decision.action, decision.reason)
    assert time_is_over(night.spec, stored)
    assert 1 == rounds_allowed(night.spec, stored)
    again = rebalance(night.step("decide", 1), after_round=1)
    assert ("stop", "time_is_over") == (again.action, again.reason)


def test_a_round_that_ends_early_leaves_time_for_another(tmp_path: Path) -> None:
    """A required feed fails at midnight: the next round has what is left until the same moment."""
    night = Night(
        {"deadline": "06:00 Europe/Berlin"}, tmp_path, feeds={"a": {"required": True}, "b": {}, "c": {}}
    )
    night.arrive("b", "c")
    night.arrive("a", status=OutcomeStatus.FAILED)
    assert "required_failed" == night.look(3600).reason
    night.open(2)
    first, second = night.store.rounds(RUN)

    assert not time_is_over(night.spec, first)
    assert first.deadline_at == second.deadline_at == datetime(2026, 11, 23, 5, tzinfo=UTC)


def test_a_feed_may_have_a_time_of_day(tmp_path: Path) -> None:
    """A feed that is due at 23:30 is counted out then, and the round with it."""
    night = Night(
        {"deadline": 3600 * 9},
        tmp_path,
        feeds={"a": {"required": True, "deadline": "23:30 UTC"}, "b": {"weight": 3}},
    )
    night.arrive("b")

    assert "waiting_for_required" == night.look(5399).reason
    assert "required_failed" == night.look(1).reason
