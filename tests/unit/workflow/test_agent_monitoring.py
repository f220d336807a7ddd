"""What an agent tells while it works: lines of the timeline, metrics, and which targets it met."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from airflow_orchestration.domain.agent import PerformanceTargets
from airflow_orchestration.exceptions import FencedError
from airflow_orchestration.insights.agent_targets import targets, work_done
from airflow_orchestration.storage.memory import MemoryStore
from airflow_orchestration.workflow.agent_metrics import METRICS
from airflow_orchestration.workflow.agent_monitoring import AgentMonitor
from tests.unit.insights.agent_builders import (
    RUN,
    VALIDATOR,
    assigned,
    failed,
    fence,
    lease,
    memory_store,
    outcome,
    specification,
)


class Notebook:
    """A meter that writes everything down."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, float, Mapping[str, str]]] = []

    def count(self, name: str, by: int, tags: Mapping[str, str]) -> None:
        self.lines.append((name, by, tags))

    def timing(self, name: str, elapsed: timedelta, tags: Mapping[str, str]) -> None:
        self.lines.append((name, elapsed.total_seconds(), tags))

    def gauge(self, name: str, value: float, tags: Mapping[str, str]) -> None:
        self.lines.append((name, value, tags))


@pytest.fixture
def store() -> MemoryStore:
    return memory_store()


def monitor(store: MemoryStore, **changes: Any) -> tuple[AgentMonitor, Notebook]:
    agent, notebook = assigned(**changes), Notebook()
    return AgentMonitor(store=store, fence=fence(store), agent=agent, meter=notebook), notebook


def test_targets_are_met_at_their_very_value() -> None:
    """At most the response time, at least the throughput and the quality: equal is enough."""
    work = work_done([outcome(seconds=10, records=1000, quality=0.9)])
    assert [True, True, True] == [target.met for target in targets(specification(), work)]


def test_targets_are_missed_beyond_it() -> None:
    """A little too slow, a little too few and a little too bad are each a target missed."""
    work = work_done([outcome(seconds=10.01, records=1000, quality=0.8999)])
    assert [False, False, False] == [target.met for target in targets(specification(), work)]


def test_what_nobody_measured_is_neither_met_nor_missed() -> None:
    """A failed batch has no measures, and a measure that nobody takes has no value."""
    assert {None} == {target.met for target in targets(specification(), work_done([failed("planes")]))}
    asked = specification(quality_thresholds={"completeness": 0.5, "overall": 0.5})
    found = {target.name: target.met for target in targets(asked, work_done([outcome()]))}
    assert (None, True) == (found["quality_completeness"], found["quality"])


def test_the_response_time_is_that_of_one_batch() -> None:
    """Ten batches of six seconds respond within ten; the slowest of them is the measure."""
    quick = [outcome(f"b{number}", seconds=6) for number in range(10)]
    found = [targets(specification(), work_done([*quick, outcome(seconds=last)]))[0] for last in (6, 11)]

    assert [(6.0, True), (11.0, False)] == [(one.measured, one.met) for one in found]


def test_without_a_volume_no_throughput_is_wanted() -> None:
    """A target that the specification leaves out is not judged."""
    asked = specification(performance_targets=PerformanceTargets(response_time_seconds=10))
    assert ["response_time", "quality"] == [one.name for one in targets(asked, work_done([outcome()]))]


def test_quality_is_the_mean_by_records() -> None:
    """A large good batch outweighs a small bad one; batches without records count alike."""
    large, small = outcome("a", records=900, quality=1.0), outcome("b", records=100, quality=0.5)
    assert pytest.approx(0.95) == work_done([large, small]).quality_score  # type: ignore[union-attr]
    empty = [outcome("a", records=0, quality=1.0), outcome("b", records=0, quality=0.5)]
    assert pytest.approx(0.75) == work_done(empty).quality_score  # type: ignore[union-attr]


def test_no_time_is_no_throughput() -> None:
    """SEED 11: the throughput is 0 when no time was measured."""
    assert 0 == work_done([outcome(seconds=0)]).throughput  # type: ignore[union-attr]


def test_a_life_is_told_in_the_timeline(store: MemoryStore) -> None:
    """Waiting, start, progress and end are lines, each with the agent and its type."""
    told, _ = monitor(store)
    told.waiting(lease("no_room"))
    told.started(timedelta(seconds=3))
    told.progressed(1, 1, outcome())
    told.finished(succeeded=True)
    events = {event.event: event.detail for event in store.timeline(RUN)}
    assert ["agent_waiting", "agent_started", "agent_progress", "agent_finished"] == list(events)
    assert {(f"{VALIDATOR}_1", VALIDATOR)} == {
        (detail["agent"], detail["agent_type"]) for detail in events.values()
    }
    assert ([500, 2048, 1], "no_room") == (
        events["agent_waiting"]["needed"],
        events["agent_waiting"]["reason"],
    )
    assert (["planes"], 3.0) == (
        events["agent_started"]["batches"],
        events["agent_started"]["waited_seconds"],
    )
    assert (1, 1, "planes", 1000) == tuple(
        events["agent_progress"][name] for name in ("done", "of", "batch", "records")
    )


