"""Waits for what a branch needs, or until the gate goes on without it; no worker is held meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from airflow.triggers.base import TriggerEvent

from airflow_orchestration.domain.wording import some_of
from airflow_orchestration.hooks.outside import AirflowOutside
from airflow_orchestration.sources.files import anything_at
from airflow_orchestration.storage.gate_facts import is_over, standing_outcomes
from airflow_orchestration.storage.store import GateSnapshot, RunKey
from airflow_orchestration.triggers.polling import PollingTrigger
from airflow_orchestration.triggers.shared_store import AboutRound, rounds_poller
from airflow_orchestration.workflow.branch import WaitsFor

FIRST_LOOK_SECONDS = 8.0
"""Airflow 3.3.2 fails about one in ten tasks whose trigger fires within moments of the deferral
(apache/airflow#67287, #72716); none after 8 s."""

FILES_SECONDS = 10.0
"""A disk that takes longer is asked no further questions until it has answered this one."""
_FILE_THREADS = ThreadPoolExecutor(max_workers=32, thread_name_prefix="files")
"""Apart from the threads that everything else in a triggerer shares."""


class BranchWaitTrigger(PollingTrigger[TriggerEvent]):
    """Resumes a branch when something that it waits for is there, or once the gate has decided.

    Ending the task from here would spare a moment of a worker, but leave it without its name and reason.

    :param waiting: `[feed id, kind, on]` for each waiting batch, see `workflow.branch.Waiting`.
    """

    def __init__(
        self,
        orchestration_conn_id: str,
        round_number: int,
        waiting: Sequence[Sequence[str]],
    ) -> None:
        super().__init__()
        self.orchestration_conn_id = orchestration_conn_id
        self.round_number = round_number
        self.waiting = [list(obstacle) for obstacle in waiting]
        self._looking: asyncio.Future[TriggerEvent | None] | None = None

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return plain data that makes this trigger again."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "orchestration_conn_id": self.orchestration_conn_id,
                "round_number": self.round_number,
                "waiting": self.waiting,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield one event: go on, or late."""
        await asyncio.sleep(FIRST_LOOK_SECONDS)
        yield await self.found()

    async def look(self) -> TriggerEvent | None:
        """Look whether the round is over, then whether something is there."""
        where = self.coordinates()
        run = RunKey(dag_id=where["dag_id"], run_id=where["run_id"])
        asked = AboutRound(run=run, number=self.round_number, answer=lambda _, facts: facts)
        snapshot: GateSnapshot = await rounds_poller(self.orchestration_conn_id).answer(asked)
        if is_over(snapshot):
            late = some_of(feed_id for feed_id, _, _ in self.waiting)
            self.log.info("The round went on without %s: late", late)
            return TriggerEvent({"late": late})
        return self._first_recorded(snapshot) or await self._first_file()

    def _first_recorded(self, snapshot: GateSnapshot) -> TriggerEvent | None:
        standing = set(standing_outcomes(snapshot.round.plan, snapshot.outcomes))
        for feed_id, kind, on in self.waiting:
            if _is_recorded(WaitsFor(kind), on, standing, standing | snapshot.waiting):
                return TriggerEvent({"feed_id": feed_id, "kind": kind})
        return None

    async def _first_file(self) -> TriggerEvent | None:
        """Look for files, in one thread at most: a disk that hangs holds it until it answers."""
        if not self._files():
            return None
        if self._looking is None:
            self._looking = asyncio.get_running_loop().run_in_executor(_FILE_THREADS, self._file_there)
        await asyncio.wait({self._looking}, timeout=FILES_SECONDS)
        if not self._looking.done():
            self.log.warning(
                "No answer from the disk of %s; look whether it hangs",
                some_of(on for _, _, on in self._files()),
            )
            return None
        looked, self._looking = self._looking, None
        return looked.result()

    def _file_there(self) -> TriggerEvent | None:
        for feed_id, kind, on in self._files():
            try:
                if anything_at(on, AirflowOutside()):
                    return TriggerEvent({"feed_id": feed_id, "kind": kind})
            except Exception:  # of a disk or an object store; the branch itself has looked there before
                self.log.warning("%s can't be looked at; trying again", on, exc_info=True)
        return None

    def _files(self) -> list[list[str]]:
        return [obstacle for obstacle in self.waiting if WaitsFor(obstacle[1]) is WaitsFor.FILE]


def _is_recorded(kind: WaitsFor, on: str, standing: set[str], settled: set[str]) -> bool:
    match kind:
        case WaitsFor.FEED:
            return on in standing
        case WaitsFor.TURN:
            return on in settled
        case WaitsFor.FILE | WaitsFor.NOTHING:
            return False
