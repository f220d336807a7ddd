"""The operator that lets an agent work, on PostgreSQL: what it leases, waits for, returns and gives back."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG, timezone
from airflow.sdk.exceptions import (
    AirflowFailException,
    AirflowSkipException,
    AirflowTaskTimeout,
    TaskDeferred,
)

from airflow_orchestration.agents.agent import Agent
from airflow_orchestration.agents.templates import AgentTemplate, register_template, registered_templates
from airflow_orchestration.agents.work import Work, WorkResult
from airflow_orchestration.domain.agent import NO_TENANT, Capability, ResourceRequirements
from airflow_orchestration.domain.decision import Decision
from airflow_orchestration.domain.outcome import OutcomeStatus
from airflow_orchestration.exceptions import LeaseLostError
from airflow_orchestration.operators import run_agent
from airflow_orchestration.operators.create_agents import CreateAgentsOperator
from airflow_orchestration.operators.run_agent import RunAgentOperator
from airflow_orchestration.policies.leasing import DEFAULT_CAPACITY
from airflow_orchestration.policies.quorum_gate import GateAction, GateReason
from airflow_orchestration.storage.leases import EVERYBODY, LeaseRequest
from airflow_orchestration.storage.leases_postgres import PostgresLeases
from airflow_orchestration.storage.postgres import PostgresStore
from airflow_orchestration.triggers import lease_wait
from airflow_orchestration.triggers.branch_wait import BranchWaitTrigger
from airflow_orchestration.triggers.lease_wait import LeaseWaitTrigger
from airflow_orchestration.workflow import agent_work
from airflow_orchestration.workflow.agent_monitoring import AgentMonitor
from tests.airflow.agent_tasks import CONN_ID, RUN, context, store_for_tasks
from tests.airflow.fake_airflow import fired, placed
from tests.unit.workflow.rounds import Round

QUEUE = [{"id": "planes", "type": "validation", "size": 40}]
TINY = ResourceRequirements(cpu_millicores=1, memory_mb=1)
WITHIN = 30.0
"""Seconds; everything here takes moments."""


class Counting(Agent):
    """A worker of the author's own that counts what its batch says there is."""

    def run(self, work: Work) -> WorkResult:
        assert work.batch is not None
        return WorkResult(records=work.batch.size or 0, quality_score=0.5)


class Failing(Agent):
    """A worker that finds nothing."""

    def run(self, work: Work) -> WorkResult:
        raise FileNotFoundError(work.batch_id)


