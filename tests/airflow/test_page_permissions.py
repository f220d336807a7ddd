"""Who may see what of the page: every route, every role of Airflow, and rights by Dag; in process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

import pytest
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
from fastapi.routing import APIRoute

from airflow_orchestration.plugins.web_app import app
from tests.airflow.page_server import QUERIES, RUN_ID, Page, connected, managed, page_of

RUNS, LOGS = DagAccessEntity.RUN, DagAccessEntity.TASK_LOGS
RIGHTS: dict[str, dict[str, set[DagAccessEntity | None]]] = {
    "other": {"other": {None, RUNS, LOGS}},
    "no logs": {"things": {None, RUNS}},
    "no runs": {"things": {None, LOGS}},
    "mixed": {"things": {None}, "other": {None, RUNS}},
}
"""Readers of single Dags, and what they may read of each."""
ACTORS = ("anonymous", "bad token", "viewer", "user", "op", "admin", *RIGHTS)
OF_A_DAG = (401, 403, 200, 200, 200, 200, 403, 200, 403, 403)
ROWS = (401, 403, 200, 200, 200, 200, 403, 403, 403, 403)
LISTS = (401, 403, 200, 200, 200, 200, 200, 200, 403, 200)
NO_DATA = (401, 403, 200, 200, 200, 200, 200, 200, 200, 200)
PAGE = (307, 307, 200, 200, 200, 200, 200, 200, 200, 200)
TABLE = {
    "/api/dags/{dag_id}/run": OF_A_DAG,
    "/api/dags/{dag_id}/timeline": OF_A_DAG,
    "/api/dags/{dag_id}/agents": OF_A_DAG,
    "/api/dags/{dag_id}/quarantine": ROWS,
    "/api/dags/{dag_id}/feeds": OF_A_DAG,
    "/api/runs": LISTS,
    "/api/leaderboard": LISTS,
    "/api/openapi.json": NO_DATA,
    "/page": PAGE,
}
"""What each actor is answered, in their order. A route without a line here fails a test."""


class ManagerByDag(SimpleAuthManager):
    """Airflow's own manager with its roles, and some users besides who have rights by Dag."""

    def is_authorized_dag(
        self,
        *,
        method: Any,
        user: SimpleAuthManagerUser,
        access_entity: DagAccessEntity | None = None,
        details: DagDetails | None = None,
    ) -> bool:
        rights = RIGHTS.get(user.username)
        if rights is None:
            return super().is_authorized_dag(
                method=method, user=user, access_entity=access_entity, details=details
            )
        if details is None or details.id is None:
            return method == "GET" and any(access_entity in entities for entities in rights.values())
        return method == "GET" and access_entity in rights.get(details.id, set())


@pytest.fixture(scope="module")
def page(create_with_a_run: Callable[[str], str]) -> Iterator[Page]:
    """The page with one run, and somebody of each kind who calls."""
    manager = f"{ManagerByDag.__module__}.{ManagerByDag.__name__}"
    with (
        connected(create_with_a_run("page_permissions")),
        managed(manager, AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS="") as manager_of,
    ):
        made = manager_of()
        tokens = {
            name: made.generate_jwt(
                SimpleAuthManagerUser(username=name, role=None if name in RIGHTS else name.upper())
            )
            for name in ACTORS[2:]
        }
        with page_of({**tokens, "bad token": f"{tokens['admin']}x"}) as served:
            yield served


def test_every_route_has_a_line_in_the_table() -> None:
    """Nothing is served that nobody has said who may see it: neither a route nor a mounted app."""
    found = {
        route.path
        for route in app.routes
        if isinstance(route, APIRoute) and not route.path.startswith("/jobs")
    }
    others = {route.path for route in app.routes if not isinstance(route, APIRoute)}

    assert (set(TABLE), {"/static"}) == (found, others)
    assert {"GET"} == {
        method
        for route in app.routes
        if isinstance(route, APIRoute) and route.path in TABLE
        for method in route.methods
    }


@pytest.mark.parametrize("path", TABLE)
def test_every_route_asks_who_calls(page: Page, path: str) -> None:
    """Each actor gets what the table says."""
    found = {actor: page.get(path, actor, **QUERIES.get(path, {})).status_code for actor in ACTORS}

    assert dict(zip(ACTORS, TABLE[path], strict=True)) == found


@pytest.mark.parametrize("path", TABLE)
def test_a_cookie_is_as_good_as_a_token(page: Page, path: str) -> None:
    """The browser's cookie says who calls, and a bad one is refused."""
    for actor, expected in (("other", TABLE[path][ACTORS.index("other")]), ("bad token", TABLE[path][1])):
        page.client.cookies.set("_token", page.tokens[actor])
        answer = page.get(path, "nobody", **QUERIES.get(path, {}))
        page.client.cookies.clear()
        assert (actor, expected) == (actor, answer.status_code)


