"""Specifications of jobs, in PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import psycopg

from airflow_orchestration.storage import rows
from airflow_orchestration.storage.registry import JobRevision, unknown_job, unknown_revision
from airflow_orchestration.storage.sql_file import statements

_SQL = statements("registry.sql")

Cursor = psycopg.Cursor[dict[str, Any]]


class PostgresRegistry:
    """Keeps every revision of every job in an append-only table."""

    def __init__(self, transaction: Callable[[], AbstractContextManager[Cursor]]) -> None:
        self._transaction = transaction

    def put(self, tenant: str, job: str, files: Sequence[tuple[str, str]], *, changed_by: str) -> JobRevision:
        """Keep a new revision of a job, and return it; one that equals the newest changes nothing and is that."""
        named = {"tenant": tenant, "job": job}
        with self._transaction() as cursor:
            cursor.execute(_SQL["lock_registry"])
            newest = cursor.execute(_SQL["newest_job"], named).fetchone()
            if newest is not None and _files(newest) == tuple(files):
                return _revision(newest)
            return _appended(cursor, {**named, "files": files, "changed_by": changed_by})

    def remove(self, tenant: str, job: str, *, changed_by: str) -> JobRevision:
        """Take a job away from the next revision on; raises `KeyError` when there is none."""
        named = {"tenant": tenant, "job": job}
        with self._transaction() as cursor:
            cursor.execute(_SQL["lock_registry"])
            newest = cursor.execute(_SQL["newest_job"], named).fetchone()
            if newest is None or not newest["files"]:
                raise unknown_job(tenant, job)
            return _appended(cursor, {**named, "files": (), "changed_by": changed_by})

    def revision(self) -> int:
        """The newest revision of the registry; 0 when it is empty."""
        with self._transaction() as cursor:
            row = cursor.execute(_SQL["newest_revision"]).fetchone()
        return int(row["revision"]) if row else 0

    def change(self, revision: int) -> JobRevision:
        """What a revision changed; raises `KeyError` when there is none of this number."""
        found = self._all("change", {"revision": revision})
        if not found:
            raise unknown_revision(revision)
        return found[0]

    def jobs(self, revision: int | None = None) -> Sequence[JobRevision]:
        """The jobs of a revision, by tenant and job; left out, the newest."""
        return self._all("jobs", {"revision": revision})

    def changes(self, tenant: str | None = None, job: str | None = None) -> Sequence[JobRevision]:
        """Every change, oldest first: all, those of a tenant, those of a job."""
        return self._all("changes", {"tenant": tenant, "job": job})

    def _all(self, name: str, asked: dict[str, Any]) -> Sequence[JobRevision]:
        with self._transaction() as cursor:
            return [_revision(row) for row in cursor.execute(_SQL[name], asked)]


def _appended(cursor: Cursor, change: dict[str, Any]) -> JobRevision:
    files = rows.as_json([list(file) for file in change["files"]])
    added = cursor.execute(_SQL["add_revision"], {**change, "files": files})
    return next(_revision(row) for row in added)


def _files(row: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple((name, text) for name, text in row["files"])


def _revision(row: dict[str, Any]) -> JobRevision:
    return JobRevision(**{**row, "files": _files(row)})
