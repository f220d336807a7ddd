"""The way into the registry of jobs, for command line, REST and operator alike: check, then keep."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from airflow_orchestration.domain.job_file import MAX_JOBS_OF_TENANT, read_job
from airflow_orchestration.domain.odcs import read_contracts
from airflow_orchestration.domain.pipeline import Pipeline
from airflow_orchestration.domain.tenancy import Tenancy, name_problems
from airflow_orchestration.exceptions import InputRefusedError, Problem
from airflow_orchestration.storage.registry import JobRevision, Registry

MAX_CHANGED_BY = 200
"""Ours: a name, not a story."""

Read = TypeVar("Read")
ScheduleProblems = Callable[[Pipeline], Iterable[Problem]]
"""Airflow's word on schedules, which nothing here knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryTerms:
    """What the deployer grants to the tenants of a registry."""

    data: str
    """The folder, or object storage URI, below which every tenant has a folder of its own."""
    shared_conn_ids: tuple[str, ...] = ()
    """Airflow connections that every tenant may name."""
    orchestration_conn_id: str = "orchestration_default"
    """The Airflow connection of the store, which the registry is a part of."""

    def of_job(self, tenant: str, job: str) -> Tenancy:
        """What one job of a tenant may use."""
        return Tenancy(
            tenant=tenant,
            job=job,
            data=self.data,
            shared_conn_ids=self.shared_conn_ids,
            store_conn_id=self.orchestration_conn_id,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class JobTexts:
    """A job as its author wrote it."""

    specification: str
    """The text of the pipeline file (YAML)."""
    contract: str
    """The text of the data contract that the specification names."""


def register(
    registry: Registry,
    terms: RegistryTerms,
    tenant: str,
    job: str,
    texts: JobTexts,
    *,
    changed_by: str,
    schedule_problems: ScheduleProblems,
) -> JobRevision:
    """Keep a job when it is one that the bundle will make a Dag of.

    Raises `InputRefusedError` with every problem of both texts; then nothing is kept.
    """
    _refuse(tenant, job, [*name_problems(tenant, job), *_changed_by_problems(changed_by)])
    files = _checked_files(terms.of_job(tenant, job), texts, schedule_problems)
    _refuse(tenant, job, list(_room_problems(registry, tenant, job)))
    return registry.put(tenant, job, files, changed_by=changed_by)


def unregister(registry: Registry, tenant: str, job: str, *, changed_by: str) -> JobRevision:
    """Take a job away; raises `InputRefusedError` when it is not there."""
    _refuse(tenant, job, _changed_by_problems(changed_by))
    try:
        return registry.remove(tenant, job, changed_by=changed_by)
    except KeyError:
        raise unknown_job(tenant, job) from None


def unknown_job(tenant: str, job: str) -> InputRefusedError:
    """The error for a job that the registry does not have."""
    message = "is not in the registry; `airflow orchestration agents list` shows what is"
    return InputRefusedError(_subject(tenant, job), [Problem(path="", message=message)])


def _checked_files(
    tenancy: Tenancy, texts: JobTexts, schedule_problems: ScheduleProblems
) -> list[tuple[str, str]]:
    """Read the texts as files, as everybody else will."""
    with TemporaryDirectory(prefix="job-") as scratch:
        folder = Path(scratch).resolve() / tenancy.tenant
        folder.mkdir()
        specification = _written(folder / f"{tenancy.job}.yaml", texts.specification)
        contract = _written(folder / "contract.new", texts.contract)
        found, problems = _tried(specification.name, lambda: read_job(specification, tenancy))
        if found is None:
            problems += _tried("contract", lambda: read_contracts(contract))[1]
        else:
            contract.rename(folder / found.contract_path.name)
            problems += _tried(found.contract_path.name, found.read_contracts)[1]
            problems += _named(specification.name, schedule_problems(found.pipeline))
    _refuse(tenancy.tenant, tenancy.job, problems)
    assert found is not None  # noqa: S101  # for mypy: without it there were problems
    return [(specification.name, texts.specification), (found.contract_path.name, texts.contract)]


def _tried(name: str, read: Callable[[], Read]) -> tuple[Read | None, list[Problem]]:
    try:
        return read(), []
    except InputRefusedError as error:
        return None, _named(name, error.problems)


def _named(name: str, problems: Iterable[Problem]) -> list[Problem]:
    return [Problem(path=f"{name} {problem.path}".rstrip(), message=problem.message) for problem in problems]


def _written(path: Path, text: str) -> Path:
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    return path


def _room_problems(registry: Registry, tenant: str, job: str) -> Iterator[Problem]:
    """One tenant's jobs must not take the dag-processor's time from the others."""
    known = {other.job for other in registry.jobs() if other.tenant == tenant}
    if job not in known and len(known) >= MAX_JOBS_OF_TENANT:
        message = (
            f"has {len(known)} jobs, at most {MAX_JOBS_OF_TENANT} are kept; remove one that is not needed"
        )
        yield Problem(path="tenant", message=message)


def _changed_by_problems(changed_by: str) -> list[Problem]:
    if changed_by.isprintable() and 0 < len(changed_by) <= MAX_CHANGED_BY:
        return []
    message = f"must be 1 to {MAX_CHANGED_BY} printable characters: who changes the job"
    return [Problem(path="changed_by", message=message)]


def _refuse(tenant: str, job: str, problems: list[Problem]) -> None:
    if problems:
        raise InputRefusedError(_subject(tenant, job), problems)


def _subject(tenant: str, job: str) -> str:
    return f"job {job!r} of tenant {tenant!r}"
