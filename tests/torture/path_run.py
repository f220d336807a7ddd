"""One run of the pipeline, task by task, as Airflow would have it: with retries, deferrals, and what goes wrong.

Airflow's part is played here: a task that ends badly is tried again with a higher number; one that waits is resumed
under its old number; one that Airflow takes for dead gets a successor while it may still live.
"""

from __future__ import annotations

import random
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import psycopg

from airflow_orchestration.exceptions import LedgerMismatchError, OrchestrationError, StagedFileError
from tests.torture.oracle import violations
from tests.torture.oracle_found import IN_HAND, LATE, Story, digest, orphans
from tests.torture.path_account import Account, GivenUpError
from tests.torture.path_processes import ALTERING, Execution, Fault, Kind, is_refusal, launch
from tests.torture.path_server import Server, give_past, prune, put_records, swallow
from tests.torture.path_spoiling import OF_THE_HEAVIEST, OF_THE_MERGE, alter, staged
from tests.torture.path_tasks import BEHIND, Bench, Start
from tests.torture.world import Shape, World

MOST_TRIES = 6
"""A fault is over after one or two; who needs more never ends."""
USUAL_SECONDS = 0.35
"""About how long the longest task takes: a moment to be killed at is drawn up to that."""
KILLS = {Kind.KILL, Kind.KILL_WORK, Kind.KILL_SOON}
OVER_TASKS = {"success", "failed", "skipped"}


