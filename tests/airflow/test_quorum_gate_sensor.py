from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from airflow.providers.standard.operators.empty import EmptyOperator
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


def test_gate_refuses_nonsense_when_the_dag_is_parsed() -> None:
    """A weight for a task that is not watched, or a floor of 75, is refused by name."""
    with DAG("d", schedule=None):
        a = EmptyOperator(task_id="a")
        with pytest.raises(ValueError, match="not watched: b"):
            QuorumGateSensor(task_id="g1", watch=[a], deadline=60, weights={"b": 2})
        with pytest.raises(ValueError, match="floor 75"):
            QuorumGateSensor(task_id="g2", watch=[a], deadline=60, floor=75)
        with pytest.raises(ValueError, match="deadline"):
            QuorumGateSensor(task_id="g3", watch=[a], deadline=0)
