"""Specifications of jobs that live in the store instead of a folder: each change is a revision of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Protocol

from airflow_orchestration.domain.job_file import MAX_JOBS_OF_TENANT
from airflow_orchestration.domain.tenancy import SEPARATOR
from airflow_orchestration.exceptions import InputRefusedError, Problem, ProblemCode

MAX_CHANGES_A_DAY = 200
"""Ours: of one job; every text is kept, so a program that runs wild must not fill the store."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobChange:
    """Who changed which job and when, without its texts."""

    revision: int
    """Counts the changes of the whole registry, from 1: revision N of the registry is all changes up to N."""
    tenant: str
    job: str
    is_removed: bool
    """Whether the job was taken away with this revision."""
    changed_by: str
    changed_at: datetime

    @property
    def dag_id(self) -> str:
        """The id of the job's Dag."""
        return dag_id_of(self.tenant, self.job)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRevision:
    """What a tenant's job was to be from one revision on. `files` is name -> text; without any the job is gone.

    The specification itself is the file `<job>.yaml`, and a data contract stands beside it under the name that
    the specification gives.
    """

    change: JobChange
    files: tuple[tuple[str, str], ...]


class Registry(Protocol):
    """Keeps every revision of every job; nothing is deleted."""

    def put(self, tenant: str, job: str, files: Sequence[tuple[str, str]], *, changed_by: str) -> JobChange:
        """Keep a new revision of a job, and return it; one that equals the newest changes nothing and is that.

        Raises `InputRefusedError` when the tenant has `MAX_JOBS_OF_TENANT` other jobs, or this one had
        `MAX_CHANGES_A_DAY` changes within 24 hours.
        """
        ...

    def remove(self, tenant: str, job: str, *, changed_by: str) -> JobChange:
        """Take a job away from the next revision on; raises `KeyError` when there is none."""
        ...

    def revision(self) -> int:
        """The newest revision of the registry; 0 when it is empty."""
        ...

    def change(self, revision: int) -> JobChange:
        """What a revision changed; raises `KeyError` when there is none of this number."""
        ...

    def job(self, tenant: str, job: str, revision: int | None = None) -> JobRevision | None:
        """One job as it was at a revision, or is; None when there is none, or it is removed.

        Raises `KeyError` for a revision that never was.
        """
        ...

    def jobs(self, revision: int | None = None) -> Sequence[JobRevision]:
        """The jobs of a revision with their texts, by tenant and job; left out, the newest.

        A row that is none of ours is left out with an error in the log. Raises `KeyError` for a revision that
        never was.
        """
        ...

    def listed(self, revision: int | None = None, tenant: str | None = None) -> Sequence[JobChange]:
        """The change that each job of a revision is from, by tenant and job: of all, or of a tenant.

        Raises `KeyError` for a revision that never was.
        """
        ...

    def changes(self, tenant: str | None = None, job: str | None = None) -> Sequence[JobChange]:
        """Every change, oldest first: all, those of a tenant, those of a job."""
        ...


def dag_id_of(tenant: str, job: str) -> str:
    """The id of a job's Dag."""
    return f"{tenant}{SEPARATOR}{job}"


def change_as_json(change: JobChange) -> dict[str, Any]:
    """A change as plain data, for people and other programs."""
    return {**asdict(change), "dag_id": change.dag_id, "changed_at": change.changed_at.isoformat()}


def unknown_revision(revision: int) -> KeyError:
    """The error for a revision that never was."""
    return KeyError(f"the job registry has no revision {revision}")


def unknown_job(tenant: str, job: str) -> KeyError:
    """The error for a job that is not there, or not any more."""
    return KeyError(f"tenant {tenant} has no job {job}")


def refuse_without_room(tenant: str, job: str, *, other_jobs: int, changes: int) -> None:
    """Raise when a tenant has too many other jobs, or this one too many changes of the last 24 hours."""
    problems = []
    if other_jobs >= MAX_JOBS_OF_TENANT:
        message = (
            f"has {other_jobs} jobs, at most {MAX_JOBS_OF_TENANT} are kept; remove one that is not needed"
        )
        problems.append(Problem(code=ProblemCode.TOO_MANY, path="tenant", message=message))
    if changes >= MAX_CHANGES_A_DAY:
        message = f"was changed {changes} times in 24 hours, at most {MAX_CHANGES_A_DAY} are kept; wait"
        problems.append(Problem(code=ProblemCode.TOO_MANY, path="job", message=message))
    if problems:
        raise InputRefusedError(f"job {job!r} of tenant {tenant!r}", problems)
