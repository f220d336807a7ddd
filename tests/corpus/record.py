"""Records gates for `gates.jsonl`: `python -m tests.corpus.record`.

It plays many small rounds through the real gate (`workflow.gate.decide_gate`) and a store in memory whose
clock it moves, and writes what `airflow orchestration replay --export` would write. The same seed makes the
same file. The last lines are decisions of stand-alone gates, as they stand in XCom.

Renew it only when gates record more than they did. A decision that comes out different on the present code is
not a reason: it is what the corpus is there to find.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

from airflow_orchestration.domain.batch import Lane, WorkflowMode
from airflow_orchestration.domain.contract import Column, ColumnType, Contract
from airflow_orchestration.domain.decision import Decision
from airflow_orchestration.domain.outcome import FeedOutcome, OutcomeStatus
from airflow_orchestration.domain.pipeline import Pipeline
from airflow_orchestration.domain.plan import Branch, Plan, PlannedBatch
from airflow_orchestration.domain.run_spec import RunSpec
from airflow_orchestration.insights.recorded_gate import line_of, recorded_gate
from airflow_orchestration.policies.quorum_gate import GateAction
from airflow_orchestration.policies.workflow_mode import ModeReason
from airflow_orchestration.storage.memory import MemoryStore
from airflow_orchestration.storage.store import Attempt, Fence, RunKey, WorkUnit
from airflow_orchestration.triggers.watched_tasks import WatchedTask, WatchedTasks, watch_terms
from airflow_orchestration.workflow.gate import decide_gate, gate_terms

CORPUS = Path(__file__).with_name("gates.jsonl")
SEED, RUNS, STAND_ALONE = 20261122, 260, 40
START = datetime(2026, 11, 22, 20, tzinfo=UTC)
LANES = {"beta": "lane"}
NAMES = [
    "aries",
    "leo",
    "lyra",
    "mira",
    "orion",
    "pavo",
    "rigel",
    "sirius",
    "ursa",
    "vega",
    "virgo",
    "corvus",
]
CONTRACT = Contract(
    name="thing", key=("code",), columns=(Column(name="code", type=ColumnType.STRING, required=True),)
)


def outcome_of(name: str, number: int, how: str, rows: int) -> FeedOutcome:
    """How a feed ended in a round: `success` with rows, or `failed`."""
    return FeedOutcome(
        feed_id=name,
        round=number,
        branch_id=name,
        status=OutcomeStatus(how),
        elapsed=timedelta(seconds=1),
        rows_in=rows,
        rows_staged=rows,
    )


@dataclass
class Clock:
    """A clock that is moved by hand."""

    now: datetime = START

    def __call__(self) -> datetime:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += timedelta(milliseconds=round(seconds * 1000))


@dataclass
class Recorder:
    """Plays runs, one after the other."""

    dice: Random
    clock: Clock = field(default_factory=Clock)
    store: MemoryStore = field(init=False)

    def __post_init__(self) -> None:
        self.store = MemoryStore(self.clock)

    def play(self, number: int) -> None:
        """Play a run until its gate opens, or for two rounds."""
        spec = drawn_spec(self.dice)
        run = RunKey(dag_id=spec.pipeline.id, run_id=f"scheduled__{number:03}")
        self.clock.now = START + timedelta(days=number, minutes=self.dice.randrange(120))
        mode = Decision(
            policy="workflow_mode",
            action=WorkflowMode.ADAPTIVE,
            reason=ModeReason.MODERATE_WORK,
            evidence={},
        )
        self.store.save_run(self._claim(run, 0, "analyze"), spec.as_json(), mode)
        self.clock.wait(self.dice.uniform(0.2, 3))
        again = list(spec.feeds)
        for round_number in (1, 2):
            verdict = self._round(run, spec, round_number, again)
            if verdict["action"] != GateAction.TIMEOUT_RECOVERY:
                return
            again = [*verdict["evidence"]["failed_ids"], *verdict["evidence"]["missing_ids"]]

    def _round(self, run: RunKey, spec: RunSpec, number: int, feeds: list[str]) -> Mapping[str, Any]:
        batches = (PlannedBatch(feed_id=name, lane=Lane.BETA, cost=1.0) for name in feeds)
        plan = Plan(
            round=number,
            branches=tuple(Branch(branch_id=batch.feed_id, batches=(batch,)) for batch in batches),
        )
        started = self.store.run(run).started_at
        self.store.open_round(self._claim(run, number, "plan"), plan, gate_terms(spec, started))
        coming = sorted(drawn_endings(self.dice, feeds), key=lambda ending: ending[0])
        states: dict[str, str | None] = {f"lane_{index}": "running" for index in range(len(feeds))}
        opened, look = self.clock.now, 0.0
        verdict: Mapping[str, Any] | None = None
        while verdict is None:
            look += self.dice.uniform(0.3, 2.5)
            while coming and coming[0][0] <= look:
                self._end(run, number, *coming.pop(0), opened=opened, states=states, feeds=feeds)
            self.clock.now = opened + timedelta(milliseconds=round(look * 1000))
            decide_gate(self.store, run, spec, number, LANES, dict(states))
            verdict = self.store.rounds(run)[-1].verdict
        for ending in coming:  # late, while others go on
            self._end(run, number, *ending, opened=opened, states=states, feeds=feeds)
        return verdict

    def _end(
        self,
        run: RunKey,
        number: int,
        at: float,
        name: str,
        how: str,
        *,
        opened: datetime,
        states: dict[str, str | None],
        feeds: list[str],
    ) -> None:
        self.clock.now = opened + timedelta(milliseconds=round(at * 1000))
        states[f"lane_{feeds.index(name)}"] = "failed" if how == "died" else "success"
        if how != "died":
            count = self.dice.randrange(20_000) if how == "success" else 0
            outcome = outcome_of(name, number, how, count)
            self.store.register(self._claim(run, number, f"branch:beta:{name}"), outcome)

    def _claim(self, run: RunKey, number: int, unit: str) -> Fence:
        attempt = Attempt(try_number=1, ti_id="1", process="1")
        return self.store.claim(WorkUnit(run=run, round=number, unit=unit), attempt)

    def lines(self) -> Iterator[str]:
        """What was decided, as `--export` writes it."""
        return (line_of(recorded_gate(gate)) for gate in self.store.decided_gates())


def drawn_spec(dice: Random) -> RunSpec:
    """A pipeline of some feeds, with the terms of its gates."""
    names = sorted(dice.sample(NAMES, dice.randint(1, len(NAMES))))
    weights = dice.choice([(1,), (1, 2, 3), (0.1, 0.2, 0.3, 0.7), (1 / 3, 2.5, 40)])
    feeds = [
        {
            "id": name,
            "uri": f"in/{name}.csv",
            "format": "csv",
            "columns": {"code": "code"},
            "weight": dice.choice(weights),
            "required": dice.random() < 0.12,
            **({"deadline": dice.choice([4, 9.5, "23:30 Europe/Berlin"])} if dice.random() < 0.1 else {}),
        }
        for name in names
    ]
    sync = drawn_terms(dice) | {"points": drawn_points(dice, names)}
    pipeline = {
        "id": dice.choice(["night", "morning", "catalogue"]),
        "roots": {"in": "/in"},
        "staging": "/staging",
        "contract": "unused",
        "publish": {"table": "public.thing"},
        "feeds": feeds,
        "sync": sync,
    }
    return RunSpec(
        pipeline=Pipeline.model_validate(pipeline), contracts=(CONTRACT,), run_date=date(2026, 11, 22)
    )


def drawn_terms(dice: Random) -> dict[str, Any]:
    """Floor, grace period and deadline; a time of day now and then."""
    deadline = (
        dice.choice(["22:00 UTC", "23:15 Europe/Berlin"]) if dice.random() < 0.15 else dice.uniform(5, 60)
    )
    return {
        "floor": dice.choice([0.3, 0.5, 0.6, 0.75, 0.75, 0.75, 0.9, 1]),
        "deadline": deadline if isinstance(deadline, str) else round(deadline, 1),
        "grace_period": dice.choice([None, None, 0, round(dice.uniform(1, 20), 2)]),
    }


def drawn_points(dice: Random, names: list[str]) -> dict[str, Any]:
    """Some named sync points, in some gates."""
    if dice.random() < 0.7:
        return {}
    points = {}
    for name in dice.sample(["early", "core", "reference"], dice.randint(1, 3)):
        terms = drawn_terms(dice)
        if dice.random() < 0.5:
            del terms["deadline"]
        points[name] = {"feeds": sorted(dice.sample(names, dice.randint(1, len(names)))), **terms}
    return points


def drawn_endings(dice: Random, feeds: list[str]) -> Iterator[tuple[float, str, str]]:
    """When each feed ends and how; some never do."""
    luck = dice.choice([0.02, 0.1, 0.3])
    for name in feeds:
        if dice.random() >= luck / 2:
            how = dice.choice(["failed", "died"]) if dice.random() < luck else "success"
            yield round(dice.lognormvariate(2, 0.9), 3), name, how


def stand_alone(dice: Random, count: int) -> Iterator[str]:
    """Decisions of gates that watch tasks, mapped ones too."""
    while count:
        tasks = [
            WatchedTask(
                task_id=name,
                mapped=dice.random() < 0.4,
                weight=dice.choice([1.0, 1.0, 2.5]),
                required=dice.random() < 0.1,
            )
            for name in sorted(dice.sample(NAMES, dice.randint(1, 5)))
        ]
        terms = drawn_terms(dice)
        watched = WatchedTasks.from_json(
            watch_terms(tasks, **{**terms, "deadline": 30.0}), run_started_at=START
        )
        indices = {task.task_id: range(dice.randint(1, 6)) if task.mapped else [-1] for task in tasks}
        states: dict[str, str | None] = {
            name if index < 0 else f"{name}_{index}": dice.choice(["success", "success", "failed", "running"])
            for name, found in indices.items()
            for index in found
        }
        elapsed = timedelta(milliseconds=dice.randint(500, 32_000))
        decision = watched.evaluate(states, elapsed=elapsed, since_floor=elapsed / 2)
        if decision.is_settled:
            count -= 1
            yield json.dumps(decision.as_json(), separators=(",", ":"))


def recorded_lines(seed: int, *, runs: int, alone: int) -> list[str]:
    """Everything that one seed makes."""
    recorder = Recorder(Random(seed))
    for number in range(runs):
        recorder.play(number)
    return [*recorder.lines(), *stand_alone(Random(seed), alone)]


if __name__ == "__main__":
    text = "".join(f"{line}\n" for line in recorded_lines(SEED, runs=RUNS, alone=STAND_ALONE))
    CORPUS.write_text(text)
    print(f"{text.count(chr(10))} gates, {len(text) / 1000:.0f} kB written to {CORPUS}")
