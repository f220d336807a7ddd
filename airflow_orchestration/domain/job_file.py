"""Reads the specification of a tenant's job, `<folder>/<tenant>/<job>.yaml`: a pipeline file by a stranger.

Where the file stands says whose it is and what its Dag is called. It may name only what is its tenant's.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from pathlib import Path
from typing import Any

from airflow_orchestration.domain.conf import validated
from airflow_orchestration.domain.control_characters import control_problems
from airflow_orchestration.domain.pipeline import Pipeline
from airflow_orchestration.domain.pipeline_file import PipelineFile
from airflow_orchestration.domain.problems import first_problems
from airflow_orchestration.domain.run_spec import structure_problems
from airflow_orchestration.domain.tenancy import CONTRACT_SUFFIX, Tenancy, name_problems, tenancy_problems
from airflow_orchestration.domain.yaml_file import MAX_BYTES, read_yaml
from airflow_orchestration.exceptions import InputRefusedError, Problem, ProblemCode

MAX_JOBS = 1_000
"""Ours: jobs of one folder. Airflow allows a Dag file 30 seconds, in which it builds that many of the largest.

The job registry has no such bound: each of its jobs is a Dag file of its own, and takes no other's time."""
MAX_JOBS_OF_TENANT = 500
"""Ours: so that one tenant's files can't take the places of the others."""
MAX_YAML = 3 * 1024 * 1024
"""Ours: bytes of one folder's jobs. The worst take 4 microseconds each, together half of Airflow's 30 seconds."""
MAX_YAML_OF_TENANT = MAX_YAML // 2
"""Ours: 3 KiB for each of its jobs, where a common one has 1."""
MAX_SCHEDULE_LENGTH = 100
"""Ours: Airflow writes a schedule out in words, and has 1000 letters for them."""
_SUFFIX = ".yaml"
_OTHER_SUFFIXES = (".yml", ".YAML", ".YML")
_SCHEDULE = re.compile(r"@(once|continuous|hourly|daily|weekly|monthly|quarterly|yearly)|\S+( \S+){4}")
_SECONDS = re.compile(r"\S+( \S+){5}")
_FROM_PLACE = ("id", "tenant")
_NAMED = 10
_REMEDY = "divide them among folders with a Dag file each"


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundJob:
    """A file of a folder of jobs, and why it can't be one, if so."""

    tenant: str
    job: str
    path: Path
    problem: str | None = None
    code: ProblemCode = ProblemCode.NOT_ALLOWED
    """What kind of problem it is, where it has one."""
    size: int = 0
    """Bytes that reading it takes; 0 for what is refused unread."""

    def refusal(self) -> InputRefusedError:
        """The error that says why this file is no job."""
        return InputRefusedError(self.subject, [Problem(code=self.code, path="", message=self.problem or "")])

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

    Hidden files, contracts, files of other kinds and folders inside a tenant's are left alone. What is too much for
    a tenant, or for the folder, is one problem of that; the folder has room for all tenants alike. Raises
    `InputRefusedError` when the folder can't be read.
    """
    whole: dict[str, list[FoundJob]] = {}
    try:
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                whole[entry.name] = list(_jobs_of(folder, entry.name))
            elif entry.name.endswith((_SUFFIX, *_OTHER_SUFFIXES)):
                message = "stands in no tenant's folder; move it to <tenant>/<job>.yaml"
                path = Path(entry.path)
                whole.setdefault("", []).append(
                    FoundJob(tenant="", job=path.stem, path=path, problem=message, code=ProblemCode.BAD_NAME)
                )
    except OSError as error:
        problem = Problem(
            code=ProblemCode.UNREADABLE,
            path="",
            message=f"can't be read ({error.strerror}); check the path",
        )
        raise InputRefusedError(f"folder of jobs {folder}", [problem]) from None
    return _with_room(folder, whole)


def _link_elsewhere(folder: Path, tenant: str) -> FoundJob | None:
    place = folder / tenant
    if place.resolve() == folder.resolve() / tenant:
        return None
    message = "is a link to a folder elsewhere; put the tenant's files here"
    return FoundJob(tenant="", job=tenant, path=place, problem=message, code=ProblemCode.OUTSIDE_ROOTS)


def _jobs_of(folder: Path, tenant: str) -> Iterator[FoundJob]:
    elsewhere, place = _link_elsewhere(folder, tenant), folder / tenant
    if elsewhere is not None:
        yield elsewhere
        return
    try:
        entries = sorted(os.scandir(place), key=lambda entry: entry.name)
    except OSError as error:
        message = f"can't be read ({error.strerror}); check its permissions"
        yield FoundJob(tenant="", job=tenant, path=place, problem=message, code=ProblemCode.UNREADABLE)
        return
    for entry in entries:
        path = Path(entry.path)
        if entry.name.startswith(".") or entry.name.endswith(CONTRACT_SUFFIX):
            continue
        if path.suffix in _OTHER_SUFFIXES:
            message = f"must end in {_SUFFIX}; rename it"
            yield FoundJob(
                tenant=tenant, job=path.stem, path=path, problem=message, code=ProblemCode.BAD_NAME
            )
        elif path.suffix == _SUFFIX and not entry.is_dir():
            yield FoundJob(tenant=tenant, job=path.stem, path=path, size=_size(entry))


def _size(entry: os.DirEntry[str]) -> int:
    """What is larger than a file may be is refused before it is parsed."""
    try:
        size = entry.stat().st_size
    except OSError:  # a link to nothing
        return 0
    return size if size <= MAX_BYTES else 0


def _with_room(folder: Path, whole: Mapping[str, list[FoundJob]]) -> list[FoundJob]:
    """The jobs that there is time for, and a problem for each tenant that has too many, and for the folder."""
    own = {
        tenant: jobs[: _first_within({tenant: jobs}, MAX_JOBS_OF_TENANT, MAX_YAML_OF_TENANT)[tenant]]
        for tenant, jobs in whole.items()
    }
    kept = {tenant: own[tenant][:count] for tenant, count in _first_within(own, MAX_JOBS, MAX_YAML).items()}
    found = [job for jobs in kept.values() for job in jobs]
    for tenant, jobs in whole.items():
        if len(own[tenant]) < len(jobs):
            message = (
                f"tenant {tenant!a} has {_amount(jobs)}; at most {MAX_JOBS_OF_TENANT} files and "
                f"{MAX_YAML_OF_TENANT // 1024} KiB are loaded, the first by name; left out are those from "
                f"{jobs[len(own[tenant])].path.name!a} on; {_REMEDY}"
            )
            found.append(
                FoundJob(
                    tenant=tenant, job="", path=folder / tenant, problem=message, code=ProblemCode.TOO_MANY
                )
            )
    left_out = [jobs[len(kept[tenant])] for tenant, jobs in own.items() if len(kept[tenant]) < len(jobs)]
    if left_out:
        places = ", ".join(ascii(f"{job.tenant}/{job.path.name}") for job in left_out[:_NAMED])
        message = (
            f"the folder has {_amount([job for jobs in own.values() for job in jobs])}; at most {MAX_JOBS} files and "
            f"{MAX_YAML // 1024} KiB are loaded, as many of each tenant; left out are those from {places}"
            f"{' ...' if len(left_out) > _NAMED else ''} on; {_REMEDY}"
        )
        found.append(FoundJob(tenant="", job="", path=folder, problem=message, code=ProblemCode.TOO_MANY))
    return found


def _first_within(jobs: Mapping[str, Sequence[FoundJob]], most: int, size: int) -> dict[str, int]:
    """How many jobs of each tenant, the first ones, there is room for among `most` jobs of `size` bytes together.

    The next is always one of the tenant that has the smallest share of what it has most of, as it is with leases.
    """
    counts, sizes = dict.fromkeys(jobs, 0), dict.fromkeys(jobs, 0)
    turns = [(0.0, tenant) for tenant in sorted(jobs)]
    jobs_left, bytes_left = most, size
    while turns and jobs_left:
        _, tenant = heappop(turns)
        following = jobs[tenant][counts[tenant] : counts[tenant] + 1]
        if following and following[0].size <= bytes_left:
            counts[tenant] += 1
            sizes[tenant] += following[0].size
            jobs_left, bytes_left = jobs_left - 1, bytes_left - following[0].size
            heappush(turns, (max(counts[tenant] / most, sizes[tenant] / size), tenant))
    return counts


def _amount(jobs: Sequence[FoundJob]) -> str:
    return f"{len(jobs)} files of {sum(job.size for job in jobs) // 1024} KiB"


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
    among_themselves = [*structure_problems(pipeline), *tenancy_problems(pipeline, tenancy)]
    problems += first_problems(among_themselves, lambda problem: problem)
    contract = path.parent / pipeline.contract
    if not problems:
        problems += _link_problems("contract", contract)
    if problems:
        raise InputRefusedError(subject, problems)
    changes = {
        "roots": {name: tenancy.place(root) for name, root in pipeline.roots.items()},
        "staging": tenancy.place(pipeline.staging),
        "contract": str(contract.resolve()),
        "pool": tenancy.pool(pipeline.pool),
    }
    return PipelineFile(pipeline=pipeline.model_copy(update=changes), path=path, tenancy=tenancy)


def _place_problems(path: Path) -> Iterator[Problem]:
    if path.exists() and not path.is_file():
        yield Problem(
            code=ProblemCode.NOT_FOUND, path="", message="is no file; put the job's specification there"
        )
    yield from _link_problems("", path)


def _link_problems(where: str, path: Path) -> Iterator[Problem]:
    """A link may lead to a place beside it, as those of a mounted ConfigMap do, and nowhere else."""
    if not path.resolve().is_relative_to(path.parent.resolve()):
        yield Problem(
            code=ProblemCode.OUTSIDE_ROOTS,
            path=where,
            message="is a link to a file elsewhere; put the file itself here",
        )


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
            code=ProblemCode.CONFLICT,
            path="kind",
            message=f"a data contract is no job; name the file <name>{CONTRACT_SUFFIX}",
        )
    for name in _FROM_PLACE:
        if name in document:
            message = f"is said by where the file stands, the Dag is {tenancy.dag_id}; remove it"
            yield Problem(code=ProblemCode.NOT_ALLOWED, path=name, message=message)
    sync = document.get("sync")
    yield from _schedule_problems("schedule", document.get("schedule"))
    if isinstance(sync, dict):
        yield from _schedule_problems("sync.reconcile_schedule", sync.get("reconcile_schedule"))
    yield from control_problems(document)


def _schedule_problems(path: str, schedule: object) -> Iterator[Problem]:
    if not isinstance(schedule, str):
        return
    if _SECONDS.fullmatch(schedule):
        message = (
            "has a sixth field, for seconds, and no run is that short; leave it out, or write @continuous"
        )
        yield Problem(code=ProblemCode.UNSUPPORTED, path=path, message=message)
    elif len(schedule) > MAX_SCHEDULE_LENGTH or not _SCHEDULE.fullmatch(schedule):
        message = (
            f"must be a preset such as @daily, or a cron expression of at most {MAX_SCHEDULE_LENGTH} letters"
        )
        yield Problem(code=ProblemCode.BAD_FORMAT, path=path, message=message)
