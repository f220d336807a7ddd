"""Which type of agent suits a task best? The highest score among those that can do all of it (SEED 24)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Self

from airflow_orchestration.domain.agent import Capability, ResourceRequirements, each_once
from airflow_orchestration.domain.decision import Decision, Json

CAPABILITY_WEIGHT, PERFORMANCE_WEIGHT, EFFICIENCY_WEIGHT = 0.4, 0.4, 0.2
"""SEED 24: what the parts of the score count."""
SCORE_DIGITS = 9
"""A tie must not hang on the last bit of a sum of floats."""
NOTHING_REQUIRED = "a task that needs no capability needs no agent; name at least one"
NEAR = 2.0 * 10.0**-SCORE_DIGITS
"""Ours: scores that are further apart than this are no tie after they are rounded."""


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
    """One type of agent: what it can do, how often it succeeds in such work, and what it is made for."""

    name: str
    capabilities: frozenset[Capability]
    success_rate: float
    """0..1, as it is believed to be."""
    outcomes: int
    """How many stand behind the success rate."""
    footprint: ResourceRequirements
    """What a task takes that suits this type best."""

    def __post_init__(self) -> None:
        if not self.capabilities:
            raise ValueError(f"{self.name!r} has no capability; name at least one")
        if not 0 <= self.success_rate <= 1:
            raise ValueError(f"success_rate {self.success_rate} of {self.name!r} is no share; use 0..1")


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSelectionFacts:
    """What the task needs, and who is there."""

    required: frozenset[Capability]
    needed: ResourceRequirements
    """What the task is estimated to take."""
    candidates: tuple[AgentCandidate, ...]

    def __post_init__(self) -> None:
        if not self.required:
            raise ValueError(NOTHING_REQUIRED)
        _refuse_twice(self.candidates)


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSelectionDecision(Decision):
    """The chosen type, and why each of the others was not chosen."""

    action: AgentSelectionAction
    reason: AgentSelectionReason
    agent_type: str | None
    missing: Mapping[str, tuple[Capability, ...]]
    """By candidate, the required capabilities that it does not have."""

    def leading_to(self, agent_id: str, estimates: Mapping[str, Json]) -> Self:
        """Return the decision with the agent that came of it, and what its estimates rest on, in its evidence."""
        return replace(self, evidence={**self.evidence, "agent_id": agent_id, "estimates": dict(estimates)})


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSelection:
    """Only a type with all the capabilities is chosen; among equal scores, the first by name (rulings).

    A generalist that can do everything, and always succeeded, does not replace one who knows the task:

    >>> def candidate(name, capabilities, success_rate, cpu_millicores):
    ...     made_for = ResourceRequirements(cpu_millicores=cpu_millicores, memory_mb=256)
    ...     return AgentCandidate(
    ...         name=name, capabilities=capabilities, success_rate=success_rate, outcomes=9, footprint=made_for
    ...     )
    >>> narrow = frozenset({Capability.DATA_VALIDATION})
    >>> facts = AgentSelectionFacts(
    ...     required=narrow,
    ...     needed=ResourceRequirements(cpu_millicores=500, memory_mb=256),
    ...     candidates=(
    ...         candidate("generalist", frozenset(Capability), 1.0, 500),
    ...         candidate("validator", narrow, 0.8, 1000),
    ...     ),
    ... )
    >>> decision = AgentSelection().evaluate(facts)
    >>> decision.agent_type, decision.reason.value, decision.evidence["score"]
    ('validator', 'highest_score', 0.87)
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
        scores = {
            it.name: self.score(facts.required, facts.needed, it) for it in by_name if not missing[it.name]
        }
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
                "needed": facts.needed.model_dump(),
                "table": [_row(facts, it, missing[it.name], scores.get(it.name)) for it in by_name],
            },
        )

    def prepare(self, candidates: Sequence[AgentCandidate]) -> PreparedSelection:
        """Return what chooses among the same candidates as `evaluate` does, many times and without the evidence."""
        return PreparedSelection(policy=self, candidates=tuple(candidates))

    def score(
        self, required: frozenset[Capability], needed: ResourceRequirements, candidate: AgentCandidate
    ) -> float:
        """Return how well a candidate with all the required capabilities suits."""
        parts = (
            self.capability_weight * _capability_match(required, candidate),
            self.performance_weight * candidate.success_rate,
            self.efficiency_weight * resource_efficiency(needed, candidate.footprint),
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


Line = tuple[float, int, int, AgentCandidate]
"""A candidate with what counts: its score without the efficiency, its CPU and its memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedSelection:
    """Chooses among candidates whose lines were sorted once by the part of the score that no task changes."""

    policy: AgentSelection
    candidates: tuple[AgentCandidate, ...]
    _lines: dict[frozenset[Capability], Sequence[Line]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        _refuse_twice(self.candidates)

    def choose(self, required: frozenset[Capability], needed: ResourceRequirements) -> str | None:
        """Return the type that `AgentSelection.evaluate` chooses, or None when nobody suits."""
        lines = self._lines.get(required)
        if lines is None:
            lines = self._lines[required] = self._sorted(required)
        near = _nearest(lines, needed, self.policy.efficiency_weight)
        ranking = sorted((-self.policy.score(required, needed, it), it.name) for it in near)
        return ranking[0][1] if ranking else None

    def _sorted(self, required: frozenset[Capability]) -> Sequence[Line]:
        """Best first; of candidates that no task can tell apart, the first by name alone."""
        if not required:
            raise ValueError(NOTHING_REQUIRED)
        able = [it for it in self.candidates if required <= it.capabilities]
        firsts = {_what_counts(it): it for it in sorted(able, key=lambda it: it.name, reverse=True)}
        lines = [
            (self._base(required, it), it.footprint.cpu_millicores, it.footprint.memory_mb, it)
            for it in firsts.values()
        ]
        return sorted(lines, key=lambda line: line[0], reverse=True)

    def _base(self, required: frozenset[Capability], candidate: AgentCandidate) -> float:
        match = self.policy.capability_weight * _capability_match(required, candidate)
        return match + self.policy.performance_weight * candidate.success_rate


def _nearest(
    lines: Sequence[Line], needed: ResourceRequirements, efficiency_weight: float
) -> list[AgentCandidate]:
    """Return those that may have the highest score once all are rounded; everything else is passed over.

    Efficiency adds at most its weight, so that the lines end where they can't reach the best any more. Half of
    it is the CPU's: a line whose CPU alone makes it too weak is not looked at further.
    """
    half, cpu, memory = efficiency_weight / 2, needed.cpu_millicores, needed.memory_mb
    best, enough, fewest, most = 0.0, 0.0, 0.0, math.inf
    found: list[tuple[float, AgentCandidate]] = []
    for base, has_cpu, has_memory, candidate in lines:
        if base < enough:
            break
        if fewest <= has_cpu <= most:
            score = base + half * (
                (has_cpu / cpu if has_cpu < cpu else cpu / has_cpu)
                + (has_memory / memory if has_memory < memory else memory / has_memory)
            )
            if score >= best - NEAR:
                found.append((score, candidate))
            if score > best:
                best, enough = score, score - NEAR - efficiency_weight
                share = (best - NEAR - base) / half - 1 if half else 0.0
                if share > 0:
                    fewest, most = cpu * share, cpu / share
    return [candidate for score, candidate in found if score >= best - NEAR]


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


def _refuse_twice(candidates: Sequence[AgentCandidate]) -> None:
    names = Counter(candidate.name for candidate in candidates)
    twice = sorted(name for name, count in names.items() if count > 1)
    if twice:
        raise ValueError(f"candidates named twice: {', '.join(twice)}")


def _what_counts(candidate: AgentCandidate) -> tuple[int, float, int, int]:
    size = candidate.footprint
    return len(candidate.capabilities), candidate.success_rate, size.cpu_millicores, size.memory_mb


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
        "outcomes": candidate.outcomes,
        "resource_efficiency": resource_efficiency(facts.needed, candidate.footprint),
        "score": score,
        "missing": [capability.value for capability in missing],
    }
