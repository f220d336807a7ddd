"""One store connection per triggerer process, however many triggers wait in it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import TypeVar

from airflow_orchestration.hooks.orchestration import OrchestrationHook
from airflow_orchestration.storage.postgres import PostgresStore
from airflow_orchestration.storage.store import GateSnapshot, RunKey
from airflow_orchestration.triggers.poller import LOOK_SECONDS, Poller, shared_poller

Result = TypeVar("Result")
Round = tuple[RunKey, int]

_stores: dict[str, SharedStore] = {}
_opening = Lock()


class SharedStore:
    """A store with a thread of its own: one call at a time, and the event loop is never blocked."""

    def __init__(self, conn_id: str) -> None:
        self._conn_id = conn_id
        self._begin()

    def _begin(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"store {self._conn_id}")
        self._store = OrchestrationHook(self._conn_id).store()

    async def call(self, work: Callable[[PostgresStore], Result]) -> Result:
        """Run work on the store; a thread that hangs is left behind with its connection."""
        thread, store = self._thread, self._store
        call = asyncio.get_running_loop().run_in_executor(thread, work, store)
        try:
            return await asyncio.wait_for(call, LOOK_SECONDS)
        except TimeoutError:
            if self._thread is thread:
                thread.shutdown(wait=False)
                self._begin()
            raise


def shared_store(conn_id: str) -> SharedStore:
    """Return this process's store of a connection; the store reconnects by itself."""
    with _opening:
        if conn_id not in _stores:
            _stores[conn_id] = SharedStore(conn_id)
        return _stores[conn_id]


def rounds_poller(conn_id: str) -> Poller[Round, GateSnapshot]:
    """Return what all triggers over one connection ask for the facts of their rounds."""

    async def look(rounds: frozenset[Round]) -> Mapping[Round, GateSnapshot]:
        return await shared_store(conn_id).call(lambda store: store.gate_snapshots(rounds))

    return shared_poller(("rounds", conn_id), lambda: Poller(look))
