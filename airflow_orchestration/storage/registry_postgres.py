"""Specifications of jobs, in PostgreSQL."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import psycopg

from airflow_orchestration.storage import rows
from airflow_orchestration.storage.registry import (
    JobChange,
    JobRevision,
    refuse_without_room,
    unknown_job,
    unknown_revision,
)
from airflow_orchestration.storage.sql_file import statements

_SQL = statements("registry.sql")

Cursor = psycopg.Cursor[dict[str, Any]]

log = logging.getLogger(__name__)


class PostgresRegistry:
    """Keeps every revision of every job in an append-only table."""

    def __init__(self, transaction: Callable[[], AbstractContextManager[Cursor]]) -> None:
        self._transaction = transaction

    def put(self, tenant: str, job: str, files: Sequence[tuple[str, str]], *, changed_by: str) -> JobChange:
        """Keep a new revision of a job, and return it; one that equals the newest changes nothing and is that."""
        named = {"tenant": tenant, "job": job}
        with self._transaction() as cursor:
            cursor.execute(_SQL["lock_registry"])
            newest = _job(cursor, named)
            if newest is not None and newest.files == tuple(files):
                return newest.change
            room = next(iter(cursor.execute(_SQL["room"], named)))
            refuse_without_room(tenant, job, **room)
            return _appended(cursor, {**named, "files": files, "changed_by": changed_by})

    def remove(self, tenant: str, job: str, *, changed_by: str) -> JobChange:
        """Take a job away from the next revision on; raises `KeyError` when there is none."""
        named = {"tenant": tenant, "job": job}
        with self._transaction() as cursor:
            cursor.execute(_SQL["lock_registry"])
            newest = cursor.execute(_SQL["newest_change"], named).fetchone()
            if newest is None or newest["is_removed"]:
                raise unknown_job(tenant, job)
            return _appended(cursor, {**named, "files": (), "changed_by": changed_by})

    def revision(self) -> int:
        """The newest revision of the registry; 0 when it is empty."""
        with self._transaction() as cursor:
            return _newest_revision(cursor)

    def change(self, revision: int) -> JobChange:
        """What a revision changed; raises `KeyError` when there is none of this number."""
        with self._transaction() as cursor:
            found = cursor.execute(_SQL["change"], {"revision": revision}).fetchone()
        if found is None:
            raise unknown_revision(revision)
        return JobChange(**found)

    def job(self, tenant: str, job: str, revision: int | None = None) -> JobRevision | None:
        """One job as it was at a revision, or is; None when there is none, or it is removed."""
        with self._transaction() as cursor:
            _refuse_unknown(cursor, revision)
            return _job(cursor, {"tenant": tenant, "job": job}, revision)

    def jobs(self, revision: int | None = None) -> Sequence[JobRevision]:
        """The jobs of a revision with their texts, by tenant and job; left out, the newest."""
        with self._transaction() as cursor:
            _refuse_unknown(cursor, revision)
            return _revisions(cursor.execute(_SQL["jobs"], {"revision": revision}))

    def listed(self, revision: int | None = None, tenant: str | None = None) -> Sequence[JobChange]:
        """The change that each job of a revision is from, by tenant and job: of all, or of a tenant."""
        with self._transaction() as cursor:
            _refuse_unknown(cursor, revision)
            found = cursor.execute(_SQL["listed"], {"revision": revision, "tenant": tenant})
            return [JobChange(**row) for row in found]

    def changes(self, tenant: str | None = None, job: str | None = None) -> Sequence[JobChange]:
        """Every change, oldest first: all, those of a tenant, those of a job."""
        with self._transaction() as cursor:
            found = cursor.execute(_SQL["changes"], {"tenant": tenant, "job": job})
            return [JobChange(**row) for row in found]


def _newest_revision(cursor: Cursor) -> int:
    row = cursor.execute(_SQL["newest_revision"]).fetchone()
    return int(row["revision"]) if row else 0


def _refuse_unknown(cursor: Cursor, revision: int | None) -> None:
    if revision is not None and not 0 <= revision <= _newest_revision(cursor):
        raise unknown_revision(revision)


def _job(cursor: Cursor, named: dict[str, Any], revision: int | None = None) -> JobRevision | None:
    found = _revisions(cursor.execute(_SQL["job"], {**named, "revision": revision}))
    return found[0] if found else None


def _appended(cursor: Cursor, change: dict[str, Any]) -> JobChange:
    files = rows.as_json([list(file) for file in change["files"]])
    added = cursor.execute(_SQL["add_revision"], {**change, "files": files})
    return next(JobChange(**row) for row in added)


def _revisions(found: Iterable[dict[str, Any]]) -> list[JobRevision]:
    """The rows that hold what we write: one that somebody else wrote must not stop the others."""
    usable = []
    for row in found:
        files = row.pop("files")
        if _are_files(files):
            kept = tuple((name, text) for name, text in files)
            usable.append(JobRevision(change=JobChange(**row), files=kept))
        else:
            log.error("Revision %d of the job registry holds no files; left out", row["revision"])
    return usable


def _are_files(files: object) -> bool:
    return isinstance(files, list) and all(
        isinstance(file, list) and [type(part) for part in file] == [str, str] for file in files
    )
