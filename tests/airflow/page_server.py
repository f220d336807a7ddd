"""The page's app as Airflow's api-server mounts it, a run to look at, and those who call."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from airflow.api_fastapi.app import init_auth_manager, purge_cached_app
from airflow.api_fastapi.auth.managers.base_auth_manager import BaseAuthManager
from fastapi import FastAPI
from fastapi.testclient import TestClient
from httpx import Response

from airflow_orchestration.plugins.web_app import app
from airflow_orchestration.storage.postgres import PostgresStore
from tests.insights_pg.played import PlayedRun
from tests.registered_jobs import connect_airflow, dag_of_another_bundle, store_of, with_airflows_tables

RUN_ID = "scheduled__2026-11-22T00:00:00+00:00/1"
"""Airflow allows every character here that an address gives a meaning to."""
SIMPLE = "airflow.api_fastapi.auth.managers.simple.simple_auth_manager.SimpleAuthManager"
DAG_IDS = ("things", "other")
QUERIES = {
    "/api/dags/{dag_id}/run": {"run_id": RUN_ID},
    "/api/dags/{dag_id}/timeline": {"run_id": RUN_ID},
    "/api/dags/{dag_id}/agents": {"run_id": RUN_ID},
    "/api/dags/{dag_id}/quarantine": {"run_id": RUN_ID},
    "/api/dags/{dag_id}/feeds": {"runs": "5"},
    "/api/runs": {"days": "30"},
    "/api/leaderboard": {"tenant": ""},
    "/api/openapi.json": {},
}
"""Every route of the page's data, with what it is asked."""


@dataclass
class Page:
    """The api-server's side of the page."""

    client: TestClient
    tokens: Mapping[str, str]
    root_path: str = ""

    def get(self, path: str, actor: str = "admin", *, of: str = "things", **query: str) -> Response:
        """Ask as an actor; for anybody who has no token here, without one."""
        headers = {"Authorization": f"Bearer {self.tokens[actor]}"} if actor in self.tokens else {}
        address = f"{self.root_path}/orchestration{path.format(dag_id=of)}"
        return self.client.get(address, params=query, headers=headers, follow_redirects=False)

    def json(self, path: str, actor: str = "admin", **query: str) -> Any:
        """The data of a route that answers as it should."""
        answer = self.get(path, actor, **{**QUERIES[path], **query})
        assert (200, "application/json") == (answer.status_code, answer.headers["content-type"]), answer.text
        return answer.json()


@contextmanager
def page_of(tokens: Mapping[str, str], root_path: str = "") -> Iterator[Page]:
    """The app below its prefix, as the api-server mounts it; `root_path` is the path that Airflow itself is below."""
    with TestClient(server(), raise_server_exceptions=False, root_path=root_path) as client:
        yield Page(client, tokens, root_path)


def server() -> FastAPI:
    """The api-server with this app, and a route that is none of ours."""
    made = FastAPI()
    made.get("/other")(lambda: "other")
    made.mount("/orchestration", app)
    return made


@contextmanager
def managed(manager: str, **settings: str) -> Iterator[Callable[[], BaseAuthManager[Any]]]:
    """Airflow with an auth manager, which is made when it is asked for, and two Dags."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW__CORE__AUTH_MANAGER", manager)
        patch.setenv("AIRFLOW__API_AUTH__JWT_SECRET", "s" * 64)
        for name, value in settings.items():
            patch.setenv(name, value)
        with_airflows_tables()
        purge_cached_app()
        with dag_of_another_bundle(DAG_IDS[0]), dag_of_another_bundle(DAG_IDS[1]):
            yield init_auth_manager
        purge_cached_app()


@contextmanager
def connected(dsn: str) -> Iterator[PostgresStore]:
    """Airflow's connection to a store, and the store."""
    with pytest.MonkeyPatch.context() as patch:
        connect_airflow(dsn, patch)
        with store_of(dsn) as store:
            yield store


def play_a_run(dsn: str, folder: Path) -> None:
    """Let a run of the Dag `things` be published: degraded, and with rows put aside."""
    folder.mkdir(mode=0o755)
    feeds: dict[str, dict[str, Any]] = {
        "north": {"weight": 3.0, "required": True},
        "east": {"weight": 2.0},
        "south": {},
    }
    with store_of(dsn) as store:
        sync = {"deadline": 600, "floor": 0.7}
        publish = {"table": "public.thing", "conn_id": "orchestration_default"}
        run = PlayedRun(
            folder,
            store,
            lambda: psycopg.connect(dsn),
            feeds,
            run_id=RUN_ID,
            sync=sync,
            publish=publish,
            max_rounds=1,
        )
        run.land(
            north="a,1,x\nb,2,<img src=x onerror=alert(1)>\nc,-1,\u00e4\n", east="a,1,x\nb,9,y\nd,-2,x\n"
        )
        run.start()
        run.plan()
        run.work()
        run.look()
        run.merge()
        run.publish()
