"""One round as a task group: plan, lanes or agents, gate, and the two forks with the merge between them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from airflow.sdk import TaskGroup, TriggerRule

from airflow_orchestration.dags import names
from airflow_orchestration.dags.arguments import AGENT_RETRY_DELAY
from airflow_orchestration.domain.batch import Lane
from airflow_orchestration.domain.pipeline import Agents, AskWhen, Pipeline
from airflow_orchestration.domain.task_ids import ask_task, asking_task_id, group_id
from airflow_orchestration.operators.ask import AskOperator
from airflow_orchestration.operators.create_agents import CreateAgentsOperator
from airflow_orchestration.operators.decide import decide_after_gate, decide_after_quality
from airflow_orchestration.operators.fork import ForkOperator
from airflow_orchestration.operators.merge_branches import MergeBranchesOperator
from airflow_orchestration.operators.plan_round import PlanRoundOperator, RouteLaneOperator
from airflow_orchestration.operators.process_branch import BRANCH_NAME, LANE_OPERATORS
from airflow_orchestration.operators.run_agent import RunAgentOperator
from airflow_orchestration.policies.asking import Question
from airflow_orchestration.sensors.round_gate import RoundGateSensor
from airflow_orchestration.workflow.round_tasks import AGENTS
from airflow_orchestration.workflow.routes import Route

EXITS = {Route.PUBLISH: "publish", Route.FAIL: "fail"}
WAITING_RETRIES = 4
"""Looking or asking again changes nothing, so a task that Airflow lost while it waited may always start again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """The ends of a round that others are tied to."""

    plan: PlanRoundOperator
    decide: ForkOperator
    quality: ForkOperator
    ask_gate: AskOperator | None
    ask_quality: AskOperator | None
    workers: list[Any]
    """The tasks that process batches: one for each lane, or that of the agents."""

    @property
    def after_gate(self) -> list[ForkOperator | AskOperator]:
        """The forks behind the gate."""
        return [self.decide, self.ask_gate] if self.ask_gate else [self.decide]

    @property
    def after_quality(self) -> list[ForkOperator | AskOperator]:
        """The forks behind the quality gate."""
        return [self.quality, self.ask_quality] if self.ask_quality else [self.quality]


def round_group(number: int, pipeline: Pipeline, defaults: Mapping[str, Any]) -> Round:
    """Build the tasks of one round. `defaults` are arguments of every task but those that process batches."""
    common = {**defaults, "round_number": number}
    tooltip = names.round_tooltip(number, pipeline.max_rounds)
    with TaskGroup(group_id(number), group_display_name=names.round_name(number), tooltip=tooltip):
        staff = _agents(number, pipeline, common) if pipeline.agents else _lanes(number, pipeline, common)
        gate = RoundGateSensor(
            task_id="gate",
            task_display_name=names.GATE,
            tasks={name: task.task_id for name, task in staff.workers.items()},
            **{**common, "retries": WAITING_RETRIES},
        )
        plan = PlanRoundOperator(
            task_id="plan",
            task_display_name=names.PLAN,
            always=[gate.task_id, *staff.always],
            routes={lane: task.task_id for lane, task in staff.routes.items()},
            **{**common, "trigger_rule": TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS},
        )
        forks = _Forks(number=number, pipeline=pipeline, priority_weight=defaults["priority_weight"])
        round_ = Round(
            plan=plan,
            decide=forks.fork("decide", names.DECIDE, decide_after_gate, Question.GATE),
            quality=forks.fork(
                "validate_quality", names.VALIDATE_QUALITY, decide_after_quality, Question.QUALITY
            ),
            ask_gate=forks.ask(Question.GATE),
            ask_quality=forks.ask(Question.QUALITY),
            workers=list(staff.workers.values()),
        )
        plan >> [gate, *staff.first]
        _tie(round_, gate, common)
    return round_


@dataclass(frozen=True, slots=True, kw_only=True)
class _Staff:
    """Who processes the batches of a round.

    `first` are the tasks behind the plan, of which it takes the `routes` of lanes that have work, and `always` the others.
    """

    workers: Mapping[str, Any]
    first: Sequence[Any]
    routes: Mapping[Lane, RouteLaneOperator]
    always: Sequence[str]


def _lanes(number: int, pipeline: Pipeline, common: Mapping[str, Any]) -> _Staff:
    """The binding in the Dag file: a task for each lane."""
    with TaskGroup("route", group_display_name=names.ROUTES, tooltip=names.ROUTES_TOOLTIP):
        routes = {
            lane: RouteLaneOperator(
                task_id=f"to_{lane.value}", task_display_name=names.route_name(lane), lane=lane, **common
            )
            for lane in Lane
        }
    workers = {lane.value: _lane(lane, routes[lane], number, pipeline) for lane in Lane}
    return _Staff(workers=workers, first=list(routes.values()), routes=routes, always=())


