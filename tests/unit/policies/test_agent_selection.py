"""The choice of an agent type: SEED 24 and its rulings."""

from __future__ import annotations

import math
from typing import Any

import pytest

from airflow_orchestration.domain.agent import Capability, ResourceRequirements
from airflow_orchestration.policies.agent_selection import (
    AgentCandidate,
    AgentSelection,
    AgentSelectionDecision,
    AgentSelectionFacts,
    resource_efficiency,
)
from tests.unit.policies.vectors import cases

BY_INITIAL = dict(zip("IVTAQP", Capability, strict=True))
INITIAL = {capability: initial for initial, capability in BY_INITIAL.items()}
NEEDED = ResourceRequirements(cpu_millicores=1000, memory_mb=10_000)


def capabilities(initials: str) -> frozenset[Capability]:
    return frozenset(BY_INITIAL[initial] for initial in initials)


def candidate(name: str, text: str) -> AgentCandidate:
    initials, success_rate, efficiency = text.split()
    return AgentCandidate(
        name=name,
        capabilities=capabilities(initials),
        success_rate=float(success_rate),
        outcomes=7,
        footprint=footprint(float(efficiency)),
    )


def footprint(efficiency: float) -> ResourceRequirements:
    return ResourceRequirements(
        cpu_millicores=round(NEEDED.cpu_millicores * efficiency),
        memory_mb=round(NEEDED.memory_mb * efficiency),
    )


def decide(row: dict[str, Any]) -> AgentSelectionDecision:
    candidates = tuple(candidate(name, text) for name, text in row["candidates"].items())
    required = capabilities(row["required"])
    facts = AgentSelectionFacts(required=required, needed=NEEDED, candidates=candidates)
    decision = AgentSelection().evaluate(facts)
    assert decision.agent_type == AgentSelection().prepare(candidates).choose(required, NEEDED)
    return decision


def check(row: dict[str, Any]) -> None:
    decision = decide(row)
    nothing = {"agent_type": None, "score": None, "missing": {}}

    assert nothing | row["expected"] == {
        "action": decision.action,
        "reason": decision.reason,
        "agent_type": decision.agent_type,
        "score": decision.evidence["score"],
        "missing": {
            name: "".join(INITIAL[capability] for capability in lacks)
            for name, lacks in decision.missing.items()
        },
    }


@cases("agent_selection", "seed_24")
def test_seed_24_selection(row: dict[str, Any]) -> None:
    """Among the types with all the capabilities, the highest score wins."""
    check(row)


@cases("agent_selection", "ruling_strict_containment")
def test_ruling_strict_containment(row: dict[str, Any]) -> None:
    """A type that lacks one required capability is never chosen."""
    check(row)


@cases("agent_selection", "ruling_ties_by_name")
def test_ruling_ties_by_name(row: dict[str, Any]) -> None:
    """A tie is broken by name, and the decision says so."""
    check(row)


def test_seed_24_evidence_is_the_whole_table() -> None:
    """The decision shows every candidate with the parts of its score, or with what it lacks."""
    row = {"required": "IV", "candidates": {"wide": "IVTA 0.5 1.0", "narrow": "V 1.0 0.75"}}
    table = [
        {
            "agent_type": "narrow",
            "capability_match": None,
            "success_rate": 1.0,
            "outcomes": 7,
            "resource_efficiency": 0.75,
            "score": None,
            "missing": ["data_ingestion"],
        },
        {
            "agent_type": "wide",
            "capability_match": 0.5,
            "success_rate": 0.5,
            "outcomes": 7,
            "resource_efficiency": 1.0,
            "score": 0.6,
            "missing": [],
        },
    ]
    expected = {
        "agent_type": "wide",
        "score": 0.6,
        "candidates": 2,
        "suitable": 1,
        "required": ["data_ingestion", "data_validation"],
        "needed": {"cpu_millicores": 1000, "memory_mb": 10_000, "connections": 0},
        "table": table,
    }

    assert expected == decide(row).evidence


@pytest.mark.parametrize(
    ("millicores", "memory", "expected"),
    [
        pytest.param(500, 512, 1.0, id="perfect fit"),
        pytest.param(1000, 512, 0.75, id="half the CPU is wasted"),
        pytest.param(250, 512, 0.75, id="half the CPU is lacking"),
        pytest.param(5000, 5120, 0.1, id="ten times too large"),
    ],
)
def test_seed_24_resource_efficiency_is_how_well_the_size_suits(
    millicores: int, memory: int, expected: float
) -> None:
    """CPU and memory count half each, and too much is as bad as too little."""
    task = ResourceRequirements(cpu_millicores=500, memory_mb=512)
    footprint = ResourceRequirements(cpu_millicores=millicores, memory_mb=memory)

    assert expected == resource_efficiency(task, footprint)


@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan])
def test_a_success_rate_is_a_share(value: float) -> None:
    """A candidate with a success rate outside 0..1 is refused by name."""
    with pytest.raises(ValueError, match=r"success_rate .* of 'a' is no share"):
        candidate("a", f"I {value} 1")


@pytest.mark.parametrize("weights", [(0.5, 0.5, 0.5), (1.2, -0.2, 0.0), (math.nan, 0.5, 0.5)])
def test_weights_are_shares_of_one(weights: tuple[float, float, float]) -> None:
    """Weights that are not 1 in sum would make scores that can't be compared."""
    names = ("capability_weight", "performance_weight", "efficiency_weight")

    with pytest.raises(ValueError, match="are no shares of one"):
        AgentSelection(**dict(zip(names, weights, strict=True)))


def test_nonsense_is_refused() -> None:
    """A task without capabilities, a candidate without any, and two of one name are refused."""
    same = candidate("a", "I 1 1")

    with pytest.raises(ValueError, match="name at least one"):
        AgentSelectionFacts(required=frozenset(), needed=NEEDED, candidates=())
    with pytest.raises(ValueError, match="'a' has no capability"):
        AgentCandidate(name="a", capabilities=frozenset(), success_rate=1.0, outcomes=0, footprint=NEEDED)
    with pytest.raises(ValueError, match="candidates named twice: a"):
        AgentSelectionFacts(required=capabilities("I"), needed=NEEDED, candidates=(same, same))
    with pytest.raises(ValueError, match="candidates named twice: a"):
        AgentSelection().prepare([same, same])
    with pytest.raises(ValueError, match="name at least one"):
        AgentSelection().prepare([same]).choose(frozenset(), NEEDED)
