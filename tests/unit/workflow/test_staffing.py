"""Which agents a round gets, and who works on what: SEED 22, 26, 27 in a pipeline."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from enum import StrEnum
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
from airflow_orchestration.domain.decision import Decision
from airflow_orchestration.domain.outcome import OutcomeStatus
from airflow_orchestration.policies.quorum_gate import GateReason
from airflow_orchestration.storage.agent_records import NO_TASK, AssignedAgent
from airflow_orchestration.workflow import capacity
from airflow_orchestration.workflow.capacity import MEMORY_PER_BRANCH_MB, branch_memory_mb
from airflow_orchestration.workflow.publish import manifest_of
from airflow_orchestration.workflow.staffing import record_decisions, requirement_of
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
    """The largest batch, the shortest deadline and the pipeline's standard."""
    feeds: dict[str, dict[str, Any]] = {
        "planes": {"usual_rows": 5000, "deadline": 40},
        "airports": {"usual_rows": 100, "deadline": 30.9, "format": "json"},
    }
    bench = Round(tmp_path, feeds, quality={"approve_at": 0.7}, max_rounds=2)

    assert AgentRequirement(
        task_description="planes, airports",
        capabilities_needed=(Capability.DATA_INGESTION,),
        data_source="files",
        batch_size=5000,
        format=("csv", "json"),
        quality_requirement=0.7,
        sla_seconds=30,
        max_iterations=2,
    ) == requirement_of(bench.step("agents"), ["planes", "airports"])


def test_a_source_is_named_only_if_all_batches_share_it(tmp_path: Path) -> None:
    """Of files and tables together, nothing is said; one connection serves tables that are read one by one."""
    erp = {"uri": None, "format": None, "database": {"conn_id": "erp", "table": "erp.plane"}}
    bench = Round(tmp_path, {"planes": {}, "carriers": erp, "crews": erp})
    step = bench.step("agents")

    assert [("database", 1), ("files", None), (None, 1)] == [
        (asked.data_source, asked.connections)
        for asked in (
            requirement_of(step, batches) for batches in (["carriers", "crews"], ["planes"], bench.spec.feeds)
        )
    ]


def test_agents_keep_to_the_terms_of_the_pipeline_file(tmp_path: Path) -> None:
    """What the file says of agents stands in every specification; what it leaves out is the document's."""
    terms = {"max_concurrent_batches": 7, "timeout_seconds": 60, "retry_attempts": 1, "monitoring": False}
    (told,) = (one.specification for one in Round(tmp_path / "told", {"a": {}}, agents=terms).hire())
    (left_out,) = (one.specification for one in Round(tmp_path / "out", {"a": {}}).hire())

    assert [(7, 60, 1, False), (3, 300, 3, True)] == [
        (it.max_concurrent_batches, it.timeout_seconds, it.retry_attempts, it.monitoring_enabled)
        for it in (told, left_out)
    ]


TWO_BRANCHES = {"workers": 2, "cpu_available": 0.5}


def memory_of(agents: tuple[AssignedAgent, ...]) -> list[int]:
    return [agent.specification.resource_requirements.memory_mb for agent in agents]


@pytest.fixture
def a_machine_of_6000_mb(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capacity, "available_memory_mb", lambda: 6000)


@pytest.mark.usefixtures("a_machine_of_6000_mb")
@pytest.mark.parametrize(
    ("usual_rows", "memory_mb"), [(1, MEMORY_PER_BRANCH_MB), (10**6, 1256), (10**8, 3000), (None, 3000)]
)
def test_an_agent_is_lent_what_its_batches_take(
    tmp_path: Path, usual_rows: int | None, memory_mb: int
) -> None:
    """Enough to work at all, and at most its branch's share; all of the share when nobody knows the volume."""
    feed = {} if usual_rows is None else {"usual_rows": usual_rows}
    agents = Round(tmp_path, {"planes": feed, "airports": feed}, capacity=TWO_BRANCHES).hire()

    assert [memory_mb] * 2 == memory_of(agents)


