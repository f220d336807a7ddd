"""Specifications of jobs, in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from threading import Lock

from airflow_orchestration.storage.registry import JobRevision, unknown_job, unknown_revision


class MemoryRegistry:
    """Keeps every revision of every job; `clock` is its idea of now."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._lock = Lock()
        self._changes: list[JobRevision] = []

    def put(self, tenant: str, job: str, files: Sequence[tuple[str, str]], *, changed_by: str) -> JobRevision:
        """Keep a new revision of a job, and return it; one that equals the newest changes nothing and is that."""
        with self._lock:
            newest, kept = self._newest(tenant, job), tuple(files)
            if newest is not None and newest.files == kept:
                return newest
            return self._append(tenant, job, kept, changed_by)

    def remove(self, tenant: str, job: str, *, changed_by: str) -> JobRevision:
        """Take a job away from the next revision on; raises `KeyError` when there is none."""
        with self._lock:
            newest = self._newest(tenant, job)
            if newest is None or newest.is_removed:
                raise unknown_job(tenant, job)
            return self._append(tenant, job, (), changed_by)

    def revision(self) -> int:
        """The newest revision of the registry; 0 when it is empty."""
        return len(self._changes)

    def change(self, revision: int) -> JobRevision:
        """What a revision changed; raises `KeyError` when there is none of this number."""
        if not 1 <= revision <= len(self._changes):
            raise unknown_revision(revision)
        return self._changes[revision - 1]

    def jobs(self, revision: int | None = None) -> Sequence[JobRevision]:
        """The jobs of a revision, by tenant and job; left out, the newest."""
        known = self._changes if revision is None else self._changes[:revision]
        last = {(change.tenant, change.job): change for change in known}
        return [last[key] for key in sorted(last) if not last[key].is_removed]

    def changes(self, tenant: str | None = None, job: str | None = None) -> Sequence[JobRevision]:
        """Every change, oldest first: all, those of a tenant, those of a job."""
        return [
            change
            for change in self._changes
            if tenant in {None, change.tenant} and job in {None, change.job}
        ]

    def _newest(self, tenant: str, job: str) -> JobRevision | None:
        of_job = self.changes(tenant, job)
        return of_job[-1] if of_job else None

    def _append(
        self, tenant: str, job: str, files: tuple[tuple[str, str], ...], changed_by: str
    ) -> JobRevision:
        change = JobRevision(
            revision=len(self._changes) + 1,
            tenant=tenant,
            job=job,
            files=files,
            changed_by=changed_by,
            changed_at=self._clock(),
        )
        self._changes.append(change)
        return change
