"""One store connection per triggerer process, however many triggers wait in it."""

from __future__ import annotations

from threading import Lock

from airflow_orchestration.hooks.orchestration import OrchestrationHook
from airflow_orchestration.storage.postgres import PostgresStore

_stores: dict[str, PostgresStore] = {}
_opening = Lock()


def shared_store(conn_id: str) -> PostgresStore:
    """Return this process's store of a connection; the store reconnects by itself.

    Call it, and the store, only through `sync_to_async`: that runs one call at a time.
    """
    with _opening:
        if conn_id not in _stores:
            _stores[conn_id] = OrchestrationHook(conn_id).store()
        return _stores[conn_id]
