"""The triggers of the gates, against an Airflow that answers what a triggerer may ask."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import GetTaskStates, GetTICount, GetXCom, SetXCom, TaskStatesResult
from airflow.triggers.base import TaskFailedEvent, TaskSuccessEvent, TriggerEvent
from pydantic import ValidationError

from airflow_orchestration.triggers.quorum_gate import FLOOR_REACHED_AT, QuorumGateTrigger
from airflow_orchestration.triggers.task_states import (
    IDS_LENGTH,
    MANY,
    READ_ANEW_SECONDS,
    TasksOfRun,
    task_states_poller,
)
from tests.airflow.fake_airflow import Airflow, answer_of, fired, placed
from tests.airflow.quick_loop import run_quickly

RUN_BEGAN = datetime.now(UTC) - timedelta(minutes=10)


@pytest.fixture
def airflow(monkeypatch: pytest.MonkeyPatch) -> Airflow:
    known = Airflow({"run": {"a": "success", "b": None}})
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", known, raising=False)
    return known


def gate(
    *watched: str,
    mapped: Collection[str] = (),
    run_id: str = "run",
    task_id: str = "gate",
    dag_id: str = "dag",
    **terms: Any,
) -> QuorumGateTrigger:
    known = {"floor": 1.0, "deadline": 3600.0, "grace_period": None, **terms}
    trigger = QuorumGateTrigger(
        watched={"tasks": [[name, name in mapped, 1.0, False] for name in watched], **known},
        run_started_at=RUN_BEGAN.isoformat(),
        soft_fail=False,
    )
    return placed(trigger, dag_id=dag_id, run_id=run_id, task_id=task_id)


def test_many_gates_ask_airflow_once_for_all(airflow: Airflow) -> None:
    """What a look asks of Airflow does not grow with the number of gates."""
    waiting, looks = many_gates(airflow, seconds=10.2), 10.2 / 0.5 + 3

    assert [TaskSuccessEvent] * 1000 == [type(event) for event in run_quickly(waiting)]
    assert looks >= airflow.asked(GetTaskStates)
    assert 2 * looks >= airflow.asked(GetTICount)


def test_many_states_are_read_only_when_something_has_happened(airflow: Airflow) -> None:
    """While nothing ends, two counts per look are enough, and all states are read anew every ten seconds."""
    run_quickly(many_gates(airflow, seconds=60))

    assert 60 / READ_ANEW_SECONDS + 3 >= airflow.asked(GetTaskStates)


async def many_gates(airflow: Airflow, seconds: float) -> list[TriggerEvent]:
    runs = [f"run_{number}" for number in range(20)]
    airflow.states = {run_id: {f"t{n}": None for n in range(50)} for run_id in runs}
    gates = [gate(f"t{n}", run_id=run_id, task_id=f"gate_{n}") for run_id in runs for n in range(50)]
    waiting = [asyncio.create_task(fired(one)) for one in gates]
    await asyncio.sleep(seconds)
    for known in airflow.states.values():
        known.update(dict.fromkeys(known, "success"))
    return await asyncio.gather(*waiting)


@pytest.mark.parametrize("happens", [("t0", "success"), ("t0", "skipped"), ("new", {0: None})])
def test_many_states_are_read_when_one_has_changed(airflow: Airflow, happens: tuple[str, Any]) -> None:
    """An instance that ends or is added is seen by the next look, also among many."""
    names = [f"t{number}" for number in range(MANY)]
    airflow.states = {"run": dict.fromkeys(names)}
    question = TasksOfRun(run_id="run", task_ids=(*names, "new"))

    async def play() -> tuple[Any, Any]:
        poller = task_states_poller("dag")
        for _ in range(3):
            await poller.answer(question)
        airflow.states["run"].update([happens])
        return await poller.answer(question), answer_of(airflow.states["run"])

    seen, there = run_quickly(play())
    assert there == seen


def test_ids_too_long_for_one_question_are_asked_for_in_several(airflow: Airflow) -> None:
    """However many tasks are watched, a question fits into Airflow's URL, and none is left out."""
    names = [f"{'€' * 80}_{number}" for number in range(300)]
    airflow.states = {"run": dict.fromkeys(names, "success")}

    event = run_quickly(fired(gate(*names)))

    questions = [message for message in airflow.messages if isinstance(message, GetTaskStates)]
    assert isinstance(event, TaskSuccessEvent)
    assert sorted(names) == sorted(name for question in questions for name in question.task_ids or ())
    assert IDS_LENGTH >= max(
        sum(3 * len(name.encode()) for name in question.task_ids or ()) for question in questions
    )