@pytest.mark.usefixtures("a_machine_of_6000_mb")
def test_one_batch_of_unknown_volume_makes_all_unknown(tmp_path: Path) -> None:
    """The largest of an agent's batches may be the one that nobody has counted."""
    one_branch = {"workers": 1, "cpu_available": 0.5}
    bench = Round(tmp_path, {"planes": {"usual_rows": 5}, "ships": {}}, capacity=one_branch)

    assert [6000] == memory_of(bench.hire())


@pytest.mark.parametrize("feed", [{}, {"usual_rows": 1}, STREAM])
def test_memory_that_the_author_declared_is_lent_whole(tmp_path: Path, feed: dict[str, Any]) -> None:
    """An agent has what a lane would have: whoever is told to raise `capacity.memory_mb` gains by it."""
    for memory_mb in (6000, 16000):
        bench = Round(
            tmp_path / str(memory_mb),
            {"planes": feed, "airports": feed},
            capacity={**TWO_BRANCHES, "memory_mb": memory_mb},
        )
        lane = branch_memory_mb(bench.step("lane"), bench.plan)
        agents = bench.hire()

        assert [pytest.approx(lane, abs=1)] * 2 == [
            branch_memory_mb(replace(bench.step("agent"), memory_mb=lent), bench.plan)
            for lent in memory_of(agents)
        ]
        assert {"place"} == {
            decision["evidence"]["estimates"]["memory_mb"] for decision in bench.decisions("agent_selection")
        }


def test_an_agent_asks_for_no_more_than_its_tenant_could_be_lent(tmp_path: Path) -> None:
    """A share that is larger than the tenant's limit is cut to it, down to what an engine needs to work at all."""

    def hired(name: str, memory_mb: int) -> tuple[Round, list[int]]:
        bench = Round(tmp_path / name, {"planes": {}}, tenant="north")
        limit = ResourceRequirements(cpu_millicores=500, memory_mb=memory_mb)
        bench.store.leases.set_capacity("north", limit)
        return bench, memory_of(bench.hire())

    assert [2000] == hired("enough", 2000)[1]
    bench, nobody = hired("too_little", 500)
    assert [] == nobody
    assert f"needs {MEMORY_PER_BRANCH_MB} of 500 memory_mb" in str(bench.outcomes["planes"].error)


@pytest.mark.usefixtures("a_machine_of_6000_mb")
@pytest.mark.parametrize(("peak_memory_mb", "memory_mb"), [(40.0, 1256), (1600.0, 2000), (5000.0, 3000)])
def test_learned_memory_only_raises_what_is_lent(
    tmp_path: Path, peak_memory_mb: float, memory_mb: int
) -> None:
    """Small batches of another job take nothing away; what such work took, and a quarter more, is lent up to the share."""
    feeds = {"planes": {"usual_rows": 10**6}, "airports": {"usual_rows": 10**6}}
    bench = Round(tmp_path, feeds, capacity=TWO_BRANCHES)
    learn(bench, 3, peak_memory_mb=peak_memory_mb)

    assert [memory_mb] * 2 == memory_of(bench.hire())


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


def test_a_crew_of_nobody_is_not_kept(tmp_path: Path) -> None:
    """Whoever clears the task gets agents once there are types for it; a coordinator alone works on nothing."""
    boss = AgentTemplate(name="boss", capabilities=frozenset({Capability.PIPELINE_COORDINATION}))
    bench = Round(tmp_path, MANY)
    assert () == bench.hire(AgentTemplates([boss]))

    agents = bench.hire(try_number=2)
    assert sorted(MANY) == sorted(feed_id for feeds in feeds_of(agents) for feed_id in feeds)
    assert agents == bench.hire(AgentTemplates([boss]), try_number=3)


def test_agents_are_their_run_s_tenant_s(tmp_path: Path) -> None:
    """Also the coordinator: whose they are is kept with each of them."""
    assert {"north"} == {agent.tenant for agent in Round(tmp_path, MANY, tenant="north").hire()}