def _agents(number: int, pipeline: Pipeline, common: Mapping[str, Any]) -> _Staff:
    """The binding at run time: agents are chosen for the batches, and one task is mapped over them."""
    terms = pipeline.agents or Agents()
    create = CreateAgentsOperator(task_id="create_agents", task_display_name=names.CREATE_AGENTS, **common)
    agents = RunAgentOperator.partial(
        task_id=AGENTS,
        task_display_name=names.AGENTS,
        round_number=number,
        orchestration_conn_id=pipeline.store_conn_id,
        map_index_template=BRANCH_NAME,
        wait_seconds=terms.wait_seconds,
        execution_timeout=timedelta(seconds=terms.timeout_seconds),
        retries=terms.retry_attempts,
        retry_delay=AGENT_RETRY_DELAY,
        max_active_tis_per_dagrun=terms.max_concurrent_batches,
    ).expand(agent_id=create.output)
    return _Staff(workers={AGENTS: agents}, first=[create], routes={}, always=[create.task_id])


def _tie(this: Round, gate: RoundGateSensor, common: Mapping[str, Any]) -> None:
    """Lead from the gate to the merge and from there to the quality gate, with a person at each if asked."""
    rule = TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS if this.ask_gate else TriggerRule.ALL_SUCCESS
    merge = MergeBranchesOperator(
        task_id="merge", task_display_name=names.MERGE, **{**common, "trigger_rule": rule}
    )
    gate >> this.decide >> merge >> this.quality
    if this.ask_gate:
        this.decide >> this.ask_gate >> merge
    if this.ask_quality:
        this.quality >> this.ask_quality


def _lane(lane: Lane, route: RouteLaneOperator, number: int, pipeline: Pipeline) -> Any:
    """Map a lane over the ids of its branches, which the plan made: never over what a stranger wrote."""
    terms = pipeline.lanes.get(lane)
    return (
        LANE_OPERATORS[lane]
        .partial(
            task_id=lane.value,
            task_display_name=names.LANES[lane],
            round_number=number,
            orchestration_conn_id=pipeline.store_conn_id,
            map_index_template=BRANCH_NAME,
            **(terms.arguments() if terms else {}),
        )
        .expand(branch_id=route.output)
    )


ASKED_WHEN = {
    Question.GATE: {AskWhen.CONDITIONAL, AskWhen.BELOW_FLOOR},
    Question.QUALITY: {AskWhen.NEAR_MISS},
}
WAYS = {
    Question.GATE: (Route.MERGE, Route.NEXT_ROUND, Route.FAIL),
    Question.QUALITY: (Route.PUBLISH, Route.NEXT_ROUND, Route.FAIL),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Forks:
    """Makes the forks of a round, each with the tasks that it may lead to."""

    number: int
    pipeline: Pipeline
    priority_weight: int

    def fork(self, task_id: str, name: str, decide: Callable[..., str], question: Question) -> ForkOperator:
        targets = self._targets(question)
        if self._is_asked(question):
            targets |= {Route.ASK.value: asking_task_id(self.number, question)}
        arguments = {
            "conn_id": self.pipeline.store_conn_id,
            "round_number": self.number,
            "targets": targets,
        }
        return ForkOperator(
            task_id=task_id,
            task_display_name=name,
            python_callable=decide,
            op_kwargs=arguments,
            **self._ends(),
        )

    def ask(self, question: Question) -> AskOperator | None:
        if not self._is_asked(question):
            return None
        return AskOperator(
            task_id=ask_task(question),
            task_display_name=names.QUESTIONS[question],
            question=question,
            round_number=self.number,
            targets=self._targets(question),
            orchestration_conn_id=self.pipeline.store_conn_id,
            retries=WAITING_RETRIES,
            **self._ends(),
        )

    def _is_asked(self, question: Question) -> bool:
        return not ASKED_WHEN[question].isdisjoint(self.pipeline.ask_when)

    def _ends(self) -> dict[str, Any]:
        later = range(self.number + 1, self.pipeline.max_rounds + 1)
        return {
            "exits": [EXITS[Route.PUBLISH], EXITS[Route.FAIL]],
            "later_groups": [group_id(number) for number in later],
            "priority_weight": self.priority_weight,
        }

    def _targets(self, question: Question) -> dict[str, str]:
        tasks = {**EXITS, Route.MERGE: f"{group_id(self.number)}.merge"}
        if self.number < self.pipeline.max_rounds:
            tasks[Route.NEXT_ROUND] = f"{group_id(self.number + 1)}.plan"
        return {route.value: tasks[route] for route in WAYS[question] if route in tasks}