@pytest.mark.usefixtures("airflow")
def test_a_gate_over_nothing_fails_alone() -> None:
    """A gate that watches a task which is not there fails; its neighbours in the same look open."""

    async def play() -> list[Any]:
        gates = (gate("a"), gate("nobody", task_id="other"), gate("a", task_id="third"))
        return await asyncio.gather(*(fired(one) for one in gates), return_exceptions=True)

    first, second, third = run_quickly(play())
    assert [TaskSuccessEvent, ValueError, TaskSuccessEvent] == [
        type(found) for found in (first, second, third)
    ]


def members(airflow: Airflow, task_id: str) -> list[str]:
    return list(airflow.xcoms["run", task_id, "return_value"]["evidence"]["arrived_ids"])


def test_tasks_that_are_called_like_instances_are_no_instances(airflow: Airflow) -> None:
    """Beside `load_1` a task `load` that is not mapped counts once: nobody is invented, and no failure covered."""
    names = ("load", "load_1", "load_2")
    airflow.states["run"] = {"load": "failed", "load_1": "success", "load_2": "success"}

    event = run_quickly(fired(gate(*names, floor=0.75)))

    decision = airflow.xcoms["run", "gate", "return_value"]
    assert isinstance(event, TaskFailedEvent)
    assert ("floor_unreachable", ["load_1", "load_2"]) == (decision["reason"], members(airflow, "gate"))


def test_gates_of_a_dag_do_not_disturb_each_other(airflow: Airflow) -> None:
    """Each gate sees its own tasks alone, though another one watches a task that is called like an instance."""
    airflow.states["run"] = {
        "load": {0: "success", 1: "success"},
        "load_1": "failed",
        "load_1_0": {0: "success"},
    }

    async def play() -> list[Any]:
        gates = (
            gate("load", mapped=["load"], task_id="first"),
            gate("load_1", task_id="second"),
            gate("load_1_0", mapped=["load_1_0"], task_id="third"),
        )
        return await asyncio.gather(*(fired(one) for one in gates))

    assert [TaskSuccessEvent, TaskFailedEvent, TaskSuccessEvent] == [type(one) for one in run_quickly(play())]
    assert ["load[0]", "load[1]"] == members(airflow, "first")
    assert ["load_1_0[0]"] == members(airflow, "third")


