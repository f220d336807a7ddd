"""The world outside as Airflow knows it: by its connections."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_orchestration.domain.feed import Feed
from airflow_orchestration.hooks.kafka import kafka_config
from airflow_orchestration.hooks.orchestration import OrchestrationHook
from airflow_orchestration.sources.outside import RemotePath

if TYPE_CHECKING:
    import psycopg


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
        if root is not None and "://" in root:
            self.storage(root)

    def postgres(self, conn_id: str) -> psycopg.Connection[Any]:
        """Open a database; raises `InputRefusedError` when the Airflow connection can't be used for it."""
        return self._database(conn_id).get_conn()

    def _database(self, conn_id: str) -> OrchestrationHook:
        return self._databases.setdefault(conn_id, OrchestrationHook(conn_id))

    def storage(self, uri: str) -> RemotePath:
        """Name a place in an object store, and forget what is known of it: files come and go."""
        from airflow.sdk import ObjectStoragePath  # noqa: PLC0415  # half a second that local roots don't pay

        path: Any = ObjectStoragePath(uri)
        path.fs.invalidate_cache()
        return path  # type: ignore[no-any-return]

    def kafka(self, conn_id: str) -> Mapping[str, Any]:
        """The configuration of a Kafka connection; raises `InputRefusedError` when it can't be used."""
        if conn_id not in self._brokers:
            self._brokers[conn_id] = kafka_config(conn_id)
        return self._brokers[conn_id]
