"""The page behind Airflow's other auth manager, whose roles have rights by Dag and by what belongs to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import pytest
from airflow import settings
from airflow.providers.fab.auth_manager.cli_commands.utils import get_application_builder
from airflow.providers.fab.auth_manager.models import User
from airflow.providers.fab.auth_manager.models.db import FABDBManager
from airflow.providers.fab.www.security import permissions
from sqlalchemy.orm import Session

from tests.airflow.page_server import QUERIES, Page, connected, managed, page_of

READ = permissions.ACTION_CAN_READ
ROLES: Mapping[str, list[str]] = {
    "one_dag": ["DAG:things", permissions.RESOURCE_DAG_RUN, permissions.RESOURCE_TASK_LOG],
    "one_dag_without_logs": ["DAG:things", permissions.RESOURCE_DAG_RUN],
    "one_dag_without_runs": ["DAG:things", permissions.RESOURCE_TASK_LOG],
    "other_dag": ["DAG:other", permissions.RESOURCE_DAG_RUN, permissions.RESOURCE_TASK_LOG],
}
"""Roles of our own, besides Airflow's, and what each may read."""
ACTORS = ("Public", "Viewer", "User", "Op", "Admin", *ROLES)
OF_A_DAG = (403, 200, 200, 200, 200, 200, 200, 403, 403)
ROWS = (403, 200, 200, 200, 200, 200, 403, 403, 403)
LISTS = (403, 200, 200, 200, 200, 200, 200, 403, 200)
NO_DATA = (200,) * 9
TABLE = {
    "/api/dags/{dag_id}/run": OF_A_DAG,
    "/api/dags/{dag_id}/timeline": OF_A_DAG,
    "/api/dags/{dag_id}/agents": OF_A_DAG,
    "/api/dags/{dag_id}/quarantine": ROWS,
    "/api/dags/{dag_id}/feeds": OF_A_DAG,
    "/api/runs": LISTS,
    "/api/leaderboard": LISTS,
    "/api/openapi.json": NO_DATA,
    "/page": NO_DATA,
}
"""What each role is answered, in their order."""


@pytest.fixture(scope="module")
def page(create_with_a_run: Callable[[str], str]) -> Iterator[Page]:
    """The page with one run, and a user of each role."""
    with (
        connected(create_with_a_run("page_fab")),
        managed("airflow.providers.fab.auth_manager.fab_auth_manager.FabAuthManager") as manager_of,
        Session(settings.engine) as session,
    ):
        FABDBManager(session).create_db_from_orm()
        users = _users()
        manager = manager_of()
        tokens = {name: manager.generate_jwt(user) for name, user in users.items()}
        with page_of(tokens) as served:
            yield served


def _users() -> dict[str, User]:
    """Make the roles, and a user of each."""
    with get_application_builder() as builder:
        security = builder.sm
        for dag_id in ("things", "other"):
            security.create_permission(READ, f"DAG:{dag_id}")
        for name, resources in ROLES.items():
            role = security.add_role(name)
            for resource in resources:
                security.add_permission_to_role(role, security.create_permission(READ, resource))
        return {
            name: security.add_user(
                name, name, name, f"{name}@localhost", security.find_role(name), hashed_password="none"
            )
            for name in ACTORS
        }


@pytest.mark.parametrize("path", TABLE)
def test_every_role_gets_what_the_table_says(page: Page, path: str) -> None:
    """Airflow's roles read all of it, the others their Dag, and rows only with the right to read task logs."""
    found = {actor: page.get(path, actor, **QUERIES.get(path, {})).status_code for actor in ACTORS}

    assert dict(zip(ACTORS, TABLE[path], strict=True)) == found


def test_lists_have_the_dags_of_the_role_alone(page: Page) -> None:
    """Runs of Dags that the role does not name are not there."""
    found = {
        actor: [run["dag_id"] for run in page.json("/api/runs", actor)["runs"]]
        for actor in ("Viewer", "one_dag", "other_dag")
    }

    assert {"Viewer": ["things"], "one_dag": ["things"], "other_dag": []} == found


def test_rows_are_shown_to_who_may_read_logs(page: Page) -> None:
    """The run is the same for all who may see it, but for rows of data."""
    actors = ("Viewer", "one_dag", "one_dag_without_logs")

    assert [True, True, False] == [
        page.json("/api/dags/{dag_id}/run", actor)["rows_shown"] for actor in actors
    ]
