"""Plays runs on a tortured stack, several at a time: delivers, triggers, repairs, and sees how each ended."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path
from typing import Any

from demo.api import FINAL_STATES
from demo.errors import ApiError
from tests.torture.stack_faults import EARLIER, FAILED, Fault, failures, wants_to_fail
from tests.torture.stack_inputs import FICKLE, Inputs, Landing
from tests.torture.stack_machine import TorturedStack
from tests.torture.stack_oracle import Told, told_of, violations
from tests.torture.stack_pipelines import Tortured

STUCK_SECONDS = 900.0
"""Ours: three rounds with their deadlines, and as much again for everything that has to be done twice."""
TRIES = "SELECT coalesce(sum(try_number), 0) AS tries, count(*) FILTER (WHERE state = 'failed') AS failed, count(*) FILTER (WHERE state = 'failed' AND try_number > max_tries) AS used_up FROM task_instance WHERE dag_id = %s AND run_id = %s AND try_number > 0"
AT_WORK = """
SELECT task_id, map_index, coalesce(state, 'none') AS state FROM task_instance
WHERE dag_id = %s AND run_id = %s AND (state IS NULL OR state NOT IN ('success', 'failed', 'skipped', 'upstream_failed', 'removed'))
ORDER BY state = 'none', task_id LIMIT 12"""
STATE = "SELECT state, extract(epoch FROM end_date - start_date)::float AS seconds FROM dag_run WHERE dag_id = %s AND run_id = %s"
REGISTERED = (
    "SELECT 1 AS found FROM orchestration.feed_outcome WHERE (dag_id, run_id, feed_id) = (%s, %s, %s)"
)
REPAIRS = 3
"""What faults keep a repair from, the next one has to bring in."""
UNKNOWN = "nobody could be asked what came of it"
Line = dict[str, Any]
UNSETTLED_SECONDS = 120.0
"""How long nobody may be there to ask what came of a run."""


class Phase(Enum):
    """How far a run has come."""

    DELIVERED = auto()
    RUNNING = auto()
    DELIVERED_AGAIN = auto()
    REPAIRING = auto()
    OVER = auto()


@dataclass(slots=True, kw_only=True)
class Play:
    """One run, from its files to its end."""

    pipeline: Tortured
    inputs: Inputs
    run_id: str
    phase: Phase = Phase.DELIVERED
    since: float = field(default_factory=time.monotonic)
    state: str = ""
    seconds: float = 0.0
    repair_state: str = ""
    """Of the last repair."""
    repairs: int = 0
    last_error: str = ""
    """What the API said when it was asked for a run last."""
    is_mended: bool = False
    is_stuck: bool = False
    phase_hung: Phase = Phase.OVER
    problems: list[str] = field(default_factory=list)
    told: Told | None = None

    @property
    def repair_dag(self) -> str:
        return f"{self.pipeline.id}__reconcile"

    @property
    def repair_id(self) -> str:
        return f"repair-{self.repairs}-{self.run_id}"

    @property
    def is_repaired(self) -> bool:
        return self.repair_state == "success"


class Stage:
    """Plays what it is given, one run of a pipeline at a time; call `tick` often."""

    def __init__(
        self,
        machine: TorturedStack,
        landing: Path,
        pipelines: Iterable[Tortured],
        tell: Callable[[str], None],
        *,
        faults: Callable[[], Sequence[Fault]],
        stuck_after: float = STUCK_SECONDS,
    ) -> None:
        self.over: list[Play] = []
        self._machine, self._tell, self._faults, self._stuck_after = machine, tell, faults, stuck_after
        self._landings = {pipeline.id: Landing(landing / pipeline.id) for pipeline in pipelines}
        self._queues: dict[str, deque[Play]] = {name: deque() for name in self._landings}
        self._next_call = 0.0

    def add(self, play: Play) -> None:
        """Let a run be played when those before it in its pipeline are over."""
        self._queues[play.pipeline.id].append(play)

    @property
    def waiting(self) -> int:
        """Runs that are not over."""
        return sum(map(len, self._queues.values()))

    @property
    def at_work(self) -> int:
        """Pipelines with a run that is not over."""
        return sum(map(bool, self._queues.values()))

    def waiting_in(self, pipeline_id: str) -> int:
        """Runs of one pipeline that are not over."""
        return len(self._queues[pipeline_id])

    def tick(self) -> None:
        """Move every pipeline's first run on."""
        for queue in self._queues.values():
            if queue:
                self._move(queue[0])
                if queue[0].phase is Phase.OVER and self._close(queue[0]):
                    self._landings[queue[0].pipeline.id].clear(queue[0].inputs)
                    queue.popleft()
                    if queue:
                        self._enter(queue[0], Phase.DELIVERED)

    def check(self, play: Play) -> list[str]:
        """Ask the tables what came of a run, and return what must not be."""
        told = told_of(self._machine.warehouse, play.pipeline, play.inputs, play.run_id)
        of_run = self._failures(play.pipeline.id, play.run_id)
        if told is None or of_run is None:
            return [UNKNOWN]
        play.told = told
        failed, earlier = of_run
        problems, is_used_up = failures(
            failed,
            earlier,
            self._faults(),
            is_demanded=wants_to_fail(is_broken=play.inputs.fate.is_broken),
            is_published=bool(told.versions),
        )
        is_closed = play.state == "success" or not any(
            line["task_id"] == "close_out" and line["try_number"] > line["max_tries"] for line in failed
        )
        problems += violations(
            told,
            play.pipeline,
            play.inputs,
            reconciled=bool(play.repair_state),
            faults=self._faults(),
            is_closed=is_closed and play.repair_state in {"", "success"} and not play.is_stuck,
        )
        return problems + self._of_ends(play, told, is_used_up=is_used_up) + self._of_repairs(play)

    def _of_ends(self, play: Play, told: Told, *, is_used_up: bool) -> list[str]:
        problems = []
        if play.is_stuck:
            hung = f"{play.phase_hung.name} after {self._stuck_after:.0f} s"
            problems.append(
                f"stuck in {hung}: {self._hanging(play) or play.last_error or 'nothing is at work'}"
            )
        elif play.state not in FINAL_STATES:
            problems.append(f"Airflow calls it {play.state or 'unknown'}")
        if play.state == "success" and not told.versions:
            problems.append("Airflow calls it a success, and nothing is booked")
        if play.state == "failed" and not is_used_up:
            problems.append("failed, and faults have used up the tries of none of its tasks")
        if play.is_repaired and (missing := play.inputs.rows.keys() - told.counted):
            problems.append(f"repaired with all files there, and {sorted(missing)} are still missing")
        if play.repair_state == "failed":
            problems.append(f"not repaired by {play.repairs} repairs")
        return problems

    def _of_repairs(self, play: Play) -> list[str]:
        """No feed of a repair is broken: faults alone excuse that it fails."""
        problems: list[str] = []
        for number in range(1, play.repairs + 1):
            found = self._failures(play.repair_dag, f"repair-{number}-{play.run_id}")
            if found is None:
                return [UNKNOWN]
            wanted = wants_to_fail(is_broken=False)
            told, _ = failures(*found, self._faults(), is_demanded=wanted, is_published=True)
            problems += [f"repair {number}: {problem}" for problem in told]
        return problems

    def _failures(self, dag_id: str, run_id: str) -> tuple[list[Line], list[Line]] | None:
        failed = self._machine.metadata(FAILED, dag_id, run_id)
        earlier = self._machine.metadata(EARLIER, dag_id, run_id)
        return None if failed is None or earlier is None else (failed, earlier)

    def _hanging(self, play: Play) -> str:
        """What Airflow says is at work, or waits to be, in the run that hangs."""
        keys = [(play.pipeline.id, play.run_id), (play.repair_dag, play.repair_id)]
        lines = [line for key in keys for line in self._machine.metadata(AT_WORK, *key) or []]
        return ", ".join(f"{line['task_id']}[{line['map_index']}] {line['state']}" for line in lines)

    def tries_of(self, play: Play) -> dict[str, Any]:
        """How many tries a run took, and how many of its tasks used up theirs."""
        found = self._machine.metadata(TRIES, play.pipeline.id, play.run_id)
        return found[0] if found else {"tries": 0, "failed": 0, "used_up": 0}

    def _move(self, play: Play) -> None:
        match play.phase:
            case Phase.DELIVERED:
                self._begin(play)
            case Phase.RUNNING:
                self._watch(play)
            case Phase.DELIVERED_AGAIN:
                if self._triggered(play, play.repair_dag, play.repair_id, {"run_id": play.run_id}):
                    self._enter(play, Phase.REPAIRING)
            case Phase.REPAIRING:
                self._watch_repair(play)
            case Phase.OVER:
                return
        self._give_up_if_stuck(play)

    def _begin(self, play: Play) -> None:
        landing = self._landings[play.pipeline.id]
        if time.monotonic() < self._next_call:
            return
        landing.begin(play.inputs)
        if self._triggered(play, play.pipeline.id, play.run_id, {}, play.inputs.logical_date):
            self._enter(play, Phase.RUNNING)

    def _watch(self, play: Play) -> None:
        self._mend_if_registered(play)
        state, seconds = self._state(play.pipeline.id, play.run_id)
        if state in FINAL_STATES:
            play.state, play.seconds = state, seconds
            if play.inputs.fate.is_reconciled and state == "success":
                self._landings[play.pipeline.id].complete(play.inputs)
                play.repairs = 1
                self._enter(play, Phase.DELIVERED_AGAIN)
            else:
                self._enter(play, Phase.OVER)

    def _watch_repair(self, play: Play) -> None:
        state, _ = self._state(play.repair_dag, play.repair_id)
        if state in FINAL_STATES:
            play.repair_state = state
            if state == "failed" and play.repairs < REPAIRS:
                play.repairs += 1
                self._enter(play, Phase.DELIVERED_AGAIN)
            else:
                self._enter(play, Phase.OVER)

    def _mend_if_registered(self, play: Play) -> None:
        if play.inputs.fate.is_poor_first and not play.is_mended:
            answer = self._machine.warehouse(REGISTERED, play.pipeline.id, play.run_id, FICKLE.id)
            if answer:
                self._landings[play.pipeline.id].mend(play.inputs)
                play.is_mended = True

    def _give_up_if_stuck(self, play: Play) -> None:
        if time.monotonic() - play.since > self._stuck_after and play.phase is not Phase.OVER:
            play.is_stuck, play.phase_hung = True, play.phase
            self._tell(f"{play.pipeline.id}/{play.run_id} is stuck in {play.phase.name}")
            self._enter(play, Phase.OVER)

    def _enter(self, play: Play, phase: Phase) -> None:
        play.phase, play.since = phase, time.monotonic()

    def _close(self, play: Play) -> bool:
        """Ask what came of it; False while nobody answers."""
        play.problems = self.check(play)
        if UNKNOWN in play.problems and time.monotonic() - play.since < UNSETTLED_SECONDS:
            return False
        self.over.append(play)
        self._tell(
            f"{play.pipeline.id}/{play.run_id} {play.state} after {play.seconds:.0f} s, "
            f"{len(play.told.counted) if play.told else 0} feeds in"
            + (f", repair {play.repair_state}" if play.repair_state else "")
            + (f"; VIOLATED: {'; '.join(play.problems)}" if play.problems else "")
        )
        return True

    def _triggered(
        self, play: Play, dag_id: str, run_id: str, conf: dict[str, Any], date: str | None = None
    ) -> bool:
        """Whether the run is there: asked again and again, and made once."""
        if time.monotonic() < self._next_call or not self._machine.answers:
            return False
        request = {"dag_run_id": run_id, "logical_date": date, "conf": conf}
        try:
            self._machine.stack.api.post(f"/api/v2/dags/{dag_id}/dagRuns", request)
        except ApiError as error:
            self._next_call = time.monotonic() + 1.0
            play.last_error = str(error)
            return error.status == 409
        return True

    def _state(self, dag_id: str, run_id: str) -> tuple[str, float]:
        found = self._machine.metadata(STATE, dag_id, run_id)
        return (found[0]["state"], found[0]["seconds"] or 0.0) if found else ("", 0.0)
