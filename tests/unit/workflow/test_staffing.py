"""Which agents a round gets, and who works on what: SEED 22, 26, 27 in a pipeline."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_orchestration.agents.created import CREATION_EVENT
from airflow_orchestration.agents.templates import AgentTemplate, AgentTemplates
from airflow_orchestration.domain.agent import (
    AgentOutcome,
    AgentPerformance,
    AgentRequirement,
    Capability,
    PerformanceTargets,
    ResourceRequirements,
)
from airflow_orchestration.domain.batch import Lane
from airflow_orchestration.domain.outcome import OutcomeStatus
from airflow_orchestration.policies.quorum_gate import GateReason
from airflow_orchestration.storage.agent_records import AssignedAgent
from airflow_orchestration.workflow.capacity import MEMORY_PER_BRANCH_MB
from airflow_orchestration.workflow.staffing import NO_TASK, requirement_of
from tests.unit.workflow.rounds import KEY, STREAM, TRANSFORMATION, Round, feeds_of

INGESTER, SHAPER = "data_ingestion_specialist", "data_transformation_specialist"
MANY: dict[str, dict[str, Any]] = {
    "load": {**STREAM, "depends_on": ["shape"]},
    "shape": TRANSFORMATION,
    "planes": {},
    "checks": {"type": "data_validation"},
    "sums": {"type": "data_aggregation", "priority": "high"},
}
INGESTION = frozenset({Capability.DATA_INGESTION})


def at_work(agents: tuple[AssignedAgent, ...]) -> list[AssignedAgent]:
    return [agent for agent in agents if agent.position != NO_TASK]


def test_each_branch_has_an_agent_for_each_of_its_lanes(tmp_path: Path) -> None:
    """Together the agents have every batch of the plan once, and each has those of one branch in one lane."""
    bench = Round(tmp_path, MANY)
    expected = {
        (branch.branch_id, lane.value, branch.feeds_in(lane))
        for branch in bench.plan.branches
        for lane in Lane
        if branch.feeds_in(lane)
    }
    agents = at_work(bench.hire())

    assert expected == {(one.work["branch_id"], one.work["lane"], tuple(one.work["feeds"])) for one in agents}
    assert sorted(MANY) == sorted(feed_id for feeds in feeds_of(agents) for feed_id in feeds)
    assert list(range(len(agents))) == [one.position for one in agents]


def test_the_type_of_the_batches_says_who_is_wanted(tmp_path: Path) -> None:
    """Streams and files need ingestion, and a validation, a transformation, an aggregation their specialists."""
    feeds = {name: feed for name, feed in MANY.items() if name != "planes"}
    agents = at_work(Round(tmp_path, feeds).hire())

    assert {
        "load": INGESTER,
        "shape": SHAPER,
        "checks": "data_validation_specialist",
        "sums": "data_aggregation_specialist",
    } == {feed_id: one.specification.agent_type for one in agents for feed_id in one.work["feeds"]}


def test_who_works_on_two_kinds_can_do_both(tmp_path: Path) -> None:
    """Batches of one branch and lane that need different capabilities get somebody who has them all."""
    one_branch = {"workers": 1, "cpu_available": 0.5, "memory_mb": 6000}
    bench = Round(tmp_path, {"planes": {}, "checks": {"type": "data_validation"}}, capacity=one_branch)
    (agent,) = bench.hire()

    assert ("data_generalist", (Capability.DATA_INGESTION, Capability.DATA_VALIDATION)) == (
        agent.specification.agent_type,
        agent.specification.capabilities,
    )


def test_seed_22_what_batches_ask_for(tmp_path: Path) -> None:
    """The largest batch, the shortest deadline, the pipeline's standard, and a connection for each outside source."""
    erp = {"uri": None, "format": None, "database": {"conn_id": "erp", "table": "erp.plane"}}
    feeds: dict[str, dict[str, Any]] = {
        "planes": {"usual_rows": 5000, "deadline": 40},
        "airports": {"usual_rows": 100, "deadline": 30.9, "format": "json"},
        "carriers": erp,
    }
    bench = Round(tmp_path, feeds, quality={"approve_at": 0.7}, max_rounds=2)

    assert AgentRequirement(
        task_description="planes, airports, carriers",
        capabilities_needed=(Capability.DATA_INGESTION,),
        data_source="files",
        batch_size=5000,
        format=("csv", "json"),
        quality_requirement=0.7,
        quality_required={"overall": 0.7},
        sla_seconds=30,
        max_iterations=2,
        connections=1,
    ) == requirement_of(bench.step("agents"), ["planes", "airports", "carriers"])
    assert "database" == requirement_of(bench.step("agents"), ["carriers"]).data_source


