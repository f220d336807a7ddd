from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
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
    RoundGateTrigger(orchestration_conn_id="store", round_number=2, tasks={"beta": "round_2.beta"}),
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
        ({"load_0": "success", "load_1": "removed"}, 1, ("proceed_to_data_merge", "all_arrived")),
        ({"load_0": "success", "load": "removed"}, 1, ("proceed_to_data_merge", "all_arrived")),
        ({"load_0": "removed"}, 1, ("proceed_to_data_merge", "nothing_expected")),
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


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("upstream_failed", ("conditional_proceed", "only_failed_missing")),
        ("scheduled", ("continue_waiting", "waiting_for_required")),
    ],
)
def test_who_can_not_expand_any_more_is_one_that_failed(state: str, expected: tuple[str, str]) -> None:
    """A mapped task whose upstream failed has no unknown members, so the gate may open without it."""
    tasks = watched(*(WatchedTask(task_id=name) for name in "abc"), MAPPED, grace_period=timedelta(0))

    assert expected == decide(tasks, {**dict.fromkeys("abc", "success"), "load": state})


@pytest.mark.parametrize("states", [{"load": "skipped"}, {"load_0": "removed"}], ids=str)
def test_a_required_task_without_members_has_not_come(states: dict[str, str | None]) -> None:
    """Who requires a mapped task requires a member of it, also when it was skipped as a whole."""
    required = WatchedTask(task_id="load", mapped=True, required=True)

    assert ("timeout_recovery", "required_failed") == decide(watched(required), states)


def test_a_task_that_left_the_dag_has_failed() -> None:
    """Only instances may be removed without being missed: their list has become shorter."""
    assert ("timeout_recovery", "floor_unreachable") == decide(
        watched(WatchedTask(task_id="a")), {"a": "removed"}
    )


def test_state_keys_are_told_apart() -> None:
    """An instance of a mapped task is not taken for a task whose name only begins alike."""
    states = {"load_0": "success", "load_more_1": "failed", "load_x": "failed"}

    assert {0: "success"} == instances_of("load", states, mapped=True)


def test_a_task_with_a_state_of_its_own_has_no_instances() -> None:
    """A task that is not mapped is itself alone, though others are called like instances of it."""
    states = {"load": "failed", "load_1": "success"}

    assert {-1: "failed"} == instances_of("load", states, mapped=False)


def test_a_mapped_task_and_a_task_called_like_its_instance_are_refused() -> None:
    """Airflow tells the states of both under one name, so no gate may count both."""
    with DAG("d", schedule=None):
        many = EmptyOperator.partial(task_id="load").expand(doc=["a", "b"])
        load_1 = EmptyOperator(task_id="load_1")
        with pytest.raises(ValueError, match="task load_1 from an instance of the mapped task load"):
            watching(many, load_1)
        assert [["load_1", False]] == [
            term[:2] for term in QuorumGateSensor(task_id="g", watch=[load_1], deadline=1).watched["tasks"]
        ]


class Kept(dict[str, str]):
    """The task's own store."""

    def set(self, key: str, value: str) -> None:
        self[key] = value


def test_a_poked_gate_of_a_cleared_run_has_its_whole_grace_period(monkeypatch: pytest.MonkeyPatch) -> None:
    """A floor that was reached before the run began belongs to an earlier life of it, as in the triggerer."""
    with DAG("d", schedule=None):
        gate = QuorumGateSensor(
            task_id="g", watch=["a", "b"], deadline=3600, floor=0.5, grace_period=600, deferrable=False
        )
    states = {"a": "success", "b": "running"}
    monkeypatch.setattr("airflow_orchestration.sensors.quorum_gate.task_states", lambda *_: states)
    began = datetime.now(UTC) - timedelta(minutes=1)
    gate.run_started_at = began.isoformat()
    kept = Kept(floor_reached_at=(began - timedelta(days=1)).isoformat())
    context: Any = {"ti": SimpleNamespace(dag_id="d", run_id="r"), "task_state_store": kept}

    assert gate.poke(context) is False
    assert began < datetime.fromisoformat(kept["floor_reached_at"])


