"""`python -m tests.torture load --minutes 30 --at-once 20 --branches 25`: does a stack hold a load for long, with a fault a minute?

Held means: what every run published adds up, none failed and none is stuck, the backlog does not grow, no stage takes
twice as long as alone, memory, connections and what is kept of a branch stay flat, and no less is done than alone.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from demo.ports import free_port
from tests.torture.load_picture import draw_picture
from tests.torture.load_samples import Gauge, Sample, backlog_grows, level_of, slope_of
from tests.torture.load_stages import Stages, stages_of
from tests.torture.monkey import KINDS, Monkey
from tests.torture.stack_inputs import NOTHING_HAPPENS, Feed, of
from tests.torture.stack_machine import TorturedStack, end_in_order
from tests.torture.stack_pipelines import Tortured, write_dags
from tests.torture.stack_runs import Play, Stage

ENDING = ("kill_scheduler", "kill_triggerer", "kill_api_server", "kill_dag_processor")
LANES = {
    "alpha": {"source_type": "streaming"},
    "beta": {"source_type": "batch"},
    "gamma": {"source_type": "real_time"},
    "primary": {"type": "data_aggregation", "priority": "high"},
    "secondary": {"type": "quality_monitoring"},
}
"""What leads a feed into each lane."""
ROWS = 40
"""Rows of a feed, times the place of its lane: the largest come first, so that every lane has work on every branch."""
DEADLINE_SECONDS = 3600.0
"""Far longer than a run takes among so many: nobody is left behind."""
ALWAYS = (
    *(
        f"memory of {name}"
        for name in ("api-server", "dag-processor", "postgres", "scheduler", "triggerer", "triggerer-2")
    ),
    "connections",
    "staged files of a branch, KiB",
    "store of a branch, KiB",
)
"""What has to be flat, and to be measured."""
WASTE = "dead rows of the store, share"
VACUUMED = 0.2
"""PostgreSQL's own: so many dead rows may wait for the vacuum, which takes them away at once; a slope tells nothing."""
FAULT_EVERY = (50.0, 70.0)
SAMPLE_SECONDS = 10.0
TICK_SECONDS = 0.5
DRAIN_SECONDS = 2400.0
"""How long the last runs may take when no new ones begin."""
SLOTS = 2
"""Tasks at a time: a core each. More only wait for each other, and each stage takes longer by that."""
KINDS_UNDER_LOAD = tuple(
    kind
    for kind in KINDS
    if kind not in {"crash_postgres", "kill_trigger_runner"} and not kind.startswith(ENDING)
)
"""Nothing that ends a long-lived process: it would never live long enough to tell whether its memory grows."""
ALONE = "alone"
RUNS_ALONE = 4
"""Ours: runs that have the stack for themselves before the load, to know how long each stage takes then."""
SLOWER_GOAL = 2.0
"""No stage takes more than twice its unloaded time (p95)."""
HOURLY_GOAL = 0.01
"""The goal of the soak: what is long-lived grows by no more than 1 % in an hour."""
RESOLUTION = 0.5
"""Ours: a slope that chance alone may move by more than this in an hour, a quarter in half of one, was not measured."""
HANDFULS = {"queued": 5.0, "open_gates": 2.0, "longest_queued": 30.0, "oldest_gate": 30.0}
"""Ours: tasks, gates and seconds that nobody calls a backlog."""
FAULTS_GOAL = 0.5
"""Ours: faults a minute, with one each 50 to 70 s, and the time in which nobody can be hit."""
PATIENT = {
    "AIRFLOW__CORE__PARALLELISM": str(SLOTS),
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "60",
    "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "60",
    "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT": "300",
    "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "60",
}
"""A machine at its limit must not take the slow for dead."""


