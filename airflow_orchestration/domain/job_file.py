"""Reads the specification of a tenant's job, `<folder>/<tenant>/<job>.yaml`: a pipeline file by a stranger.

Where the file stands says whose it is and what its Dag is called. It may name only what is its tenant's.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airflow_orchestration.domain.conf import validated
from airflow_orchestration.domain.pipeline import Pipeline
from airflow_orchestration.domain.pipeline_file import PipelineFile
from airflow_orchestration.domain.problems import path_of
from airflow_orchestration.domain.run_spec import structure_problems
from airflow_orchestration.domain.tenancy import CONTRACT_SUFFIX, Tenancy, name_problems, tenancy_problems
from airflow_orchestration.domain.yaml_file import read_yaml
from airflow_orchestration.exceptions import InputRefusedError, Problem

MAX_JOBS = 2_000
"""Ours: jobs of one folder; Airflow allows a Dag file 50 seconds, in which it builds and serializes so many."""
MAX_JOBS_OF_TENANT = 500
"""Ours: so that one tenant's files can't take the places of the others."""
MAX_SCHEDULE_LENGTH = 100
"""Ours: Airflow writes a schedule out in words, and has 1000 letters for them."""
_SUFFIX = ".yaml"
_OTHER_SUFFIXES = (".yml", ".YAML", ".YML")
_SCHEDULE = re.compile(r"@(once|continuous|hourly|daily|weekly|monthly|quarterly|yearly)|\S+( \S+){4,5}")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_FROM_PLACE = ("id", "tenant")


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundJob:
    """A file of a folder of jobs, and why it can't be one, if so."""

    tenant: str
    job: str
    path: Path
    problem: str | None = None

    def refusal(self) -> InputRefusedError:
        """The error that says why this file is no job."""
        return InputRefusedError(self.subject, [Problem(path="", message=self.problem or "")])

    @property
    def subject(self) -> str:
        """What an error calls it."""
        if not self.job:
            return f"folder {self.path.name!a}"
        return f"job {f'{self.tenant}/{self.path.name}'.removeprefix('/')!a}"


def find_job(folder: Path, tenant: str, job: str) -> FoundJob:
    """Return where the file of one job stands, whether it is there or not; nothing else is looked at."""
    elsewhere = _link_elsewhere(folder, tenant)
    return elsewhere or FoundJob(tenant=tenant, job=job, path=folder / tenant / f"{job}{_SUFFIX}")


def find_jobs(folder: Path) -> list[FoundJob]:
    """Name every file below a folder that is a job or was meant to be one, by tenant and job.

    Hidden files, contracts, files of other kinds and folders inside a tenant's are left alone. Raises
    `InputRefusedError` when the folder can't be read.
    """
    found: list[FoundJob] = []
    try:
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                jobs = list(_jobs_of(folder, entry.name))
                whole = FoundJob(tenant=entry.name, job="", path=Path(entry.path))
                found += _cut(jobs, MAX_JOBS_OF_TENANT, f"tenant {entry.name!a}", whole)
            elif entry.name.endswith((_SUFFIX, *_OTHER_SUFFIXES)):
                message = "stands in no tenant's folder; move it to <tenant>/<job>.yaml"
                path = Path(entry.path)
                found.append(FoundJob(tenant="", job=path.stem, path=path, problem=message))
    except OSError as error:
        problem = Problem(path="", message=f"can't be read ({error.strerror}); check the path")
        raise InputRefusedError(f"folder of jobs {folder}", [problem]) from None
    return _cut(found, MAX_JOBS, "the folder", FoundJob(tenant="", job="", path=folder))


def _link_elsewhere(folder: Path, tenant: str) -> FoundJob | None:
    place = folder / tenant
    if place.resolve() == folder.resolve() / tenant:
        return None
    message = "is a link to a folder elsewhere; put the tenant's files here"
    return FoundJob(tenant="", job=tenant, path=place, problem=message)


def _jobs_of(folder: Path, tenant: str) -> Iterator[FoundJob]:
    elsewhere, place = _link_elsewhere(folder, tenant), folder / tenant
    if elsewhere is not None:
        yield elsewhere
        return
    try:
        entries = sorted(os.scandir(place), key=lambda entry: entry.name)
    except OSError as error:
        message = f"can't be read ({error.strerror}); check its permissions"
        yield FoundJob(tenant="", job=tenant, path=place, problem=message)
        return
    for entry in entries:
        path = Path(entry.path)
        if entry.name.startswith(".") or entry.name.endswith(CONTRACT_SUFFIX):
            continue
        if path.suffix in _OTHER_SUFFIXES:
            message = f"must end in {_SUFFIX}; rename it"
            yield FoundJob(tenant=tenant, job=path.stem, path=path, problem=message)
        elif path.suffix == _SUFFIX and not entry.is_dir():
            yield FoundJob(tenant=tenant, job=path.stem, path=path)