@pytest.fixture
def store(migrated: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[PostgresStore]:
    monkeypatch.setattr(lease_wait, "FIRST_LOOK_SECONDS", 0.0)
    with store_for_tasks(migrated, monkeypatch) as opened:
        yield opened


def knows(agent_class: type[Agent]) -> None:
    """Be a process in whose Dag file validations are the work of this class."""
    registered_templates.cache_clear()
    register_template(
        AgentTemplate(
            name="a_worker", capabilities=frozenset({Capability.DATA_VALIDATION}), agent_class=agent_class
        )
    )


def hired(agent_class: type[Agent] = Counting) -> str:
    """The agent of the queue, of the author's own type."""
    knows(agent_class)
    create = CreateAgentsOperator(
        task_id="agents", batch_queue=QUEUE, orchestration_conn_id=CONN_ID, tenant="north"
    )
    (agent_id,) = create.execute(context("agents"))
    return str(agent_id)


def operator(agent_id: str, **arguments: Any) -> RunAgentOperator:
    return RunAgentOperator(task_id="work", agent_id=agent_id, orchestration_conn_id=CONN_ID, **arguments)


def work(agent_id: str, *, try_number: int = 1, **arguments: Any) -> Any:
    """One execution of the agent's task."""
    return operator(agent_id, **arguments).execute(context("work", map_index=0, try_number=try_number))


def taken(store: PostgresStore, needed: ResourceRequirements = DEFAULT_CAPACITY) -> None:
    """Somebody else holds everything."""
    store.leases.ask(LeaseRequest(holder="somebody", tenant=NO_TENANT, needed=needed, epoch=1))


def holders(store: PostgresStore) -> list[str]:
    return [lease.claim.holder for lease in store.leases.leases()]


def learned(store: PostgresStore) -> list[tuple[str, bool]]:
    return [(outcome.batch, outcome.succeeded) for _, outcome in store.agents.outcomes(RUN)]


def events(store: PostgresStore) -> list[str]:
    return [line.event for line in store.timeline(RUN)]


@pytest.fixture
def a_round(store: PostgresStore, tmp_path: Path) -> Round:
    """A round with two batches on one branch, on the same store."""
    one_branch = {"workers": 1, "cpu_available": 0.5, "memory_mb": 6000}
    return Round(tmp_path, {"planes": {}, "ships": {}}, store=store, capacity=one_branch, tenant="north")


def hired_for_round() -> str:
    create = CreateAgentsOperator(task_id="create_agents", round_number=1, orchestration_conn_id=CONN_ID)
    (agent_id,) = create.execute(context("create_agents"))
    return str(agent_id)


def test_an_agent_of_the_authors_own_works_on_a_batch_of_a_queue(store: PostgresStore) -> None:
    """It returns what was measured; the outcome is its tenant's history, and nothing is held any more."""
    agent_id = hired()
    found = work(agent_id)

    assert (agent_id, "planes", True, 0.5) == (
        found["agent_id"],
        found["batch"],
        found["succeeded"],
        found["data_quality_score"],
    )
    assert found["throughput"] > 0
    assert [("planes", True)] == learned(store)
    assert [("a_worker", "data_validation", 1, 0, 40)] == [
        (it.agent_type, it.kind, it.successes, it.failures, it.records)
        for it in store.agents.history("north", days=1)
    ]
    assert [] == holders(store)
    assert ["agent_started", "agent_progress", "agent_finished"] == events(store)[-3:]


@pytest.mark.usefixtures("store")
def test_what_came_of_a_batch_is_one_line_of_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    """Who reads the task's log sees how much it was, how long it took, how good it is, and what was missed."""
    work(hired())

    assert re.search(
        r"Batch planes: 40 records in 0\.\d{3} s, quality 0\.500; targets: response_time met, quality missed",
        capsys.readouterr().out,
    )


def test_a_failure_goes_on_its_way_and_the_retry_wins(store: PostgresStore) -> None:
    """What the author's code raises is the task's; tried again, the newest outcome is the one that counts."""
    agent_id = hired(Failing)
    with pytest.raises(FileNotFoundError, match="planes"):
        work(agent_id)
    assert ([("planes", False)], []) == (learned(store), holders(store))

    knows(Counting)
    assert work(agent_id, try_number=2)["succeeded"]
    assert ([("planes", True)], []) == (learned(store), holders(store))
    assert [(1, 0)] == [(it.successes, it.failures) for it in store.agents.history("north", days=1)]


class Laneless(Agent):
    """A worker that wants a lane to do its work."""

    def run(self, work: Work) -> WorkResult:
        return work.process()


class Idle(Agent):
    """A worker that returns nothing."""

    def run(self, work: Work) -> WorkResult:
        return None  # type: ignore[return-value]  # that is the point


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(
    ("agent_class", "error"),
    [
        (Laneless, "a batch of a queue has no lane that could process it: agent type 'a_worker' needs a run"),
        (Idle, "run\\(\\) of agent type 'a_worker' returned NoneType, not a WorkResult"),
    ],
)
def test_a_template_that_does_no_work_is_told_what_it_lacks(agent_class: type[Agent], error: str) -> None:
    """Who asks for a lane, or returns nothing, is told what to do instead; trying again would end the same way."""
    with pytest.raises(AirflowFailException, match=f"AgentWorkError: {error}"):
        work(hired(agent_class))


def test_who_has_to_wait_holds_no_worker_and_goes_on_at_its_turn(store: PostgresStore) -> None:
    """It defers, keeps its place, is resumed by the trigger once there is room, and then works."""
    agent_id = hired()
    taken(store)
    with pytest.raises(TaskDeferred) as deferred:
        work(agent_id)
    trigger = deferred.value.trigger
    assert isinstance(trigger, LeaseWaitTrigger)
    assert [("somebody", False), (agent_id, True)] == [
        (lease.claim.holder, lease.granted_at is None) for lease in store.leases.leases()
    ]
    assert "agent_waiting" == events(store)[-1]

    store.leases.release("somebody", 1)
    event = asyncio.run(asyncio.wait_for(fired(trigger), WITHIN)).payload
    kwargs = {**(deferred.value.kwargs or {}), "event": event}
    resumed = operator(agent_id).resume_execution(
        deferred.value.method_name, kwargs, context("work", map_index=0)
    )
    assert ("grant", True) == (event["action"], resumed["succeeded"])
    assert ([("planes", True)], []) == (learned(store), holders(store))


def test_who_has_waited_too_long_fails_for_good(store: PostgresStore) -> None:
    """The task is not tried again, says what it needed and how long it has waited, and leaves the queue."""
    agent_id = hired()
    taken(store)
    with pytest.raises(TaskDeferred) as deferred:
        work(agent_id, wait_seconds=60)
    kwargs = {**(deferred.value.kwargs or {}), "event": {"action": "wait"}}
    assert timedelta(seconds=50) < datetime.fromisoformat(kwargs["until"]) - timezone.utcnow()

    words = f"ResourceUnavailableError: .*{agent_id} needs 500 millicores.* by all.* It has waited 60 s."
    with pytest.raises(AirflowFailException, match=words):
        operator(agent_id, wait_seconds=60).resume_execution(
            "go_on", kwargs | {"until": "2026-11-22T00:00:00+00:00"}, context("work", map_index=0)
        )
    assert ["somebody"] == holders(store)
    assert "agent_finished" == events(store)[-1]


def test_what_can_never_be_lent_fails_at_once_with_its_batches(store: PostgresStore, a_round: Round) -> None:
    """Nobody waits for capacity that was taken away; the gate hears the reason from the batches themselves."""
    agent_id = hired_for_round()
    store.leases.set_capacity(EVERYBODY, TINY)
    with pytest.raises(AirflowFailException, match=r"ResourceUnavailableError: .*waiting can't help"):
        work(agent_id, round_number=1)

    assert {"planes", "ships"} == set(a_round.outcomes)
    assert all(
        outcome.status is OutcomeStatus.FAILED and "ResourceUnavailableError" in str(outcome.error)
        for outcome in a_round.outcomes.values()
    )
    assert ([], []) == (learned(store), holders(store))


def test_what_has_arrived_stays_though_the_rest_can_not_be_lent_for(
    store: PostgresStore, a_round: Round, tmp_path: Path
) -> None:
    """An agent that comes back from waiting for a file, and finds no room, fails that batch alone."""
    (tmp_path / "ships.csv").unlink()
    agent_id = hired_for_round()
    with pytest.raises(TaskDeferred) as deferred:
        work(agent_id, round_number=1)
    assert isinstance(deferred.value.trigger, BranchWaitTrigger)
    assert [] == holders(store)

    store.leases.set_capacity(EVERYBODY, TINY)
    with pytest.raises(AirflowFailException, match="ResourceUnavailableError"):
        operator(agent_id, round_number=1).resume_execution(
            deferred.value.method_name, {"event": {}}, context("work", map_index=0)
        )
    assert {"planes": "success", "ships": "failed"} == {
        name: outcome.status for name, outcome in a_round.outcomes.items()
    }


def test_an_agent_processes_the_batches_of_its_branch(store: PostgresStore, a_round: Round) -> None:
    """Its outcomes are those of the round; its tenant learns from both, and nothing is held."""
    assert work(hired_for_round(), round_number=1) is None

    assert {"planes": 2, "ships": 2} == {name: it.rows_staged for name, it in a_round.outcomes.items()}
    assert ([("planes", True), ("ships", True)], []) == (learned(store), holders(store))
    assert [2] == [it.successes for it in store.agents.history("north", days=1)]


def test_a_batch_that_failed_fails_the_task_for_good(store: PostgresStore, a_round: Round) -> None:
    """A bad file is not read again; the task names it, and the lease is given back."""
    a_round.land("ships", "nothing\nof use\n")
    with pytest.raises(AirflowFailException, match="Failed: ships; the reasons stand in the log above"):
        work(hired_for_round(), round_number=1)

    assert ([("planes", True), ("ships", False)], []) == (learned(store), holders(store))


def test_an_agent_whose_type_is_gone_fails_with_the_types_that_are_there(store: PostgresStore) -> None:
    """The package was removed meanwhile: no retry could help, and what was lent is given back."""
    agent_id = hired()
    registered_templates.cache_clear()
    with pytest.raises(AirflowFailException, match="UnknownAgentTypeError: agent type 'a_worker' is not reg"):
        work(agent_id)

    assert [] == holders(store)


class Unbuildable(Counting):
    """A worker whose constructor fails."""

    def __init__(self, *_: Any) -> None:
        raise OSError("no licence")


def test_a_type_that_can_not_be_made_has_failed(store: PostgresStore) -> None:
    """The task fails for good, what was lent is given back, and the choice learns from it."""
    agent_id = hired(Unbuildable)
    with pytest.raises(
        AirflowFailException, match=f"AgentCreationError: {agent_id} could not be made: no lic"
    ):
        work(agent_id)

    assert ([("planes", False)], []) == (learned(store), holders(store))
    assert [(0, 1)] == [(it.successes, it.failures) for it in store.agents.history("north", days=1)]


def test_a_fault_right_after_the_grant_gives_back(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was lent before the store was away for a moment is not held until it expires."""

    def away(*_: object) -> None:
        raise ConnectionError

    agent_id = hired()
    monkeypatch.setattr(AgentMonitor, "started", away)
    with pytest.raises(ConnectionError):
        work(agent_id)
    assert [] == holders(store)


def decided(store: PostgresStore, action: GateAction) -> None:
    """The gate of the round has decided."""
    reason = GateReason.DEADLINE_BELOW_FLOOR
    store.record_verdict(RUN, 1, Decision(policy="quorum_gate", action=action, reason=reason, evidence={}))


@pytest.mark.parametrize("action", [GateAction.TIMEOUT_RECOVERY, GateAction.CONDITIONAL_PROCEED])
@pytest.mark.usefixtures("a_round")
def test_when_the_gate_has_decided_nothing_is_waited_for(store: PostgresStore, action: GateAction) -> None:
    """An agent that waits for a lease is resumed at once, leaves the queue, and is skipped as a late lane is."""
    agent_id = hired_for_round()
    taken(store)
    with pytest.raises(TaskDeferred) as deferred:
        work(agent_id, round_number=1)
    again = LeaseWaitTrigger(**deferred.value.trigger.serialize()[1])
    trigger = placed(again, dag_id=RUN.dag_id, run_id=RUN.run_id)
    decided(store, action)
    event = asyncio.run(asyncio.wait_for(fired(trigger), WITHIN)).payload
    with pytest.raises(AirflowSkipException, match="Late: planes, ships had not arrived"):
        operator(agent_id, round_number=1).resume_execution(
            deferred.value.method_name,
            {**(deferred.value.kwargs or {}), "event": event},
            context("work", map_index=0),
        )

    assert ("gone", ["somebody"], []) == (event["action"], holders(store), learned(store))
    assert "agent_finished" == events(store)[-1]


def test_what_can_be_lent_at_once_is_of_use_to_late_feeds(store: PostgresStore, a_round: Round) -> None:
    """Where late feeds are merged afterwards, an agent that need not wait does its work after the verdict too."""
    agent_id = hired_for_round()
    decided(store, GateAction.CONDITIONAL_PROCEED)
    assert work(agent_id, round_number=1) is None
    assert {"planes", "ships"} == set(a_round.outcomes)


def test_a_round_that_is_given_up_gets_no_lease(store: PostgresStore, a_round: Round) -> None:
    """When nobody merges what comes late, an agent does not even ask."""
    agent_id = hired_for_round()
    decided(store, GateAction.TIMEOUT_RECOVERY)
    with pytest.raises(AirflowSkipException, match="Late: planes, ships"):
        work(agent_id, round_number=1)
    assert ({}, []) == (a_round.outcomes, holders(store))
    assert "agent_started" not in events(store)


@pytest.fixture
def out_of_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow's time is over as soon as the second batch is to be begun."""
    begin = agent_work.until

    def until(over: Any, task: Any, bounds: Any) -> Any:
        if bounds.feed_id == "ships":
            raise AirflowTaskTimeout
        return begin(over, task, bounds)

    monkeypatch.setattr(agent_work, "until", until)


@pytest.mark.usefixtures("out_of_time")
def test_a_timeout_on_the_last_try_fails_what_is_left(store: PostgresStore, a_round: Round) -> None:
    """The batch that was not done says which time was too short; it is a failure of the agent, and nothing is held."""
    with pytest.raises(AirflowTaskTimeout):
        work(hired_for_round(), round_number=1, try_number=2, execution_timeout=timedelta(seconds=60))

    words = "AgentWorkError: .* was still at work after 60 s, on the last try; raise timeout_seconds"
    assert a_round.outcomes["planes"].error is None
    assert re.match(words, str(a_round.outcomes["ships"].error))
    assert ([("planes", True), ("ships", False)], []) == (learned(store), holders(store))


@pytest.mark.usefixtures("out_of_time")
def test_a_timeout_that_is_tried_again_fails_nothing(store: PostgresStore, a_round: Round) -> None:
    """What is left is the next try's; nothing is held meanwhile."""
    with pytest.raises(AirflowTaskTimeout):
        work(hired_for_round(), round_number=1)
    assert (["planes"], [("planes", True)], []) == ([*a_round.outcomes], learned(store), holders(store))


def terms(mapped: bool, default_args: dict[str, Any], **said: Any) -> tuple[Any, Any]:
    with DAG("terms", schedule=None, default_args=default_args):
        if mapped:
            task: Any = RunAgentOperator.partial(task_id="work", **said).expand(agent_id=["a"])
        else:
            task = RunAgentOperator(task_id="work", agent_id="a", **said)
    return task.execution_timeout, task.retries


@pytest.mark.parametrize("mapped", [False, True])
def test_seed_20_how_long_and_how_often_unless_the_author_says_otherwise(mapped: bool) -> None:
    """300 seconds and three retries; what stands in the task or in `default_args` wins."""
    own = {"execution_timeout": timedelta(seconds=9), "retries": 1}
    expected = timedelta(seconds=300), 3

    assert expected == terms(mapped, {})
    assert (timedelta(seconds=9), 1) == terms(mapped, {}, **own)
    assert (timedelta(seconds=9), 1) == terms(mapped, own)
    assert (None, 0) == terms(mapped, {}, execution_timeout=None, retries=0)


def test_an_agent_that_nobody_has_made_is_named(store: PostgresStore) -> None:
    """An id of another run is no agent of this one."""
    with pytest.raises(KeyError, match="agent nobody_1: no CreateAgentsOperator of this run has made it"):
        work("nobody_1")
    assert [] == holders(store)


@pytest.fixture
def short_leases(monkeypatch: pytest.MonkeyPatch) -> timedelta:
    """Leases that are over in half a second when nobody is heard of."""
    time = timedelta(seconds=0.5)
    monkeypatch.setattr(run_agent, "LEASE_TIME", time)
    monkeypatch.setitem(PostgresLeases.__init__.__kwdefaults__, "lease_time", time)
    return time


def test_a_lease_outlasts_its_time_while_the_agent_works(
    store: PostgresStore, short_leases: timedelta
) -> None:
    """The author's own code may be busy for long: the lease is kept beside it, and given back at the end."""
    seen: list[Any] = []

    class Busy(Agent):
        def run(self, work: Work) -> WorkResult:
            began = store.leases.leases()[0].granted_at
            assert began is not None
            threading.Event().wait(3 * short_leases.total_seconds())
            seen.extend((lease.granted_at, lease.expires_at - began) for lease in store.leases.leases())
            assert began == seen[0][0]
            return WorkResult(records=1)

    assert work(hired(Busy))["succeeded"]
    assert [True] == [lasted > 3 * short_leases for _, lasted in seen]
    assert [] == holders(store)


def test_an_agent_that_lost_its_lease_hears_of_it_when_it_tells_its_progress(store: PostgresStore) -> None:
    """What it holds may be another's by now: its work ends, teaches nothing, and can be tried again."""

    class Losing(Agent):
        def run(self, work: Work) -> WorkResult:
            work.progress(1, 10)
            store.leases.release(holders(store)[0], store.leases.leases()[0].epoch)
            work.progress(2, 10)
            return WorkResult(records=1)

    agent_id = hired(Losing)
    with pytest.raises(LeaseLostError):
        work(agent_id)
    assert [] == learned(store)
    assert [(1, 10)] == [
        (line.detail["done"], line.detail["of"])
        for line in store.timeline(RUN)
        if line.event == "agent_progress" and line.detail["of"] == 10
    ]


@pytest.mark.usefixtures("store")
def test_the_thread_that_renews_ends_with_the_work() -> None:
    """Nobody renews what somebody else may hold by then."""
    agent_id = hired(Failing)
    with pytest.raises(FileNotFoundError):
        work(agent_id)

    assert f"lease of {agent_id}" not in [thread.name for thread in threading.enumerate()]
