"""Specifications of jobs that live in the store instead of a folder: each change is a revision of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from airflow_orchestration.domain.tenancy import SEPARATOR


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRevision:
    """What a tenant's job was to be from one revision on. `files` is name -> text; without any the job is gone.

    The specification itself is the file `<job>.yaml`, and a data contract stands beside it under the name that
    the specification gives.
    """

    revision: int
    """Counts the changes of the whole registry, from 1: revision N of the registry is all changes up to N."""
    tenant: str
    job: str
    files: tuple[tuple[str, str], ...]
    changed_by: str
    changed_at: datetime

    @property
    def dag_id(self) -> str:
        """The id of the job's Dag."""
        return f"{self.tenant}{SEPARATOR}{self.job}"

    @property
    def is_removed(self) -> bool:
        """Whether the job was taken away with this revision."""
        return not self.files


class Registry(Protocol):
    """Keeps every revision of every job, for ever."""

    def put(self, tenant: str, job: str, files: Sequence[tuple[str, str]], *, changed_by: str) -> JobRevision:
        """Keep a new revision of a job, and return it; one that equals the newest changes nothing and is that."""
        ...

    def remove(self, tenant: str, job: str, *, changed_by: str) -> JobRevision:
        """Take a job away from the next revision on; raises `KeyError` when there is none."""
        ...

    def revision(self) -> int:
        """The newest revision of the registry; 0 when it is empty."""
        ...

    def change(self, revision: int) -> JobRevision:
        """What a revision changed; raises `KeyError` when there is none of this number."""
        ...

    def jobs(self, revision: int | None = None) -> Sequence[JobRevision]:
        """The jobs of a revision, by tenant and job; left out, the newest."""
        ...

    def changes(self, tenant: str | None = None, job: str | None = None) -> Sequence[JobRevision]:
        """Every change, oldest first: all, those of a tenant, those of a job."""
        ...


def unknown_revision(revision: int) -> KeyError:
    """The error for a revision that never was."""
    return KeyError(f"the registry has no revision {revision}")


def unknown_job(tenant: str, job: str) -> KeyError:
    """The error for a job that is not there, or not any more."""
    return KeyError(f"tenant {tenant} has no job {job}")
