"""The job registry over HTTP: who may do what, by the Dag that a job is; run in process with Airflow's own auth manager."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from airflow.api_fastapi.app import init_auth_manager
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
from fastapi import FastAPI
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from httpx import Response

from airflow_orchestration.plugins.jobs_api import router
from airflow_orchestration.plugins.orchestration import OrchestrationPlugin
from airflow_orchestration.plugins.web_app import app
from tests.registered_jobs import (
    CONTRACT,
    connect_airflow,
    dag_of_another_bundle,
    specification,
    store_of,
    texts,
    with_airflows_tables,
)

ACTORS = ("anonymous", "bad token", "viewer", "user", "op", "admin")
ALL_READ = (401, 403, 200, 200, 200, 200)
EDITORS = (401, 403, 403, 200, 200, 200)
TABLE = {
    ("GET", "/jobs"): ALL_READ,
    ("GET", "/jobs/{tenant}/{job}"): ALL_READ,
    ("GET", "/jobs/{tenant}/{job}/history"): ALL_READ,
    ("PUT", "/jobs/{tenant}/{job}"): EDITORS,
    ("DELETE", "/jobs/{tenant}/{job}"): EDITORS,
}
"""What each actor is answered, in their order. A route without a line here fails a test."""


def body(**changes: Any) -> dict[str, Any]:
    return {"specification": specification(**changes), "contract": CONTRACT}


@dataclass
class Api:
    """The api-server's side of the registry."""

    client: TestClient
    tokens: dict[str, str]
    database: str

    def call(self, method: str, path: str, actor: str = "admin", **options: Any) -> Response:
        """Send a request as an actor, with what a change needs."""
        given = {"Content-Type": "application/json", **options.pop("headers", {})}
        if actor in self.tokens:
            given["Authorization"] = f"Bearer {self.tokens[actor]}"
        return self.client.request(method, f"/orchestration{path}", headers=given, **options)


@pytest.fixture(scope="module")
def tokens() -> Iterator[dict[str, str]]:
    """A token for each role of the auth manager, and one that nobody signed."""
    with_airflows_tables()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS", "")
        patch.setenv("AIRFLOW__API_AUTH__JWT_SECRET", "s" * 64)
        manager = init_auth_manager()
        made = {
            role: manager.generate_jwt(SimpleAuthManagerUser(username=f"{role}_1", role=role.upper()))
            for role in ("viewer", "user", "op", "admin")
        }
        yield {**made, "bad token": f"{made['admin']}x"}


@pytest.fixture(scope="module")
def migrated(create_migrated: Callable[[str], str]) -> str:
    """The conninfo string of a store for all of these tests."""
    return create_migrated("jobs_api")


