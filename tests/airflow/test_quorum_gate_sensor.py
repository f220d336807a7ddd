from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_orchestration.policies.quorum_gate import QuorumGate
from airflow_orchestration.sensors.quorum_gate import QuorumGateSensor
from airflow_orchestration.triggers.branch_wait import BranchWaitTrigger
from airflow_orchestration.triggers.quorum_gate import QuorumGateTrigger
from airflow_orchestration.triggers.round_gate import RoundGateTrigger
from airflow_orchestration.triggers.task_states import instances_of
from airflow_orchestration.triggers.watched_tasks import WatchedTask, WatchedTasks

TRIGGERS = [
    QuorumGateTrigger(
        watched={"tasks": [], "floor": 0.75, "deadline": 60.0, "grace_period": None},
        run_started_at="2026-11-22T00:00:00+00:00",
        soft_fail=False,
    ),
    RoundGateTrigger(orchestration_conn_id="store", round_number=2, lanes={"beta": "round_2.beta"}),
    BranchWaitTrigger(orchestration_conn_id="store", round_number=1, waiting=[["vega", "file", "/x"]]),
]


@pytest.mark.parametrize("trigger", TRIGGERS, ids=lambda trigger: type(trigger).__name__)
def test_triggers_travel_as_plain_data(trigger: Any) -> None:
    """A trigger that is made again from what it serializes to serializes to the same."""
    path, arguments = trigger.serialize()
    module, _, name = path.rpartition(".")

    assert (type(trigger).__module__, type(trigger).__name__) == (module, name)
    assert (path, arguments) == type(trigger)(**arguments).serialize()


def watched(*tasks: WatchedTask, **gate: Any) -> WatchedTasks:
    return WatchedTasks(tasks=tasks, gate=QuorumGate(**{"deadline": timedelta(seconds=60), **gate}))


def decide(what: WatchedTasks, states: dict[str, str | None], seconds: float = 1) -> tuple[str, str]:
    decision = what.evaluate(states, elapsed=timedelta(seconds=seconds), since_floor=None)
    return decision.action.value, decision.reason.value


MAPPED = WatchedTask(task_id="load", mapped=True)


@pytest.mark.parametrize(
    ("states", "seconds", "expected"),
    [
        ({"load": None}, 1, ("continue_waiting", "waiting_for_floor")),
        ({"load_0": "success", "load_1": "running"}, 1, ("continue_waiting", "waiting_for_floor")),
        ({"load_0": "success", "load_1": "success"}, 1, ("proceed_to_data_merge", "all_arrived")),
        ({"load": "skipped"}, 1, ("proceed_to_data_merge", "nothing_expected")),
        ({"load_0": "success", "load_1": "up_for_retry"}, 1, ("continue_waiting", "waiting_for_floor")),
        ({"load_0": "failed", "load_1": "running"}, 1, ("timeout_recovery", "floor_unreachable")),
        ({"load_0": "success", "load_1": "deferred"}, 61, ("timeout_recovery", "deadline_below_floor")),
    ],
    ids=str,
)
def test_states_of_a_mapped_task_become_members(
    states: dict[str, str | None], seconds: float, expected: tuple[str, str]
) -> None:
    """Each instance of a mapped task is a member; an unexpanded one can't be passed over."""
    assert expected == decide(watched(MAPPED), states, seconds)


def test_gate_never_opens_over_a_task_that_is_not_expanded() -> None:
    """Nobody knows how many members an unexpanded task has, so the floor can't be reached without it."""
    tasks = watched(WatchedTask(task_id="big", weight=99), MAPPED, grace_period=timedelta(0))

    assert ("continue_waiting", "waiting_for_required") == decide(tasks, {"big": "success", "load": None})


def test_state_keys_are_told_apart() -> None:
    """An instance of a mapped task is not taken for a task whose name only begins alike."""
    states = {"load_0": "success", "load_more_1": "failed", "load_x": "failed"}

    assert {0: "success"} == instances_of("load", states)


NONSENSE: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"weights": {"b": 2}}, ValueError, "not watched: b"),
    ({"required": ["b"]}, ValueError, "not watched: b"),
    ({"required": "a"}, TypeError, "write a list"),
    ({"watch": "a"}, TypeError, "write a list"),
    ({"watch": []}, ValueError, "watch is empty"),
    ({"watch": ["a", "a"]}, ValueError, "twice: a"),
    ({"weights": {"a": -1}}, ValueError, "weight -1"),
    ({"weights": {"a": "3"}}, TypeError, "write a number"),
    ({"floor": 75}, ValueError, "floor 75"),
    ({"deadline": 0}, ValueError, "deadline"),
    ({"deadline": "10m"}, TypeError, "no duration"),
]


@pytest.mark.parametrize(("changes", "kind", "message"), NONSENSE, ids=lambda value: str(value)[:40])
def test_gate_refuses_nonsense_when_the_dag_is_parsed(
    changes: dict[str, Any], kind: type[Exception], message: str
) -> None:
    """What can't be meant is refused with a name and a remedy, before anything waits for it."""
    with DAG("d", schedule=None), pytest.raises(kind, match=message):
        QuorumGateSensor(task_id="gate", **{"watch": ["a"], "deadline": 60, **changes})


def test_gate_over_a_task_that_is_not_there_fails_at_once() -> None:
    """A misspelt task id is named instead of being waited for until the deadline."""
    with pytest.raises(ValueError, match="has not: b"):
        decide(watched(WatchedTask(task_id="a"), WatchedTask(task_id="b")), {"a": "success"})