def test_agents_keep_to_the_terms_of_the_pipeline_file(tmp_path: Path) -> None:
    """What the file says of agents stands in every specification; what it leaves out is the document's."""
    terms = {"max_concurrent_batches": 7, "timeout_seconds": 60, "retry_attempts": 1, "monitoring": False}
    (told,) = (one.specification for one in Round(tmp_path / "told", {"a": {}}, agents=terms).hire())
    (left_out,) = (one.specification for one in Round(tmp_path / "out", {"a": {}}).hire())

    assert [(7, 60, 1, False), (3, 300, 3, True)] == [
        (it.max_concurrent_batches, it.timeout_seconds, it.retry_attempts, it.monitoring_enabled)
        for it in (told, left_out)
    ]


@pytest.mark.parametrize(
    ("usual_rows", "memory_mb"), [(1, MEMORY_PER_BRANCH_MB), (300_000, 1156), (10**8, 3000)]
)
def test_an_agent_asks_for_what_its_branch_may_take(tmp_path: Path, usual_rows: int, memory_mb: int) -> None:
    """It leases what its batches are estimated to take, enough to work at all, and no more than its share."""
    two_branches = {"workers": 2, "cpu_available": 0.5, "memory_mb": 6000}
    feeds = {"planes": {"usual_rows": usual_rows}, "airports": {"usual_rows": usual_rows}}
    agents = Round(tmp_path, feeds, capacity=two_branches).hire()

    assert [memory_mb] * 2 == [one.specification.resource_requirements.memory_mb for one in agents]


def test_each_choice_is_kept_with_the_whole_table(tmp_path: Path) -> None:
    """For every agent there is a decision, with each candidate's score or what it lacks."""
    bench = Round(tmp_path, MANY)
    agents = bench.hire()
    tables = [decision["evidence"]["table"] for decision in bench.decisions("agent_selection")]

    assert len(agents) == len(tables)
    assert {7} == {len(table) for table in tables}
    assert all((row["score"] is None) == bool(row["missing"]) for table in tables for row in table)


def test_agents_are_chosen_once(tmp_path: Path) -> None:
    """A second try gets the agents of the first, and decides and tells nothing anew."""
    bench = Round(tmp_path, MANY)
    first = bench.hire()
    known = len(bench.store.decisions(KEY)), len(bench.store.timeline(KEY))
    again = bench.hire(AgentTemplates(), try_number=2)

    assert first == again
    assert known == (len(bench.store.decisions(KEY)), len(bench.store.timeline(KEY)))


def test_seed_26_more_than_two_agents_have_a_coordinator(tmp_path: Path) -> None:
    """With two agents there is none; with a third there is one, which has no task."""
    two = Round(tmp_path / "two", {"planes": {}, "shape": TRANSFORMATION}).hire()
    three = Round(tmp_path / "three", {"planes": {}, "shape": TRANSFORMATION, "load": STREAM}).hire()

    assert [0, 1] == [agent.position for agent in two]
    assert [NO_TASK, 0, 1, 2] == [agent.position for agent in three]
    assert ("pipeline_coordinator", {}) == (three[0].specification.agent_type, three[0].work)


