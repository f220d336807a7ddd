"""The job registry, where the deployer has put it: what `AgentRegistryBundle` is told holds for everybody."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

from airflow.configuration import conf

from airflow_orchestration.exceptions import InputRefusedError, Problem, ProblemCode
from airflow_orchestration.hooks.orchestration import OrchestrationHook
from airflow_orchestration.hooks.schedules import schedule_problems
from airflow_orchestration.storage.postgres import PostgresStore
from airflow_orchestration.storage.registry import JobChange, Registry
from airflow_orchestration.workflow.registering import JobTexts, RegistryTerms, register

BUNDLE_CLASS = "airflow_orchestration.bundles.agent_registry.AgentRegistryBundle"
SETTING = "[dag_processor] dag_bundle_config_list"


def registry_terms() -> RegistryTerms:
    """Read the terms out of Airflow's configuration, where the bundle has them too.

    One place says them, so that commands check what the bundle checks. Raises `InputRefusedError` unless there is
    exactly one bundle of the registry, its terms can be used, and Airflow is not in multi-team mode.
    """
    if conf.getboolean("core", "multi_team", fallback=False):
        message = (
            "the job registry knows no teams, so nobody could own a new job; keep jobs in a folder instead"
        )
        raise InputRefusedError(
            "setting [core] multi_team", [Problem(code=ProblemCode.NOT_READY, path="", message=message)]
        )
    kwargs = _configured().get("kwargs") or {}
    known = {field.name for field in fields(RegistryTerms)}
    try:
        return RegistryTerms(**{"data": None, **{name: kwargs[name] for name in known & kwargs.keys()}})
    except InputRefusedError as error:
        problems = [
            Problem(code=problem.code, path=f"kwargs.{problem.path}", message=problem.message)
            for problem in error.problems
        ]
        raise InputRefusedError(f"setting {SETTING}, {BUNDLE_CLASS}", problems) from None


@contextmanager
def open_store(terms: RegistryTerms, *, soon: bool = False) -> Iterator[PostgresStore]:
    """Open the store that the registry is a part of; `soon` for a request, see `OrchestrationHook.store_soon`.

    Raises `InputRefusedError` at once when Airflow has no connection that can be used for it.
    """
    hook = OrchestrationHook(terms.orchestration_conn_id)
    hook.provider_hook  # noqa: B018  # asks Airflow for the connection
    with hook.store_soon(read_only=False) if soon else hook.store() as store:
        yield store


def keep_job(
    terms: RegistryTerms, registry: Registry, tenant: str, job: str, texts: JobTexts, *, changed_by: str
) -> JobChange:
    """Check a job as the bundle will read it, Airflow's word on its schedules included, and keep it."""
    return register(
        registry,
        terms,
        tenant,
        job,
        texts,
        changed_by=changed_by,
        schedule_problems=schedule_problems,
    )


def other_bundle_of(dag_id: str) -> str | None:
    """The bundle that Airflow has a Dag of this id from, when that is not the one of the registry.

    For Airflow's own processes: a task can't ask. Raises `InputRefusedError` as `registry_terms` does.
    """
    from airflow.models.dag import DagModel  # noqa: PLC0415, TID251  # only Airflow's database knows
    from airflow.utils.session import create_session  # noqa: PLC0415, TID251
    from sqlalchemy import select  # noqa: PLC0415

    known = select(DagModel.bundle_name).where(DagModel.dag_id == dag_id, ~DagModel.is_stale)
    with create_session() as session:
        found: str | None = session.scalar(known)
    return None if found == _configured().get("name") else found


def _configured() -> dict[str, Any]:
    """The one bundle of the registry, as Airflow's configuration has it."""
    bundles: Any = conf.getjson("dag_processor", "dag_bundle_config_list")
    found = [
        bundle
        for bundle in bundles or ()
        if isinstance(bundle, dict) and bundle.get("classpath") == BUNDLE_CLASS
    ]
    if len(found) == 1:
        return found[0]
    message = f"has no {BUNDLE_CLASS}; add one, or nothing makes Dags of the jobs"
    if found:
        message = f"has {len(found)} of {BUNDLE_CLASS}; keep one, for there is one job registry"
    raise InputRefusedError(
        f"setting {SETTING}", [Problem(code=ProblemCode.NOT_READY, path="", message=message)]
    )
