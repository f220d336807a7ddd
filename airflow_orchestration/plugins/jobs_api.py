"""The job registry over HTTP: routes of the app that Airflow's api-server mounts below `/orchestration`.

Airflow authenticates and authorizes none of a plugin's routes, so each does both here, by the Dag that the
job is: whoever may read that Dag sees its specification, whoever may edit it (PUT) may change the
specification, for that is what edits the Dag, and whoever may delete it takes the job away. A job that is not
there yet needs the right to create Dags (POST, on no Dag by name) besides. Names are checked before they become
the id of a Dag, so that Airflow's sign for all Dags, or half of a name, is none.

What changes something is refused when a browser marks it as another site's, and without a content type that a
form can't send.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Request
from pydantic import BaseModel, ConfigDict, Field

from airflow_orchestration.domain.tenancy import name_problems
from airflow_orchestration.domain.yaml_file import MAX_BYTES
from airflow_orchestration.exceptions import InputRefusedError
from airflow_orchestration.hooks.agent_registry import (
    keep_job,
    open_store,
    other_bundle_of,
    registry_terms,
)
from airflow_orchestration.plugins.access import Method, User, allowed, check, may_create_dags, readable_dags
from airflow_orchestration.plugins.answers import (
    FORBIDDEN,
    NOT_FOUND,
    REFUSED,
    TAKEN,
    UNAVAILABLE,
    UNSUPPORTED_MEDIA,
)
from airflow_orchestration.plugins.failures import ERRORS, RefusedInput, Told
from airflow_orchestration.storage.registry import (
    JobRevision,
    Registry,
    change_as_json,
    dag_id_of,
)
from airflow_orchestration.workflow.registering import JobTexts, RegistryTerms, removal_warning, unregister

NO_JOB = "There is no job of this name"
OWN_SITE = frozenset({"same-origin", "none"})
"""What a browser says of requests of our own pages, and of a person's."""

NOT_THERE: dict[int | str, dict[str, Any]] = {
    NOT_FOUND: {"model": Told, "description": "There is no such job, or no such revision"}
}
CHANGING: dict[int | str, dict[str, Any]] = {
    REFUSED: {
        "model": RefusedInput,
        "description": "The job is refused, with everything that is wrong with it",
    },
    TAKEN: {"model": Told, "description": "Airflow has this Dag from elsewhere"},
}
UNSENT: dict[int | str, dict[str, Any]] = {
    UNSUPPORTED_MEDIA: {"model": Told, "description": "It is not sent as application/json"}
}
router = APIRouter(tags=["jobs"], responses={**ERRORS})


class JobBody(BaseModel):
    """A job as its author wrote it."""

    model_config = ConfigDict(extra="forbid")

    specification: Annotated[str, Field(max_length=MAX_BYTES)]
    """The text of the pipeline file (YAML)."""
    contract: Annotated[str, Field(max_length=MAX_BYTES)]
    """The text of the data contract that the specification names."""


class JobAnswer(BaseModel):
    """A change of a job, as `storage.registry.JobChange` has it."""

    revision: int
    tenant: str
    job: str
    dag_id: str
    changed_by: str
    changed_at: datetime
    is_removed: bool


class JobWithFiles(JobAnswer):
    """A revision of a job, with its texts by file name."""

    files: dict[str, str]


class RemovedJob(JobAnswer):
    """The change that took a job away."""

    warning: str
    """What becomes of runs that have begun, and how to have them finished."""


class JobsAnswer(BaseModel):
    """The jobs that the user may see."""

    revision: int
    """The newest revision of the whole registry."""
    jobs: list[JobAnswer]


def authorized(method: Method) -> Callable[[str, str, Request, User], None]:
    """Make the check whether the user may do this with the Dag of the job that the path names."""

    def check_path(tenant: str, job: str, request: Request, user: User) -> None:
        if problems := list(name_problems(tenant, job)):
            if method == "PUT":
                raise InputRefusedError(f"job {job!a} of tenant {tenant!a}", problems)
            raise HTTPException(NOT_FOUND, NO_JOB)
        check(method, dag_id_of(tenant, job), request, user)

    return check_path