@pytest.fixture
def api(migrated: str, tokens: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    """A registry with one job, behind the app as the api-server mounts it."""
    connect_airflow(migrated, monkeypatch)
    with psycopg.connect(migrated) as connection:
        connection.execute("SET session_replication_role = replica; TRUNCATE orchestration.job_revision")
    with store_of(migrated) as store:
        given = texts()
        files = [("sales.yaml", given.specification), ("sales.odcs.yaml", given.contract)]
        store.registry.put("north", "sales", files, changed_by="a")
    server = FastAPI()
    server.mount("/orchestration", app)
    with TestClient(server, raise_server_exceptions=False) as client:
        yield Api(client, tokens, migrated)


def revision(api: Api) -> int:
    with store_of(api.database) as store:
        return store.registry.revision()


def test_every_route_has_a_line_in_the_table() -> None:
    """Nothing of the registry is served that nobody has said who may call it."""
    found = {
        (method, route.path)
        for route in router.routes
        for method in (route.methods if isinstance(route, APIRoute) else {"?"})
    }
    assert set(TABLE) == found


@pytest.mark.parametrize(("method", "path"), TABLE)
def test_every_route_asks_who_calls(api: Api, method: str, path: str) -> None:
    """Each actor gets what the table says, and who is refused has changed nothing."""
    for actor, expected in zip(ACTORS, TABLE[method, path], strict=True):
        before = revision(api)
        options = {"json": body(description=actor)} if method == "PUT" else {}
        answer = api.call(method, path.format(tenant="north", job="sales"), actor, **options)
        assert (actor, expected) == (actor, answer.status_code)
        assert int(expected == 200 and method != "GET") == revision(api) - before
        if method == "DELETE" and expected == 200:
            api.call("PUT", "/jobs/north/sales", json=body())


def test_the_dag_of_the_job_is_what_is_authorized(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """A manager with rights by Dag is asked for `<tenant>__<job>` and the method, and hides other rows."""
    asked = []

    def allowed(_manager: object, *, method: str, details: Any = None, **_: Any) -> bool:
        asked.append((method, details and details.id))
        return details is not None and details.id in {"north__sales", "north__new"}

    monkeypatch.setattr(
        "airflow.api_fastapi.auth.managers.simple.simple_auth_manager.SimpleAuthManager.is_authorized_dag",
        allowed,
    )
    assert 200 == api.call("PUT", "/jobs/north/sales", json=body(description="b")).status_code
    assert 403 == api.call("PUT", "/jobs/north/stock?dag_id=north__sales", json=body()).status_code
    new = api.call("PUT", "/jobs/north/new?dag_id=north__sales", json=body())
    assert (403, "A new job needs the right to create Dags (POST)") == (new.status_code, new.json()["detail"])
    assert 403 == api.call("DELETE", "/jobs/east/sales").status_code
    assert 403 == api.call("GET", "/jobs/east/sales/history").status_code
    assert [
        ("PUT", "north__sales"),
        ("PUT", "north__stock"),
        ("PUT", "north__new"),
        ("POST", None),
        ("DELETE", "east__sales"),
        ("GET", "east__sales"),
    ] == asked
    with store_of(api.database) as store:
        store.registry.put("east", "sales", [("sales.yaml", "")], changed_by="a")
    assert ["north__sales"] == [job["dag_id"] for job in api.call("GET", "/jobs").json()["jobs"]]


@pytest.mark.parametrize("path", ["/jobs/~/~", "/jobs/north__sales/x", "/jobs/North/sales", "/jobs/..%2f/x"])
def test_a_path_means_no_other_dag(api: Api, path: str) -> None:
    """Names that are none, Airflow's sign for any Dag among them, are found nowhere."""
    assert 404 == api.call("GET", path).status_code
    assert api.call("PUT", path, json=body()).status_code in {400, 404}
    assert 1 == revision(api)


def test_a_new_name_that_is_none_is_answered_with_the_rule(api: Api) -> None:
    """Who brings a job of such a name has not mistyped a path; who may bring none at all is told that first."""
    answer = api.call("PUT", "/jobs/o'neil/people", json=body())
    (problem,) = answer.json()["detail"]["problems"]

    assert (400, "tenant") == (answer.status_code, problem["path"])
    assert "write lower case letters, digits and single underscores" in problem["message"]
    assert 401 == api.call("PUT", "/jobs/o'neil/people", "anonymous", json=body()).status_code


def test_a_change_tells_who_made_it(api: Api) -> None:
    """The user's name stands in the history, and the texts of each revision can be had one by one."""
    answer = api.call("PUT", "/jobs/north/sales", "op", json=body(description="new"))
    assert (2, "op_1", "north__sales") == tuple(
        answer.json()[k] for k in ("revision", "changed_by", "dag_id")
    )
    told = api.call("GET", "/jobs/north/sales/history").json()
    assert [("a", 1), ("op_1", 2)] == [(one["changed_by"], one["revision"]) for one in told]
    assert not any("files" in change for change in told)
    old, new, newest = (
        api.call("GET", f"/jobs/north/sales{asked}").json()["files"]["sales.yaml"]
        for asked in ("?revision=1", "?revision=2", "")
    )
    assert (specification(), specification(description="new")) == (old, new)
    assert new == newest
    never = api.call("GET", "/jobs/north/sales?revision=99999999999999999999")
    assert (404, True) == (never.status_code, "has no revision" in never.text)
    assert 404 == api.call("GET", "/jobs/north/sales?revision=0").status_code


def test_a_bad_job_is_answered_with_every_problem(api: Api) -> None:
    """Each with its place, as everywhere; nothing is kept."""
    answer = api.call("PUT", "/jobs/north/sales", json=body(staging="/etc", publish={"table": "east.sales"}))
    assert 400 == answer.status_code
    told = {problem["path"] for problem in answer.json()["detail"]["problems"]}
    assert {"sales.yaml staging", "sales.yaml publish.table"} == told
    assert 1 == revision(api)


def test_what_is_removed_is_gone_and_remembered(api: Api) -> None:
    """A removed job is not found any more, nor removed twice, and its history stays."""
    removed = api.call("DELETE", "/jobs/north/sales")
    assert (200, True) == (removed.status_code, "without its schedule" in removed.json()["warning"])
    assert (404, 404) == (
        api.call("GET", "/jobs/north/sales").status_code,
        api.call("DELETE", "/jobs/north/sales").status_code,
    )
    assert [] == api.call("GET", "/jobs").json()["jobs"]
    assert [False, True] == [one["is_removed"] for one in api.call("GET", "/jobs/north/sales/history").json()]


def test_a_dag_of_another_bundle_is_not_taken(api: Api) -> None:
    """A job that would take the place of somebody else's Dag is a conflict, and changes nothing."""
    with dag_of_another_bundle("north__payroll"):
        answer = api.call("PUT", "/jobs/north/payroll", json=body())
    assert 409 == answer.status_code
    assert "from the bundle folder; choose another name, or remove it there" in answer.text
    assert 1 == revision(api)


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (json.dumps({"specification": "\ud800", "contract": "secret"}), '"specification"'),
        (json.dumps({**body(), "\ud800": "secret"}), "unicode"),
        (json.dumps({"specification": "secret" * 50_000, "contract": ""}), "at most 262144"),
        ('{"secret', "JSON"),
    ],
)
def test_a_malformed_request_is_not_repeated(api: Api, raw: str, told: str) -> None:
    """The answer names what is wrong in letters that every program can read, and nothing of the texts."""
    answer = api.call("PUT", "/jobs/north/sales", content=raw)
    assert (422, True) == (answer.status_code, answer.content.isascii())
    assert told in answer.text
    assert "secret" not in answer.text


