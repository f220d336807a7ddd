"""Who is merged in the last round? A poor feed that is not needed must not keep the good ones from publishing."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from airflow_orchestration.domain.decision import Decision
from airflow_orchestration.domain.defaults import APPROVE_AT, FLOOR

TOLERANCE = 1e-9
"""A sum of floats must not miss the floor by the last bit."""


class AdmissionAction(StrEnum):
    """What the merge takes in."""

    ADMIT_ALL = "admit_all"
    LEAVE_OUT_POOR = "leave_out_poor"


class AdmissionReason(StrEnum):
    """Why it does that."""

    NOBODY_POOR = "nobody_poor"
    ROUND_LEFT = "round_left"
    POOR_ARE_NEEDED = "poor_are_needed"
    REST_HOLDS_THE_FLOOR = "rest_holds_the_floor"


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A feed that arrived."""

    feed_id: str
    weight: float
    required: bool
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmissionFacts:
    """What arrived, the weight of all that was expected, and which round of how many this is."""

    candidates: tuple[Candidate, ...]
    expected_weight: float
    round: int
    max_rounds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmissionDecision(Decision):
    """The feeds that the merge leaves out."""

    action: AdmissionAction
    reason: AdmissionReason
    left_out: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """While a round is left, a poor feed is run again; in the last one it stays out if the floor holds without it.

    >>> feeds = [Candidate(feed_id=name, weight=1, required=False, score=1.0) for name in ("a", "b", "c")]
    >>> poor = Candidate(feed_id="d", weight=1, required=False, score=0.3)
    >>> facts = AdmissionFacts(candidates=(*feeds, poor), expected_weight=4, round=3, max_rounds=3)
    >>> Admission().evaluate(facts).left_out
    ('d',)
    """

    approve_at: float = APPROVE_AT
    floor: float = FLOOR

    def evaluate(self, facts: AdmissionFacts) -> AdmissionDecision:
        """Choose whom to leave out."""
        poor = tuple(
            one for one in facts.candidates if one.score < self.approve_at - TOLERANCE and not one.required
        )
        rest = math.fsum(one.weight for one in facts.candidates if one not in poor)
        action, reason = self._verdict(facts, poor, rest)
        left_out = tuple(one.feed_id for one in poor) if action is AdmissionAction.LEAVE_OUT_POOR else ()
        return AdmissionDecision(
            policy="admission",
            action=action,
            reason=reason,
            left_out=left_out,
            evidence={
                "arrived": len(facts.candidates),
                "poor": len(poor),
                "rest_share": rest / facts.expected_weight,
                "floor": self.floor,
                "round": facts.round,
                "max_rounds": facts.max_rounds,
                "left_out": list(left_out),
            },
        )

    def _verdict(
        self, facts: AdmissionFacts, poor: tuple[Candidate, ...], rest: float
    ) -> tuple[AdmissionAction, AdmissionReason]:
        if not poor:
            return AdmissionAction.ADMIT_ALL, AdmissionReason.NOBODY_POOR
        if facts.round < facts.max_rounds:
            return AdmissionAction.ADMIT_ALL, AdmissionReason.ROUND_LEFT
        if rest / facts.expected_weight < self.floor - TOLERANCE:
            return AdmissionAction.ADMIT_ALL, AdmissionReason.POOR_ARE_NEEDED
        return AdmissionAction.LEAVE_OUT_POOR, AdmissionReason.REST_HOLDS_THE_FLOOR
