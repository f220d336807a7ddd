"""Is a person asked before the run goes on, what can they choose, and what did they say? (SEED 5 and its ruling)

A person is asked only where the author wants it, and only where their word can change the outcome: offered
is what is possible, and the run goes on by itself when nobody answers.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from airflow_orchestration.domain.decision import Decision, Json
from airflow_orchestration.domain.defaults import APPROVE_AT, FAIL_BELOW, NEAR_MISS
from airflow_orchestration.domain.pipeline import AskWhen

TOLERANCE = 1e-9
"""A score that is a sum of floats must not miss a bound by the last bit."""


class Question(StrEnum):
    """Where in a round a person may be asked."""

    GATE = "gate"
    QUALITY = "quality"


class Choice(StrEnum):
    """What a person may choose; the members are in the order in which they are offered."""

    MERGE = "merge"
    PUBLISH = "publish"
    NEXT_ROUND = "next_round"
    STOP = "stop"


class AskingAction(StrEnum):
    """Whether the run waits for an answer."""

    ASK = "ask"
    GO_ON = "go_on"


class GateQuestionReason(StrEnum):
    """Why a person is asked about the gate's verdict, or not."""

    NOTHING_MISSING = "nothing_missing"
    NOT_WANTED = "not_wanted"
    OPENED_WITHOUT_EVERYBODY = "opened_without_everybody"
    REQUIRED_MISSING = "required_missing"
    NOTHING_ARRIVED = "nothing_arrived"
    BELOW_FLOOR = "below_floor"


class QualityQuestionReason(StrEnum):
    """Why a person is asked about the quality of what was merged, or not."""

    APPROVED = "approved"
    NOT_WANTED = "not_wanted"
    TOO_FAR_BELOW = "too_far_below"
    NEAR_MISS = "near_miss"


class AnswerReason(StrEnum):
    """Whose word an answer is."""

    ANSWERED = "answered"
    NOBODY_ANSWERED = "nobody_answered"
    NO_TIME_LEFT = "no_time_left"


@dataclass(frozen=True, slots=True, kw_only=True)
class AskingDecision(Decision):
    """Whether to ask. `otherwise` is what the run does by itself, and always among what is offered."""

    action: AskingAction
    offered: tuple[Choice, ...]
    otherwise: Choice


@dataclass(frozen=True, slots=True, kw_only=True)
class GateQuestionFacts:
    """How the gate decided, in numbers of feeds, and where the run goes by itself."""

    opened: bool
    arrived: int
    missing: int
    required_missing: int
    round_left: bool
    otherwise: Choice


