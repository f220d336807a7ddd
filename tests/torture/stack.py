"""`python -m tests.torture stack --runs 100 --seed 7`: runs on a real stack in which something breaks every few seconds.

All that runs must end as its inputs and the rule say, whatever was killed, stopped, cut or restarted meanwhile.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from typing import Any

from demo.ports import free_port
from tests.torture.monkey import KINDS, Monkey
from tests.torture.stack_inputs import FEEDS, Comes, Fate, Inputs, draw, of
from tests.torture.stack_leftovers import Leftovers, look_for_leftovers
from tests.torture.stack_machine import TorturedStack, end_in_order
from tests.torture.stack_pipelines import pipelines, write_dags
from tests.torture.stack_runs import UNKNOWN, Play, Stage

TICK_SECONDS = 0.2
STRIKES_EVERY = (4.0, 10.0)
RUNS_FOR_ALL = 10
"""Ours: in so many runs each kind of fault is done at least once, and there is a zombie."""
SETTLE_SECONDS = 30.0
"""Whoever was stopped and is continued at the end notices within it that nobody waits for him."""
CALM = tuple((late, is_poor) for late in (Comes.IN_TIME, Comes.NEVER) for is_poor in (False, True))
"""What makes a run long by itself: each of these is played once before anything breaks."""
FIRST_CALM = 5000
"""Numbers of the runs that nothing happens to."""
WHOLE_SECONDS = 120.0
"""How long the stack may take at the end until every part is there again."""
Figure = tuple[str, object, object, bool]
"""Name, value, goal, and whether the goal is met."""


def main(arguments: Sequence[str]) -> int:
    """Play, and print a JSON line for each figure; 1 when anything was violated or a goal was missed."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture stack", description=__doc__)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--at-once", type=int, default=4, help="runs at a time, of a pipeline each")
    parser.add_argument(
        "--only", nargs="*", choices=sorted(KINDS), help="the kinds of faults; all, if left out"
    )
    parser.add_argument("--diary", type=Path, help="a file for every fault and run, as JSON")
    parser.add_argument("--home", type=Path, help="a folder to keep; a temporary one, if left out")
    options = parser.parse_args(arguments)
    end_in_order()
    with TemporaryDirectory(prefix="torture-", ignore_cleanup_errors=True) as temporary:
        campaign = Campaign(options, options.home or Path(temporary))
        campaign.play()
    return campaign.report()


