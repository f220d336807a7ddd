from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, TaskGroup, task, task_group

from airflow_orchestration.policies.quorum_gate import QuorumGate
from airflow_orchestration.sensors.quorum_gate import QuorumGateSensor, quorum_gate
from airflow_orchestration.triggers.branch_wait import BranchWaitTrigger
from airflow_orchestration.triggers.quorum_gate import QuorumGateTrigger
from airflow_orchestration.triggers.round_gate import RoundGateTrigger
from airflow_orchestration.triggers.task_states import instances_of
from airflow_orchestration.triggers.watched_tasks import WatchedTask, WatchedTasks, watch_terms

TRIGGERS = [
    QuorumGateTrigger(
        watched={"tasks": [], "floor": 0.75, "deadline": 60.0, "grace_period": None},
        run_started_at="2026-11-22T00:00:00+00:00",
        soft_fail=False,
        note=False,
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
        ({"load_0": "upstream_failed", "load_1": "running"}, 1, ("timeout_recovery", "floor_unreachable")),
        ({"load_0": "skipped", "load_1": "running"}, 1, ("timeout_recovery", "floor_unreachable")),
        ({"load_0": "removed", "load_1": "running"}, 1, ("timeout_recovery", "floor_unreachable")),
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
    ({"watch": [3]}, TypeError, "watch holds 3; write tasks"),
    ({"required": "a"}, TypeError, "write a list"),
    ({"watch": "a"}, TypeError, "write a list"),
    ({"watch": []}, ValueError, "watch is empty"),
    ({"watch": ["a", "a"]}, ValueError, "twice: a"),
    ({"weights": {"a": -1}}, ValueError, "weight -1"),
    ({"weights": {"a": "3"}}, TypeError, "write a number"),
    ({"floor": 75}, ValueError, "floor 75"),
    ({"deadline": 0}, ValueError, "deadline"),
    ({"deadline": "10m"}, ValueError, "no time of day"),
    ({"deadline": "06:00 Europe/Berlim"}, ValueError, "no time zone"),
    ({"deadline": None}, TypeError, "no duration"),
    ({"grace_period": -1}, ValueError, "grace_period"),
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


def watching(*watch: Any, **kwargs: Any) -> list[list[Any]]:
    gate = QuorumGateSensor(task_id="gate", watch=watch, deadline=60, **kwargs)
    return list(gate.watched["tasks"])


def test_gate_watches_the_leaves_of_a_group() -> None:
    """Of a group those tasks are members for which others wait, mapped ones too; the group's weight is theirs."""
    with DAG("d", schedule=None):
        with TaskGroup("vendor") as vendor:
            load = EmptyOperator(task_id="load")
            load >> [EmptyOperator(task_id="check"), EmptyOperator.partial(task_id="page").expand(doc=["a"])]
        terms = watching(vendor, weights={"vendor": 3, "vendor.page": 2}, required=["vendor"])

    assert [["vendor.check", False, 3, True], ["vendor.page", True, 2, True]] == terms


def test_gate_watches_each_instance_of_a_mapped_group() -> None:
    """A task in a mapped group is not expanded at first, and must be waited for until it is."""

    @task
    def work(number: int) -> int:
        return number

    @task_group
    def lot(number: int) -> None:
        work(number)

    with DAG("d", schedule=None):
        assert [["lot.work", True, 1.0, False]] == watching(lot.expand(number=[1, 2]))


def test_gate_watches_what_a_call_returned() -> None:
    """Results of TaskFlow calls, changed or put together, stand for the tasks behind them."""

    @task
    def work(number: int) -> int:
        return number

    with DAG("d", schedule=None):
        one, many = work(1), work.expand(number=[1, 2])
        plain = EmptyOperator(task_id="plain")
        terms = watching(many.map(str), one.zip(plain.output))

    assert [["work__1", True], ["work", False], ["plain", False]] == [term[:2] for term in terms]


def test_ids_stand_for_what_the_dag_has_by_now() -> None:
    """An id of a mapped task or of a group means the same as the object itself."""
    with DAG("d", schedule=None):
        EmptyOperator.partial(task_id="many").expand(doc=["a"])
        with TaskGroup("vendor"):
            EmptyOperator(task_id="load")
        terms = watching("many", "vendor", "later")

    assert [["many", True], ["vendor.load", False], ["later", False]] == [term[:2] for term in terms]


def test_a_task_is_a_member_once() -> None:
    """A task that a group brings in again would count twice, and is refused."""
    with DAG("d", schedule=None):
        with TaskGroup("vendor") as vendor:
            load = EmptyOperator(task_id="load")
        with pytest.raises(ValueError, match=r"twice: vendor\.load"):
            watching(vendor, load)


def test_call_puts_the_gate_behind_what_it_watches() -> None:
    """The graph shows what is watched, and the gate runs beside it; a second gate gets a name of its own."""
    with DAG("d", schedule=None) as dag:
        first, second = EmptyOperator(task_id="a"), EmptyOperator(task_id="b")
        with TaskGroup("vendor") as vendor:
            EmptyOperator(task_id="load")
        quorum_gate([first, "b", vendor], deadline="06:00 Europe/Berlin")
        quorum_gate([second], deadline=60)
    gate = dag.get_task("quorum_gate")

    assert {"a", "b", "vendor.load"} == gate.upstream_task_ids
    assert {"b"} == dag.get_task("quorum_gate__1").upstream_task_ids
    assert "always" == gate.trigger_rule


def test_time_of_day_counts_from_the_start_of_the_run() -> None:
    """Whenever it is made again, the gate has the same deadline: the first six o'clock after the run's start."""
    terms = watch_terms(
        [WatchedTask(task_id="a")], floor=0.75, deadline="06:00 Europe/Berlin", grace_period=None
    )
    started = datetime.fromisoformat("2026-11-22T22:00:00+00:00")
    tasks = WatchedTasks.from_json(terms, run_started_at=started)

    assert timedelta(hours=7) == tasks.gate.deadline
    assert ("continue_waiting", "waiting_for_floor") == decide(tasks, {"a": None}, 7 * 3600 - 1)
    assert ("timeout_recovery", "deadline_below_floor") == decide(tasks, {"a": None}, 7 * 3600)


def test_terms_are_plain_data() -> None:
    """What a gate gives its trigger makes the same tasks and the same rule again."""
    tasks = (WatchedTask(task_id="a", mapped=True, weight=2, required=True), WatchedTask(task_id="b"))
    terms = watch_terms(tasks, floor=0.5, deadline=60, grace_period=5)
    gate = QuorumGate(floor=0.5, deadline=timedelta(seconds=60), grace_period=timedelta(seconds=5))

    assert WatchedTasks(tasks=tasks, gate=gate) == WatchedTasks.from_json(
        json.loads(json.dumps(terms)), run_started_at=datetime(2026, 1, 1, tzinfo=UTC)
    )
