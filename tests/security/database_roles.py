"""Logins that have the shipped roles, on a database that was migrated."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from airflow_orchestration.storage.sql_file import FOLDER

SCRIPT = FOLDER.joinpath("roles.sql").read_bytes()
OWNER, WORKER, PUBLISHER, REGISTRAR, READER = ROLES = (
    "orchestration_owner",
    "orchestration_worker",
    "orchestration_publisher",
    "orchestration_registrar",
    "orchestration_reader",
)
_numbers = count()


def apply_roles(dsn: str) -> None:
    """Run the script as psql does: all of it at once."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(SCRIPT)


@contextmanager
def login(dsn: str, *roles: str) -> Iterator[str]:
    """The conninfo string of a new login that has these roles and nothing else."""
    name = f"login_{next(_numbers)}"
    user = sql.Identifier(name)
    with psycopg.connect(dsn, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE ROLE {} LOGIN").format(user))
        for role in roles:
            admin.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(role), user))
        try:
            yield make_conninfo(dsn, user=name)
        finally:
            admin.execute(sql.SQL("DROP OWNED BY {}").format(user))
            admin.execute(sql.SQL("DROP ROLE {}").format(user))


@contextmanager
def connections(dsn: str) -> Iterator[dict[str, psycopg.Connection[Any]]]:
    """An open connection of a login of each role; `with connection.transaction(force_rollback=True)` tries something."""
    with ExitStack() as opened:
        yield {
            role: opened.enter_context(
                psycopg.connect(opened.enter_context(login(dsn, role)), autocommit=True)
            )
            for role in ROLES
        }
