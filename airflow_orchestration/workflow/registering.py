"""The way into the job registry, for command line, REST and operator alike: check, then keep."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from airflow_orchestration.domain.control_characters import control_problems
from airflow_orchestration.domain.job_file import read_job
from airflow_orchestration.domain.location import REMOTE
from airflow_orchestration.domain.odcs import read_contracts
from airflow_orchestration.domain.pipeline import Pipeline
from airflow_orchestration.domain.pipeline_file import PipelineFile
from airflow_orchestration.domain.tenancy import Tenancy, name_problems
from airflow_orchestration.domain.yaml_file import read_yaml
from airflow_orchestration.exceptions import InputRefusedError, Problem, ProblemCode
from airflow_orchestration.storage.registry import JobChange, Registry

MAX_CHANGED_BY = 200
"""Ours: a name, not a story."""

Read = TypeVar("Read")
ScheduleProblems = Callable[[Pipeline], Iterable[Problem]]
"""Airflow's word on schedules, which nothing here knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryTerms:
    """What the deployer grants to the tenants of the job registry; raises `InputRefusedError` for what can't be used."""

    data: str
    """The folder, or object storage URI, below which every tenant has a folder of its own."""
    shared_conn_ids: tuple[str, ...] = ()
    """Airflow connections that every tenant may name."""
    orchestration_conn_id: str = "orchestration_default"
    """The Airflow connection of the store, which the registry is a part of."""
    own_pools: bool = False
    """Whether a job that names no pool runs in the pool that is named as its tenant."""

    def __post_init__(self) -> None:
        """Take lists as JSON has them, and refuse a text where a list is meant: its letters would be connections."""
        if problems := list(_terms_problems(self)):
            raise InputRefusedError("terms of the job registry", problems)
        object.__setattr__(self, "shared_conn_ids", tuple(self.shared_conn_ids))

    def of_job(self, tenant: str, job: str) -> Tenancy:
        """What one job of a tenant may use."""
        return Tenancy(
            tenant=tenant,
            job=job,
            data=self.data,
            shared_conn_ids=self.shared_conn_ids,
            store_conn_id=self.orchestration_conn_id,
            own_pools=self.own_pools,
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
) -> JobChange:
    """Keep a job that passes every check that the bundle's Dag files make, and those of its contract.

    Raises `InputRefusedError` with every problem of both texts, or when there is no room; then nothing is kept.
    """
    _refuse(tenant, job, [*name_problems(tenant, job), *_changed_by_problems(changed_by)])
    files = _checked_files(terms.of_job(tenant, job), texts, schedule_problems)
    return registry.put(tenant, job, files, changed_by=changed_by)


def unregister(registry: Registry, tenant: str, job: str, *, changed_by: str) -> JobChange:
    """Take a job away; runs of its Dag that have begun stop. Raises `InputRefusedError` when it is not there."""
    _refuse(tenant, job, _changed_by_problems(changed_by))
    try:
        return registry.remove(tenant, job, changed_by=changed_by)
    except KeyError:
        raise no_such_job(tenant, job) from None


def removal_warning(gone: JobChange) -> str:
    """What happens now that a job is removed, and how to have its runs finished all the same."""
    return (
        f"The Dag {gone.dag_id} goes when the bundle is refreshed next, and its runs that have begun get no further task "
        "then. To have them finished, put the job back now, without its schedule, so that no other run begins; wait until "
        "none is left, and remove it again. Pausing the Dag would stop them too."
    )


def no_such_job(tenant: str, job: str) -> InputRefusedError:
    """The error for a job that the registry does not have."""
    message = "is not in the job registry; `airflow orchestration agents list` shows what is"
    return InputRefusedError(
        _subject(tenant, job), [Problem(code=ProblemCode.NOT_FOUND, path="", message=message)]
    )


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
            problems += _tried(found.contract_path.name, lambda: _read_contracts(found))[1]
            problems += _named(specification.name, schedule_problems(found.pipeline))
    _refuse(tenancy.tenant, tenancy.job, problems)
    assert found is not None  # noqa: S101  # for mypy: without it there were problems
    return [(specification.name, texts.specification), (found.contract_path.name, texts.contract)]


def _read_contracts(found: PipelineFile) -> None:
    found.read_contracts()
    if problems := list(control_problems(read_yaml(found.contract_path))):
        raise InputRefusedError(found.contract_path.name, problems)


def _tried(name: str, read: Callable[[], Read]) -> tuple[Read | None, list[Problem]]:
    try:
        return read(), []
    except InputRefusedError as error:
        return None, _named(name, error.problems)


def _named(name: str, problems: Iterable[Problem]) -> list[Problem]:
    return [
        Problem(
            code=problem.code, path=f"{name} {_printable(problem.path)}".rstrip(), message=problem.message
        )
        for problem in problems
    ]


def _printable(text: str) -> str:
    """A path has the author's words in it, which may be commands to a terminal, or fit into no encoding."""
    return text if text.isprintable() else ascii(text)[1:-1]


def _written(path: Path, text: str) -> Path:
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    return path


def _terms_problems(terms: RegistryTerms) -> Iterator[Problem]:
    """What JSON may hold instead of what the fields say."""
    data: object = terms.data
    shared_conn_ids: object = terms.shared_conn_ids
    own_pools: object = terms.own_pools
    if not isinstance(data, str) or not (REMOTE in data or Path(data).is_absolute()):
        message = "must be the full path of the folder of the tenants' data, or an object storage URI"
        yield Problem(code=ProblemCode.OUTSIDE_ROOTS, path="data", message=message)
    if not isinstance(shared_conn_ids, list | tuple) or not all(
        isinstance(one, str) for one in shared_conn_ids
    ):
        yield Problem(
            code=ProblemCode.WRONG_TYPE,
            path="shared_conn_ids",
            message="must be a list of names of Airflow connections",
        )
    if not isinstance(own_pools, bool):
        yield Problem(code=ProblemCode.WRONG_TYPE, path="own_pools", message="must be true or false")


def _changed_by_problems(changed_by: str) -> list[Problem]:
    if changed_by.isprintable() and 0 < len(changed_by) <= MAX_CHANGED_BY:
        return []
    message = f"must be 1 to {MAX_CHANGED_BY} printable characters: who changes the job"
    return [Problem(code=ProblemCode.BAD_FORMAT, path="changed_by", message=message)]


def _refuse(tenant: str, job: str, problems: list[Problem]) -> None:
    if problems:
        raise InputRefusedError(_subject(tenant, job), problems)


def _subject(tenant: str, job: str) -> str:
    return f"job {job!r} of tenant {tenant!r}"
