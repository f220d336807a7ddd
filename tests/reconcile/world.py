"""Small worlds of runs whose feeds come in any order, published to a real table."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psycopg

from airflow_orchestration.domain.batch import Lane
from airflow_orchestration.domain.contract import Column, ColumnType, Contract
from airflow_orchestration.domain.pipeline import Pipeline
from airflow_orchestration.domain.run_spec import RunSpec
from airflow_orchestration.engine.staging import StagingArea
from airflow_orchestration.storage.memory import MemoryStore
from airflow_orchestration.storage.publishing import Publisher
from airflow_orchestration.storage.store import Attempt, RunKey, WorkUnit
from airflow_orchestration.workflow.analyze import analyze_batches
from airflow_orchestration.workflow.branch import run_branch
from airflow_orchestration.workflow.close_out import close_out, free_left_records
from airflow_orchestration.workflow.gate import decide_gate
from airflow_orchestration.workflow.merge import merge_round
from airflow_orchestration.workflow.plan import plan_round
from airflow_orchestration.workflow.publish import publish
from airflow_orchestration.workflow.quality import validate_quality
from airflow_orchestration.workflow.reconcile import read_late_files, reconcile
from airflow_orchestration.workflow.step import Step

CONTRACT = Contract(
    name="thing",
    key=("code",),
    columns=(
        Column(name="code", type=ColumnType.STRING, required=True),
        Column(name="size", type=ColumnType.NUMBER, minimum=0),
        Column(name="name", type=ColumnType.STRING),
    ),
)
COMPARED = "code, size, name, _primary_source, _sources, _attribution, _confidence, _conflicts"
FIRST_DAY = date(2026, 11, 20)
ALL_OVER = {lane.value: "success" for lane in Lane}
RUNNING = {lane.value: "running" for lane in Lane}
LANES = {lane.value: lane.value for lane in Lane}

Arrival = tuple[int, str]
"""The number of a run, and a feed of it."""
Files = Mapping[Arrival, str]
Row = tuple[Any, ...]


@dataclass
class World:
    """Runs of one pipeline into one table. Files arrive by `land`; a run is played by `run`."""

    folder: Path
    table: str
    feeds: Mapping[str, float]
    files: Files
    connect: Callable[[], psycopg.Connection[Any]]
    changes: Mapping[str, Any] = field(default_factory=dict)
    dated: bool = True
    depends_on: Mapping[str, Sequence[str]] = field(default_factory=dict)
    contracts: tuple[Contract, ...] = (CONTRACT,)
    store: MemoryStore = field(init=False)
    publisher: Publisher = field(init=False)
    played: list[int] = field(default_factory=list)
    _tries: Iterator[int] = field(default_factory=lambda: count(1))

    def __post_init__(self) -> None:
        clock = (datetime(2026, 11, 20, tzinfo=UTC) + timedelta(milliseconds=n) for n in count())
        self.store = MemoryStore(lambda: next(clock))
        self.publisher = Publisher(self.connect)
        self.folder.mkdir(parents=True, exist_ok=True)

    def land(self, arrivals: Sequence[Arrival]) -> None:
        """Let files arrive."""
        for number, feed_id in arrivals:
            day = f"{FIRST_DAY + timedelta(days=number)}-" if self.dated else ""
            (self.folder / f"{day}{feed_id}.csv").write_text(self.files[number, feed_id])

    def run(self, number: int) -> dict[str, Any]:
        """Play a run with the files that are there, and publish it."""
        self.play(number)
        return self.publish(number)

    def play(self, number: int) -> None:
        """Play a run up to its approved merge."""
        self.start(number)
        self.work(number)
        self.decide(number, ALL_OVER)

    def start(self, number: int) -> None:
        """Begin a run, and open its round."""
        self.played.append(number)
        with self.step(number, 0, "analyze") as step:
            analyze_batches(self.store, step.fence, self.spec(number))
            free_left_records(step, self.publishers)
        with self.step(number, 1, "plan") as step:
            plan_round(step)

    def work(self, number: int) -> None:
        """Let every branch process what is there."""
        plan = self.store.rounds(self.key(number))[0].plan
        for lane in Lane:
            for branch_id in plan.branches_in(lane):
                with self.step(number, 1, f"branch:{lane}:{branch_id}") as step:
                    run_branch(step, branch_id, lane)

    def decide(self, number: int, states: Mapping[str, str]) -> None:
        """Open the gate, and merge what arrived."""
        assert decide_gate(self.store, self.key(number), self.spec(number), 1, LANES, states).is_open
        with self.step(number, 1, "merge") as step:
            merge_round(step)
            validate_quality(step)

    def publish(self, number: int) -> dict[str, Any]:
        """Publish the merge, and close the run."""
        with self.step(number, 0, "publish") as step:
            publish(step, self.publishers)
        with self.step(number, 0, "close_out") as step:
            return close_out(step, self.publishers)

    def reconcile(self, number: int, *, failed_too: bool = False) -> dict[str, Any] | None:
        """Bring in what came since."""
        with self.step(number, 1, "reconcile") as step:
            read_late_files(step, self.publishers, failed_too=failed_too)
            return reconcile(step, self.publishers)

    def publishers(self, conn_id: str) -> Publisher:
        """Who publishes, whatever the connection is called."""
        return self.publisher

    def rows(self) -> list[Row]:
        """The table, without the stamps that tell which run wrote when."""
        with self.connect() as connection:
            return connection.execute(f"SELECT {COMPARED} FROM {self.table} ORDER BY code").fetchall()

    def key(self, number: int) -> RunKey:
        """The name of a run."""
        return RunKey(dag_id="things", run_id=f"{self.table}-{number}")

    def spec(self, number: int) -> RunSpec:
        """What a run does."""
        return RunSpec(
            pipeline=Pipeline.model_validate(
                {
                    "id": "things",
                    "roots": {"landing": str(self.folder)},
                    "staging": str(self.folder / "staging"),
                    "contract": "unused",
                    "max_rounds": 1,
                    "sync": {"deadline": 60, "floor": 0.01},
                    "quality": {"approve_at": 0, "fail_below": 0},
                    "publish": {"table": self.table},
                    "feeds": [
                        {
                            "id": feed_id,
                            "uri": f"landing/{'{date}-' if self.dated else ''}{feed_id}.csv",
                            "format": "csv",
                            "columns": {name: name for name in ("code", "size", "name")},
                            "weight": weight,
                            "depends_on": list(self.depends_on.get(feed_id, ())),
                        }
                        for feed_id, weight in self.feeds.items()
                    ],
                    **self.changes,
                }
            ),
            contracts=self.contracts,
            run_date=FIRST_DAY + timedelta(days=number),
        )

    @contextmanager
    def step(self, number: int, round_number: int, unit: str) -> Iterator[Step]:
        """Take one step; each is a try of its own."""
        attempt = Attempt(try_number=next(self._tries), ti_id="t", process="p")
        fence = self.store.claim(WorkUnit(run=self.key(number), round=round_number, unit=unit), attempt)
        with TemporaryDirectory() as scratch:
            yield Step(
                store=self.store,
                fence=fence,
                scratch=Path(scratch),
                open_staging=lambda root: StagingArea(Path(root)),
            )


def random_files(dice: random.Random, runs: int, feeds: Sequence[str]) -> dict[Arrival, str]:
    """Files that share keys, disagree and have gaps."""
    return {(number, feed_id): _csv(dice) for number in range(runs) for feed_id in feeds}


def _csv(dice: random.Random) -> str:
    codes = dice.sample("abcdefgh", dice.randint(1, 6))
    lines = [f"{code},{_or_nothing(dice, '12')},{_or_nothing(dice, 'xy')}" for code in codes]
    return "\n".join(["code,size,name", *lines, ""])


def _or_nothing(dice: random.Random, values: str) -> str:
    return dice.choice([*list(values), ""])
