"""Asks a person before a verdict is followed, by Airflow's human-in-the-loop (SEED 5 and its ruling)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import timezone

from airflow_orchestration.domain.task_ids import ask_task
from airflow_orchestration.hooks.orchestration import OrchestrationHook
from airflow_orchestration.insights.evidence import LABELS
from airflow_orchestration.operators.base import open_step
from airflow_orchestration.operators.fork import LeavesTheLoop
from airflow_orchestration.policies.asking import Choice, Question
from airflow_orchestration.workflow.asking import (
    PutQuestion,
    earlier_answer,
    put_question,
    take_answer,
    times_asked,
)
from airflow_orchestration.workflow.routes import CHOICES, Route

if TYPE_CHECKING:
    from airflow.sdk import Context

QUESTION, ANSWER = "question", "answer"
"""What a try keeps for the next one, each with the number of times that the question had come up."""
SHORTEST = timedelta(seconds=1)
"""The least time to answer, when most of it went by before a retry."""


class AskOperator(HITLOperator, LeavesTheLoop):
    """A fork that a person decides; without an answer in time the run does what it would have done unasked.

    While it waits it holds neither a worker slot nor a triggerer. What is asked, what is offered and how
    long is waited come from the store when the question is put. An answer holds until the question comes up
    anew: this task alone, when it is cleared, follows what was answered; to be asked again, clear the fork
    before it. A retry neither loses an answer nor begins the time for it anew.

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
        kept: Any = context["task_state_store"]
        with open_step(context, *self._where, ask_task(self.question)) as step:
            # Airflow may lose a task that is answered while its first process still ends: apache/airflow#72716
            if (decided := earlier_answer(step, self.question)) is not None:
                return self._follow(context, decided)
            number = times_asked(step, self.question)
            if (answer := _of(number, kept.get(ANSWER))) is None:
                before = _of(number, kept.get(QUESTION))
                asked = put_question(step, self.question, timezone.utcnow(), before and _moment(before["by"]))
                kept.set(QUESTION, {"number": number, "by": asked.answer_by.isoformat()})
        if answer is not None:
            return self._take(context, answer)
        self._put(asked)
        return super().execute(context)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        """Go where the answer says."""
        given = super().execute_complete(context, event)
        kept: Any = context["task_state_store"]
        user = given["responded_by_user"]
        answer = {
            "number": (kept.get(QUESTION) or {}).get("number", 0),
            "chosen": _choice(given["chosen_options"][0]).value,
            "by": None if user is None else user["name"] or user["id"],
            "at": given["responded_at"].isoformat(),
        }
        kept.set(ANSWER, answer)  # before all else: Airflow gives an answer once, and the store may be away
        return self._take(context, answer)

    def _put(self, asked: PutQuestion) -> None:
        self.subject, self.body = asked.subject, asked.body
        self.options = [LABELS[choice] for choice in asked.offered]
        self.defaults = [LABELS[asked.otherwise]]
        self.log.info(
            "%s An answer is waited for until %s UTC; without one: %s",
            asked.subject,
            f"{asked.answer_by:%Y-%m-%d %H:%M:%S}",
            LABELS[asked.otherwise],
        )
        self.response_timeout = max(asked.answer_by - timezone.utcnow(), SHORTEST)

    def _take(self, context: Context, answer: Mapping[str, Any]) -> Any:
        # a unit of its own: the process that put the question may still hold the other one
        with open_step(context, *self._where, f"answer_{self.question.value}") as step:
            decision = take_answer(
                step,
                self.question,
                chosen=Choice(answer["chosen"]),
                by=answer["by"],
                at=_moment(answer["at"]),
            )
        self.log.info("%s", decision)
        return self._follow(context, decision.as_json())

    def _follow(self, context: Context, decided: Mapping[str, Any]) -> Any:
        context["ti"].xcom_push(key="decision", value=decided)
        return self.do_branch(context, self.ways[LABELS[Choice(decided["action"])]])

    @property
    def _where(self) -> tuple[str, int]:
        return self.orchestration_conn_id, self.round_number


def _of(number: int, kept: Any) -> Any:
    """Return what an earlier try kept, if it is about the question that came up for the same time."""
    return kept if kept and kept["number"] == number else None


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _choice(label: str) -> Choice:
    return next(choice for choice, text in LABELS.items() if text == label)