def _cut(jobs: list[FoundJob], allowed: int, whose: str, where: FoundJob) -> list[FoundJob]:
    """The first jobs by name as they are, and one problem for all others."""
    if len(jobs) <= allowed:
        return jobs
    message = (
        f"{whose} has {len(jobs)} files, at most {allowed} are loaded, the first by name; divide them among "
        "folders with a Dag file each"
    )
    return [*jobs[:allowed], FoundJob(tenant=where.tenant, job="", path=where.path, problem=message)]


def read_job(path: Path, tenancy: Tenancy) -> PipelineFile:
    """Read one job; raises `InputRefusedError` with every problem, those of its tenancy included.

    Tenant and job are what `tenancy` says. The data contract stands beside the file.
    """
    subject = FoundJob(tenant=tenancy.tenant, job=tenancy.job, path=path).subject
    problems = list(name_problems(tenancy.tenant, tenancy.job))
    if not problems:
        problems = list(_place_problems(path))
    if problems:
        raise InputRefusedError(subject, problems)
    document = _read(path, subject)
    problems = list(_document_problems(document, tenancy))
    try:
        pipeline = validated(Pipeline, _as_pipeline(document, tenancy), subject=subject)
    except InputRefusedError as error:
        raise InputRefusedError(subject, [*problems, *error.problems]) from None
    problems += [*structure_problems(pipeline), *tenancy_problems(pipeline, tenancy)]
    contract = path.parent / pipeline.contract
    if not problems:
        problems += _link_problems("contract", contract)
    if problems:
        raise InputRefusedError(subject, problems)
    changes = {
        "roots": {name: tenancy.place(root) for name, root in pipeline.roots.items()},
        "staging": tenancy.place(pipeline.staging),
        "contract": str(contract.resolve()),
    }
    return PipelineFile(pipeline=pipeline.model_copy(update=changes), path=path, tenancy=tenancy)


def _place_problems(path: Path) -> Iterator[Problem]:
    if path.exists() and not path.is_file():
        yield Problem(path="", message="is no file; put the job's specification there")
    yield from _link_problems("", path)


def _link_problems(where: str, path: Path) -> Iterator[Problem]:
    """A link may lead to a place beside it, as those of a mounted ConfigMap do, and nowhere else."""
    if not path.resolve().is_relative_to(path.parent.resolve()):
        yield Problem(path=where, message="is a link to a file elsewhere; put the file itself here")


def _read(path: Path, subject: str) -> dict[str, Any]:
    try:
        return read_yaml(path)
    except InputRefusedError as error:
        raise InputRefusedError(subject, error.problems) from None


def _as_pipeline(document: Mapping[str, Any], tenancy: Tenancy) -> dict[str, Any]:
    given = {name: value for name, value in document.items() if name not in _FROM_PLACE}
    agents = given.get("agents")
    own = {
        "id": tenancy.dag_id,
        "tenant": tenancy.tenant,
        "agents": {} if agents is None else agents,
    }
    return {"store_conn_id": tenancy.store_conn_id} | given | own


def _document_problems(document: Mapping[str, Any], tenancy: Tenancy) -> Iterator[Problem]:
    if document.get("kind") == "DataContract":
        yield Problem(
            path="kind", message=f"a data contract is no job; name the file <name>{CONTRACT_SUFFIX}"
        )
    for name in _FROM_PLACE:
        if name in document:
            message = f"is said by where the file stands, the Dag is {tenancy.dag_id}; remove it"
            yield Problem(path=name, message=message)
    sync = document.get("sync")
    yield from _schedule_problems("schedule", document.get("schedule"))
    if isinstance(sync, dict):
        yield from _schedule_problems("sync.reconcile_schedule", sync.get("reconcile_schedule"))
    for location in _control_characters(document, ()):
        message = "holds a control character, which no database takes; remove it"
        yield Problem(path=path_of(location), message=message)


def _schedule_problems(path: str, schedule: object) -> Iterator[Problem]:
    if not isinstance(schedule, str):
        return
    if len(schedule) > MAX_SCHEDULE_LENGTH or not _SCHEDULE.fullmatch(schedule):
        message = (
            f"must be a preset such as @daily, or a cron expression of at most {MAX_SCHEDULE_LENGTH} letters"
        )
        yield Problem(path=path, message=message)


def _control_characters(value: object, where: tuple[str | int, ...]) -> Iterator[tuple[str | int, ...]]:
    if isinstance(value, str):
        if _CONTROL.search(value):
            yield where
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from (
                [(*where, name)] if _CONTROL.search(str(name)) else _control_characters(item, (*where, name))
            )
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _control_characters(item, (*where, index))
