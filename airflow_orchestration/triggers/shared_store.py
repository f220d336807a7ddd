"""One store connection per triggerer process, however many triggers wait in it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock
from time import monotonic
from typing import Any, Generic, TypeVar

import psycopg

from airflow_orchestration.hooks.orchestration import OrchestrationHook
from airflow_orchestration.storage.postgres import PostgresStore
from airflow_orchestration.storage.store import GateSnapshot, RunKey, Store
from airflow_orchestration.triggers.poller import LOOK_SECONDS, Poller, shared

Result = TypeVar("Result")

CALL_SECONDS = LOOK_SECONDS - 5
"""Less than a look may take: a thread that hangs must be noticed here."""
STATEMENT_SECONDS = 10.0
"""Less than a call may take: the server ends what hangs, and the connection stays of use."""
LOCK_SECONDS = 2.0
"""A round that somebody has locked is asked again, so that the others need not wait for it."""
ANSWERING_SECONDS = 12.0
"""Who has no answer by then asks again: with a statement at its limit, the call ends in time all the same."""

_stores: dict[str, SharedStore] = {}
_opening = Lock()


class _HurriedStore(PostgresStore):
    """A store that would rather fail than wait: many gates share it."""

    def _opened(self) -> psycopg.Connection[Any]:
        connection = super()._opened()
        for name, seconds in (("statement_timeout", STATEMENT_SECONDS), ("lock_timeout", LOCK_SECONDS)):
            connection.execute("SELECT set_config(%s, %s, false)", (name, f"{seconds * 1000:.0f}ms"))
        return connection


class SharedStore:
    """A store with a thread of its own: one call at a time, and the event loop is never blocked."""

    def __init__(self, conn_id: str) -> None:
        self._conn_id = conn_id
        self._begin()

    def _begin(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"store {self._conn_id}")
        self._store = _HurriedStore(OrchestrationHook(self._conn_id).get_conn)

    async def call(self, work: Callable[[PostgresStore], Result]) -> Result:
        """Run work on the store; a thread that hangs is left behind with its connection."""
        thread, store = self._thread, self._store
        call = asyncio.get_running_loop().run_in_executor(thread, work, store)
        try:
            async with asyncio.timeout(CALL_SECONDS):
                return await call
        except TimeoutError:
            if self._thread is thread:
                thread.submit(store.close)  # should it ever come back
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
    until = monotonic() + ANSWERING_SECONDS
    facts = store.gate_snapshots({(asked.run, asked.number) for asked in questions})
    return {
        asked: _answer(store, asked, facts[asked.run, asked.number], until)
        for asked in questions
        if (asked.run, asked.number) in facts
    }


def _answer(store: Store, asked: AboutRound[Any], facts: GateSnapshot, until: float) -> Any:
    """Return the answer, or what went wrong with this round alone."""
    if monotonic() > until:
        return TimeoutError(f"no time was left for {asked.run}: other rounds of this connection are locked")
    try:
        return asked.answer(store, facts)
    except Exception as error:
        if isinstance(error, psycopg.OperationalError) and error.sqlstate is None:
            raise  # the connection is lost, for everybody
        return error
