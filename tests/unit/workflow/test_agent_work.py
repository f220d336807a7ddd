"""Agents at work on the batches of a round, each in a process of its own as in a Dag."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import pytest

from airflow_orchestration.agents.agent import Agent
from airflow_orchestration.agents.factory import AgentFactory
from airflow_orchestration.agents.templates import AgentTemplate, AgentTemplates
from airflow_orchestration.agents.work import Work, WorkResult
from airflow_orchestration.domain.agent import NO_TENANT, AgentOutcome, Capability
from airflow_orchestration.domain.batch import Lane
from airflow_orchestration.domain.outcome import FeedOutcome, OutcomeStatus, StagedFile
from airflow_orchestration.exceptions import AgentWorkError, InputRefusedError, LeaseLostError
from airflow_orchestration.policies.leasing import DEFAULT_CAPACITY, LeaseAction
from airflow_orchestration.storage.agent_records import AssignedAgent
from airflow_orchestration.storage.leases import LEASE_TIME, LeaseRequest
from airflow_orchestration.storage.store import RunKey
from airflow_orchestration.workflow import agent_work
from airflow_orchestration.workflow.agent_monitoring import AgentMonitor
from airflow_orchestration.workflow.agent_work import AgentAtWork
from airflow_orchestration.workflow.branch import Waiting, WaitsFor, run_branch
from airflow_orchestration.workflow.stopping import apart, until
from tests.unit.workflow.rounds import GOOD, KEY, MIXED, STREAM, TRANSFORMATION, Round

BAD = "nothing\nof use\n"
"""A file whose feed fails: it lacks the columns."""
ONE_BRANCH: dict[str, Any] = {"capacity": {"workers": 1, "cpu_available": 0.5, "memory_mb": 6000}}
Run = Callable[[Work], WorkResult]


def hired(bench: Round, run: Run | None = None) -> tuple[AssignedAgent, ...]:
    """The agents of a round; with `run` all of one type of the author's own that works so."""
    if run is not None:
        own = type("Own", (Agent,), {"run": lambda _, work: run(work)})
        template = AgentTemplate(name="own", capabilities=frozenset(Capability), agent_class=own)
        bench.templates = AgentTemplates([template])
    return bench.hire()


def begun(bench: Round, assigned: AssignedAgent, *, try_number: int = 1) -> AgentAtWork:
    """An execution of an agent's task that was lent what it needs."""
    at_work = at_work_of(bench, assigned, try_number=try_number)
    assert LeaseAction.GRANT is at_work.ask().action
    return at_work


def at_work_of(bench: Round, assigned: AssignedAgent, *, try_number: int = 1) -> AgentAtWork:
    step = bench.step(f"agent:{assigned.agent_id}", try_number=try_number)
    monitor = AgentMonitor(store=bench.store, fence=step.fence, agent=assigned)
    return AgentAtWork(step=step, assigned=assigned, monitor=monitor)


def work(
    bench: Round, assigned: AssignedAgent, *, try_number: int = 1, last_try: bool = True
) -> tuple[Waiting, ...]:
    """One execution of an agent's task, from its lease to its end."""
    at_work = begun(bench, assigned, try_number=try_number)
    try:
        return at_work.run_branch(made(bench, assigned), last_try=last_try)
    finally:
        at_work.give_back()


def made(bench: Round, assigned: AssignedAgent) -> Agent:
    return AgentFactory(templates=bench.templates, new_id=lambda: "").create(assigned.specification)


def learned(bench: Round) -> dict[str, AgentOutcome]:
    return {outcome.batch: outcome for _, outcome in bench.store.agents.outcomes(KEY)}


def visit_lanes(bench: Round) -> None:
    for lane in Lane:
        for branch_id in bench.plan.branches_in(lane):
            step = bench.step(f"branch:{lane}:{branch_id}")
            run_branch(step, branch_id, lane, worker=apart(step))


def visit_agents(bench: Round) -> None:
    for assigned in bench.hire():
        if assigned.work:
            work(bench, assigned)


def compared(outcome: FeedOutcome) -> FeedOutcome:
    """Everything but the time that it took and the execution in a file's name: also the files' bytes, by hash."""
    staged, quarantine = nameless(outcome.staged), nameless(outcome.quarantine)
    return replace(outcome, elapsed=timedelta(0), staged=staged, quarantine=quarantine)


def nameless(file: StagedFile | None) -> StagedFile | None:
    return file and replace(file, uri="")


