"""What holds for every order of agents, and what it gains over the order in which they were given."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from random import Random
from statistics import mean

from hypothesis import given
from hypothesis import strategies as st

from airflow_orchestration.policies.agent_order import (
    AgentOrder,
    AgentOrderDecision,
    AgentOrderFacts,
    AssignedBatch,
    Assignment,
)
from airflow_orchestration.policies.allocation import Allocation, AllocationFacts, BatchWork
from tests.property.strategies import works

Agents = tuple[Assignment, ...]
SEED = 20261122
WORKERS = 2
QUEUES = 300


def assigned(work: BatchWork) -> AssignedBatch:
    return AssignedBatch(batch=work.feed_id, seconds=work.cost, depends_on=work.depends_on)


@st.composite
def assignments(draw: st.DrawFn) -> Agents:
    """Batches of which each may depend on earlier ones, dealt out to agents in any way."""
    names = st.integers(0, 5).map("a{}".format)
    batches: dict[str, list[AssignedBatch]] = {name: [] for name in draw(st.sets(names))}
    for work in draw(works()):
        batches.setdefault(draw(names), []).append(assigned(work))
    return tuple(Assignment(agent_id=name, batches=tuple(found)) for name, found in batches.items())


singles = works().map(
    lambda found: tuple(Assignment(agent_id=f"of_{it.feed_id}", batches=(assigned(it),)) for it in found)
)


def decide(agents: Agents) -> AgentOrderDecision:
    return AgentOrder().evaluate(AgentOrderFacts(agents=agents))


def needed(agents: Agents) -> dict[str, set[str]]:
    """Whom each agent needs, also through others."""
    owner = {it.batch: agent.agent_id for agent in agents for it in agent.batches}
    needs = {
        agent.agent_id: {owner[name] for it in agent.batches for name in it.depends_on if name in owner}
        for agent in agents
    }
    for middle, others in needs.items():
        for found in needs.values():
            if middle in found:
                found.update(others)
    return needs


def makespan(agents: Agents, order: Sequence[str], workers: int, *, keeping: bool = False) -> float:
    """When everything is done if agents begin by position, as Airflow's mapped tasks do; infinity if never.

    An agent does what is ready, in its own order. When nothing is, it gives its worker to others, unless it
    is `keeping` it while it waits.
    """
    left = {agent.agent_id: list(agent.batches) for agent in agents}
    present = {it.batch for agent in agents for it in agent.batches}
    done: set[str] = set()
    at_work: dict[str, tuple[float, str]] = {}
    seated: set[str] = set()
    now = 0.0

    def ready(agent_id: str) -> list[AssignedBatch]:
        return [it for it in left[agent_id] if set(it.depends_on) & present <= done]

    while any(left.values()) or at_work:
        for agent_id in (it for it in order if it not in at_work and left[it]):
            if (agent_id in seated or len(seated) < workers) and (keeping or ready(agent_id)):
                seated.add(agent_id)
                for batch in ready(agent_id)[:1]:
                    left[agent_id].remove(batch)
                    at_work[agent_id] = (now + batch.seconds, batch.batch)
        if not at_work:
            return math.inf
        first = min(at_work, key=lambda agent_id: at_work[agent_id])
        now, finished = at_work.pop(first)
        done.add(finished)
        if not (left[first] if keeping else ready(first)):
            seated.remove(first)
    return now


@given(agents=assignments())
def test_everybody_has_exactly_one_position(agents: Agents) -> None:
    """Nobody is lost and nobody stands twice, in the order and in the waves."""
    decision = decide(agents)
    waves = decision.evidence["waves"]

    assert isinstance(waves, list)
    assert sorted(agent.agent_id for agent in agents) == sorted(decision.order)
    assert sorted(decision.order) == sorted(name for wave in waves if isinstance(wave, list) for name in wave)


@given(agents=assignments())
def test_nobody_begins_before_an_agent_that_it_needs_unless_they_need_each_other(agents: Agents) -> None:
    """Whoever is needed one way only has the smaller position, and is in an earlier wave."""
    decision, needs = decide(agents), needed(agents)
    one_way = {(of, name) for name in needs for of in needs[name] if name not in needs[of]}
    waves = {
        str(name): number
        for number, wave in enumerate(json.loads(json.dumps(decision.evidence["waves"])))
        for name in wave
    }

    assert all(waves[before] < waves[after] for before, after in one_way)
    if len(agents) > 2:
        position = {name: number for number, name in enumerate(decision.order)}
        assert all(position[before] < position[after] for before, after in one_way)


@given(agents=assignments())
def test_the_circles_are_those_who_need_each_other(agents: Agents) -> None:
    """Exactly the agents that need themselves through others are named as circles."""
    needs = needed(agents)
    circular = {name for name in needs if any(name in needs[of] for of in needs[name] - {name})}
    named = json.loads(json.dumps(decide(agents).evidence["circles"]))

    assert circular == {name for circle in named for name in circle}
    assert all(set(circle) <= needs[name] for circle in named for name in circle)


@given(agents=assignments(), data=st.data())
def test_the_order_in_which_many_agents_are_given_does_not_matter(
    agents: Agents, data: st.DataObject
) -> None:
    """The same agents get the same decision to the last field; at most two stay as they were given."""
    shuffled = tuple(data.draw(st.permutations(agents)))
    before, after = decide(agents), decide(shuffled)

    assert before.evidence == after.evidence
    assert before.order == after.order or len(agents) <= 2


@given(agents=assignments())
def test_an_order_is_plain_json(agents: Agents) -> None:
    """A decision survives the trip through JSON."""
    plain = decide(agents).as_json()

    assert plain == json.loads(json.dumps(plain, allow_nan=False))


@given(agents=singles, workers=st.integers(1, 4))
def test_agents_of_one_batch_end_within_graham_s_bound(agents: Agents, workers: int) -> None:
    """They need at least the critical path and their share of the work, and at most (2 - 1/workers) times that."""
    decision = decide(agents)
    path, total = (float(str(decision.evidence[it])) for it in ("critical_path_seconds", "total_seconds"))
    bound, took = max(path, total / workers), makespan(agents, decision.order, workers)

    assert bound <= took + 1e-9
    assert took <= (2 - 1 / workers) * bound + 1e-9


@given(work=works(), max_branches=st.integers(1, 5))
def test_the_agents_of_a_plan_can_be_ordered(work: tuple[BatchWork, ...], max_branches: int) -> None:
    """The batches of each branch and lane are an agent's; their longest chain is no longer than the plan."""
    decision = Allocation(max_branches=max_branches).evaluate(AllocationFacts(batches=work, round=1))
    batches = {it.feed_id: assigned(it) for it in work}
    agents = tuple(
        Assignment(
            agent_id=f"{branch.branch_id}_{lane}",
            batches=tuple(batches[name] for name in branch.feeds_in(lane)),
        )
        for branch in decision.plan.branches
        for lane in sorted({it.lane for it in branch.batches})
    )
    path = float(str(decide(agents).evidence["critical_path_seconds"]))

    assert float(str(decision.evidence["critical_path"])) <= path + 1e-9
    assert path <= float(str(decision.evidence["estimated_makespan"])) + 1e-9