@dataclass
class Player:
    """Plays one run."""

    bench: Bench
    server: Server
    faults: list[Fault]
    dice: random.Random
    records: bool = False
    story: Story = field(default_factory=Story)
    account: Account = field(default_factory=Account)
    _numbers: int = 0
    _executions: list[Execution] = field(default_factory=list)
    _abandoned: Execution | None = None
    _swallows: bool = False
    _is_alone: bool = True
    """Whether no other task reads feeds at the moment."""
    _waiting: Sequence[Start] = ()

    @property
    def world(self) -> World:
        """What the run is about."""
        return self.bench.world

    def play(self) -> Account:
        """Play it to its end, and let the oracle judge."""
        began = time.monotonic()
        give_past(self.bench.target, self.world)
        for feed_id in self.world.weights:
            if feed_id != "light" or self.world.shape not in LATE:
                self._land(feed_id)
        try:
            self._play()
            self.account.violations += self._judged()
        except GivenUpError as given_up:
            self.account.violations.append(str(given_up))
        except (ArithmeticError, LookupError, TypeError, ValueError, psycopg.Error) as error:
            told = f"what is there can't be judged: {type(error).__name__}: {error}"
            self.account.violations += [told, *traceback.format_exception(error)[-3:]]
        finally:
            for execution in self._executions:
                execution.end()
        self.account.missed += [str(fault) for fault in self.faults]
        self.account.seconds = time.monotonic() - began
        return self.account

    def _judged(self) -> list[str]:
        """Let the oracle judge, and then what the product promises to clean up."""
        if self._abandoned is not None:  # no successor has dropped its tables
            prune(self.bench.dsn, self.bench.target)
        told = self._violations()
        self.account.orphans = len(orphans(self.bench.dsn, self.world))
        prune(self.bench.dsn, self.bench.target)
        told += [f"left behind after prune: {path.name}" for path in orphans(self.bench.dsn, self.world)]
        return told + [text for text in self._violations() if text not in told]

    def _violations(self) -> list[str]:
        return violations(self.bench.dsn, self.bench.target, self.world, self.story)

    def _land(self, feed_id: str, version: int = 1) -> None:
        """Let a feed arrive."""
        if self.world.is_stream(feed_id):
            put_records(self.bench.dsn, self.world.records(feed_id, version))
        else:
            self.world.land(feed_id, version)

    def _play(self) -> None:
        self.attend(self._start("analyze", 0))
        number, route, resumed = 0, "next_round", True
        while route == "next_round":
            number += 1
            if number > 1:
                self._land("light", 2)
            route, resumed = self._round(number)
        if route == "publish":
            self._publish(number)
        if not resumed:
            self._resume(number, self._waiting)
        state = self.attend(self._start("close_out", 0))
        if self._abandoned is not None:
            self._let_go_on(self._abandoned)
        if state == "published_degraded":
            self.attend(self._start("amend", number))
        if self.world.shape is Shape.REPAIRED and self.story.is_published:
            self._land("light")
            self.attend(self._start("reconcile", number))

    def _round(self, number: int) -> tuple[str, bool]:
        """Play a round up to the verdict on its quality; was everybody resumed who waits?"""
        lanes = self.attend(self._start("plan", number))
        branches = [
            self._start("branch", number, branch=f"branch:{lane}:{branch_id}")
            for lane, ids in lanes.items()
            for branch_id in ids
        ]
        ended = dict(zip([one.branch for one in branches], self.attend_all(branches), strict=True))
        while behind := [one for one in branches if ended[one.branch] == BEHIND]:
            ended |= {one.branch: self.attend(one, resumed=True) for one in behind}
        self._decide_gate(number, _states(lanes, ended))
        self._waiting = [one for one in branches if ended[one.branch] == "deferred"]
        resumed = self.dice.random() < 0.5
        if resumed:
            self._resume(number, self._waiting)
        route = self.attend(self._start("decide", number))
        if route == "merge":
            route = self._merge(number)
        return route, resumed

    def _decide_gate(self, number: int, states: Mapping[str, str]) -> None:
        gate = self._start("gate", number, states=states)
        waits = not set(states.values()) <= OVER_TASKS
        if waits:
            if self.attend(gate) is not None:
                raise GivenUpError(f"the gate of round {number} did not wait for the late feed")
            self._let_the_deadline_come(number)
        if self.attend(gate, resumed=waits) is None:
            raise GivenUpError(f"the gate of round {number} does not decide")

    def _let_the_deadline_come(self, number: int) -> None:
        self.story.shortened.add(number)
        with psycopg.connect(self.bench.dsn) as connection:
            connection.execute("UPDATE orchestration.sync_point SET deadline_at = clock_timestamp()")

    def _resume(self, number: int, waiting: Sequence[Start]) -> None:
        """Let go on who waited: under the same try, in another process."""
        if self.world.shape is Shape.LATE:
            self._land("light")
        for start in waiting:
            self.attend(start, resumed=True)

    def _merge(self, number: int) -> str:
        try:
            self.attend(self._start("merge", number))
        except GivenUpError:
            if not self.story.altered:
                raise
            self.story.left_out = {table.name for table in self.world.tables}
            return "failed"  # and all behind it; `close_out` runs in any case
        if self.story.altered:
            raise GivenUpError("a staged file that somebody had changed was merged")
        return str(self.attend(self._start("quality", number)))

    def _publish(self, number: int) -> None:
        try:
            self.attend(self._start("publish", 0))
        except GivenUpError:
            if self._abandoned is not None or self._swallows:
                self.story.left_out = self._not_booked()
                return
            if not self.story.altered:
                raise
        else:
            if self.story.altered or self._swallows:
                raise GivenUpError("what somebody had changed was published")
            return
        self.story.altered.clear()  # a person clears the merge, and what comes behind it
        for task, round_number in (("merge", number), ("quality", number), ("publish", 0)):
            self.attend(replace(self._start(task, round_number), try_number=MOST_TRIES + 1))

    def _not_booked(self) -> set[str]:
        with psycopg.connect(self.bench.target) as connection:
            booked = connection.execute("SELECT target_table FROM orchestration.publish_ledger").fetchall()
        return {table.name for table in self.world.tables} - {row[0] for row in booked}

    def _start(self, task: str, number: int, **changes: Any) -> Start:
        self._numbers += 1
        return Start(task=task, round=number, try_number=1, ti_id=f"ti-{self._numbers}", **changes)

    def attend_all(self, starts: Sequence[Start]) -> list[str]:
        """See tasks through that run at the same time; beside a zombie nothing else may write."""
        faulty = [start for start in starts if self._awaits(start)]
        if any(fault.kind is Kind.STOP for fault in self.faults if fault.unit in map(label, faulty)):
            return [self.attend(start) for start in starts]
        running = {start.branch: self._launch(start) for start in starts if start not in faulty}
        self._is_alone = not running
        ended = {start.branch: self.attend(start) for start in faulty}
        for start in starts:
            if start.branch in running:
                ended[start.branch] = self._seen_through(running[start.branch], label(start))
        self._is_alone = True
        return [ended[start.branch] for start in starts]

    def _awaits(self, start: Start) -> bool:
        return any(fault.unit == label(start) for fault in self.faults)

    def attend(self, start: Start, *, resumed: bool = False) -> Any:
        """See a task through, try after try, and return its result."""
        unit = label(start) + ("+" if resumed else "")
        fault = next((fault for fault in self.faults if fault.unit == unit), None)
        if fault is None:
            return self._seen_through(self._launch(start), unit)
        self.faults.remove(fault)
        if fault.kind in ALTERING:
            return self._altered(start, fault)
        if fault.kind is Kind.DOUBLE:
            return self._doubled(start, fault)
        return self._seen_through(self._launch(start, fault), unit)

    def _launch(self, start: Start, fault: Fault | None = None) -> Execution:
        execution = launch(self.bench, start, fault, records=self.records)
        self._executions.append(execution)
        if fault is not None and fault.kind is Kind.KILL_SOON:
            time.sleep(self.dice.uniform(0, USUAL_SECONDS))
            execution.kill()
        return execution

    def _seen_through(self, execution: Execution, unit: str | None = None) -> Any:
        """Wait for an execution, give it what its fault asks for, and try again when it ended badly."""
        wish = execution.wait()
        while wish == "restart":
            self.server.crash()
            execution.answer()
            wish = execution.wait()
        if wish == "stops" and execution.fault is not None and execution.fault.kind is Kind.ABANDON:
            self._abandoned = execution
            raise GivenUpError(f"{execution.fault} has no more tries")
        if wish == "stops":
            return self._taken_over(execution)
        if wish == "overlaps":
            result = self._again(execution)
            self._finished(execution)
            return result
        self._note(execution, unit)
        if execution.is_done:
            return execution.result[0]
        return self._again(execution)

    def _again(self, execution: Execution) -> Any:
        """Start the next try, as Airflow does when it takes one for dead."""
        start = execution.start
        if execution.is_final or execution.is_stuck or start.try_number % MOST_TRIES == 0:
            raise GivenUpError(f"{label(start)} failed for good: {execution.error}")
        if self.records:
            self.account.violations.append(f"{label(start)} failed without any fault: {execution.error}")
        self._redeliver(execution)
        result = self._seen_through(self._launch(replace(start, try_number=start.try_number + 1)))
        if execution.fault is not None and execution.fault.kind in KILLS and execution.exit_code is not None:
            self.account.recoveries.append(time.monotonic() - execution.ended)
        return result

    def _redeliver(self, execution: Execution) -> None:
        """Now and then a source delivers its file anew meanwhile."""
        start, fault = execution.start, execution.fault
        reads_on = execution.exit_code is None and fault is not None and fault.kind is not Kind.STOP
        if (
            start.task != "branch"
            or start.round > 1
            or reads_on
            or not self._is_alone
            or self.dice.random() < 0.5
        ):
            return
        for feed_id in ("heavy", "middle"):
            if not self.world.is_stream(feed_id):
                self.story.redelivered.add(feed_id)
                self._land(feed_id, 2)

    def _taken_over(self, zombie: Execution) -> Any:
        """A successor does the work; then the stopped one goes on, and must not change anything."""
        result = self._again(zombie)
        self._let_go_on(zombie)
        return result

    def _let_go_on(self, zombie: Execution) -> None:
        """Whatever it still does, it must not change anything."""
        before = digest(self.bench.dsn, self.bench.target)
        zombie.go_on()
        self._finished(zombie)
        after = digest(self.bench.dsn, self.bench.target)
        self.account.zombies += 1
        changed = [
            name
            for name in sorted(before.keys() | after.keys())
            if before.get(name) not in {IN_HAND, after.get(name)}
            and not self._may_change(zombie, name, is_gone=name not in after)
        ]
        if changed:
            self.account.zombies_that_changed += 1
            self.account.violations.append(f"the zombie of {zombie.fault} changed {', '.join(changed)}")

    def _may_change(self, zombie: Execution, table: str, *, is_gone: bool) -> bool:
        """One that nobody succeeded tells what it has published before it was given up, and drops its private tables."""
        if zombie.fault is None or zombie.fault.kind is not Kind.ABANDON:
            return False
        has_published = len(self.story.left_out) < len(self.world.tables)
        tells = table.endswith(".orchestration.timeline") and has_published
        return tells or (is_gone and ".orchestration_scratch." in table)

    def _finished(self, execution: Execution) -> None:
        """Wait for the end of one whose work is done by another."""
        while execution.wait() != "ended":
            execution.answer()
        self._note(execution, None)

    def _doubled(self, start: Start, fault: Fault) -> Any:
        """Two processes have the same attempt; Airflow hears of both. A repair may also be asked for by two Dags."""
        twin = replace(start, task="reconcile") if start.task == "amend" else start
        first, second = self._launch(start), self._launch(twin)
        for execution in (first, second):
            self._finished(execution)
        self.account.struck.append((str(fault), ""))
        done = [execution for execution in (first, second) if execution.is_done]
        return done[0].result[0] if done else self._again(first)

    def _altered(self, start: Start, fault: Fault) -> Any:
        """The staged file of a feed, or of the merge, is not what it was."""
        refusal: type[OrchestrationError] = StagedFileError
        if fault.kind is Kind.SWALLOW:
            self._swallows, refusal = True, LedgerMismatchError
            swallow(self.bench.target, self.world)
        else:
            path = staged(self.bench.dsn, OF_THE_MERGE if start.task == "publish" else OF_THE_HEAVIEST)
            self.story.altered.add(str(path))
            alter(path, fault.kind)
        self.account.struck.append((str(fault), ""))
        execution = self._launch(replace(start, try_number=MOST_TRIES))
        execution.wait()
        self._note(execution, None)
        if not execution.is_done and not is_refusal(execution.error, refusal):
            told = f"{fault}: was told as {execution.error!r}, not as {refusal.__name__}"
            self.account.violations.append(told)
        if execution.is_done:
            return execution.result[0]
        raise GivenUpError(execution.error)

    def _note(self, execution: Execution, unit: str | None) -> None:
        """Keep what an execution told."""
        if execution.is_stuck:
            self.account.violations.append(f"{label(execution.start)} did not end: {execution.fault}")
        if execution.fault is not None and execution.fault.kind is Kind.KILL_SOON and execution.was_cut_short:
            execution.struck.append("")
        self.account.met |= execution.met
        for point in execution.struck:
            self.account.struck.append((str(execution.fault), point))
            lost = execution.fault is not None and execution.fault.kind is Kind.LOSE
            self.account.unknown_commits += lost and "commit" in point
        if execution.fault is not None and not execution.struck:
            self.account.missed.append(str(execution.fault))
        if self.records and unit is not None:
            self.account.points.setdefault(unit, []).extend(execution.points)
        if execution.start.task == "plan":
            self._see_rounds()

    def _see_rounds(self) -> None:
        """Remember when a round was first seen open."""
        with psycopg.connect(self.bench.dsn) as connection:
            for number, opened_at in connection.execute("SELECT round, opened_at FROM orchestration.round"):
                self.story.opened.setdefault(number, opened_at)


def label(start: Start) -> str:
    """How faults name a task."""
    return f"{start.round}/{start.unit}"


def _states(lanes: Mapping[str, Sequence[str]], ended: Mapping[str, str]) -> dict[str, str]:
    return {
        f"{lane}_{index}": ended[f"branch:{lane}:{branch_id}"]
        for lane, ids in lanes.items()
        for index, branch_id in enumerate(ids)
    }
