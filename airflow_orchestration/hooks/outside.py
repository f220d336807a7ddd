"""The world outside as Airflow knows it: by its connections."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException

from airflow_orchestration.domain.feed import Feed
from airflow_orchestration.domain.location import REMOTE
from airflow_orchestration.engine.staging import StagingArea
from airflow_orchestration.exceptions import InputRefusedError, Problem, ProblemCode
from airflow_orchestration.hooks.kafka import kafka_config
from airflow_orchestration.hooks.orchestration import OrchestrationHook
from airflow_orchestration.sources.outside import RemotePath

if TYPE_CHECKING:
    import psycopg

log = logging.getLogger(__name__)


class AirflowOutside:
    """Opens what feeds and roots name, see `sources.outside.Outside`.

    Each connection is asked for once, in `prepare`: the work on a batch is done by a forked process, and two
    processes must not talk to Airflow over one line.
    """

    def __init__(self) -> None:
        self._databases: dict[str, OrchestrationHook] = {}
        self._brokers: dict[str, Mapping[str, Any]] = {}

    def prepare(self, feed: Feed, root: str | None) -> None:
        """See `Outside`; raises `InputRefusedError` and `FeedError`."""
        for database in (feed.database, feed.outbox):
            if database is not None:
                _ = self._database(database.conn_id).provider_hook
        if feed.kafka is not None:
            self.kafka(feed.kafka.conn_id)
        if root is not None and REMOTE in root:
            self.storage(root)

    def postgres(self, conn_id: str) -> psycopg.Connection[Any]:
        """Open a database; raises `InputRefusedError` when the Airflow connection can't be used for it."""
        return self._database(conn_id).get_conn()

    def _database(self, conn_id: str) -> OrchestrationHook:
        return self._databases.setdefault(conn_id, OrchestrationHook(conn_id))

    def storage(self, uri: str) -> RemotePath:
        """See `remote_path`."""
        return remote_path(uri)  # type: ignore[no-any-return]

    def kafka(self, conn_id: str) -> Mapping[str, Any]:
        """The configuration of a Kafka connection; raises `InputRefusedError` when it can't be used."""
        if conn_id not in self._brokers:
            self._brokers[conn_id] = kafka_config(conn_id)
        return self._brokers[conn_id]


def staging_area(root: str) -> StagingArea:
    """Open a staging root: a folder, or an object storage URI; raises `InputRefusedError` as `remote_path` does."""
    return StagingArea(remote_path(root) if REMOTE in root else Path(root))


def remote_path(uri: str) -> Any:
    """Name a place in an object store, and forget what is known of it: files come and go.

    Raises `InputRefusedError` when Airflow has no connection of the URI's name (without one, its provider would
    go on with whatever rights the worker has), and when nothing here opens such a place. A forked process that asks for a place of the same connection as its
    parent did gets it without asking Airflow.
    """
    from airflow.sdk import ObjectStoragePath  # noqa: PLC0415  # half a second that local roots don't pay
    from airflow.sdk.io import attach  # noqa: PLC0415

    conn_id = urlsplit(uri).netloc.rpartition("@")[0] or None
    if conn_id is not None:
        _require_connection(conn_id)
    store = attach(urlsplit(uri).scheme, conn_id)
    _require_file_system(store, urlsplit(uri).scheme)
    if store.fs._pid != os.getpid():  # noqa: SLF001  # fsspec refuses to work for another process than this one
        store.fs = type(store.fs)(*store.fs.storage_args, **store.fs.storage_options)
    store.fs.invalidate_cache()
    return ObjectStoragePath(uri)


@cache
def _require_connection(conn_id: str) -> None:
    try:
        BaseHook.get_connection(conn_id)
    except AirflowNotFoundException:
        problem = Problem(
            code=ProblemCode.NOT_FOUND, path="", message="is not defined; add it under Admin, Connections"
        )
        raise InputRefusedError(f"connection {conn_id}", [problem]) from None


def _require_file_system(store: Any, scheme: str) -> None:
    """Refuse a place whose file system can't be made here: providers tell that in errors of any class."""
    try:
        _ = store.fs
    except Exception as error:
        log.warning("places that begin with %s:// can't be opened", scheme, exc_info=True)
        message = (
            f"can't be opened here ({type(error).__name__}); install the provider of such places with its extra "
            "for file systems, and look at the connection"
        )
        raise InputRefusedError(
            f"{scheme}://", [Problem(code=ProblemCode.NOT_READY, path="", message=message)]
        ) from None