@dataclass(frozen=True, slots=True, kw_only=True)
class GateQuestion:
    """Asks whether to merge without everybody, and offers no merge without what is required.

    >>> question = GateQuestion(ask_when={AskWhen.BELOW_FLOOR})
    >>> facts = GateQuestionFacts(
    ...     opened=False, arrived=2, missing=2, required_missing=0, round_left=True, otherwise=Choice.NEXT_ROUND
    ... )
    >>> decision = question.evaluate(facts)
    >>> decision.action.value, [choice.value for choice in decision.offered], decision.otherwise.value
    ('ask', ['merge', 'next_round', 'stop'], 'next_round')
    """

    ask_when: Collection[AskWhen]

    def evaluate(self, facts: GateQuestionFacts) -> AskingDecision:
        """Decide whether a person is asked before the gate's verdict is followed."""
        return _asking(
            self._verdict(facts),
            Question.GATE,
            _offered(Choice.MERGE, facts.otherwise, round_left=facts.round_left),
            facts.otherwise,
            {
                "opened": facts.opened,
                "arrived": facts.arrived,
                "missing": facts.missing,
                "required_missing": facts.required_missing,
            },
        )

    def _verdict(self, facts: GateQuestionFacts) -> tuple[AskingAction, GateQuestionReason]:
        if not facts.missing:
            return AskingAction.GO_ON, GateQuestionReason.NOTHING_MISSING
        situation = AskWhen.CONDITIONAL if facts.opened else AskWhen.BELOW_FLOOR
        if situation not in self.ask_when:
            return AskingAction.GO_ON, GateQuestionReason.NOT_WANTED
        if facts.opened:
            return AskingAction.ASK, GateQuestionReason.OPENED_WITHOUT_EVERYBODY
        if facts.required_missing:
            return AskingAction.GO_ON, GateQuestionReason.REQUIRED_MISSING
        if not facts.arrived:
            return AskingAction.GO_ON, GateQuestionReason.NOTHING_ARRIVED
        return AskingAction.ASK, GateQuestionReason.BELOW_FLOOR


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityQuestionFacts:
    """What the quality gate said of the merged table, and where the run goes by itself."""

    approved: bool
    overall: float
    rows: int
    round_left: bool
    otherwise: Choice


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityQuestion:
    """Asks whether to publish a table that is not approved, but nearly good enough.

    >>> question = QualityQuestion(ask_when={AskWhen.NEAR_MISS})
    >>> facts = QualityQuestionFacts(
    ...     approved=False, overall=0.78, rows=12_000, round_left=False, otherwise=Choice.STOP
    ... )
    >>> decision = question.evaluate(facts)
    >>> decision.action.value, [choice.value for choice in decision.offered], decision.otherwise.value
    ('ask', ['publish', 'stop'], 'stop')
    """

    ask_when: Collection[AskWhen]
    approve_at: float = APPROVE_AT
    fail_below: float = FAIL_BELOW
    near_miss: float = NEAR_MISS

    def evaluate(self, facts: QualityQuestionFacts) -> AskingDecision:
        """Decide whether a person is asked before the quality gate's verdict is followed."""
        return _asking(
            self._verdict(facts),
            Question.QUALITY,
            _offered(Choice.PUBLISH, facts.otherwise, round_left=facts.round_left),
            facts.otherwise,
            {
                "overall": facts.overall,
                "approve_at": self.approve_at,
                "near_miss": self.near_miss,
            },
        )

    def _verdict(self, facts: QualityQuestionFacts) -> tuple[AskingAction, QualityQuestionReason]:
        if facts.approved:
            return AskingAction.GO_ON, QualityQuestionReason.APPROVED
        if AskWhen.NEAR_MISS not in self.ask_when:
            return AskingAction.GO_ON, QualityQuestionReason.NOT_WANTED
        least = max(self.approve_at - self.near_miss, self.fail_below)
        if not facts.rows or facts.overall < least - TOLERANCE:
            return AskingAction.GO_ON, QualityQuestionReason.TOO_FAR_BELOW
        return AskingAction.ASK, QualityQuestionReason.NEAR_MISS


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerFacts:
    """What was offered, and what came back: `by` is a user's name, None when the time was over.

    `round_left` says whether another round still has time, now that the answer is there.
    """

    question: Question
    offered: tuple[Choice, ...]
    otherwise: Choice
    chosen: Choice
    by: str | None
    at: datetime
    round_left: bool

    def __post_init__(self) -> None:
        if self.chosen not in self.offered:
            possible = ", ".join(self.offered)
            raise ValueError(f"{self.chosen.value} was not offered; choose one of: {possible}")


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerDecision(Decision):
    """What the run does after it asked; `by` is None when it is nobody's word that is followed."""

    action: Choice
    reason: AnswerReason
    by: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answering:
    """Follows a person's word; without one, the run does what it would have done unasked.

    Another round for which no time is left is not begun, whoever wanted it: it could only give up.
    """

    def evaluate(self, facts: AnswerFacts) -> AnswerDecision:
        """Decide what the run does."""
        action, reason, by = self._verdict(facts)
        return AnswerDecision(
            policy="person",
            action=action,
            reason=reason,
            by=by,
            evidence={
                "question": facts.question.value,
                "by": by,
                "at": facts.at.isoformat(),
                "offered": [choice.value for choice in facts.offered],
                "otherwise": facts.otherwise.value,
            },
        )

    def _verdict(self, facts: AnswerFacts) -> tuple[Choice, AnswerReason, str | None]:
        wanted = facts.otherwise if facts.by is None else facts.chosen
        if wanted is Choice.NEXT_ROUND and not facts.round_left:
            instead = Choice.STOP if facts.otherwise is Choice.NEXT_ROUND else facts.otherwise
            return instead, AnswerReason.NO_TIME_LEFT, None
        if facts.by is None:
            return wanted, AnswerReason.NOBODY_ANSWERED, None
        return wanted, AnswerReason.ANSWERED, facts.by


def _offered(go_on: Choice, otherwise: Choice, *, round_left: bool) -> tuple[Choice, ...]:
    possible = {go_on, otherwise, Choice.STOP} | ({Choice.NEXT_ROUND} if round_left else set())
    return tuple(choice for choice in Choice if choice in possible)


def _asking(
    verdict: tuple[AskingAction, GateQuestionReason | QualityQuestionReason],
    question: Question,
    offered: tuple[Choice, ...],
    otherwise: Choice,
    facts: Mapping[str, Json],
) -> AskingDecision:
    action, reason = verdict
    return AskingDecision(
        policy="asking",
        action=action,
        reason=reason,
        offered=offered,
        otherwise=otherwise,
        evidence={
            "question": question.value,
            "offered": [choice.value for choice in offered],
            "otherwise": otherwise.value,
            **facts,
        },
    )
