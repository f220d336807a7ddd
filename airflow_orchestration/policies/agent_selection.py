"""Which type of agent suits a task best? The highest score among those that can do all of it (SEED 24)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from airflow_orchestration.domain.agent import Capability, ResourceRequirements, each_once
from airflow_orchestration.domain.decision import Decision, Json

CAPABILITY_WEIGHT, PERFORMANCE_WEIGHT, EFFICIENCY_WEIGHT = 0.4, 0.4, 0.2
"""SEED 24: what the parts of the score count."""
SCORE_DIGITS = 9
"""A tie must not hang on the last bit of a sum of floats."""


class AgentSelectionAction(StrEnum):
    """What comes of the selection."""

    SELECT = "select"
    NO_SUITABLE_AGENT = "no_suitable_agent"


class AgentSelectionReason(StrEnum):
    """Why that type, or none."""

    NO_TEMPLATES = "no_templates"
    CAPABILITY_MISSING = "capability_missing"
    ONLY_SUITABLE = "only_suitable"
    TIE_BROKEN_BY_NAME = "tie_broken_by_name"
    HIGHEST_SCORE = "highest_score"


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentCandidate:
    """One type of agent: what it can do, how often it succeeded, how well its size suits the task."""

    name: str
    capabilities: frozenset[Capability]
    success_rate: float
    resource_efficiency: float

    def __post_init__(self) -> None:
        if not self.capabilities:
            raise ValueError(f"{self.name!r} has no capability; name at least one")
        for name in ("success_rate", "resource_efficiency"):
            value: float = getattr(self, name)
            if not 0 <= value <= 1:
                raise ValueError(f"{name} {value} of {self.name!r} is no share; use 0..1")


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSelectionFacts:
    """What the task needs, and who is there."""

    required: frozenset[Capability]
    candidates: tuple[AgentCandidate, ...]

    def __post_init__(self) -> None:
        if not self.required:
            raise ValueError("a task that needs no capability needs no agent; name at least one")
        names = [candidate.name for candidate in self.candidates]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"candidates named twice: {', '.join(twice)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSelectionDecision(Decision):
    """The chosen type, and why each of the others was not chosen."""

    action: AgentSelectionAction
    reason: AgentSelectionReason
    agent_type: str | None
    missing: Mapping[str, tuple[Capability, ...]]
    """By candidate, the required capabilities that it does not have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSelection:
    """Only a type with all the capabilities is chosen; among equal scores, the first by name (rulings).

    A generalist that can do everything, and always succeeded, does not replace one who knows the task:

    >>> wide, narrow = frozenset(Capability), frozenset({Capability.DATA_VALIDATION})
    >>> facts = AgentSelectionFacts(
    ...     required=narrow,
    ...     candidates=(
    ...         AgentCandidate(name="generalist", capabilities=wide, success_rate=1.0, resource_efficiency=1.0),
    ...         AgentCandidate(name="validator", capabilities=narrow, success_rate=0.8, resource_efficiency=0.5),
    ...     ),
    ... )
    >>> decision = AgentSelection().evaluate(facts)
    >>> decision.agent_type, decision.reason.value, decision.evidence["score"]
    ('validator', 'highest_score', 0.82)
    """

    capability_weight: float = CAPABILITY_WEIGHT
    performance_weight: float = PERFORMANCE_WEIGHT
    efficiency_weight: float = EFFICIENCY_WEIGHT

    def __post_init__(self) -> None:
        weights = (self.capability_weight, self.performance_weight, self.efficiency_weight)
        if not all(weight >= 0 for weight in weights) or not math.isclose(math.fsum(weights), 1.0):
            raise ValueError(f"weights {weights} are no shares of one; use 0 or more each, 1 in sum")

    def evaluate(self, facts: AgentSelectionFacts) -> AgentSelectionDecision:
        """Choose a type of agent, or say what each lacks."""
        by_name = sorted(facts.candidates, key=lambda candidate: candidate.name)
        missing = {it.name: each_once(facts.required - it.capabilities) for it in by_name}
        scores = {it.name: self.score(facts.required, it) for it in by_name if not missing[it.name]}
        ranking = sorted(scores, key=lambda name: (-scores[name], name))
        action, reason = self._verdict(by_name, [scores[name] for name in ranking])
        chosen = ranking[0] if ranking else None
        return AgentSelectionDecision(
            policy="agent_selection",
            action=action,
            reason=reason,
            agent_type=chosen,
            missing={name: lacks for name, lacks in missing.items() if lacks},
            evidence={
                "agent_type": chosen,
                "score": scores[chosen] if chosen else None,
                "candidates": len(by_name),
                "suitable": len(ranking),
                "required": [capability.value for capability in each_once(facts.required)],
                "table": [_row(facts, it, missing[it.name], scores.get(it.name)) for it in by_name],
            },
        )

    def score(self, required: frozenset[Capability], candidate: AgentCandidate) -> float:
        """Return how well a candidate with all the required capabilities suits."""
        parts = (
            self.capability_weight * _capability_match(required, candidate),
            self.performance_weight * candidate.success_rate,
            self.efficiency_weight * candidate.resource_efficiency,
        )
        return round(math.fsum(parts), SCORE_DIGITS)

    def _verdict(
        self, candidates: Sequence[AgentCandidate], ranked: Sequence[float]
    ) -> tuple[AgentSelectionAction, AgentSelectionReason]:
        if not candidates:
            return AgentSelectionAction.NO_SUITABLE_AGENT, AgentSelectionReason.NO_TEMPLATES
        if not ranked:
            return AgentSelectionAction.NO_SUITABLE_AGENT, AgentSelectionReason.CAPABILITY_MISSING
        if len(ranked) == 1:
            return AgentSelectionAction.SELECT, AgentSelectionReason.ONLY_SUITABLE
        if ranked[0] == ranked[1]:
            return AgentSelectionAction.SELECT, AgentSelectionReason.TIE_BROKEN_BY_NAME
        return AgentSelectionAction.SELECT, AgentSelectionReason.HIGHEST_SCORE


def resource_efficiency(needed: ResourceRequirements, footprint: ResourceRequirements) -> float:
    """Return how well what a type is made for suits what a task needs: 1 for a perfect fit, near 0 for none.

    The document names no formula; this is ours. CPU and memory count the same, too much as bad as too little:

    >>> task = ResourceRequirements(cpu_millicores=500, memory_mb=256)
    >>> resource_efficiency(task, ResourceRequirements(cpu_millicores=1000, memory_mb=256))
    0.75
    """
    pairs = (
        (needed.cpu_millicores, footprint.cpu_millicores),
        (needed.memory_mb, footprint.memory_mb),
    )
    return math.fsum(min(pair) / max(pair) for pair in pairs) / len(pairs)


def _capability_match(required: frozenset[Capability], candidate: AgentCandidate) -> float:
    return len(required) / len(candidate.capabilities)


def _row(
    facts: AgentSelectionFacts,
    candidate: AgentCandidate,
    missing: Sequence[Capability],
    score: float | None,
) -> dict[str, Json]:
    return {
        "agent_type": candidate.name,
        "capability_match": None if missing else _capability_match(facts.required, candidate),
        "success_rate": candidate.success_rate,
        "resource_efficiency": candidate.resource_efficiency,
        "score": score,
        "missing": [capability.value for capability in missing],
    }
