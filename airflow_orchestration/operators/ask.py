"""Asks a person before a verdict is followed, by Airflow's human-in-the-loop (SEED 5 and its ruling)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import timezone

from airflow_orchestration.hooks.orchestration import OrchestrationHook
from airflow_orchestration.insights.evidence import LABELS
from airflow_orchestration.operators.base import open_step
from airflow_orchestration.operators.fork import LeavesTheLoop
from airflow_orchestration.policies.asking import Choice, Question
from airflow_orchestration.workflow.asking import earlier_answer, put_question, take_answer
from airflow_orchestration.workflow.routes import CHOICES, Route

if TYPE_CHECKING:
    from airflow.sdk import Context


class AskOperator(HITLOperator, LeavesTheLoop):
    """A fork that a person decides; without an answer in time the run does what it would have done unasked.

    While it waits it holds neither a worker slot nor a triggerer. What is asked, what is offered and how
    long is waited come from the store when the question is put.

    :param question: what a person is asked about.
    :param targets: `Route` -> task id.
    :param exits: task ids that leave the loop.
    :param later_groups: task groups that no one needs then.
    """

    template_fields = ()
    inherits_from_skipmixin = True

    def __init__(
        self,
        *,
        question: Question,
        round_number: int,
        targets: Mapping[str, str],
        exits: Collection[str],
        later_groups: Collection[str],
        orchestration_conn_id: str = OrchestrationHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        ways = {LABELS[CHOICES[Route(route)]]: task_id for route, task_id in targets.items()}
        super().__init__(subject=f"round {round_number}: {question.value}", options=list(ways), **kwargs)
        self.question = question
        self.round_number = round_number
        self.ways = ways
        self.exits = list(exits)
        self.later_groups = list(later_groups)
        self.orchestration_conn_id = orchestration_conn_id

    def execute(self, context: Context) -> Any:
        """Put the question, and wait for an answer; a retry follows what was answered before."""
        with open_step(context, *self._where, f"ask_{self.question.value}") as step:
            # Airflow may lose a task that is answered while its first process still ends: apache/airflow#72716
            if (answer := earlier_answer(step, self.question)) is not None:
                return self._follow(context, answer)
            asked = put_question(step, self.question, timezone.utcnow())
        self.subject, self.body = asked.subject, asked.body
        self.options = [LABELS[choice] for choice in asked.offered]
        self.defaults = [LABELS[asked.otherwise]]
        self.response_timeout = asked.timeout
        return super().execute(context)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        """Go where the answer says."""
        answer = super().execute_complete(context, event)
        user = answer["responded_by_user"]
        # a unit of its own: the process that put the question may still hold the other one
        with open_step(context, *self._where, f"answer_{self.question.value}") as step:
            decision = take_answer(
                step,
                self.question,
                chosen=_choice(answer["chosen_options"][0]),
                by=None if user is None else user["name"] or user["id"],
                at=answer["responded_at"],
            )
        self.log.info("%s", decision)
        context["ti"].xcom_push(key="decision", value=decision.as_json())
        return self._follow(context, decision.action)

    def _follow(self, context: Context, answer: Choice) -> Any:
        return self.do_branch(context, self.ways[LABELS[answer]])

    @property
    def _where(self) -> tuple[str, int]:
        return self.orchestration_conn_id, self.round_number


def _choice(label: str) -> Choice:
    return next(choice for choice, text in LABELS.items() if text == label)
