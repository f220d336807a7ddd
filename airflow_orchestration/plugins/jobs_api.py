"""The registry of jobs over HTTP, mounted by Airflow's api-server below `/orchestration`.

Airflow authenticates and authorizes none of a plugin's routes, so each does both here, by the Dag that the
job is: whoever may read that Dag sees its specification, whoever may edit it (PUT) may change the
specification, for that is what edits the Dag, and whoever may delete it takes the job away. A user who may do so
for all Dags may also bring new jobs. Names are checked before they become the id of a Dag, so that no path
means another Dag than the one that was authorized.

Nothing changes by GET, and what changes something needs a method and a content type that a browser never
sends to another site on its own; a request that a browser marks as another site's is refused as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Annotated

import psycopg
from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.core_api.security import GetUserDep, get_user, requires_access_dag
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from airflow_orchestration.domain.tenancy import SEPARATOR, name_problems
from airflow_orchestration.domain.yaml_file import MAX_BYTES
from airflow_orchestration.exceptions import InputRefusedError, OrchestrationError
from airflow_orchestration.hooks.agent_registry import keep_job, open_store, registry_terms
from airflow_orchestration.storage.registry import JobRevision, Registry
from airflow_orchestration.workflow.registering import JobTexts, RegistryTerms, unregister

FORBIDDEN, NOT_FOUND, UNSUPPORTED_MEDIA, REFUSED, UNAVAILABLE = 403, 404, 415, 400, 503
OWN_SITE = frozenset({"same-origin", "none"})
"""What a browser says of requests of our own pages, and of a person's."""

app = FastAPI(
    title="Orchestration",
    dependencies=[Depends(get_user)],
    docs_url=None,
    redoc_url=None,
    openapi_url=None,
)


class JobBody(BaseModel):
    """A job as its author wrote it."""

    model_config = ConfigDict(extra="forbid")

    specification: Annotated[str, Field(max_length=MAX_BYTES)]
    """The text of the pipeline file (YAML)."""
    contract: Annotated[str, Field(max_length=MAX_BYTES)]
    """The text of the data contract that the specification names."""


class JobAnswer(BaseModel):
    """A revision of a job."""

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


class JobsAnswer(BaseModel):
    """The jobs that the user may see."""

    revision: int
    """The newest revision of the whole registry."""
    jobs: list[JobAnswer]


def authorized(method: str) -> Callable[[str, str, Request, GetUserDep], None]:
    """Make the check whether the user may do this with the Dag of the job that the path names."""

    def check(tenant: str, job: str, request: Request, user: GetUserDep) -> None:
        if any(name_problems(tenant, job)):
            raise HTTPException(NOT_FOUND, "There is no job of this name")
        requires_access_dag(method, param_dag_id=f"{tenant}{SEPARATOR}{job}")(request, user)  # type: ignore[arg-type]  # a Literal there

    return check


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
        raise HTTPException(UNAVAILABLE, str(error)) from error


Terms = Annotated[RegistryTerms, Depends(terms)]


def registry(granted: Terms) -> Iterator[Registry]:
    """The registry, for one request."""
    with open_store(granted) as store:
        yield store.registry


Jobs = Annotated[Registry, Depends(registry)]
READ, WRITE, DELETE = (Depends(authorized(method)) for method in ("GET", "PUT", "DELETE"))
FROM_HERE = Depends(from_here)


@app.get("/jobs")
def list_jobs(request: Request, user: GetUserDep, jobs: Jobs) -> JobsAnswer:
    """The jobs whose Dags the user may read."""
    readable = get_auth_manager().get_authorized_dag_ids(user=user, method="GET")
    found = [job for job in jobs.jobs() if job.dag_id in readable or _may_read(job, request, user)]
    return JobsAnswer(revision=jobs.revision(), jobs=[_answer(job) for job in found])


@app.get("/jobs/{tenant}/{job}", dependencies=[READ])
def get_job(tenant: str, job: str, jobs: Jobs) -> JobWithFiles:
    """A job with its texts."""
    changes = jobs.changes(tenant, job)
    if not changes or changes[-1].is_removed:
        raise HTTPException(NOT_FOUND, "There is no job of this name")
    return _with_files(changes[-1])


@app.get("/jobs/{tenant}/{job}/history", dependencies=[READ])
def get_history(tenant: str, job: str, jobs: Jobs) -> list[JobWithFiles]:
    """Every revision of a job, oldest first; also of one that is removed."""
    return [_with_files(change) for change in jobs.changes(tenant, job)]


@app.put("/jobs/{tenant}/{job}", dependencies=[WRITE, FROM_HERE])
def put_job(tenant: str, job: str, body: JobBody, user: GetUserDep, granted: Terms, jobs: Jobs) -> JobAnswer:
    """Check a job and keep it; the answer to a bad one lists every problem."""
    texts = JobTexts(specification=body.specification, contract=body.contract)
    return _answer(keep_job(granted, jobs, tenant, job, texts, changed_by=user.get_name()))


@app.delete("/jobs/{tenant}/{job}", dependencies=[DELETE, FROM_HERE])
def delete_job(tenant: str, job: str, user: GetUserDep, jobs: Jobs) -> JobAnswer:
    """Take a job away."""
    get_job(tenant, job, jobs)
    return _answer(unregister(jobs, tenant, job, changed_by=user.get_name()))


@app.exception_handler(InputRefusedError)
def refused(request: Request, error: InputRefusedError) -> JSONResponse:  # noqa: ARG001  # FastAPI's own signature
    """Answer with every problem and its place."""
    problems = [{"path": problem.path, "message": problem.message} for problem in error.problems]
    return JSONResponse({"detail": {"subject": error.subject, "problems": problems}}, REFUSED)


@app.exception_handler(OrchestrationError)
def unusable(request: Request, error: OrchestrationError) -> JSONResponse:  # noqa: ARG001
    """Say what is wrong with the store."""
    return JSONResponse({"detail": str(error)}, UNAVAILABLE)


@app.exception_handler(psycopg.OperationalError)
def unreachable(request: Request, error: psycopg.OperationalError) -> JSONResponse:  # noqa: ARG001
    """Say that the store does not answer, and not where it is."""
    return JSONResponse({"detail": "The store does not answer; try again, or ask who runs it"}, UNAVAILABLE)


def _may_read(job: JobRevision, request: Request, user: GetUserDep) -> bool:
    """Whether a user may read a Dag that Airflow perhaps does not know yet."""
    try:
        requires_access_dag("GET", param_dag_id=job.dag_id)(request, user)
    except HTTPException:
        return False
    return True


def _answer(job: JobRevision) -> JobAnswer:
    return JobAnswer(
        revision=job.revision,
        tenant=job.tenant,
        job=job.job,
        dag_id=job.dag_id,
        changed_by=job.changed_by,
        changed_at=job.changed_at,
        is_removed=job.is_removed,
    )


def _with_files(job: JobRevision) -> JobWithFiles:
    return JobWithFiles(**_answer(job).model_dump(), files=dict(job.files))
