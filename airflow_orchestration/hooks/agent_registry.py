"""The registry of jobs, where the deployer has put it: what `AgentRegistryBundle` is told holds for everybody."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from airflow.configuration import conf

from airflow_orchestration.domain.location import REMOTE
from airflow_orchestration.exceptions import InputRefusedError, Problem
from airflow_orchestration.hooks.orchestration import OrchestrationHook
from airflow_orchestration.hooks.schedules import schedule_problems
from airflow_orchestration.storage.postgres import PostgresStore
from airflow_orchestration.storage.registry import JobRevision, Registry
from airflow_orchestration.workflow.registering import JobTexts, RegistryTerms, register

BUNDLE_CLASS = "airflow_orchestration.bundles.agent_registry.AgentRegistryBundle"
SETTING = "[dag_processor] dag_bundle_config_list"


def registry_terms(conn_id: str | None = None) -> RegistryTerms:
    """Read the terms out of Airflow's configuration, where the bundle has them too.

    One place says them, so that what a command accepts is what the bundle can build. Raises `InputRefusedError`
    without a bundle, and with several when `conn_id` does not say which.
    """
    found = [_terms(kwargs) for kwargs in _configured()]
    wanted = [terms for terms in found if conn_id in {None, terms.orchestration_conn_id}]
    if len(wanted) != 1:
        known = ", ".join(terms.orchestration_conn_id for terms in found) or "none"
        raise InputRefusedError(
            f"setting {SETTING}",
            [Problem(path="", message=_remedy(conn_id, known, several=len(wanted) > 1))],
        )
    return wanted[0]


@contextmanager
def open_store(terms: RegistryTerms) -> Iterator[PostgresStore]:
    """Open the store that the registry is a part of; raises `InputRefusedError` as `OrchestrationHook` does."""
    with OrchestrationHook(terms.orchestration_conn_id).store() as store:
        yield store


def keep_job(
    terms: RegistryTerms, registry: Registry, tenant: str, job: str, texts: JobTexts, *, changed_by: str
) -> JobRevision:
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


def _configured() -> Iterator[dict[str, Any]]:
    configured: Any = conf.getjson("dag_processor", "dag_bundle_config_list")
    for bundle in configured or ():
        if isinstance(bundle, dict) and bundle.get("classpath") == BUNDLE_CLASS:
            yield bundle.get("kwargs") or {}


def _terms(kwargs: dict[str, Any]) -> RegistryTerms:
    named = {name: kwargs[name] for name in ("data", "orchestration_conn_id") if name in kwargs}
    data = named.get("data")
    if not isinstance(data, str) or not (REMOTE in data or Path(data).is_absolute()):
        message = "must be the full path of the folder of the tenants' data, or an object storage URI"
        problem = Problem(path="kwargs.data", message=message)
        raise InputRefusedError(f"setting {SETTING}, {BUNDLE_CLASS}", [problem])
    return RegistryTerms(shared_conn_ids=tuple(kwargs.get("shared_conn_ids", ())), **named)


def _remedy(conn_id: str | None, known: str, *, several: bool) -> str:
    if several:
        return f"has several registries; name one by its connection: {known}"
    if conn_id is None:
        return f"has no {BUNDLE_CLASS}; add one, or nothing makes Dags of the jobs"
    return f"has no {BUNDLE_CLASS} with connection {conn_id}; there are: {known}"
