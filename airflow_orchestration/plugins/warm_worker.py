"""Loads what every task needs, once, when a Celery worker starts: Airflow tells no listener of that.

Celery imports this module where Airflow's configuration names it, as docker-compose.yaml does:
`[celery] extra_celery_config = {"imports": ["airflow_orchestration.plugins.warm_worker"]}`.
"""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module

from airflow_orchestration.plugins.warm_start import on_starting

MODULES = (
    "airflow.dag_processing.dagbag",
    "airflow.sdk.execution_time.supervisor",
    "airflow.sdk.execution_time.task_runner",
    "airflow.sdk.io",
    "airflow.sdk.lineage",
    "airflow_orchestration.plugins.orchestration",
    "airflow.providers.amazon.aws.log.s3_task_handler",
    "s3fs",
)
"""What a task of any Dag loads before it begins, and what an object store takes; those that are installed."""

for _name in MODULES:
    with suppress(ImportError):
        import_module(_name)
on_starting(None)
