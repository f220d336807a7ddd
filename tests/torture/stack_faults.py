"""What was broken and when, and what that excuses: an attempt that failed, a gate that decided late. Nothing else is excused."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import Any

from tests.torture.stack_inputs import BROKEN

Lines = Sequence[Mapping[str, Any]]


class Reach(Enum):
    """Whose attempts a kind of fault can end, besides those of the processes that it hits."""

    THE_HIT = auto()
    WHO_WAITS = auto()
    """Whoever may have waited in a triggerer."""
    WHO_PUBLISHES = auto()
    EVERYBODY = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What a kind of fault can do. `recovery` is how long after its end that may still show."""

    reach: Reach
    recovery: timedelta
    holds_gates: bool = True


def _kind(reach: Reach, seconds: float, *, holds_gates: bool = True) -> Kind:
    return Kind(reach=reach, recovery=timedelta(seconds=seconds), holds_gates=holds_gates)


NOTICED_SECONDS = 25.0
"""`HASTY`: 20 s without a heartbeat, looked for every 3 s, and the scheduler's own loop."""
ADOPTED_SECONDS = 45.0
"""`HASTY`: a scheduler is dead after 15 s, its tasks are looked for every 15 s; and 15 s for the new one to start."""
TAKEN_OVER_SECONDS = 30.0
"""`HASTY`: a triggerer is dead after 12 s; and its triggers begin anew in another, whose first look may be 8 s away."""
STARTED_SECONDS = 30.0
"""Ours: what died starts again after a second, and is ready on two busy cores; tasks that gave up meanwhile fail then."""
RECONNECTED_SECONDS = 15.0
"""Ours: the lock timeout of 10 s, and a few pauses before the next try of a connection."""
KINDS: Mapping[str, Kind] = {
    "kill_task": _kind(Reach.THE_HIT, NOTICED_SECONDS, holds_gates=False),
    "kill_worker": _kind(Reach.THE_HIT, NOTICED_SECONDS, holds_gates=False),
    "stop_worker": _kind(Reach.THE_HIT, NOTICED_SECONDS, holds_gates=False),
    "stop_supervisor": _kind(Reach.THE_HIT, NOTICED_SECONDS, holds_gates=False),
    "kill_triggerer": _kind(Reach.WHO_WAITS, TAKEN_OVER_SECONDS),
    "kill_trigger_runner": _kind(Reach.WHO_WAITS, TAKEN_OVER_SECONDS),
    "stop_triggerer": _kind(Reach.WHO_WAITS, TAKEN_OVER_SECONDS),
    "kill_scheduler": _kind(Reach.EVERYBODY, ADOPTED_SECONDS),
    "kill_scheduler_group": _kind(Reach.EVERYBODY, ADOPTED_SECONDS),
    "stop_scheduler": _kind(Reach.EVERYBODY, ADOPTED_SECONDS),
    "kill_dag_processor": _kind(Reach.THE_HIT, 0.0, holds_gates=False),
    "kill_api_server": _kind(Reach.EVERYBODY, STARTED_SECONDS),
    "stop_api_server": _kind(Reach.EVERYBODY, STARTED_SECONDS),
    "crash_postgres": _kind(Reach.EVERYBODY, ADOPTED_SECONDS),
    "stop_postgres": _kind(Reach.EVERYBODY, STARTED_SECONDS),
    "terminate_publishers": _kind(Reach.WHO_PUBLISHES, RECONNECTED_SECONDS, holds_gates=False),
    "terminate_store": _kind(Reach.EVERYBODY, RECONNECTED_SECONDS),
    "terminate_metadata": _kind(Reach.EVERYBODY, RECONNECTED_SECONDS),
    "cut": _kind(Reach.EVERYBODY, RECONNECTED_SECONDS),
    "silence": _kind(Reach.EVERYBODY, STARTED_SECONDS),
}
"""After a crash of PostgreSQL scheduler and triggerers have exited, too: it lasts as long as theirs."""
PUBLISHING = frozenset({"publish", "close_out", "reconcile"})
CONSEQUENCES = frozenset({"fail", "close_out"})
"""Tasks that fail because a run publishes nothing, whatever the reason is."""
WAITING = frozenset({"gate", "alpha", "beta", "gamma", "primary", "secondary", "agents"})
LATENESS_SECONDS = 2.5
"""A gate looks every 0.5 s, and has two more: the goal for an undisturbed one."""
FAILED = """
SELECT id::text, task_id, map_index, coalesce(rendered_map_index, '') AS branch, try_number, max_tries, pid,
       least(queued_dttm, start_date) AS began, coalesce(end_date, clock_timestamp()) AS ended
FROM task_instance WHERE dag_id = %s AND run_id = %s AND state = 'failed' ORDER BY end_date"""
EARLIER = """
SELECT task_instance_id::text AS id, task_id, map_index, try_number, pid,
       least(queued_dttm, start_date) AS began, coalesce(end_date, clock_timestamp()) AS ended
FROM task_instance_history WHERE dag_id = %s AND run_id = %s"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Something that was done, by the clock of the wall. It has not ended while `ended` is None."""

    kind: str
    began: datetime
    ended: datetime | None = None
    ti_id: str | None = None
    pids: frozenset[int] = field(default_factory=frozenset)

    @property
    def shows_until(self) -> datetime | None:
        """When nothing can be laid to it any more; None while it lasts."""
        return None if self.ended is None else self.ended + KINDS[self.kind].recovery

    def explains(self, line: Mapping[str, Any]) -> bool:
        """Whether it can have ended an attempt: it hit its processes, or all of its kind, in its time."""
        if not self.was_about(line["began"], line["ended"]):
            return False
        if self.ti_id == line["id"] or line["pid"] in self.pids:
            return True
        name = line["task_id"].rpartition(".")[2]
        match KINDS[self.kind].reach:
            case Reach.EVERYBODY:
                return True
            case Reach.WHO_WAITS:
                return name in WAITING
            case Reach.WHO_PUBLISHES:
                return name in PUBLISHING
            case Reach.THE_HIT:
                return False

    def was_about(self, began: datetime | None, ended: datetime) -> bool:
        """Whether it lasted, or could still show, in a time; nobody knows when what never began was to begin."""
        until = self.shows_until
        return self.began <= ended and (until is None or began is None or began <= until)


