"""Makes of a connection one that only reads, and that gives up soon."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import psycopg

from airflow_orchestration.storage.sql_file import statements

_SQL = statements("reading_session.sql")


def only_read(
    connection: psycopg.Connection[Any], *, statement_limit: timedelta | None
) -> psycopg.Connection[Any]:
    """Let a new connection read alone, in transactions, and return it.

    :param statement_limit: how long the server may work on a statement; None leaves the server's own limit.
    """
    connection.autocommit = True
    connection.read_only = True  # of each transaction: a pooler may give the session to somebody who writes
    if statement_limit is not None:
        limit = f"{statement_limit / timedelta(milliseconds=1):.0f}ms"
        connection.execute(_SQL["bound_statements"], {"statement_limit": limit})
    return connection