def test_seed_26_the_coordinator_puts_those_first_who_are_needed(tmp_path: Path) -> None:
    """`load` needs `shape` and so begins behind it, though its lane comes first; the order is kept as a decision."""
    bench = Round(tmp_path, MANY)
    order = feeds_of(bench.hire())
    (decision,) = bench.decisions("agent_order")

    assert order.index(["shape"]) < order.index(["load"])
    assert ("order_agents", "needed_first") == (decision["action"], decision["reason"])


def test_two_agents_are_not_coordinated(tmp_path: Path) -> None:
    """They begin in the order of their lanes, since each waits for the other's batches by itself."""
    bench = Round(tmp_path, {"load": {**STREAM, "depends_on": ["shape"]}, "shape": TRANSFORMATION})

    assert [["load"], ["shape"]] == feeds_of(bench.hire())


def test_seed_27_a_batch_for_which_nobody_can_be_had_fails_with_the_reason(tmp_path: Path) -> None:
    """The others get their agents; the failure is an outcome for the gate and stands in the timeline."""
    ingestion_alone = AgentTemplates([AgentTemplate(name="loader", capabilities=INGESTION)])
    bench = Round(tmp_path, {"planes": {}, "shape": TRANSFORMATION})
    agents = bench.hire(ingestion_alone)
    (told,) = bench.told(CREATION_EVENT)

    assert [["planes"]] == feeds_of(agents)
    assert {"shape": OutcomeStatus.FAILED} == {name: it.status for name, it in bench.outcomes.items()}
    assert (
        "NoSuitableAgentError: no type of agent has all the capabilities\n"
        "  loader lacks data_transformation" == bench.outcomes["shape"].error
    )
    assert (1, ["NoSuitableAgentError"]) == (
        told["active_count"],
        [failure["error_type"] for failure in told["failures"]],
    )
    assert GateReason.FLOOR_UNREACHABLE == bench.decide({}).reason


def test_a_round_for_which_nobody_can_be_had_has_no_agents(tmp_path: Path) -> None:
    """All its batches fail at once, and its gate waits for nobody."""
    bench = Round(tmp_path, MANY)

    assert () == bench.hire(AgentTemplates())
    assert sorted(MANY) == sorted(bench.outcomes)
    assert GateReason.FLOOR_UNREACHABLE == bench.decide({"agents": "skipped"}).reason


@pytest.mark.parametrize("who", ["", "north"])
def test_seed_23_what_could_never_be_lent_is_not_waited_for(tmp_path: Path, who: str) -> None:
    """Where all there is, or all that its tenant may have, is too small, the batch fails at once and says so."""
    bench = Round(tmp_path, {"planes": {}}, tenant="north")
    bench.store.leases.set_capacity("south", ResourceRequirements(cpu_millicores=1, memory_mb=1))
    bench.store.leases.set_capacity(who, ResourceRequirements(cpu_millicores=499, memory_mb=6000))

    assert () == bench.hire()
    assert (
        "ResourceUnavailableError: data_ingestion_specialist_1_1 needs 500 of 499 cpu_millicores: waiting can't help"
        in str(bench.outcomes["planes"].error)
    )


def test_another_tenants_limit_holds_up_nobody(tmp_path: Path) -> None:
    """What `south` may have says nothing of `north`."""
    bench = Round(tmp_path, {"planes": {}}, tenant="north")
    bench.store.leases.set_capacity("south", ResourceRequirements(cpu_millicores=1, memory_mb=1))

    assert [["planes"]] == feeds_of(bench.hire())