@pytest.mark.parametrize(
    "connection",
    [None, '{"conn_type": "mysql", "host": "x"}', '{"conn_type": "postgres", "extra": {"options": "x"}}'],
)
def test_the_deployers_mistakes_are_not_the_users(
    api: Api, monkeypatch: pytest.MonkeyPatch, connection: str | None
) -> None:
    """A connection that is missing, or can't be used, is no bad request."""
    monkeypatch.delenv("AIRFLOW_CONN_ORCHESTRATION_DEFAULT")
    if connection is not None:
        monkeypatch.setenv("AIRFLOW_CONN_ORCHESTRATION_DEFAULT", connection)
    answer = api.call("PUT", "/jobs/north/sales", json=body())
    assert (503, True) == (answer.status_code, "orchestration_default" in answer.text)


def test_in_multi_team_mode_nothing_is_served(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as a new job would be of no team, and so of everybody."""
    monkeypatch.setenv("AIRFLOW__CORE__MULTI_TEAM", "True")
    answer = api.call("PUT", "/jobs/west/fresh", "user", json=body())
    assert (503, True) == (answer.status_code, "knows no teams" in answer.text)
    assert 1 == revision(api)


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
    ],
)
def test_other_sites_change_nothing(api: Api, method: str, headers: dict[str, str], expected: int) -> None:
    """What a page elsewhere can make a browser send is refused, although the cookie comes with it."""
    api.client.cookies.set("_token", api.tokens["admin"])
    answer = api.call(method, "/jobs/north/sales", "cookie", headers=headers, json=body(description="b"))
    assert (expected, 1 + (expected == 200)) == (answer.status_code, revision(api))


def test_without_a_registry_nothing_is_served(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer says which setting is missing, and where."""
    monkeypatch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST", "[]")
    answer = api.call("GET", "/jobs")
    assert (503, True) == (answer.status_code, "has no airflow_orchestration.bundles" in answer.text)


def test_a_store_that_is_away_gives_nothing_away(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither its place nor its user stands in the answer."""
    monkeypatch.setenv("AIRFLOW_CONN_ORCHESTRATION_DEFAULT", "postgres://secret@localhost:1/hidden")
    answer = api.call("GET", "/jobs")
    assert (503, False) == (answer.status_code, "secret" in answer.text or "hidden" in answer.text)


def test_the_plugin_mounts_the_app() -> None:
    """The api-server finds it in the plugin, below a prefix of its own."""
    assert [("/orchestration", app)] == [
        (one["url_prefix"], one["app"]) for one in OrchestrationPlugin().fastapi_apps
    ]
