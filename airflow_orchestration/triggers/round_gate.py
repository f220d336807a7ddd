"""The gate of one round of a pipeline Dag, in the triggerer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from typing import Any

from airflow.triggers.base import TaskSuccessEvent, TriggerEvent

from airflow_orchestration.domain.run_spec import RunSpec
from airflow_orchestration.policies.quorum_gate import GateDecision
from airflow_orchestration.storage.agent_records import AssignedAgent
from airflow_orchestration.storage.store import GateSnapshot, RunKey, Store
from airflow_orchestration.triggers.gate import GateTrigger
from airflow_orchestration.triggers.shared_store import AboutRound, rounds_poller
from airflow_orchestration.triggers.task_states import TasksOfRun, task_states_poller
from airflow_orchestration.workflow.gate import settle_gate
from airflow_orchestration.workflow.round_tasks import AGENTS, States, dead_feeds
from airflow_orchestration.workflow.step import read_spec

TASK_STATES_EVERY_SECONDS = 5.0
"""How often the lanes' tasks are looked at: only for one that died before it could tell the store."""


class RoundGateTrigger(GateTrigger):
    """The store says what arrived, Airflow which tasks died.

    :param round_number: the round.
    :param tasks: lane -> task id of its mapped task, or `agents` -> that of the agents.
    """

    def __init__(
        self,
        orchestration_conn_id: str,
        round_number: int,
        tasks: Mapping[str, str],
    ) -> None:
        super().__init__()
        self.orchestration_conn_id = orchestration_conn_id
        self.round_number = round_number
        self.tasks = dict(tasks)
        self._spec: RunSpec | None = None
        self._agents: Sequence[AssignedAgent] = ()
        self._states: States = {}

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return plain data that makes this trigger again."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "orchestration_conn_id": self.orchestration_conn_id,
                "round_number": self.round_number,
                "tasks": self.tasks,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield one event, when the gate is settled."""
        watching = asyncio.create_task(self._watch_tasks())
        try:
            async for event in super().run():
                yield event
        finally:
            watching.cancel()

    async def _watch_tasks(self) -> None:
        """Keep the states of the tasks that process batches; the gate goes on by the store alone while Airflow does not answer."""
        where = self.coordinates()
        asked = TasksOfRun(run_id=where["run_id"], task_ids=tuple(self.tasks.values()))
        while True:
            try:
                self._states = await self.persistently(
                    lambda: task_states_poller(where["dag_id"]).answer(asked)
                )
            except Exception:  # a gate may wait for longer than Airflow is away
                self.log.exception("The states of %s are not known; trying again", ", ".join(asked.task_ids))
            await asyncio.sleep(TASK_STATES_EVERY_SECONDS)

    async def decide(self) -> GateDecision:
        """Evaluate what is registered. States are older than the facts: what ended before them is in the store."""
        where = self.coordinates()
        run = RunKey(dag_id=where["dag_id"], run_id=where["run_id"])
        settle = partial(self._settle, run, self._states)
        asked = AboutRound(run=run, number=self.round_number, answer=settle)
        decision: GateDecision = await rounds_poller(self.orchestration_conn_id).answer(asked)
        return decision

    def _settle(self, run: RunKey, states: States, store: Store, snapshot: GateSnapshot) -> GateDecision:
        self._spec = self._spec or read_spec(store.run(run))
        if AGENTS in self.tasks and not self._agents:
            self._agents = store.agents.assigned(run, self.round_number)
        dead = dead_feeds(snapshot.round.plan, self.tasks, states, self._agents)
        return settle_gate(store, run, self._spec, snapshot, dead)

    def end_event(self, decision: GateDecision) -> TriggerEvent:
        """Succeed with any decision: the task after the gate follows it."""
        return TaskSuccessEvent()