def test_a_failure_is_told_though_the_first_try_died_of_telling(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever tries again finds the agents kept, and what nobody can do failed: its gate waits for nobody."""
    ingestion_alone = AgentTemplates([AgentTemplate(name="loader", capabilities=INGESTION)])
    bench = Round(tmp_path, {"planes": {}, "shape": TRANSFORMATION})

    def dies(*_: object) -> None:
        raise ConnectionError

    with monkeypatch.context() as dying:
        dying.setattr(bench.store, "add_event", dies)
        with pytest.raises(ConnectionError):
            bench.hire(ingestion_alone)

    assert [["planes"]] == feeds_of(bench.hire(ingestion_alone, try_number=2))
    assert ["shape"] == list(bench.outcomes)


def test_each_tenant_learns_from_its_own_work_alone(tmp_path: Path) -> None:
    """Of two types that are alike, the one that failed for `north` gives way there, and in the same work alone."""
    both = frozenset({Capability.DATA_INGESTION, Capability.DATA_TRANSFORMATION})
    alike = AgentTemplates(AgentTemplate(name=name, capabilities=both) for name in ("a", "b"))

    def chosen(tenant: str, feed: dict[str, Any]) -> str:
        bench = Round(tmp_path / f"{tenant}{len(feed)}", {"planes": feed}, tenant=tenant)
        fence = bench.step("agent:earlier").fence
        failed = AgentOutcome(agent_id="x", agent_type="a", kind="data_ingestion", batch="b", succeeded=False)
        bench.store.agents.record(fence, "north", failed)
        (agent,) = bench.hire(alike)
        return agent.specification.agent_type

    assert ("b", "a", "a") == (chosen("north", {}), chosen("south", {}), chosen("north", TRANSFORMATION))


def test_what_was_measured_replaces_the_estimate(tmp_path: Path) -> None:
    """After three measured outcomes the targets are half the pace that the type had, and no longer the formula's."""
    measured = AgentPerformance(execution_time=timedelta(seconds=10), data_quality_score=0.9, records=1000)

    def targets(outcomes: int) -> PerformanceTargets:
        bench = Round(tmp_path / str(outcomes), {"planes": {}})
        fence = bench.step("agent:earlier").fence
        known: dict[str, Any] = {
            "agent_id": "x",
            "agent_type": INGESTER,
            "kind": "data_ingestion",
            "performance": measured,
        }
        for number in range(outcomes):
            bench.store.agents.record(fence, "", AgentOutcome(batch=str(number), succeeded=True, **known))
        (agent,) = bench.hire()
        return agent.specification.performance_targets

    assert PerformanceTargets(response_time_seconds=300) == targets(2)
    assert PerformanceTargets(response_time_seconds=20, throughput_per_second=50.0) == targets(3)


@pytest.mark.parametrize(
    ("states", "reason"),
    [
        pytest.param({"agents_0": "running", "agents_1": "running"}, None, id="at work"),
        pytest.param({"agents_0": "success", "agents_1": "failed"}, GateReason.FLOOR_UNREACHABLE, id="over"),
        pytest.param({"agents_0": "running", "agents_1": "failed"}, GateReason.FLOOR_UNREACHABLE, id="one"),
        pytest.param({"agents": "upstream_failed"}, GateReason.FLOOR_UNREACHABLE, id="never expanded"),
    ],
)
def test_the_gate_notices_agents_that_died(
    tmp_path: Path, states: dict[str, str | None], reason: GateReason | None
) -> None:
    """A batch whose agent's task has ended without an outcome will never come."""
    bench = Round(tmp_path, {"planes": {}, "shape": TRANSFORMATION})
    bench.hire()
    decision = bench.decide(states)

    assert reason == (decision.reason if decision.is_settled else None)


@pytest.mark.parametrize(
    ("states", "settled"), [({}, False), ({"agents": None}, False), ({"agents": "upstream_failed"}, True)]
)
def test_the_gate_notices_that_nobody_was_ever_hired(
    tmp_path: Path, states: dict[str, str | None], settled: bool
) -> None:
    """When the task that chooses agents has failed, the gate does not wait for its deadline."""
    assert settled == Round(tmp_path, {"planes": {}, "shape": TRANSFORMATION}).decide(states).is_settled