def test_a_folder_that_became_a_link_to_another_tenant_s_is_not_opened(tmp_path: Path) -> None:
    """Each step of a tenant's run looks where its folders are before it opens anything in them."""
    bench = Round(tmp_path / "data" / "north", {"planes": {}}, home=str(tmp_path / "data" / "north"))
    (assigned,) = bench.hire()
    at_work = begun(bench, assigned)
    bench.folder.rename(tmp_path / "data" / "south")
    bench.folder.symlink_to(tmp_path / "data" / "south")

    with pytest.raises(InputRefusedError, match=r"roots\.landing: leads out of"):
        at_work.run_branch(made(bench, assigned), last_try=True)
    assert {} == bench.outcomes


def test_lanes_and_agents_are_two_bindings_of_one_thing(tmp_path: Path) -> None:
    """The same pipeline over the same files has equal outcomes and files, whoever processed them."""
    feeds: dict[str, dict[str, Any]] = {
        "planes": {"usual_rows": 10**6},
        "carriers": {},
        "load": STREAM,
        "shape": TRANSFORMATION,
        "useless": {},
    }
    files = {"carriers": MIXED, "shape": "code,size\na,1\na,2\n,3\n", "useless": BAD}
    found: list[dict[str, FeedOutcome]] = []
    for visit in (visit_lanes, visit_agents):
        bench = Round(tmp_path, feeds, files)
        for _ in range(2):  # on a branch some batches wait for their turn after another lane's
            visit(bench)
        found.append({name: compared(outcome) for name, outcome in bench.outcomes.items()})

    assert sorted(feeds) == sorted(found[0])
    assert found[0] == found[1]
    assert (OutcomeStatus.FAILED, 1, 3) == (
        found[1]["useless"].status,
        found[1]["carriers"].rows_quarantined,
        found[1]["shape"].rows_in,
    )


def test_what_came_of_a_batch_is_recorded_once_with_what_was_measured(tmp_path: Path) -> None:
    """Each batch is an outcome of its agent and of its kind of work, with time, quality, rows and peak memory."""
    bench = Round(tmp_path, {"planes": {}, "ships": {}}, {"ships": MIXED}, **ONE_BRANCH)
    (agent,) = hired(bench)
    assert () == work(bench, agent)
    assert () == work(bench, agent, try_number=2)
    known = [outcome for _, outcome in bench.store.agents.outcomes(KEY)]

    assert [("planes", 2, 1.0), ("ships", 2, bench.outcomes["ships"].quality_score)] == [
        (it.batch, it.performance.records, it.performance.data_quality_score)
        for it in known
        if it.performance
    ]
    assert {(agent.agent_id, "data_ingestion_specialist", "data_ingestion", True)} == {
        (it.agent_id, it.agent_type, it.kind, it.succeeded) for it in known
    }
    assert all(
        it.performance.execution_time == bench.outcomes[it.batch].elapsed
        and 0 < (it.performance.peak_memory_mb or 0) < 1000
        for it in known
        if it.performance
    )


def test_its_work_is_told_in_the_timeline(tmp_path: Path) -> None:
    """It starts, gets from batch to batch, and has finished well or not."""
    bench = Round(tmp_path, {"planes": {}, "ships": {}}, {"ships": BAD}, **ONE_BRANCH)
    work(bench, *hired(bench))

    assert [["planes", "ships"]] == [told["batches"] for told in bench.told("agent_started")]
    assert [(1, 2, True), (2, 2, False)] == [
        (told["done"], told["of"], told["succeeded"]) for told in bench.told("agent_progress")
    ]
    assert [False] == [told["succeeded"] for told in bench.told("agent_finished")]


def test_progress_is_counted_without_reading_the_run_again(tmp_path: Path) -> None:
    """An execution reads what is known once and counts from there; its end reads it once more."""
    bench = Round(tmp_path, {f"feed_{number}": {} for number in range(3)}, **ONE_BRANCH)
    outcomes, read = bench.store.agents.outcomes, []

    def reading(key: RunKey) -> Any:
        read.append(key)
        return outcomes(key)

    bench.store.agents.outcomes = reading
    work(bench, *hired(bench))

    assert [(1, 3), (2, 3), (3, 3)] == [(told["done"], told["of"]) for told in bench.told("agent_progress")]
    assert 2 == len(read)


def test_an_agent_can_do_what_a_lane_can(tmp_path: Path) -> None:
    """Long texts that an engine of the least size can't hold: the declared memory is what helps, with agents too."""
    bench = Round(tmp_path, {"big": {"format": "parquet", "uri": "landing/big.parquet"}}, **ONE_BRANCH)
    texts = "SELECT range || repeat(md5(range::text), 100) AS code, 1 AS size FROM range(100_000)"
    duckdb.sql(f"COPY ({texts}) TO '{tmp_path / 'big.parquet'}'")
    work(bench, *hired(bench))

    assert (None, 100_000) == (bench.outcomes["big"].error, bench.outcomes["big"].rows_staged)


