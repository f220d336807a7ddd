"""The hook to the store and to target databases: PostgreSQL connections that Airflow keeps."""

from __future__ import annotations

import json
from copy import copy
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException

from airflow_orchestration.exceptions import InputRefusedError, Problem, ProblemCode
from airflow_orchestration.storage.postgres import PostgresStore
from airflow_orchestration.storage.publishing import Publisher
from airflow_orchestration.storage.reading_session import only_read

if TYPE_CHECKING:
    import psycopg
    from airflow.providers.postgres.hooks.postgres import PostgresHook
    from airflow.sdk import Connection

ACCEPTED_EXTRAS = frozenset(
    {
        "application_name",
        "connect_timeout",
        "keepalives",
        "keepalives_count",
        "keepalives_idle",
        "keepalives_interval",
        "sslcert",
        "sslkey",
        "sslmode",
        "sslrootcert",
        "target_session_attrs",
        "tcp_user_timeout",
    }
)
"""Anything else in a connection's extra could send its password elsewhere, or split a transaction."""


SOON = {
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 2,
    "tcp_user_timeout": 5_000,
    "connect_timeout": 2,
}
"""Ours: when a connection for somebody who waits gives up, in the words and units of libpq.

A request holds one of the api-server's threads, which answer everything else, too."""
STATEMENT_LIMIT = timedelta(seconds=5)
"""Ours: how long the server may work on a statement that somebody waits for."""


class OrchestrationHook(BaseHook):
    """Opens the store, and target databases to publish to.

    :param orchestration_conn_id: an Airflow connection of type `postgres`, migrated with
        `airflow orchestration migrate`.
    """

    conn_name_attr = "orchestration_conn_id"
    default_conn_name = "orchestration_default"
    hook_name = "Orchestration"

    def __init__(self, orchestration_conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.orchestration_conn_id = orchestration_conn_id

    def get_conn(self) -> psycopg.Connection[Any]:
        """Open a connection; raises `InputRefusedError` when the Airflow connection can't be used for it."""
        opened: Any = self.provider_hook.get_conn()
        return opened  # type: ignore[no-any-return]  # psycopg 3 under SQLAlchemy 2, which Airflow 3.3 needs

    def get_conn_soon(self) -> psycopg.Connection[Any]:
        """Open a connection for somebody who waits: a server that does not answer in time is told as `OperationalError`."""
        hook = copy(self.provider_hook)
        hook.connection = copy(hook.connection)
        hook.connection.extra = json.dumps({**hook.connection.extra_dejson, **SOON})
        opened: Any = hook.get_conn()
        return opened  # type: ignore[no-any-return]

    @cached_property
    def provider_hook(self) -> PostgresHook:
        """The provider's hook, which has asked Airflow for the connection: a forked process need not ask again."""
        # The provider's hook takes 0.5 s to import: only the tasks that open a connection pay for it.
        from airflow.providers.postgres.hooks.postgres import PostgresHook  # noqa: PLC0415

        connection = self._airflow_connection()
        refused = sorted(set(connection.extra_dejson) - ACCEPTED_EXTRAS)
        problems = [
            Problem(code=ProblemCode.NOT_ALLOWED, path=f"extra.{name}", message="is not accepted; remove it")
            for name in refused
        ]
        if connection.conn_type not in {"postgres", "postgresql"}:
            problems.append(
                Problem(
                    code=ProblemCode.WRONG_TYPE,
                    path="conn_type",
                    message=f"is {connection.conn_type!r}; a postgres one is needed",
                )
            )
        if problems:
            raise InputRefusedError(f"connection {self.orchestration_conn_id}", problems)
        return PostgresHook(postgres_conn_id=self.orchestration_conn_id, connection=connection)

    def _airflow_connection(self) -> Connection:
        try:
            return self.get_connection(self.orchestration_conn_id)
        except AirflowNotFoundException:
            problem = Problem(
                code=ProblemCode.NOT_FOUND, path="", message="is not defined; add it under Admin, Connections"
            )
            raise InputRefusedError(f"connection {self.orchestration_conn_id}", [problem]) from None

    def store(self) -> PostgresStore:
        """Return the store behind this connection; it connects when it is first used."""
        return PostgresStore(self.get_conn)

    def store_soon(self, *, read_only: bool) -> PostgresStore:
        """Return the store for one request: it gives up after `SOON` and `STATEMENT_LIMIT`."""

        def connect() -> psycopg.Connection[Any]:
            connection = self.get_conn_soon()
            connection.read_only = read_only
            return connection

        return PostgresStore(connect, statement_limit=STATEMENT_LIMIT)

    def publisher(self) -> Publisher:
        """Return a publisher to the database behind this connection."""
        return Publisher(self.get_conn)


def publisher_of(conn_id: str) -> Publisher:
    """Return a publisher to the database behind an Airflow connection."""
    return OrchestrationHook(conn_id).publisher()


def reader_of(conn_id: str, *, statement_limit: timedelta | None = STATEMENT_LIMIT) -> Publisher:
    """Return what only reads in the database behind an Airflow connection, and gives up soon.

    :param statement_limit: None for somebody who has asked for all rows, and may end it.
    """
    hook = OrchestrationHook(conn_id)
    return Publisher(lambda: only_read(hook.get_conn_soon(), statement_limit=statement_limit))