def test_an_answer_that_is_lost_holds_up_the_other_gates_briefly(
    airflow: Airflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One gate after the other reports, and one whose report is never answered is passed by the rest."""
    send, lost = airflow.asend, iter([True])

    async def losing(message: Any) -> Any:
        if isinstance(message, SetXCom) and next(lost, False):
            await asyncio.Event().wait()
        return await send(message)

    monkeypatch.setattr(airflow, "asend", losing)

    async def play() -> float:
        waiting = [fired(gate("a", task_id=f"gate_{number}")) for number in range(100)]
        await asyncio.gather(*waiting)
        return asyncio.get_running_loop().time()

    assert 20 >= run_quickly(play())


def test_an_answer_that_cannot_be_read_is_asked_for_again(airflow: Airflow) -> None:
    """A malformed answer is a fault of Airflow and no nonsense of the gate, so that it fails no gate."""
    try:
        TaskStatesResult.model_validate({"task_states": 1})
    except ValidationError as error:
        airflow.faults = [error] * 3

    assert isinstance(run_quickly(fired(gate("a"))), TaskSuccessEvent)


@pytest.mark.usefixtures("airflow")
@pytest.mark.parametrize("turns", range(6))
def test_who_is_cancelled_in_the_moment_of_an_answer_is_cancelled(turns: int) -> None:
    """A trigger that is ended just when its answer comes does not go on asking for ever."""

    async def play() -> bool:
        answer, trigger = asyncio.Event(), gate("a")

        async def watch() -> None:
            while True:
                await trigger.persistently(answer.wait)
                await asyncio.sleep(5)

        watching = asyncio.create_task(watch())
        await asyncio.sleep(1)
        answer.set()
        for _ in range(turns):
            await asyncio.sleep(0)
        watching.cancel()
        await asyncio.sleep(60)
        return watching.done()

    assert run_quickly(play())


def test_a_gate_outlives_faults(airflow: Airflow) -> None:
    """Airflow may fail to answer any question, that for states or that which tells the decision."""

    async def play() -> TriggerEvent:
        airflow.faults = [ConnectionError("down")] * 3
        waiting = asyncio.create_task(fired(gate("a")))
        await asyncio.sleep(3)
        airflow.faults += [ConnectionError("down again")] * 2
        return await waiting

    assert isinstance(run_quickly(play()), TaskSuccessEvent)
    assert {("run", "gate", "return_value")} == set(airflow.xcoms)


def test_a_gate_gives_up_in_the_end(airflow: Airflow) -> None:
    """When Airflow has not answered for ten minutes, the gate fails with what it was told."""
    airflow.faults = [ConnectionError("down")] * 10_000

    with pytest.raises(ConnectionError, match="down"):
        run_quickly(fired(gate("a")))


def test_the_grace_period_goes_on_where_another_triggerer_left_it(airflow: Airflow) -> None:
    """The moment at which the floor was reached is kept in Airflow and read again, not begun anew."""
    reached = datetime.now(UTC) - timedelta(seconds=90)
    airflow.xcoms["run", "gate", FLOOR_REACHED_AT] = reached.isoformat()

    event = run_quickly(fired(gate("a", "b", floor=0.5, grace_period=60.0)))

    evidence = airflow.xcoms["run", "gate", "return_value"]["evidence"]
    assert isinstance(event, TaskSuccessEvent)
    assert pytest.approx(90, abs=30) == evidence["since_floor_seconds"]


def test_a_run_that_was_cleared_has_its_whole_grace_period(airflow: Airflow) -> None:
    """A floor that was reached before the run began belongs to an earlier life of it."""
    before = RUN_BEGAN - timedelta(seconds=90)
    airflow.xcoms["run", "gate", FLOOR_REACHED_AT] = before.isoformat()

    async def play() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(fired(gate("a", "b", floor=0.5, grace_period=60.0)), 5)

    run_quickly(play())
    assert RUN_BEGAN < datetime.fromisoformat(airflow.xcoms["run", "gate", FLOOR_REACHED_AT])


@pytest.mark.parametrize("grace_period", [None, 600.0])
def test_a_gate_tells_airflow_little(airflow: Airflow, grace_period: float | None) -> None:
    """Airflow takes some tens of messages per second of all triggers, so a gate sends as few as it can."""

    async def play() -> None:
        waiting = asyncio.create_task(fired(gate("a", "b", floor=0.5, grace_period=grace_period)))
        await asyncio.sleep(60)
        airflow.states["run"]["b"] = "success"
        await waiting

    run_quickly(play())
    kept = {} if grace_period is None else {GetXCom: 1}
    told = {SetXCom: 1 if grace_period is None else 2}
    others = [type(message) for message in airflow.messages if not isinstance(message, GetTaskStates)]
    assert {**kept, **told} == Counter(others)