def test_the_end_counts_what_was_done_before_an_interruption(store: MemoryStore) -> None:
    """A monitor that was made anew after a pause reads the earlier batches from the store, and only its agent's."""
    told, _ = monitor(store)
    other = outcome("crews", agent_id="somebody_else", records=7)
    for one in (outcome("planes", seconds=2, records=100), outcome("routes", seconds=3, records=50), other):
        store.agents.record(told.fence, "north", one)
    told.finished(succeeded=True)
    end = store.timeline(RUN)[-1].detail
    assert (5.0, 150, 30.0) == (end["seconds"], end["records"], end["throughput"])
    assert {"response_time": True, "throughput": False, "quality": True} == end["targets"]


def test_metrics_are_those_of_the_table(store: MemoryStore) -> None:
    """Every metric of the table is given, with the tags that stand there, and no other."""
    told, notebook = monitor(store)
    store.agents.record(told.fence, "north", outcome(seconds=11, quality=0.1))
    told.started(timedelta(seconds=3))
    told.progressed(1, 1, outcome(seconds=11, quality=0.1))
    told.finished(succeeded=False)
    assert {metric.name: set(metric.tags) for metric in METRICS} == {
        name: set(tags) for name, _, tags in notebook.lines
    }
    given = {(name, tags.get("target", tags.get("outcome"))): value for name, value, tags in notebook.lines}
    assert 3.0 == given["orchestration.agent.waiting_seconds", None]
    assert 11.0 == given["orchestration.agent.seconds", None]
    assert 1000 == given["orchestration.agent.records", None]
    assert 0.1 == given["orchestration.agent.quality", None]
    assert 1 == given["orchestration.agent.finished", "failed"]
    assert {"response_time", "throughput", "quality"} == {
        target for name, target in given if name == "orchestration.agent.target_missed"
    }


def test_an_agent_is_no_tag(store: MemoryStore) -> None:
    """Agents are without number: their ids would be as many series."""
    told, notebook = monitor(store)
    told.started()
    assert not [tags for _, _, tags in notebook.lines if f"{VALIDATOR}_1" in tags.values()]


def test_work_of_no_tenant_has_no_such_tag(store: MemoryStore) -> None:
    """An empty tag is not legal everywhere."""
    told, notebook = monitor(store, tenant="")
    told.started()
    assert {("agent_type",)} == {tuple(tags) for _, _, tags in notebook.lines}


def test_progress_within_a_batch_is_told_by_tenths(store: MemoryStore) -> None:
    """An agent that speaks after each of 10,000 records leaves ten lines, the next batch ten more."""
    told, _ = monitor(store)
    for _ in range(2):
        for record in range(10_001):
            told.reached(record, 10_000)
        told.progressed(1, 2, outcome())
    within = [event for event in store.timeline(RUN) if "batch" not in event.detail]
    assert [*range(1000, 10_001, 1000)] * 2 == [event.detail["done"] for event in within]


def test_progress_of_nothing_is_none(store: MemoryStore) -> None:
    """An agent that does not know its total, or has none, breaks nothing."""
    told, _ = monitor(store)
    told.reached(0, 0)
    assert [] == list(store.timeline(RUN))


def test_who_is_not_monitored_tells_nothing(store: MemoryStore) -> None:
    """SEED 22: monitoring can be switched off."""
    told, notebook = monitor(store, monitoring_enabled=False)
    told.waiting(lease("no_room"))
    told.started()
    told.reached(1, 1)
    told.progressed(1, 1, outcome())
    told.finished(succeeded=True)
    assert ([], []) == (list(store.timeline(RUN)), notebook.lines)


def test_who_was_fenced_off_tells_nothing(store: MemoryStore) -> None:
    """The line of a stale execution is refused, and its metrics don't count."""
    told, notebook = monitor(store)
    store.end_lease(told.fence)
    fence(store)
    with pytest.raises(FencedError):
        told.started()
    assert [] == notebook.lines


def test_a_batch_of_a_queue_is_named_by_its_id(store: MemoryStore) -> None:
    """Left without an id it is named by its type."""
    for batch, name in (({"id": "batch_1", "type": "streaming"}, "batch_1"), ({"type": "x"}, "x")):
        told, _ = monitor(store, work={"batch": batch})
        told.started()
        assert [name] == store.timeline(RUN)[-1].detail["batches"]
        store.end_lease(told.fence)