def main(arguments: Sequence[str]) -> int:
    """Keep the load up, and print a JSON line for each figure; 1 when it was not held."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture load", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--at-once", type=int, default=20, help="runs at a time, of a pipeline each")
    parser.add_argument(
        "--branches", type=int, default=25, help="tasks that process feeds, in a run: a multiple of 5"
    )
    parser.add_argument(
        "--only",
        nargs="*",
        choices=sorted(KINDS),
        help="the kinds of faults; those that end no daemon, if left out",
    )
    parser.add_argument(
        "--out", type=Path, default=Path(".orchestration/load"), help="where samples and picture go"
    )
    parser.add_argument("--home", type=Path, help="a folder to keep; a temporary one, if left out")
    options = parser.parse_args(arguments)
    if not 5 <= options.branches <= 50 or options.branches % 5:
        parser.error(f"--branches {options.branches}: use a multiple of 5 from 5 to 50")
    end_in_order()
    with TemporaryDirectory(prefix="load-", ignore_cleanup_errors=True) as temporary:
        load = Load(options, options.home or Path(temporary))
        load.play()
    return load.report()


def load_feeds(branches: int) -> tuple[Feed, ...]:
    """Return as many feeds as there are to be branches, as many in each lane."""
    return tuple(
        Feed(id=f"{lane}_{number}", rows=ROWS * (len(LANES) - place), weight=1, terms=terms)
        for place, (lane, terms) in enumerate(LANES.items())
        for number in range(branches // len(LANES))
    )


class Load:
    """One stack that always has as many runs at work as was asked for."""

    def __init__(self, options: argparse.Namespace, home: Path) -> None:
        self.options = options
        self.begun = time.monotonic()
        home.mkdir(parents=True, exist_ok=True)
        home.chmod(0o755)
        feeds = load_feeds(options.branches)
        self.pipelines = [
            Tortured(
                id=f"load_{place:02}", kind="north", feeds=feeds, deadline=DEADLINE_SECONDS, mode="parallel"
            )
            for place in range(options.at_once)
        ]
        write_dags(home / "dags", self.pipelines)
        self.machine = TorturedStack(home / "stack", port=free_port(), dags=home / "dags", changes=PATIENT)
        self.monkey = Monkey(
            self.machine,
            Random(options.seed),
            every=FAULT_EVERY,
            kinds=options.only or KINDS_UNDER_LOAD,
            tell=self.tell,
        )
        self.stage = Stage(
            self.machine,
            home / "landing",
            self.pipelines,
            self.tell,
            faults=tuple,  # nothing excuses a failure under load: the data wants none, and tries are left
            stuck_after=DEADLINE_SECONDS,
        )
        self.gauge = Gauge(self.machine, home / "staging")
        self.samples: list[Sample] = []
        self.held_seconds = 0.0
        self.branches_done = 0
        self.alone_seconds = 0.0
        self.stages: Stages | None = None
        self._numbers = 0
        self._next_sample = 0.0

    def play(self) -> None:
        """Start the stack, keep the load up for its time, and let the last runs come to their ends."""
        try:
            self.machine.up(self.tell)
            self.machine.warehouse("CREATE SCHEMA tortured")
            for pipeline in self.pipelines:
                self.machine.stack.api.wait_for_dag(pipeline.id)
            self._alone()
            self.tell(f"{self.options.at_once} runs of {self.options.branches} branches, always")
            self._hold()
            self._drain()
            self.stages = stages_of(self.machine, ALONE, self.monkey.faults())
            for play in self.stage.over:
                play.problems = self.stage.check(play)
        finally:
            self.monkey.rest()
            self.machine.down()

    def tell(self, what: str) -> None:
        """Say on stderr what happens, and when."""
        print(f"{time.monotonic() - self.begun:7.1f} s  {what}", file=sys.stderr, flush=True)

    def report(self) -> int:
        """Print the figures, write samples, summary and picture, and say whether the load was held."""
        figures = list(self._figures())
        held = all(line["held"] for line in figures)
        for play in self.stage.over:
            for problem in play.problems:
                print(f"VIOLATION run {play.pipeline.id}/{play.run_id}: {problem}", file=sys.stderr)
        for line in figures:
            print(json.dumps(line))
        out: Path = self.options.out
        out.mkdir(parents=True, exist_ok=True)
        told = {
            "held": held,
            "figures": figures,
            "faults": [struck.as_json() for struck in self.monkey.diary],
        }
        (out / "summary.json").write_text(json.dumps(told, indent=1))
        (out / "samples.json").write_text(json.dumps([sample.as_json() for sample in self.samples]))
        (out / "load.svg").write_text(draw_picture(self.samples, [struck.at for struck in self.monkey.diary]))
        self.tell(f"{'Held' if held else 'NOT HELD'}; samples and a picture are in {out}")
        return 0 if held else 1

    def _alone(self) -> None:
        self.tell(f"{RUNS_ALONE} runs, one after the other, with nothing beside")
        for _ in range(RUNS_ALONE):
            self._add(self.pipelines[0], ALONE)
        while self.stage.waiting:
            self._tick(lambda: None)
        self.alone_seconds = sum(play.seconds for play in self.stage.over)

    def _hold(self) -> None:
        already = self.gauge.branches_done()
        self.samples.clear()
        self.monkey.begin()
        began = time.monotonic()
        until = began + 60 * self.options.minutes
        while time.monotonic() < until:
            self._fill()
            self._tick(self.monkey.tick)
        self.held_seconds = time.monotonic() - began
        self.branches_done = self.gauge.branches_done() - already

    def _drain(self) -> None:
        self.tell("No new runs")
        self.monkey.rest()
        until = time.monotonic() + DRAIN_SECONDS
        while self.stage.waiting and time.monotonic() < until:
            self._tick(lambda: None)

    def _fill(self) -> None:
        for pipeline in self.pipelines:
            if self.stage.waiting_in(pipeline.id) == 0:
                self._add(pipeline, "run")

    def _add(self, pipeline: Tortured, name: str) -> None:
        inputs = of(self.options.seed, self._numbers, NOTHING_HAPPENS, pipeline.feeds)
        self.stage.add(Play(pipeline=pipeline, inputs=inputs, run_id=f"{name}-{self._numbers:05}"))
        self._numbers += 1

    def _tick(self, besides: Callable[[], None]) -> None:
        self.machine.tend()
        besides()
        self.stage.tick()
        if time.monotonic() >= self._next_sample:
            self._next_sample = time.monotonic() + SAMPLE_SECONDS
            if sample := self.gauge.sample(time.monotonic() - self.monkey.begun_at, len(self.stage.over)):
                self.samples.append(sample)
        time.sleep(TICK_SECONDS)

    def _figures(self) -> Iterator[dict[str, object]]:
        first, last = self.held_seconds / 10, self.held_seconds
        measured = [sample for sample in self.samples if first < sample.at < last]
        yield from self._ended()
        yield from self._slower()
        yield from self._waiting(measured)
        for part in ALWAYS:
            yield from self._course(measured, part)
        faults, wanted = self.monkey.counted().total(), math.floor(FAULTS_GOAL * self.held_seconds / 60)
        yield self._line("faults", faults, wanted, faults >= wanted)
        yield self._line("zombies", self.monkey.zombies, "", held=True)

    def _ended(self) -> Iterator[dict[str, object]]:
        plays, least = self.stage.over, len(self.pipelines) + RUNS_ALONE
        yield self._line("runs over", len(plays), least, len(plays) >= least)
        wrong = {
            "ledger violations": sum(len(play.problems) for play in plays),
            "failed runs": sum(play.state != "success" for play in plays),
            "stuck runs": self.stage.waiting + sum(play.is_stuck for play in plays),
            "feeds kept out": sum(
                len(play.pipeline.feeds) - len(play.told.counted) if play.told else 1 for play in plays
            ),
        }
        for name, count in wrong.items():
            yield self._line(name, count, 0, count == 0)
        rate = self.branches_done / (self.held_seconds / 60)
        alone = RUNS_ALONE * self.options.branches
        goal = alone / (self.alone_seconds / 60) if self.alone_seconds else math.inf
        yield self._line("branches a minute", round(rate, 1), round(goal, 1), rate >= goal)

    def _waiting(self, measured: Sequence[Sample]) -> Iterator[dict[str, object]]:
        """What must be no more at the end than before: what waits, and what waits for the vacuum."""
        courses = {name: [getattr(sample, name) for sample in measured] for name in HANDFULS}
        courses[WASTE] = [sample.levels[WASTE].value for sample in measured if WASTE in sample.levels]
        for name, counts in courses.items():
            grows = backlog_grows(counts, HANDFULS.get(name, VACUUMED))
            told = "not measured" if grows is None else grows
            yield self._line(f"backlog grows: {name}", told, goal=False, held=grows is False)

    def _slower(self) -> Iterator[dict[str, object]]:
        stages = self.stages or Stages(alone={}, loaded={})
        for stage, ratio in stages.slower(stages.loaded).items():
            told = "not measured" if ratio is None else round(ratio, 2)
            held = ratio is not None and ratio <= SLOWER_GOAL
            yield self._line(f"p95 of {stage}, times its unloaded p95", told, SLOWER_GOAL, held)
        for stage, ratio in stages.slower(stages.undisturbed).items():
            if ratio is not None:
                yield self._line(
                    f"the same of {stage}, where nothing is broken", round(ratio, 2), "", held=True
                )

    def _course(self, measured: Sequence[Sample], part: str) -> Iterator[dict[str, object]]:
        found = slope_of(measured, part)
        if found is None or found.most - found.least > 2 * RESOLUTION:
            yield self._line(f"growth of {part} in an hour", "not measured", HOURLY_GOAL, held=False)
            return
        yield self._line(f"level of {part}", level_of(measured, part), "", held=True)
        told = f"{found.middle:.3f} ({found.least:.3f} to {found.most:.3f})"
        yield self._line(f"growth of {part} in an hour", told, HOURLY_GOAL, found.least <= HOURLY_GOAL)

    def _line(self, figure: str, value: object, goal: object, held: bool) -> dict[str, object]:
        n = len(self.stage.over)
        return {
            "figure": figure,
            "value": value,
            "goal": goal,
            "n": n,
            "seed": self.options.seed,
            "held": held,
        }