@given(agents=assignments(), workers=st.integers(1, 3))
def test_agents_that_keep_what_they_hold_while_they_wait_end_all_the_same(
    agents: Agents, workers: int
) -> None:
    """Unless some need each other, those who began have all that they need before them, so somebody goes on."""
    decision = decide(agents)
    coordinated = len(agents) > 2 and not decision.evidence["circles"]

    assert not coordinated or math.isfinite(makespan(agents, decision.order, workers, keeping=True))


def drawn(random: Random) -> Agents:
    """Six to twenty agents of one to three batches, every batch with up to two dependencies on earlier agents'."""
    batches: list[str] = []
    agents: list[Assignment] = []
    for number in range(random.randint(6, 20)):
        own = tuple(
            AssignedBatch(
                batch=f"f{number}_{place}",
                seconds=math.ceil(random.lognormvariate(3, 1)),
                depends_on=tuple(random.sample(batches, min(len(batches), random.choice((0, 0, 1, 2))))),
            )
            for place in range(random.randint(1, 3))
        )
        batches += [it.batch for it in own]
        agents.append(Assignment(agent_id=f"a{number:02}", batches=own))
    random.shuffle(agents)
    return tuple(agents)


def times(*, keeping: bool) -> list[tuple[float, float]]:
    """Of each drawn queue, how long it takes in the order as given and in the coordinator's."""
    queues = [drawn(Random(SEED + number)) for number in range(QUEUES)]
    return [
        (
            makespan(agents, [agent.agent_id for agent in agents], WORKERS, keeping=keeping),
            makespan(agents, decide(agents).order, WORKERS, keeping=keeping),
        )
        for agents in queues
    ]


def test_a_coordinated_queue_ends_sooner() -> None:
    """On two workers eight of ten queues end sooner, on the mean by a fifteenth, and none an eighth later."""
    ratios = [as_given / coordinated for as_given, coordinated in times(keeping=False)]

    assert 1.06 < mean(ratios)
    assert 7 / 8 < min(ratios)
    assert 0.8 * QUEUES < sum(ratio > 1 for ratio in ratios)


def test_without_a_coordinator_agents_that_keep_their_workers_wait_for_each_other() -> None:
    """Of agents that hold what they hold while they wait, most queues never end as given, and all do coordinated."""
    found = times(keeping=True)

    assert all(math.isfinite(coordinated) for _, coordinated in found)
    assert 0.9 * QUEUES < sum(math.isinf(as_given) for as_given, _ in found)
