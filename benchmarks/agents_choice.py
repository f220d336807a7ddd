"""How many agents are chosen in a second, among 1,000 templates on one core? (target: 10,000)

`python -m benchmarks agents-choice`: each choice is for a task of another size, or for one of twenty. The templates
are the ones that occur (some sizes, success learned), and the hardest: each of another size and none ever tried, so
that nothing but the size tells them apart.

Then the agents that `AgentFactory` specifies in a second, out of as many types with a history of 90 days each: for
requirements that are alike, as in most queues, and for such that all differ, where each has a table of its own.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from itertools import count

from airflow_orchestration.agents.factory import AgentFactory
from airflow_orchestration.agents.templates import AgentTemplate, AgentTemplates
from airflow_orchestration.domain.agent import (
    AgentRequirement,
    Capability,
    ResourceRequirements,
    WorkDay,
    kinds_of,
)
from airflow_orchestration.policies.agent_selection import (
    AgentCandidate,
    AgentSelection,
    AgentSelectionFacts,
)
from airflow_orchestration.policies.agent_success import HISTORY_DAYS, AgentSuccess, Learned
from benchmarks.table import show

TEMPLATES, CHOICES, RECORDED, SIZES = 1000, 20_000, 50, 20
ALIKE, DISTINCT = 1000, 100
NOW = datetime(2026, 11, 22, tzinfo=UTC)
TARGET = ">= 10,000"
MILLICORES, MEMORY_MB = (250, 500, 1000, 2000, 4000), (256, 512, 1024, 2048, 4096)
Task = tuple[frozenset[Capability], ResourceRequirements]


def main() -> None:
    """Print the choices per second."""
    dice = random.Random(1)
    sets = {"learned": learned(dice), "untried": untried(dice)}
    rows = []
    for name, candidates in sets.items():
        distinct = [task(dice) for _ in range(CHOICES)]
        repeated = [dice.choice(distinct[:SIZES]) for _ in range(CHOICES)]
        for which, tasks in (("distinct", distinct), ("repeated", repeated)):
            rows.append((f"{name} templates, {which} tasks", f"{prepared(candidates, tasks):,.0f}", TARGET))
        rows.append((f"{name} templates, with evidence", f"{recorded(candidates, distinct):,.0f}", ""))
    show(f"Choices per second among {TEMPLATES:,} templates", rows)
    history, known = learned_history(), templates()
    rows = [
        (f"{len(sizes):,} {which} requirements", f"{generated(known, history, sizes):,.0f}", "")
        for which, sizes in (("alike", [1000] * ALIKE), ("distinct", range(1000, 1000 * DISTINCT + 1, 1000)))
    ]
    show(f"Agents specified per second among {TEMPLATES:,} templates", rows)


def learned(dice: random.Random) -> tuple[AgentCandidate, ...]:
    """Templates of some usual sizes, with one or two capabilities, of which something was learned."""
    return tuple(
        AgentCandidate(
            name=f"template_{number:04}",
            capabilities=frozenset(dice.sample(list(Capability), dice.choice((1, 1, 1, 2)))),
            success_rate=dice.uniform(0.7, 1.0),
            outcomes=dice.randrange(500),
            footprint=size(dice.choice(MILLICORES), dice.choice(MEMORY_MB)),
        )
        for number in range(TEMPLATES)
    )


def untried(dice: random.Random) -> tuple[AgentCandidate, ...]:
    """Templates that can all do it, that nobody has tried, and that are all of different sizes."""
    return tuple(
        AgentCandidate(
            name=f"template_{number:04}",
            capabilities=frozenset(Capability),
            success_rate=1.0,
            outcomes=0,
            footprint=size(dice.randrange(100, 8000), dice.randrange(64, 16_000)),
        )
        for number in range(TEMPLATES)
    )


def task(dice: random.Random) -> Task:
    """A task of its own size that needs one capability."""
    return frozenset({dice.choice(list(Capability))}), size(
        dice.randrange(100, 8000), dice.randrange(64, 16_000)
    )


def size(cpu_millicores: int, memory_mb: int) -> ResourceRequirements:
    """So much CPU and memory."""
    return ResourceRequirements(cpu_millicores=cpu_millicores, memory_mb=memory_mb)


def prepared(candidates: Sequence[AgentCandidate], tasks: Sequence[Task]) -> float:
    """Choices per second of CPU time; the preparation counts."""
    began = time.process_time()
    choose = AgentSelection().prepare(candidates).choose
    return per_second(began, tasks, lambda task: choose(*task))


def recorded(candidates: tuple[AgentCandidate, ...], tasks: Sequence[Task]) -> float:
    """Decisions per second with the whole table of candidates."""
    return per_second(
        time.process_time(),
        tasks[:RECORDED],
        lambda task: AgentSelection().evaluate(
            AgentSelectionFacts(required=task[0], needed=task[1], candidates=candidates)
        ),
    )


def templates() -> AgentTemplates:
    """Types that can all do it."""
    return AgentTemplates(
        AgentTemplate(name=f"template_{number:04}", capabilities=frozenset({Capability.DATA_INGESTION}))
        for number in range(TEMPLATES)
    )


def learned_history() -> Learned:
    """What is learned when every type has worked on each of the days that count."""
    return AgentSuccess().learn(
        WorkDay(
            agent_type=f"template_{number:04}", kind="data_ingestion", days_ago=day, successes=9, failures=1
        )
        for number in range(TEMPLATES)
        for day in range(HISTORY_DAYS)
    )


def generated(known: AgentTemplates, history: Learned, sizes: Sequence[int]) -> float:
    """Agents per second of CPU time, as for one queue; what its first agent takes counts."""
    numbers = count()
    factory = AgentFactory(
        templates=known,
        new_id=lambda: str(next(numbers)),
        experiences=lambda agent_type, needed: history.experience(agent_type, kinds_of(needed)),
    )
    asked = [
        AgentRequirement(capabilities_needed=(Capability.DATA_INGESTION,), batch_size=size) for size in sizes
    ]
    began = time.process_time()
    factory.generate_all(asked, now=NOW)
    return len(sizes) / (time.process_time() - began)


def per_second(began: float, tasks: Sequence[Task], choose: Callable[[Task], object]) -> float:
    """Do all the tasks and count."""
    for one in tasks:
        choose(one)
    return len(tasks) / (time.process_time() - began)