def from_here(request: Request) -> None:
    """Refuse what a page of another site could have sent in the name of the user."""
    if request.headers.get("sec-fetch-site", "none") not in OWN_SITE:
        raise HTTPException(FORBIDDEN, "Requests of other sites change nothing")
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise HTTPException(UNSUPPORTED_MEDIA, "Send Content-Type: application/json")


def terms() -> RegistryTerms:
    """What the deployer grants; without a registry there is nothing to serve."""
    try:
        return registry_terms()
    except InputRefusedError as error:
        raise HTTPException(UNAVAILABLE, error.to_who_looks()) from error


Terms = Annotated[RegistryTerms, Depends(terms)]


def registry(granted: Terms) -> Iterator[Registry]:
    """The registry, for one request; a connection that can't be used is the deployer's to mend."""
    with ExitStack() as opened:
        try:
            store = opened.enter_context(open_store(granted, soon=True))
        except InputRefusedError as error:
            raise HTTPException(UNAVAILABLE, error.to_who_looks()) from error
        yield store.registry


Jobs = Annotated[Registry, Depends(registry)]
READ, WRITE, DELETE = Depends(authorized("GET")), Depends(authorized("PUT")), Depends(authorized("DELETE"))
FROM_HERE = Depends(from_here)


@router.get("/jobs")
def list_jobs(request: Request, user: User, jobs: Jobs) -> JobsAnswer:
    """The jobs whose Dags the user may read."""
    readable = readable_dags(user)
    found = [
        job for job in jobs.listed() if job.dag_id in readable or allowed("GET", job.dag_id, request, user)
    ]
    return JobsAnswer(revision=jobs.revision(), jobs=[JobAnswer(**change_as_json(job)) for job in found])


@router.get("/jobs/{tenant}/{job}", dependencies=[READ], responses=NOT_THERE)
def get_job(tenant: str, job: str, jobs: Jobs, revision: int | None = None) -> JobWithFiles:
    """A job with its texts, as it is, or as it was at a revision of the registry."""
    found = _job(jobs, tenant, job, revision)
    return JobWithFiles(**change_as_json(found.change), files=dict(found.files))


@router.get("/jobs/{tenant}/{job}/history", dependencies=[READ], responses=NOT_THERE)
def get_history(tenant: str, job: str, jobs: Jobs) -> list[JobAnswer]:
    """Every change of a job, oldest first; also of one that is removed."""
    return [JobAnswer(**change_as_json(change)) for change in jobs.changes(tenant, job)]


@router.put("/jobs/{tenant}/{job}", dependencies=[WRITE, FROM_HERE], responses=CHANGING | UNSENT)
def put_job(tenant: str, job: str, body: JobBody, user: User, granted: Terms, jobs: Jobs) -> JobAnswer:
    """Check a job and keep it; the answer to a bad one lists every problem."""
    if (bundle := other_bundle_of(dag_id_of(tenant, job))) is not None:
        raise HTTPException(
            TAKEN, f"Airflow has this Dag from the bundle {bundle}; choose another name, or remove it there"
        )
    if jobs.job(tenant, job) is None and not may_create_dags(user):
        raise HTTPException(FORBIDDEN, "A new job needs the right to create Dags (POST)")
    texts = JobTexts(specification=body.specification, contract=body.contract)
    kept = keep_job(granted, jobs, tenant, job, texts, changed_by=user.get_name())
    return JobAnswer(**change_as_json(kept))


@router.delete("/jobs/{tenant}/{job}", dependencies=[DELETE, FROM_HERE], responses=NOT_THERE | UNSENT)
def delete_job(tenant: str, job: str, user: User, jobs: Jobs) -> RemovedJob:
    """Take a job away; runs of its Dag that have begun stop."""
    _job(jobs, tenant, job, None)
    gone = unregister(jobs, tenant, job, changed_by=user.get_name())
    return RemovedJob(**change_as_json(gone), warning=removal_warning(gone))


def _job(jobs: Registry, tenant: str, job: str, revision: int | None) -> JobRevision:
    try:
        found = jobs.job(tenant, job, revision)
    except KeyError as error:
        raise HTTPException(NOT_FOUND, str(error.args[0])) from error
    if found is None:
        raise HTTPException(NOT_FOUND, NO_JOB)
    return found