def test_a_gate_that_has_shut_is_not_tried_again() -> None:
    """Retries and time limits that a Dag gives to all its tasks are not for a gate; its own retries are."""
    limits = {"retries": 3, "execution_timeout": timedelta(minutes=1)}
    with DAG("d", schedule=None, default_args=limits):
        gate = QuorumGateSensor(task_id="g", watch=["a"], deadline=60)
        retried = QuorumGateSensor(task_id="h", watch=["a"], deadline=60, retries=2)
        poked = QuorumGateSensor(task_id="p", watch=["a"], deadline=60, deferrable=False)

    assert (0, 2, 3) == (gate.retries, retried.retries, poked.retries)
    assert [None] * 3 == [one.execution_timeout for one in (gate, retried, poked)]


def test_a_gate_is_not_mapped() -> None:
    """A mapped gate would get no trigger, and is refused when the Dag is parsed."""
    with DAG("d", schedule=None), pytest.raises(TypeError, match="QuorumGateSensor can't be mapped"):
        QuorumGateSensor.partial(task_id="g", deadline=60)


def test_an_id_that_the_dag_has_not_yet_is_named() -> None:
    """A call can't draw an edge to a task that comes later, and says so instead of failing somewhere."""
    with DAG("d", schedule=None), pytest.raises(ValueError, match="'later', which the Dag has not"):
        quorum_gate(["later"], deadline=60)


NONSENSE: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"weights": {"b": 2}}, ValueError, "not watched: b"),
    ({"required": ["b"]}, ValueError, "not watched: b"),
    ({"watch": [3]}, TypeError, "watch holds 3; write tasks"),
    ({"required": "a"}, TypeError, "write a list"),
    ({"watch": "a"}, TypeError, "write a list"),
    ({"watch": []}, ValueError, "watch is empty"),
    ({"watch": {"a": 1}}, TypeError, "watch is a dict; write a list"),
    ({"floor": 0}, ValueError, "floor 0 opens over nothing"),
    ({"deadline": -1}, ValueError, "deadline -1 s is over"),
    ({"watch": ["a", "a"]}, ValueError, "twice: a"),
    ({"weights": {"a": -1}}, ValueError, "weight -1"),
    ({"weights": {"a": "3"}}, TypeError, "write a number"),
    ({"floor": 75}, ValueError, "floor 75"),
    ({"deadline": 0}, ValueError, "deadline"),
    ({"deadline": "10m"}, ValueError, "no time of day"),
    ({"deadline": "06:00 Europe/Berlim"}, ValueError, "no time zone"),
    ({"deadline": None}, TypeError, "no duration"),
    ({"grace_period": -1}, ValueError, "grace_period"),
    ({"grace_period": float("nan")}, ValueError, "too long"),
    ({"deadline": float("inf")}, ValueError, "too long"),
    ({"deadline": timedelta.max}, ValueError, "too long"),
    ({"floor": "0.5"}, TypeError, "floor '0.5' is no number"),
    ({"floor": True}, TypeError, "floor True is no number"),
    ({"weights": {"a": True}}, TypeError, "the weight of a is True"),
    ({"watch": ["gate"]}, ValueError, "watches itself"),
    ({"timeout": 5}, TypeError, "no timeout .*deadline"),
    ({"execution_timeout": timedelta(1)}, TypeError, "no execution_timeout .*deadline"),
    ({"mode": "poke"}, TypeError, "no mode .*deferrable"),
    ({"never_fail": True, "silent_fail": True}, TypeError, "no never_fail, silent_fail .*soft_fail"),
    ({"exponential_backoff": True}, TypeError, "no exponential_backoff .*poke_interval"),
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
