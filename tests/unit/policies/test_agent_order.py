"""The order in which agents begin: SEED 26, and what a coordinator is for."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest

from airflow_orchestration.policies.agent_order import (
    AgentOrder,
    AgentOrderDecision,
    AgentOrderFacts,
    AssignedBatch,
    Assignment,
)
from tests.unit.policies.vectors import cases


def batch(text: str) -> AssignedBatch:
    described, _, needs = text.partition("<")
    name, seconds = described.split()
    return AssignedBatch(batch=name, seconds=float(seconds), depends_on=tuple(needs.split()))


def assignment(text: str) -> Assignment:
    agent_id, _, batches = text.partition(":")
    return Assignment(agent_id=agent_id, batches=tuple(batch(it) for it in batches.split(",") if it.strip()))


def decide(*agents: str) -> AgentOrderDecision:
    return AgentOrder().evaluate(AgentOrderFacts(agents=tuple(map(assignment, agents))))


def check(row: dict[str, Any]) -> None:
    decision = decide(*row["agents"])
    found = json.loads(json.dumps(decision.as_json()))

    assert row["expected"] == {
        "action": found["action"],
        "reason": found["reason"],
        "order": " ".join(decision.order),
        "waves": [" ".join(wave) for wave in found["evidence"]["waves"]],
        "circles": [" ".join(circle) for circle in found["evidence"]["circles"]],
    }


@cases("agent_order", "seed_26_few")
def test_seed_26_few_agents_are_not_coordinated(row: dict[str, Any]) -> None:
    """At most two agents keep the order in which they were given."""
    check(row)


@cases("agent_order", "longest_first")
def test_longest_first(row: dict[str, Any]) -> None:
    """Among agents that need nobody, the longest work begins."""
    check(row)


@cases("agent_order", "needed_first")
def test_needed_first(row: dict[str, Any]) -> None:
    """No agent begins before one that it needs, and what much work waits for begins early."""
    check(row)


@cases("agent_order", "circles")
def test_circles(row: dict[str, Any]) -> None:
    """Where agents need each other the order is as good as it can be, and says so."""
    check(row)


def test_evidence_shows_the_critical_path() -> None:
    """The decision holds the longest chain of batches, agent by agent, and how long it and everything takes."""
    expected = {
        "agents": 3,
        "coordinate_above": 2,
        "batches": 4,
        "total_seconds": 20.0,
        "critical_path_seconds": 12.0,
        "critical_path": [
            {"agent_id": "b", "batch": "x"},
            {"agent_id": "b", "batch": "y"},
            {"agent_id": "a", "batch": "w"},
        ],
        "waves": [["b", "c"], ["a"]],
        "circles": [],
    }

    assert expected == decide("a: w 6 < y", "b: x 2, y 4", "c: z 8").evidence


def test_without_work_the_critical_path_is_empty() -> None:
    """A round of agents without batches takes no time."""
    evidence = decide("a:", "b:", "c:").evidence

    assert ([], 0.0) == (evidence["critical_path"], evidence["critical_path_seconds"])


def test_equals_keep_their_place() -> None:
    """Of agents whose work is as long, the one with the smaller place begins, whatever their names."""
    agents = tuple(
        replace(assignment(text), place=place) for place, text in enumerate(("c: x 1", "a: y 1", "b: z 2"))
    )

    assert ("b", "c", "a") == AgentOrder().evaluate(AgentOrderFacts(agents=agents)).order


def test_all_that_is_wrong_with_the_agents_is_told_at_once() -> None:
    """An agent or a batch that stands twice and a circle of batches are refused, each with its name."""
    with pytest.raises(ValueError, match="stands here twice") as refused:
        decide("a: x 1 < y", "a: y 1 < x", "b: z 1, z 2", "c: own 1 < own")

    assert str(refused.value).startswith(
        "agent 'a' stands here twice; give each agent once; batch 'z' stands here twice; give each batch once; "
        "batches wait in a circle: "
    )


@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf])
def test_seconds_are_an_amount_of_time(value: float) -> None:
    """Seconds that no order could use are refused with the batch's name."""
    with pytest.raises(ValueError, match="of 'x' are no amount of time"):
        AssignedBatch(batch="x", seconds=value)
