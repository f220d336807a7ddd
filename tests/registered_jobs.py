"""A small job as a stranger would write it, for everything that has to do with the job registry."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from airflow import settings
from airflow.models import import_all_models
from airflow.models.base import Base
from airflow.models.connection import Connection
from airflow.models.dag import DagModel
from airflow.models.dagbundle import DagBundleModel
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import delete
from sqlalchemy.orm import Session

from airflow_orchestration.hooks.agent_registry import BUNDLE_CLASS
from airflow_orchestration.storage.migrating import migrate
from airflow_orchestration.storage.postgres import PostgresStore
from airflow_orchestration.workflow.registering import JobTexts, RegistryTerms

CONTRACT = """\
apiVersion: v3.1.0
kind: DataContract
id: sales
name: Sales
version: 1.0.0
status: active
schema:
  - name: row
    properties:
      - {name: code, logicalType: string, primaryKey: true, required: true}
      - {name: size, logicalType: number}
"""
TERMS = RegistryTerms(data="/data", shared_conn_ids=("orchestration_default",))


def specification(tenant: str = "north", **changes: Any) -> str:
    """The text of a job of a tenant with one feed; top-level fields can be changed, or left out by None."""
    fields: dict[str, Any] = {
        "description": "Sales of a day",
        "roots": {"landing": "landing"},
        "staging": "staging",
        "contract": "sales.odcs.yaml",
        "feeds": [
            {
                "id": "shop",
                "uri": "landing/shop.csv",
                "format": "csv",
                "columns": {"code": "code", "size": "size"},
            }
        ],
        "sync": {"deadline": 60, "late": "discard"},
        "publish": {"table": f"{tenant}.sales"},
        "max_rounds": 1,
    }
    kept = {name: value for name, value in {**fields, **changes}.items() if value is not None}
    return "".join(f"{name}: {json.dumps(value)}\n" for name, value in kept.items())


def texts(tenant: str = "north", **changes: Any) -> JobTexts:
    """A specification with its contract."""
    return JobTexts(specification=specification(tenant, **changes), contract=CONTRACT)


def bundle_setting(**kwargs: Any) -> str:
    """Airflow's setting with one bundle, that of the registry."""
    terms = {"data": TERMS.data, "shared_conn_ids": list(TERMS.shared_conn_ids), **kwargs}
    return json.dumps([{"name": "registry", "classpath": BUNDLE_CLASS, "kwargs": terms}])


def connect_airflow(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Airflow know a database as the store of a registry; it is migrated where it was not."""
    with psycopg.connect(database) as connection:
        migrate(connection)
    parts = conninfo_to_dict(database)
    document = {
        "conn_type": "postgres",
        "host": parts["host"],
        "login": parts["user"],
        "schema": parts["dbname"],
    }
    monkeypatch.setenv("AIRFLOW_CONN_ORCHESTRATION_DEFAULT", json.dumps(document))
    monkeypatch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST", bundle_setting())


@contextmanager
def store_of(database: str) -> Iterator[PostgresStore]:
    """The store behind that connection."""
    with PostgresStore(lambda: psycopg.connect(database)) as store:
        yield store


def with_airflows_tables() -> None:
    """Make the tables of Airflow's own database where they are not there yet."""
    import_all_models()
    settings.configure_orm()
    Base.metadata.create_all(settings.engine)


@contextmanager
def only_in_airflows_database(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Move the connection from the environment to where an administrator adds one, for one of Airflow's servers."""
    made = json.loads(os.environ["AIRFLOW_CONN_ORCHESTRATION_DEFAULT"])
    with_airflows_tables()
    with monkeypatch.context() as patch, Session(settings.engine) as session:
        patch.delenv("AIRFLOW_CONN_ORCHESTRATION_DEFAULT")
        patch.setenv("_AIRFLOW_PROCESS_CONTEXT", "server")
        session.add(Connection(conn_id="orchestration_default", **made))
        session.commit()
        try:
            yield
        finally:
            session.execute(delete(Connection))
            session.commit()


@contextmanager
def dag_of_another_bundle(dag_id: str) -> Iterator[None]:
    """Let Airflow know a Dag from a bundle that is not the registry's."""
    with_airflows_tables()
    with Session(settings.engine) as session:
        session.merge(DagBundleModel(name="folder"))
        session.flush()
        session.merge(DagModel(dag_id=dag_id, bundle_name="folder", is_stale=False))
        session.commit()
        try:
            yield
        finally:
            session.execute(delete(DagModel))
            session.commit()