def test_a_failing_batch_is_a_failure_of_its_agent_and_stops_no_other(tmp_path: Path) -> None:
    """It is recorded without measures; the next batch of the same agent is processed."""
    bench = Round(tmp_path, {"bad": {}, "planes": {}}, {"bad": BAD}, **ONE_BRANCH)
    work(bench, *hired(bench))

    assert {"bad": (False, True), "planes": (True, False)} == {
        name: (it.succeeded, it.performance is None) for name, it in learned(bench).items()
    }


def test_a_batch_that_fails_because_of_another_teaches_nothing(tmp_path: Path) -> None:
    """It is an outcome of the round, but no failure of the agent that had it."""
    feeds = {"bad": {}, "planes": {"depends_on": ["bad"]}}
    bench = Round(tmp_path, feeds, {"bad": BAD}, **ONE_BRANCH)
    work(bench, *hired(bench))

    assert "planes depends on bad, which failed" == bench.outcomes["planes"].error
    assert ["bad"] == list(learned(bench))


def test_a_batch_that_is_not_there_yet_is_waited_for(tmp_path: Path) -> None:
    """The agent says what it waits for and has not finished; the next execution ends it, and tells so once."""
    bench = Round(tmp_path, {"planes": {}, "late": {}}, **ONE_BRANCH)
    (tmp_path / "late.csv").unlink()
    (agent,) = hired(bench)
    (waiting,) = work(bench, agent)
    assert ("late", WaitsFor.FILE, ["planes"], []) == (
        waiting.feed_id,
        waiting.kind,
        list(learned(bench)),
        bench.told("agent_finished"),
    )

    bench.land("late", GOOD)
    assert () == work(bench, agent, try_number=2)
    assert [(1, 2), (2, 2)] == [(told["done"], told["of"]) for told in bench.told("agent_progress")]
    assert [True] == [told["succeeded"] for told in bench.told("agent_finished")]


def test_a_template_of_the_authors_own_works_before_and_after_the_lane(tmp_path: Path) -> None:
    """Its `run` has the batch, the kind and a folder, changes what is read, and sees what came of it."""
    bench = Round(tmp_path, {"secret": {}}, {"secret": "locked"})

    def run(work: Work) -> WorkResult:
        (work.folder / "note").write_text("nobody needs it afterwards")
        bench.land(work.batch_id, GOOD)
        result = work.process()
        (tmp_path / "seen").write_text(f"{work.kind} {result.records} {result.quality_score} {os.getpid()}")
        return result

    work(bench, *hired(bench, run))
    *seen, process = (tmp_path / "seen").read_text().split()

    assert ["data_ingestion", "2", "1.0"] == seen
    assert str(os.getpid()) != process
    assert 2 == bench.outcomes["secret"].rows_staged


def _forgets(_: Work) -> WorkResult:
    return WorkResult(records=1)


def _refuses(_: Work) -> WorkResult:
    raise AgentWorkError("the key is 30 days old; get a new one")


def _refuses_late(work: Work) -> WorkResult:
    work.process()
    raise AgentWorkError("nobody signed it")


@pytest.mark.parametrize(
    ("run", "error"),
    [
        pytest.param(
            _forgets,
            "planes: its agent, a own, ended without having processed it; call work.process() in its run()",
            id="forgets",
        ),
        pytest.param(_refuses, "planes: the key is 30 days old; get a new one", id="refuses"),
        pytest.param(_refuses_late, "planes: nobody signed it", id="refuses what was processed"),
    ],
)
def test_an_agent_that_does_not_do_its_work_fails_its_batch(tmp_path: Path, run: Run, error: str) -> None:
    """The batch fails in the agent's own words, and nothing of it stays."""
    bench = Round(tmp_path, {"planes": {}})
    work(bench, *hired(bench, run), last_try=False)

    assert error == bench.outcomes["planes"].error
    assert not learned(bench)["planes"].succeeded
    assert [] == [path for path in (tmp_path / "staging").rglob("*") if path.is_file()]


def _meets_a_fault(_: Work) -> WorkResult:
    raise ZeroDivisionError


def test_what_else_an_agent_raises_is_a_fault_that_is_tried_again(tmp_path: Path) -> None:
    """It is no word about the file: nothing is registered, and only the last try fails the batch."""
    bench = Round(tmp_path, {"planes": {}})
    (agent,) = hired(bench, _meets_a_fault)
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        work(bench, agent, last_try=False)
    assert ({}, {}) == (bench.outcomes, learned(bench))

    work(bench, agent, try_number=2)
    assert "planes: ZeroDivisionError, on the last try" in str(bench.outcomes["planes"].error)


