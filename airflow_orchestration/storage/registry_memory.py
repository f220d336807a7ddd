"""Specifications of jobs, in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from threading import Lock

from airflow_orchestration.storage.registry import (
    JobChange,
    JobRevision,
    refuse_without_room,
    unknown_job,
    unknown_revision,
)

DAY = timedelta(days=1)


class MemoryRegistry:
    """Keeps every revision of every job; `clock` is its idea of now."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._lock = Lock()
        self._revisions: list[JobRevision] = []

    def put(self, tenant: str, job: str, files: Sequence[tuple[str, str]], *, changed_by: str) -> JobChange:
        """Keep a new revision of a job, and return it; one that equals the newest changes nothing and is that."""
        with self._lock:
            newest, kept = self.job(tenant, job), tuple(files)
            if newest is not None and newest.files == kept:
                return newest.change
            self._refuse_without_room(tenant, job)
            return self._append(tenant, job, kept, changed_by)

    def remove(self, tenant: str, job: str, *, changed_by: str) -> JobChange:
        """Take a job away from the next revision on; raises `KeyError` when there is none."""
        with self._lock:
            if self.job(tenant, job) is None:
                raise unknown_job(tenant, job)
            return self._append(tenant, job, (), changed_by)

    def revision(self) -> int:
        """The newest revision of the registry; 0 when it is empty."""
        return len(self._revisions)

    def change(self, revision: int) -> JobChange:
        """What a revision changed; raises `KeyError` when there is none of this number."""
        if not 1 <= revision <= len(self._revisions):
            raise unknown_revision(revision)
        return self._revisions[revision - 1].change

    def job(self, tenant: str, job: str, revision: int | None = None) -> JobRevision | None:
        """One job as it was at a revision, or is; None when there is none, or it is removed."""
        named = (tenant, job)
        return next(
            (one for one in self.jobs(revision) if (one.change.tenant, one.change.job) == named), None
        )

    def jobs(self, revision: int | None = None) -> Sequence[JobRevision]:
        """The jobs of a revision with their texts, by tenant and job; left out, the newest."""
        if revision is not None and not 0 <= revision <= len(self._revisions):
            raise unknown_revision(revision)
        known = self._revisions[:revision]
        last = {(one.change.tenant, one.change.job): one for one in known}
        return [last[key] for key in sorted(last) if not last[key].change.is_removed]

    def listed(self, revision: int | None = None, tenant: str | None = None) -> Sequence[JobChange]:
        """The change that each job of a revision is from, by tenant and job: of all, or of a tenant."""
        return [one.change for one in self.jobs(revision) if tenant in {None, one.change.tenant}]

    def changes(self, tenant: str | None = None, job: str | None = None) -> Sequence[JobChange]:
        """Every change, oldest first: all, those of a tenant, those of a job."""
        return [
            one.change
            for one in self._revisions
            if tenant in {None, one.change.tenant} and job in {None, one.change.job}
        ]

    def _refuse_without_room(self, tenant: str, job: str) -> None:
        others = [other for other in self.listed(tenant=tenant) if other.job != job]
        since = self._clock() - DAY
        changes = [change for change in self.changes(tenant, job) if change.changed_at > since]
        refuse_without_room(tenant, job, other_jobs=len(others), changes=len(changes))

    def _append(
        self, tenant: str, job: str, files: tuple[tuple[str, str], ...], changed_by: str
    ) -> JobChange:
        change = JobChange(
            revision=len(self._revisions) + 1,
            tenant=tenant,
            job=job,
            is_removed=not files,
            changed_by=changed_by,
            changed_at=self._clock(),
        )
        self._revisions.append(JobRevision(change=change, files=files))
        return change
