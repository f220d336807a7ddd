"""What strangers may send to Airflow's api-server: its own app with a Dag of ours, in process, on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from airflow import settings
from airflow.api_fastapi.app import create_app, init_auth_manager, purge_cached_app
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
from airflow.models.dag import DagModel
from airflow.models.dagbundle import DagBundleModel
from airflow.models.serialized_dag import SerializedDagModel
from airflow.models.tasklog import LogTemplate
from airflow.serialization.serialized_objects import LazyDeserializedDAG
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session

from airflow_orchestration.dags.pipeline_dag import build_pipeline_dag
from airflow_orchestration.domain.conf import validated
from airflow_orchestration.domain.pipeline import Pipeline
from airflow_orchestration.domain.pipeline_file import PipelineFile
from tests.bad_input.declared import PIPELINE, changed
from tests.registered_jobs import with_airflows_tables

BUNDLE = "bad_input"


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Airflow's api-server, and somebody who may trigger runs."""

    client: TestClient
    token: str

    def trigger(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Ask for a run: `body` is what is sent, `digits` and `depth` make it long and deep; `before` was sent first."""
        if "before" in given:
            first = self._answer(given["before"])
            return {**self._answer(_body(given)), "first": first["status"]}
        return self._answer(_body(given))

    def _answer(self, body: str) -> dict[str, Any]:
        answer = self.client.post(
            "/api/v2/dags/sales/dagRuns",
            content=body.encode(),
            headers={"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"},
        )
        return {"status": answer.status_code, "told": _told(answer.json().get("detail", ""))}


def _told(detail: Any) -> str:
    """The first line of what is told: the schema of the field follows, and the number of a line of the log."""
    if isinstance(detail, list):
        return "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in detail)
    return str(detail["reason"] if isinstance(detail, dict) else detail).partition("\n")[0]


def _body(given: Mapping[str, Any]) -> str:
    if "digits" in given:
        return '{"logical_date": null, "conf": {"sync_deadline": %s}}' % ("1" * given["digits"])  # braces
    if "depth" in given:
        return '{"logical_date": null, "conf": %s1%s}' % ('{"a":' * given["depth"], "}" * given["depth"])  # noqa: UP031
    return str(given["body"])


@contextmanager
def serving(database: str) -> Iterator[Server]:
    """Airflow with a database of its own, as long as it is needed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW__API_AUTH__JWT_SECRET", "s" * 64)
        patch.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS", "")
        patch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", database)
        settings.configure_vars()
        try:
            with_airflows_tables()
            _add_the_dag()
            purge_cached_app()
            client = TestClient(create_app("core"), raise_server_exceptions=False)
            user = SimpleAuthManagerUser(username="a", role="ADMIN")
            yield Server(client=client, token=init_auth_manager().generate_jwt(user))
        finally:
            purge_cached_app()
            settings.dispose_orm()
    settings.configure_vars()
    settings.configure_orm()


def _add_the_dag() -> None:
    declared = validated(Pipeline, changed(PIPELINE, {}), subject="pipeline")
    made = build_pipeline_dag(PipelineFile(pipeline=declared, path=Path("/dags/sales.yaml")))
    with Session(settings.engine) as session:
        session.add(DagBundleModel(name=BUNDLE))
        session.add(LogTemplate(filename="a", elasticsearch_id="a"))
        session.flush()
        session.add(
            DagModel(
                dag_id="sales", bundle_name=BUNDLE, fileloc="/dags/sales.py", is_paused=True, is_stale=False
            )
        )
        session.flush()
        SerializedDagModel.write_dag(LazyDeserializedDAG.from_dag(made), bundle_name=BUNDLE, session=session)
        session.commit()
