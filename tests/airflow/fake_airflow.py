"""As much of Airflow as a trigger may talk to."""

from __future__ import annotations

import asyncio
from collections import Counter
from types import SimpleNamespace
from typing import Any

from airflow.sdk.execution_time.comms import (
    GetTaskStates,
    GetTICount,
    GetXCom,
    SetXCom,
    TaskStatesResult,
    TICount,
    XComResult,
)
from airflow.triggers.base import TriggerEvent

Tasks = dict[str, str | dict[int, str | None] | None]
"""Task id -> state, or of a mapped task map index -> state."""


class Airflow:
    """The tasks of each run, and XComs; `faults` are raised one after another by the next questions.

    While `answers` is not set it answers nothing.
    """

    def __init__(self, states: dict[str, Tasks]) -> None:
        self.states = states
        self.xcoms: dict[tuple[str, str, str], Any] = {}
        self.messages: list[Any] = []
        self.faults: list[Exception] = []
        self.answers = asyncio.Event()
        self.answers.set()

    async def asend(self, message: Any) -> Any:
        self.messages.append(message)
        await self.answers.wait()
        if self.faults:
            raise self.faults.pop()
        match message:
            case GetTaskStates():
                return TaskStatesResult(task_states=self._watched(message))
            case GetTICount():
                known = [state for of_run in self._watched(message).values() for state in of_run.values()]
                return TICount(
                    count=sum(message.states is None or state in message.states for state in known)
                )
            case SetXCom():
                self.xcoms[message.run_id, message.task_id, message.key] = message.value
                return None
            case GetXCom():
                return XComResult(
                    key=message.key, value=self.xcoms.get((message.run_id, message.task_id, message.key))
                )
        raise AssertionError(f"a trigger may not ask for {message}")

    def _watched(self, message: GetTaskStates | GetTICount) -> dict[str, dict[str, str | None]]:
        runs, tasks = set(message.run_ids or ()), set(message.task_ids or ())
        return {
            run_id: answer_of({task_id: state for task_id, state in known.items() if task_id in tasks})
            for run_id, known in self.states.items()
            if run_id in runs
        }

    def asked(self, kind: type[Any]) -> int:
        return Counter(type(message) for message in self.messages)[kind]


def answer_of(tasks: Tasks) -> dict[str, str | None]:
    """What Airflow answers: names that are alike overwrite each other."""
    answer: dict[str, str | None] = {}
    for task_id, state in tasks.items():
        if isinstance(state, dict):
            answer.update({f"{task_id}_{index}": one for index, one in state.items()})
        else:
            answer[task_id] = state
    return answer


def placed(trigger: Any, *, dag_id: str = "dag", run_id: str = "run", task_id: str = "gate") -> Any:
    """The trigger, told where its task stands."""
    trigger.task_instance = SimpleNamespace(
        dag_id=dag_id, run_id=run_id, task_id=task_id, map_index=-1, try_number=1
    )
    return trigger


async def fired(trigger: Any) -> TriggerEvent:
    return await anext(aiter(trigger.run()))