def test_the_static_files_alone_are_anonymous(page: Page) -> None:
    """They hold no data, and nothing beside them can be had."""
    names = ("page.js", "page.css", "icon.svg", "icon-dark.svg")

    assert [200] * 4 == [page.get(f"/static/{name}", "anonymous").status_code for name in names]
    assert 404 == page.get("/static/%2e%2e/web_app.py", "anonymous").status_code


@pytest.mark.parametrize("path", [path for path in TABLE if "{dag_id}" in path])
@pytest.mark.parametrize("dag_id", ["~", "*", "other~", " ", "a\x00b"])
def test_no_dag_id_means_any_dag(page: Page, path: str, dag_id: str) -> None:
    """Airflow's sign for all Dags, and what is no id, are found nowhere, whatever else is asked."""
    for actor in ("admin", "other"):
        assert (
            404
            == page.get(
                path.replace("{dag_id}", dag_id.replace("\x00", "%00")), actor, **QUERIES[path]
            ).status_code
        )


@pytest.mark.parametrize("path", [path for path in TABLE if "{dag_id}" in path])
def test_the_path_says_which_dag_is_asked_for(page: Page, path: str) -> None:
    """A query that names a Dag that one may read opens no other."""
    assert 403 == page.get(path + "?dag_id=other", "other", **QUERIES[path]).status_code


def test_forbidden_and_absent_can_not_be_told_apart(page: Page) -> None:
    """Who may read some Dags alone learns nothing of which others there are, nor of their runs."""
    found = {
        (dag_id, run_id): page.get("/api/dags/{dag_id}/run", "other", of=dag_id, run_id=run_id).text
        for dag_id in ("things", "never")
        for run_id in (RUN_ID, "never")
    }

    assert {'{"detail": "Forbidden"}'} == set(found.values())


def test_a_run_is_one_of_its_dag(page: Page) -> None:
    """A run id that another Dag has is unknown here."""
    answer = page.get("/api/dags/{dag_id}/run", "other", of="other", run_id=RUN_ID)

    assert (404, False) == (answer.status_code, answer.json()["detail"]["known"])


def test_lists_have_readable_dags_alone(page: Page) -> None:
    """Runs of other Dags are missing, those of Dags that one may read but for their runs, too; asking brings nothing."""

    def runs(actor: str, **query: str) -> list[str]:
        return [run["dag_id"] for run in page.json("/api/runs", actor, **query)["runs"]]

    assert (["things"], ["things"], [], []) == tuple(map(runs, ("viewer", "no logs", "other", "mixed")))
    assert (["things"], [], [], [], []) == (
        runs("viewer", dag_id="things"),
        runs("mixed", dag_id="things"),
        runs("viewer", dag_id="other"),
        runs("viewer", dag_id="~"),
        runs("other", dag_id="things"),
    )


def test_rows_need_the_right_to_read_logs(page: Page) -> None:
    """Without it a run shows how far sources differ, and no row in which they do."""
    full, cut = (page.json("/api/dags/{dag_id}/run", actor) for actor in ("viewer", "no logs"))
    differing = [view["rounds"][0]["merges"][0]["disagreements"] for view in (full, cut)]

    assert (True, False) == (full["rows_shown"], cut["rows_shown"])
    assert [{"code": "b"}] == [one["key"] for one in _of(differing[0], "size")["examples"]]
    assert (1, []) == tuple(_of(differing[1], "size")[name] for name in ("differ", "examples"))
    assert not [
        path for path in TABLE if "onerror" in page.get(path, "no logs", **QUERIES.get(path, {})).text
    ]


def test_who_is_not_logged_in_is_led_to_the_login_and_back(page: Page) -> None:
    """The way there and back is on this site, below Airflow's own path."""
    answer = page.get("/page", "anonymous", dag_id="things", run_id=RUN_ID)
    way = urlsplit(answer.headers["location"])
    [back] = parse_qs(way.query)["next"]

    assert ("", "", "../api/v2/auth/login") == way[:3]
    assert ("", "", "/orchestration/page") == urlsplit(back)[:3]
    assert {"dag_id": ["things"], "run_id": [RUN_ID]} == parse_qs(urlsplit(back).query)


def test_the_login_is_found_below_a_path(page: Page) -> None:
    """Where a proxy serves Airflow below a path, the way back leads there as well."""
    with page_of(page.tokens, root_path="/air") as below:
        answer = below.get("/page", "anonymous", dag_id="things")
    way = urlsplit(urljoin("http://air.test/air/orchestration/page", answer.headers["location"]))

    assert "/air/api/v2/auth/login" == way.path
    assert {"next": ["/air/orchestration/page?dag_id=things"]} == parse_qs(way.query)


def _of(disagreements: list[dict[str, Any]], attribute: str) -> dict[str, Any]:
    return next(one for one in disagreements if one["attribute"] == attribute)
