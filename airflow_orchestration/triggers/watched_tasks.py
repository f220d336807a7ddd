"""The tasks that a stand-alone gate watches, and the policy over them, as plain data and as facts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from airflow_orchestration.domain.deadline import deadline_at
from airflow_orchestration.policies.quorum_gate import (
    GateDecision,
    GateFacts,
    Member,
    MemberState,
    QuorumGate,
)
from airflow_orchestration.triggers.task_states import instances_of
from airflow_orchestration.workflow.round_tasks import ENDED_WITHOUT_RESULT, OVER, SUCCESS, States

REMOVED = "removed"


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchedTask:
    """One watched task; of a mapped one each instance is a member with this weight."""

    task_id: str
    mapped: bool = False
    weight: float = 1.0
    required: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchedTasks:
    """Tasks and the policy that decides over them."""

    tasks: tuple[WatchedTask, ...]
    gate: QuorumGate

    @property
    def task_ids(self) -> list[str]:
        """The ids of the watched tasks."""
        return [task.task_id for task in self.tasks]

    def evaluate(self, states: States, *, elapsed: timedelta, since_floor: timedelta | None) -> GateDecision:
        """Decide over the states of one moment.

        While a mapped task may still expand nobody knows how many members it has: it then
        counts as one that is pending and required, so that the gate can't open without it
        before the deadline. One that was skipped as a whole has no members: its list was empty,
        or what makes the list was skipped. If it is required, the gate never opens without any.
        """
        found = [(task, instances_of(task.task_id, states, mapped=task.mapped)) for task in self.tasks]
        unknown = [task.task_id for task, instances in found if not instances]
        if unknown:
            raise ValueError(f"watch names tasks that this Dag run has not: {', '.join(unknown)}")
        late = elapsed >= self.gate.deadline
        members = tuple(
            member for task, instances in found for member in _members(task, instances, certain=late)
        )
        return self.gate.evaluate(GateFacts(members=members, elapsed=elapsed, since_floor=since_floor))

    @classmethod
    def from_json(cls, terms: Mapping[str, Any], *, run_started_at: datetime) -> WatchedTasks:
        """Make them from what `watch_terms` gives; here a time of day becomes the moment after the run's start."""
        grace = terms["grace_period"]
        return cls(
            tasks=tuple(
                WatchedTask(task_id=task_id, mapped=mapped, weight=weight, required=required)
                for task_id, mapped, weight, required in terms["tasks"]
            ),
            gate=QuorumGate(
                floor=terms["floor"],
                deadline=deadline_at(terms["deadline"], started=run_started_at) - run_started_at,
                grace_period=None if grace is None else timedelta(seconds=grace),
            ),
        )


def watch_terms(
    tasks: Sequence[WatchedTask], *, floor: float, deadline: float | str, grace_period: float | None
) -> dict[str, Any]:
    """What a gate watches, and by which rule, as plain data for a trigger's arguments.

    :param deadline: seconds from the start of the run, or a time of day such as `06:00 Europe/Berlin`.
    :param grace_period: seconds.
    """
    return {
        "tasks": [[task.task_id, task.mapped, task.weight, task.required] for task in tasks],
        "floor": floor,
        "deadline": deadline,
        "grace_period": grace_period,
    }


def floor_moment(kept: object, *, run_started_at: datetime) -> datetime | None:
    """When the floor was first reached in this run; None if that is not known.

    A run that was cleared has a new start, but keeps what was written down before it.

    :param kept: ISO time, or None.
    """
    before = None if kept is None else datetime.fromisoformat(str(kept))
    return before if before is not None and before > run_started_at else None


def _members(task: WatchedTask, instances: Mapping[int, str | None], *, certain: bool) -> Iterator[Member]:
    present = {
        index: state
        for index, state in sorted(instances.items())
        if state != REMOVED or not (task.mapped or index >= 0)  # the list has become shorter
    }
    unexpanded = task.mapped and -1 in present
    if not present or (unexpanded and present[-1] == "skipped"):  # expanded over an empty list, or skipped
        if task.required:
            yield Member(id=task.task_id, weight=task.weight, required=True, state=MemberState.FAILED)
        return
    for index, state in present.items():
        yield Member(
            id=task.task_id if index < 0 else f"{task.task_id}[{index}]",
            weight=task.weight,
            required=task.required or (unexpanded and not certain and state not in OVER),
            state=_state(state),
        )


def _state(state: str | None) -> MemberState:
    if state == SUCCESS:
        return MemberState.ARRIVED
    return MemberState.FAILED if state in ENDED_WITHOUT_RESULT else MemberState.PENDING