class Campaign:
    """One stack, its runs, and whoever breaks it."""

    def __init__(self, options: argparse.Namespace, home: Path) -> None:
        self.options = options
        self.begun = time.monotonic()
        home.mkdir(parents=True, exist_ok=True)
        home.chmod(0o755)
        self.pipelines = pipelines(options.at_once)
        write_dags(home / "dags", self.pipelines)
        self.machine = TorturedStack(home / "stack", port=free_port(), dags=home / "dags")
        self.monkey = Monkey(
            self.machine,
            Random(options.seed),
            every=STRIKES_EVERY,
            kinds=options.only or KINDS,
            tell=self.tell,
        )
        self.stage = Stage(
            self.machine, home / "landing", self.pipelines, self.tell, faults=self.monkey.faults
        )
        self.staging = home / "staging"
        self.left: list[str] = []
        self.leftovers: Leftovers | None = None
        self.tries: dict[str, dict[str, Any]] = {}

    def play(self) -> None:
        """Start the stack, play every run, and ask of each what came of it."""
        try:
            self.machine.up(self.tell)
            self.machine.warehouse("CREATE SCHEMA tortured")
            for pipeline in self.pipelines:
                self.machine.stack.api.wait_for_dag(pipeline.id)
            self._calmly()
            self.monkey.begin()
            self._under_fire()
            self._settle()
        finally:
            self.monkey.rest()
            self.machine.down()

    def tell(self, what: str) -> None:
        """Say on stderr what happens, and when."""
        print(f"{time.monotonic() - self.begun:7.1f} s  {what}", file=sys.stderr, flush=True)

    def report(self) -> int:
        """Print the figures and, for each violation, what repeats it."""
        plays = self.stage.over
        for play in plays:
            for problem in play.problems:
                self._accuse(f"run {play.pipeline.id}/{play.run_id}: {problem}")
        for problem in self.left:
            self._accuse(problem)
        found = sum(len(play.problems) for play in plays) + len(self.left)
        is_met = True
        for figure, value, goal, met in self._figures(found):
            named = {"figure": figure, "value": value, "goal": goal}
            print(json.dumps({**named, "n": len(plays), "seed": self.options.seed, "met": met}))
            is_met = is_met and met
            if not met:
                print(f"MISSED {figure}: {value}, goal {goal}", file=sys.stderr)
        if self.options.diary:
            self._write_diary()
        return 0 if is_met else 1

    def _calmly(self) -> None:
        """Play one run of each length, to know how long it takes when nothing breaks."""
        self.tell("Nothing breaks yet")
        for place, (late, is_poor) in enumerate(CALM):
            number = FIRST_CALM + place
            fate = Fate(late=late, is_broken=True, is_poor_first=is_poor, is_reconciled=False)
            self._add(place, of(self.options.seed, number, fate, FEEDS), "calm")
        self._until_over(lambda: None)

    def _under_fire(self) -> None:
        self.tell("The monkey is loose")
        for number in range(self.options.runs):
            self._add(number, draw(self.options.seed, number), "run")
        self._until_over(self._strike)

    def _strike(self) -> None:
        """Let the last runs end in peace: else everything would hit the same one."""
        self.monkey.tick(strikes=2 * self.stage.at_work >= len(self.pipelines))

    def _add(self, place: int, inputs: Inputs, name: str) -> None:
        pipeline = self.pipelines[place % len(self.pipelines)]
        self.stage.add(Play(pipeline=pipeline, inputs=inputs, run_id=f"{name}-{inputs.number:05}"))

    def _until_over(self, besides: Callable[[], None]) -> None:
        while self.stage.waiting:
            self._tick(besides)

    def _tick(self, besides: Callable[[], None]) -> None:
        self.machine.tend()
        besides()
        self.stage.tick()
        time.sleep(TICK_SECONDS)

    def _settle(self) -> None:
        """Let go what was held, wait until everybody has noticed, and check every run once more."""
        self.tell("Everything is made good; whoever was stopped may go on")
        self.monkey.rest()
        settled = time.monotonic() + SETTLE_SECONDS
        given_up = settled + WHOLE_SECONDS
        while time.monotonic() < settled or (not self.machine.is_whole and time.monotonic() < given_up):
            self._tick(lambda: None)
        if missing := self.machine.missing:
            self.left.append(f"after {WHOLE_SECONDS:.0f} s not there again: {', '.join(missing)}")
        for play in self.stage.over:
            before = set(play.problems) - {UNKNOWN}  # whoever was away then answers now
            play.problems = sorted({*before, *self.stage.check(play)})
            self.tries[play.run_id] = self.stage.tries_of(play)
        self.leftovers = look_for_leftovers(self.machine.stack.warehouse_dsn, self.staging)
        self.left += self.leftovers.problems

    def _figures(self, found: int) -> Iterator[Figure]:
        plays = [play for play in self.stage.over if play.run_id.startswith("run-")]
        failed = [play for play in plays if play.state != "success"]
        stuck = sum(play.is_stuck for play in plays)
        yield "runs", len(plays), self.options.runs, len(plays) == self.options.runs
        yield "violations", found, 0, found == 0
        yield "runs that were stuck", stuck, 0, stuck == 0
        told = [
            ("runs that failed because faults used up every try of a task", len(failed)),
            ("of these, everything was published", sum(_is_booked(play) for play in failed)),
            ("repairs", sum(play.repairs for play in plays)),
            ("of these, those that faults used up", sum(max(play.repairs - 1, 0) for play in plays)),
            ("tasks that used up their tries", sum(self.tries[play.run_id]["used_up"] for play in plays)),
            ("feeds in order that faults kept out", sum(map(_kept_out, plays))),
        ]
        if self.leftovers:
            told += [
                ("private tables to clean up", self.leftovers.tables),
                ("expired leases to clean up", self.leftovers.leases),
                ("staged files to clean up", self.leftovers.files),
            ]
        yield from ((name, value, "", True) for name, value in told)
        yield from self._faults()
        yield from self._times(plays)

    def _faults(self) -> Iterator[Figure]:
        """A monkey that does nothing shows nothing."""
        least = self.options.runs // RUNS_FOR_ALL
        counted = self.monkey.counted()
        goal = least * len(self.monkey.kinds)
        yield "faults", counted.total(), goal, counted.total() >= goal
        for kind, times in sorted(counted.items()):
            yield f"faults: {kind}", times, least, times >= least
        makes_zombies = not {"stop_worker", "stop_supervisor"}.isdisjoint(self.monkey.kinds)
        goal, zombies = least if makes_zombies else 0, self.monkey.zombies
        yield "zombies: attempts that worked on beside their successor", zombies, goal, zombies >= goal

    def _times(self, plays: Sequence[Play]) -> Iterator[Figure]:
        calm = {_length(play): play.seconds for play in self.stage.over if play.run_id.startswith("calm-")}
        extra = [
            play.seconds - calm[_length(play)] for play in plays if play.seconds and _length(play) in calm
        ]
        late = [seconds for play in plays if play.told for seconds in play.told.lateness]
        for name, seconds in (("extra time of a run", extra), ("lateness of a gate at its deadline", late)):
            if seconds:
                yield f"{name}, median s", round(median(seconds), 1), "", True
                yield f"{name}, p95 s", round(_p95(seconds), 1), "", True
                yield f"{name}, most s", round(max(seconds), 1), "", True

    def _accuse(self, problem: str) -> None:
        again = f"python -m tests.torture stack --runs {self.options.runs} --seed {self.options.seed}"
        print(f"VIOLATION {problem}\n  again: {again} --at-once {self.options.at_once}", file=sys.stderr)

    def _write_diary(self) -> None:
        runs = [
            {
                "pipeline": play.pipeline.id,
                "run_id": play.run_id,
                "state": play.state,
                "repair": play.repair_state,
                "seconds": play.seconds,
                "feeds": sorted(play.told.counted) if play.told else [],
                "problems": play.problems,
                **self.tries[play.run_id],
            }
            for play in self.stage.over
        ]
        faults = [struck.as_json() for struck in self.monkey.diary]
        told = {"seed": self.options.seed, "restarts": self.machine.restarts, "faults": faults, "runs": runs}
        self.options.diary.write_text(json.dumps(told, indent=1, default=str))


def _is_booked(play: Play) -> bool:
    return bool(play.told and play.told.versions)


def _length(play: Play) -> tuple[bool, bool]:
    fate = play.inputs.fate
    return fate.late is Comes.IN_TIME, fate.is_poor_first


def _kept_out(play: Play) -> int:
    return len(play.inputs.can_come(reconciled=play.is_repaired) - play.told.counted) if play.told else 0


def _p95(values: Sequence[float]) -> float:
    return quantiles(values, n=20, method="inclusive")[-1] if len(values) > 1 else values[0]