def _slow_at_first(work: Work) -> WorkResult:
    if not (work.folder.parents[2] / "again").exists():
        time.sleep(60)
    return work.process()


def test_a_lost_lease_ends_the_work_and_the_next_try_succeeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who holds nothing any more stops at the next look, registers nothing, and is tried again."""
    monkeypatch.setattr(agent_work, "until", partial(until, look_every=0.05))
    bench = Round(tmp_path, {"planes": {}, "ships": {}}, **ONE_BRANCH)
    (agent,) = hired(bench, _slow_at_first)
    at_work = begun(bench, agent)
    renew, looks = bench.store.leases.renew, iter(range(100))

    def lost_at_the_third_look(holder: str, epoch: int) -> bool:
        if next(looks) == 2:
            bench.store.leases.release(holder, epoch)
        return bool(renew(holder, epoch))

    with monkeypatch.context() as losing:
        losing.setattr(bench.store.leases, "renew", lost_at_the_third_look)
        with pytest.raises(LeaseLostError, match=f"{agent.agent_id} holds nothing any more"):
            at_work.run_branch(made(bench, agent), last_try=False)
    assert ({}, {}) == (bench.outcomes, learned(bench))

    (tmp_path / "again").touch()
    assert () == work(bench, agent, try_number=2)
    assert {"planes": True, "ships": True} == {name: it.succeeded for name, it in learned(bench).items()}


def test_without_a_lease_no_batch_is_begun(tmp_path: Path) -> None:
    """When what the agent holds is lost during the first batch, the second is neither processed nor failed."""
    bench = Round(tmp_path, {"planes": {}, "ships": {}}, **ONE_BRANCH)
    (agent,) = hired(bench, lambda work: work.process())
    at_work = begun(bench, agent)
    record = bench.store.agents.record

    def recorded_and_lost(*told: Any) -> None:
        record(*told)
        at_work.give_back()

    bench.store.agents.record = recorded_and_lost
    with pytest.raises(LeaseLostError):
        at_work.run_branch(made(bench, agent), last_try=True)

    assert (["planes"], ["planes"]) == (list(bench.outcomes), list(learned(bench)))


def test_how_long_it_waited_is_told_when_its_turn_comes(tmp_path: Path) -> None:
    """Who takes a lease over, or comes back after its lease has expired, has not waited."""
    bench = Round(tmp_path, {"planes": {}})
    (agent,) = hired(bench)
    begun(bench, agent)
    begun(bench, agent, try_number=2)
    bench.clock.now += 2 * LEASE_TIME
    begun(bench, agent, try_number=3).give_back()
    everything = LeaseRequest(holder="another", tenant=NO_TENANT, needed=DEFAULT_CAPACITY, epoch=1)
    bench.store.leases.ask(everything)
    waiting = at_work_of(bench, agent, try_number=4)
    assert LeaseAction.WAIT is waiting.ask().action
    bench.clock.now += LEASE_TIME / 2
    bench.store.leases.release("another", 1)
    assert LeaseAction.GRANT is waiting.ask().action

    told = [line["waited_seconds"] for line in bench.told("agent_started")]
    assert [0, 0, 0, 15] == [round(seconds) for seconds in told]


def test_many_short_batches_keep_the_lease_as_one_long_one_does(tmp_path: Path) -> None:
    """A lease is renewed with each batch, however soon each is done."""
    bench = Round(tmp_path, {f"feed_{number}": {} for number in range(3)}, **ONE_BRANCH)
    (agent,) = hired(bench)
    at_work = begun(bench, agent)
    record = bench.store.agents.record

    def recorded_later(*told: Any) -> None:
        bench.clock.now += LEASE_TIME * 0.6
        record(*told)

    bench.store.agents.record = recorded_later
    assert () == at_work.run_branch(made(bench, agent), last_try=False)
    assert [agent.agent_id] == [lease.claim.holder for lease in bench.store.leases.leases()]


def test_who_was_overtaken_stops_and_records_nothing(tmp_path: Path) -> None:
    """An execution that a newer one has taken over stops at its next look, teaches nothing, and gives nothing back."""
    bench = Round(tmp_path, {"planes": {}})
    (agent,) = hired(bench)
    old = begun(bench, agent)
    new = begun(bench, agent, try_number=2)
    with pytest.raises(LeaseLostError):
        old.run_branch(made(bench, agent), last_try=False)
    old.give_back()
    assert ({}, {}) == (bench.outcomes, learned(bench))
    assert [agent.agent_id] == [lease.claim.holder for lease in bench.store.leases.leases()]

    assert () == new.run_branch(made(bench, agent), last_try=False)
    assert ["planes"] == list(learned(bench))
    new.give_back()
    assert [] == bench.store.leases.leases()