@pytest.mark.parametrize(("who", "most"), [("", 250), ("north", 499)])
def test_seed_23_what_could_never_be_lent_is_not_waited_for(tmp_path: Path, who: str, most: int) -> None:
    """Where all there is, or all that its tenant may have, is too small, the batch fails at once and says so."""
    bench = Round(tmp_path, {"planes": {}}, tenant="north")
    bench.store.leases.set_capacity("south", ResourceRequirements(cpu_millicores=1, memory_mb=1))
    bench.store.leases.set_capacity(who, ResourceRequirements(cpu_millicores=499, memory_mb=6000))

    assert () == bench.hire()
    assert (
        f"ResourceUnavailableError: data_ingestion_specialist_1_1 needs 500 of {most} cpu_millicores that tenant north may "
        "have: waiting can't help; raise the capacity with `airflow orchestration agents capacity north --cpu 0.5 "
    ) in str(bench.outcomes["planes"].error)


def test_a_run_that_had_no_agents_says_why(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A floor out of reach is no reason that anybody could mend: the limit and the remedy stand beside it, once."""
    one_branch = {"workers": 1, "cpu_available": 0.5, "memory_mb": 6000}
    bench = Round(tmp_path, {"planes": {}, "ships": {}}, tenant="north", capacity=one_branch)
    bench.store.leases.set_capacity("north", ResourceRequirements(cpu_millicores=300, memory_mb=6000))
    bench.hire()
    bench.decide({})
    why = manifest_of(bench.step("end"), published=False)["why"]

    assert why.startswith(
        "quorum_gate: timeout_recovery because floor_unreachable; planes and 1 more: ResourceUnavailableError: "
    )
    assert "needs 500 of 300 cpu_millicores that tenant north may have" in why
    assert 1 == why.count("airflow orchestration agents capacity north --cpu 0.5 ")
    assert ["Nobody works on planes, ships"] == [
        record.getMessage().split(":")[0] for record in caplog.records if record.levelname == "WARNING"
    ]


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


def learn(bench: Round, outcomes: int, **measured: Any) -> None:
    """Have the ingesters of no tenant done so many batches before."""
    known: dict[str, Any] = {
        "execution_time": timedelta(seconds=10),
        "data_quality_score": 0.9,
        "records": 1000,
    }
    for number in range(outcomes):
        told = AgentOutcome(
            agent_id="x",
            agent_type=INGESTER,
            kind="data_ingestion",
            batch=str(number),
            succeeded=True,
            performance=AgentPerformance(**known | measured),
        )
        bench.store.agents.record(bench.step(f"agent:earlier_{number}").fence, "", told)


def test_what_was_measured_replaces_the_estimate(tmp_path: Path) -> None:
    """After three measured outcomes the targets are half the pace that the type had, and no longer the formula's."""

    def targets(outcomes: int) -> PerformanceTargets:
        bench = Round(tmp_path / str(outcomes), {"planes": {}})
        learn(bench, outcomes)
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


class Chosen(StrEnum):
    ONE = "one"


@pytest.mark.parametrize(
    ("told", "evidence"),
    [
        ("things: one because one", {}),
        ("things: one because one (urgent true, score 0.5)", {"urgent": True, "score": 0.5}),
        ("things: one because one (required files, left 2)", {"required": ["files"], "left": 2}),
        ("things: one because one (agent-1)", {"agent_id": "agent-1", "score": 0.5}),
    ],
)
def test_a_decision_is_one_line_of_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, told: str, evidence: dict[str, Any]
) -> None:
    """The figures behind it stand in brackets, where there are any; a claim is true or false."""
    caplog.set_level("INFO")
    decision = Decision(policy="things", action=Chosen.ONE, reason=Chosen.ONE, evidence=evidence)
    record_decisions(Round(tmp_path, {"planes": {}}).step("staff"), [decision])
    assert told in caplog.messages
