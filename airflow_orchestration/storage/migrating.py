"""Is the schema of a database the one of this package? Applies the numbered migrations that are missing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg.rows import tuple_row

from airflow_orchestration.exceptions import StoreNotReadyError
from airflow_orchestration.storage.sql_file import FOLDER, statements

_SQL = statements("migrations.sql")

Connection = psycopg.Connection[Any]


def migrate(connection: Connection) -> list[str]:
    """Apply the missing migrations in one transaction and return their names.

    Repeating it changes nothing, and two at once do it once.
    """
    with connection.transaction():
        connection.execute(_SQL["lock_migrations"])
        missing = pending(connection)
        for name in missing:
            connection.execute(FOLDER.joinpath("migrations", f"{name}.sql").read_bytes())
            connection.execute(_SQL["note_migration"], {"name": name})
    return missing


def pending(connection: Connection) -> list[str]:
    """Name the migrations that this database lacks; raises `StoreNotReadyError` when it is ahead of us."""
    known, applied = _known(), _applied(connection)
    unknown = [name for name in applied if name not in known]
    if unknown:
        raise StoreNotReadyError(
            f"the store in {_place(connection)} has the migration {unknown[-1]}, which this package does not "
            "know: the package is older than the store; upgrade airflow-provider-orchestration"
        )
    return [name for name in known if name not in applied]


def check_ready(connection: Connection) -> None:
    """Raise `StoreNotReadyError`, with the remedy, when the schema is not the one of this package."""
    missing = pending(connection)
    if missing:
        raise StoreNotReadyError(
            f"the store in {_place(connection)} lacks the migrations from {missing[0]} on; "
            "run: airflow orchestration migrate"
        )


def _known() -> Sequence[str]:
    folder = FOLDER.joinpath("migrations")
    return sorted(file.name.removesuffix(".sql") for file in folder.iterdir() if file.name.endswith(".sql"))


def _applied(connection: Connection) -> Sequence[str]:
    with connection.cursor(row_factory=tuple_row) as cursor:
        row = cursor.execute(_SQL["has_migrations"]).fetchone()
        if row is None or not row[0]:
            return []
        return [name for (name,) in cursor.execute(_SQL["applied_migrations"])]


def _place(connection: Connection) -> str:
    return f"database {connection.info.dbname!r}"