def latest_verdict(deadline: datetime, faults: Sequence[Fault]) -> datetime:
    """When a gate must have decided at the latest: soon after its deadline, or when the faults about then are over."""
    goal = timedelta(seconds=LATENESS_SECONDS)
    latest = deadline + goal
    for fault in sorted(faults, key=lambda fault: fault.began):
        if KINDS[fault.kind].holds_gates and fault.was_about(deadline, latest):
            latest = max(latest, (fault.shows_until or latest) + goal)
    return latest


def failures(
    failed: Lines,
    earlier: Lines,
    faults: Sequence[Fault],
    *,
    is_demanded: Callable[[Mapping[str, Any]], bool],
    is_published: bool,
) -> tuple[list[str], bool]:
    """Say of the tasks that failed which had no reason to, and whether faults used up every try of one at least.

    `is_demanded` tells of a task whether its data wants it to fail.
    """
    problems: list[str] = []
    is_used_up = False
    for line in failed:
        if is_demanded(line) or (line["task_id"] in CONSEQUENCES and not is_published):
            continue
        problem = _reason_missing(line, earlier, faults)
        problems += problem
        is_used_up = is_used_up or not problem
    return problems, is_used_up


def wants_to_fail(*, is_broken: bool) -> Callable[[Mapping[str, Any]], bool]:
    """Return what tells whether a task has to fail: it has processed a feed that can't be read."""
    return lambda line: (
        is_broken and BROKEN.id in line["branch"].rpartition(":")[2].replace(" ", "").split(",")
    )


def _reason_missing(line: Mapping[str, Any], earlier: Lines, faults: Sequence[Fault]) -> list[str]:
    named = f"{line['task_id']}[{line['map_index']}]"
    if line["try_number"] <= line["max_tries"]:
        return [f"{named} failed in try {line['try_number']} with tries left"]
    place = line["task_id"], line["map_index"]
    tries = [one for one in earlier if (one["task_id"], one["map_index"]) == place]
    tries = [one for one in tries if one["try_number"] < line["try_number"]] + [line]
    return list(_unexplained(named, tries, line["try_number"], faults))


def _unexplained(named: str, tries: Lines, expected: int, faults: Sequence[Fault]) -> Iterator[str]:
    if missing := set(range(1, expected + 1)) - {one["try_number"] for one in tries}:
        yield f"{named} has no record of tries {sorted(missing)}"
    for one in tries:
        if not any(fault.explains(one) for fault in faults):
            yield (
                f"{named} failed in try {one['try_number']} from {one['began']} to {one['ended']}, and no fault was near"
            )
