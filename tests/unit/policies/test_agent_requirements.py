"""The agents that a queue needs: SEED 26."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_orchestration.domain.agent import BatchComplexity, BatchQueue
from airflow_orchestration.domain.conf import validated
from airflow_orchestration.policies.agent_requirements import (
    AgentRequirements,
    AgentRequirementsDecision,
    AgentRequirementsFacts,
)
from tests.unit.policies.vectors import cases


def decide(queue: list[dict[str, Any]], **policy: int) -> AgentRequirementsDecision:
    checked = validated(BatchQueue, {"batches": queue}, subject="queue")
    return AgentRequirements(**policy).evaluate(AgentRequirementsFacts(batches=checked.batches))


@cases("agent_requirements", "seed_26")
def test_seed_26_requirements(row: dict[str, Any]) -> None:
    """A demanding batch leads to a requirement that says what its agent has to know."""
    decision = decide(row["queue"])

    assert row["expected"] == {
        "action": decision.action,
        "reason": decision.reason,
        "requirements": [need.model_dump(mode="json", exclude_none=True) for need in decision.requirements],
    }


@cases("agent_requirements", "seed_26_coordination")
def test_seed_26_coordination(row: dict[str, Any]) -> None:
    """More than two requirements lead to one more, for coordination."""
    decision = decide(row["queue"])
    last = decision.requirements[-1]

    assert row["expected"] == {
        "reason": decision.reason,
        "needs": [need.capabilities_needed[0] for need in decision.requirements],
        "agent_count": last.agent_count or 0,
    }
    assert last.coordination_complexity in {None, BatchComplexity.HIGH}
    assert (last.agent_count is None) == (last.coordination_complexity is None)


def test_seed_26_evidence_counts_who_got_no_agent() -> None:
    """A batch without an agent does not vanish: it is counted by its type."""
    queue = [{"type": "validation"}, {}, {"type": "validaton"}, {"type": "streaming"}, {}]
    expected = {
        "batches": 5,
        "specialists": 1,
        "coordinators": 0,
        "coordinate_above": 2,
        "without_agent": {"general": 2, "streaming": 1, "validaton": 1},
    }

    assert expected == decide(queue).evidence


def test_coordination_starts_where_the_author_says() -> None:
    """A higher threshold leaves three specialists to themselves."""
    assert 3 == len(decide([{"type": "validation"}] * 3, coordinate_above=3).requirements)


@pytest.mark.parametrize("value", [0, -1])
def test_there_is_something_to_coordinate(value: int) -> None:
    """A coordinator of one agent is refused."""
    with pytest.raises(ValueError, match=f"coordinate_above {value} coordinates one agent or none"):
        AgentRequirements(coordinate_above=value)
