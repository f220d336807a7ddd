"""One store connection per triggerer process, however many triggers wait in it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock
from typing import Any, Generic, TypeVar

from airflow_orchestration.hooks.orchestration import OrchestrationHook
from airflow_orchestration.storage.postgres import PostgresStore
from airflow_orchestration.storage.store import GateSnapshot, RunKey, Store
from airflow_orchestration.triggers.poller import LOOK_SECONDS, Poller, shared

Result = TypeVar("Result")

CALL_SECONDS = LOOK_SECONDS - 5
"""Less than a look may take: a thread that hangs must be noticed here."""

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
            return await asyncio.wait_for(call, CALL_SECONDS)
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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AboutRound(Generic[Result]):
    """Asks what follows from the facts of a round; `answer` is called in the store's thread."""

    run: RunKey
    number: int
    answer: Callable[[Store, GateSnapshot], Result]


def rounds_poller(conn_id: str) -> Poller[AboutRound[Any], Any]:
    """Return what all triggers over one connection ask about their rounds."""

    async def look(questions: frozenset[AboutRound[Any]]) -> Mapping[AboutRound[Any], Any]:
        return await shared_store(conn_id).call(lambda store: _answers(store, questions))

    return shared(("rounds", conn_id), lambda: Poller(look))


def _answers(store: Store, questions: Collection[AboutRound[Any]]) -> Mapping[AboutRound[Any], Any]:
    facts = store.gate_snapshots({(asked.run, asked.number) for asked in questions})
    return {
        asked: asked.answer(store, facts[asked.run, asked.number])
        for asked in questions
        if (asked.run, asked.number) in facts
    }
