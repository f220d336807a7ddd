"""The agents that a queue needs: SEED 26."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_orchestration.domain.agent import (
    AgentRequirement,
    BatchComplexity,
    Capability,
    QueuedBatch,
    read_queue,
)
from airflow_orchestration.exceptions import InputRefusedError, Problem, ProblemCode
from airflow_orchestration.policies.agent_requirements import (
    AgentRequirements,
    AgentRequirementsDecision,
    AgentRequirementsFacts,
    coordinated,
)
from tests.unit.policies.vectors import cases


def read(queue: list[dict[str, Any]]) -> tuple[QueuedBatch, ...]:
    return read_queue(queue, subject="queue").batches


def decide(queue: list[dict[str, Any]], general: str | None = None) -> AgentRequirementsDecision:
    wanted = None if general is None else Capability(general)
    return AgentRequirements().evaluate(AgentRequirementsFacts(batches=read(queue), general=wanted))


def check(row: dict[str, Any]) -> None:
    decision = decide(row["queue"], row.get("general"))

    assert row["expected"] == {
        "action": decision.action,
        "reason": decision.reason,
        "requirements": [
            need.model_dump(mode="json", exclude_none=True, exclude={"batch"})
            for need in decision.requirements
        ],
    }


@cases("agent_requirements", "seed_26")
def test_seed_26_requirements(row: dict[str, Any]) -> None:
    """A demanding batch leads to a requirement that says what its agent has to know."""
    check(row)


@cases("agent_requirements", "capabilities")
def test_capabilities_that_a_batch_names(row: dict[str, Any]) -> None:
    """A batch says itself what its agent must be able to do, whatever its type."""
    check(row)


@cases("agent_requirements", "general")
def test_where_only_agents_work_every_batch_gets_one(row: dict[str, Any]) -> None:
    """What the document leaves to the branches is nobody's where there are none, so it gets an agent too."""
    check(row)


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
        "general": 0,
        "coordinators": 0,
        "coordinate_above": 2,
        "without_agent": {"general": 2, "streaming": 1, "validaton": 1},
    }

    assert expected == decide(queue).evidence


def test_where_only_agents_work_no_batch_is_without() -> None:
    """The evidence tells how many agents the document's rules ask for, and how many come besides."""
    evidence = decide([{"type": "validation"}, {}, {"type": "streaming"}], "data_ingestion").evidence

    assert (1, 2, 1, {}) == tuple(
        evidence[name] for name in ("specialists", "general", "coordinators", "without_agent")
    )


def test_each_requirement_knows_its_batch() -> None:
    """A requirement names the batch that it is for; a coordinator is for none."""
    queue = [
        {"type": "validation"},
        {},
        {"capabilities": ["data_ingestion"], "id": "own"},
        {"type": "validation"},
    ]

    assert ["batch_1", "own", "batch_4", None] == [need.batch for need in decide(queue).requirements]


@pytest.mark.parametrize("agents", [0, 1, 2, 3, 4])
def test_seed_26_requirements_of_any_origin_are_coordinated(agents: int) -> None:
    """More than two requirements get one more in the end, which knows how many they are."""
    one = AgentRequirement(capabilities_needed=(Capability.DATA_VALIDATION,))
    coordinator = AgentRequirement(
        task_description="Coordinate multiple specialized data processing agents",
        capabilities_needed=(Capability.PIPELINE_COORDINATION,),
        agent_count=max(1, agents),
        coordination_complexity=BatchComplexity.HIGH,
    )

    assert ((one,) * agents + ((coordinator,) if agents > 2 else ())) == coordinated((one,) * agents)


def test_a_batch_is_called_by_its_place_unless_it_has_a_name() -> None:
    """Every batch of a checked queue has an id, also where the queue said none."""
    assert ["batch_1", "clicks", "batch_3"] == [batch.id for batch in read([{}, {"id": "clicks"}, {}])]


def test_two_batches_of_one_name_are_refused_with_their_places() -> None:
    """All shared ids are told at once, a place that is taken by somebody else's name too."""
    queue = [{"id": "clicks"}, {}, {"id": "batch_2"}, {"id": "clicks"}, {"id": "views"}]

    with pytest.raises(InputRefusedError) as refused:
        read(queue)

    expected = (
        "batches[0] and batches[3] share the id 'clicks'; batches[1] and batches[2] share the id 'batch_2'; "
        "give each batch an id of its own"
    )
    assert [Problem(code=ProblemCode.DUPLICATE, path="batches", message=expected)] == list(
        refused.value.problems
    )


def test_all_that_is_wrong_with_a_queue_is_told_at_once() -> None:
    """Names that stand twice are told beside what else is wrong, and each problem once."""
    queue = [{"id": "clicks", "size": 0}, {"id": "clicks", "tpye": "x"}]

    with pytest.raises(InputRefusedError) as refused:
        read(queue)

    assert ["batches[0].size", "batches[1].tpye", "batches"] == [it.path for it in refused.value.problems]


@pytest.mark.parametrize(
    ("batch", "path"),
    [
        ({"id": "Clicks"}, "batches[0].id"),
        ({"id": "{{ ds }}"}, "batches[0].id"),
        ({"capabilities": []}, "batches[0].capabilities"),
        ({"capabilities": ["data_ingestion", "os.system"]}, "batches[0].capabilities[1]"),
    ],
)
def test_names_and_capabilities_come_from_closed_lists(batch: dict[str, Any], path: str) -> None:
    """What is no name and no capability is refused with its place."""
    with pytest.raises(InputRefusedError) as refused:
        read([batch])

    assert [path] == [problem.path for problem in refused.value.problems]
