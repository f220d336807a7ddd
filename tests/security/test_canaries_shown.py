"""What people are shown of a run full of canaries: by the page's API and the command line, which a reader's login serves."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

from tests.airflow.page_server import QUERIES, SIMPLE, Page, managed, page_of
from tests.cli.commands import command
from tests.registered_jobs import dag_of_another_bundle
from tests.security.canaries import CELL, NAME, REJECTED_CELL, SECRETS, TRACES
from tests.security.conftest import CanaryRun, connection_to

LOOKS = {
    "explain": ("canary/manual__1",),
    "manifest": ("canary/manual__1",),
    "quarantine": ("canary/manual__1",),
    "replay": ("--dag-id", "canary"),
    "agents leaderboard": ("north",),
    "agents work": ("canary/manual__1",),
}
"""Commands that change nothing."""
WITH_ROWS = {"/api/dags/{dag_id}/run", "/api/dags/{dag_id}/quarantine"}
"""The routes that show values of rows, to who may read the logs of tasks."""


@pytest.fixture(scope="module")
def looking(canary_run: CanaryRun) -> Iterator[pytest.MonkeyPatch]:
    """Airflow's connections to the store and the target, both of a login that reads."""
    with pytest.MonkeyPatch.context() as patch:
        for conn_id in ("orchestration_default", "warehouse"):
            patch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", connection_to(canary_run.reader, conn_id))
        yield patch


@pytest.fixture(scope="module")
def page(looking: pytest.MonkeyPatch) -> Iterator[Page]:
    """The page, and an administrator who may see everything."""
    del looking  # its connections are there while it is
    with (
        managed(SIMPLE, AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS="") as manager_of,
        dag_of_another_bundle("canary"),
    ):
        token = manager_of().generate_jwt(SimpleAuthManagerUser(username="admin", role="ADMIN"))
        with page_of({"admin": token}) as served:
            yield served


@pytest.mark.parametrize("path", QUERIES)
def test_a_reader_s_login_serves_every_route(page: Page, path: str) -> None:
    """Canaries are texts in JSON, nothing was executed, no secret is told, and rows are where rows are shown."""
    query = {**QUERIES[path], **({"run_id": "manual__1"} if "run_id" in QUERIES[path] else {})}
    answer = page.get(path, of="canary", **query)
    text = json.dumps(answer.json(), ensure_ascii=False)

    assert (200, "application/json", "nosniff") == (
        answer.status_code,
        answer.headers["content-type"],
        answer.headers["x-content-type-options"],
    )
    assert [] == [one for one in (*TRACES, *SECRETS) if one in text]
    assert (path in WITH_ROWS) == (CELL in text or REJECTED_CELL in text)


def test_the_names_that_strangers_chose_are_shown(page: Page) -> None:
    """The page has the canary as it was written: what makes it harmless is that it is never markup."""
    shown = page.json("/api/dags/{dag_id}/run", of="canary", run_id="manual__1")

    assert NAME in {merge["dataset"] for one in shown["rounds"] for merge in one["merges"]}


@pytest.mark.usefixtures("looking")
@pytest.mark.parametrize("name", LOOKS)
@pytest.mark.parametrize("form", ["table", "json"])
def test_a_reader_s_login_is_enough_to_look(name: str, form: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Commands that show something work with it, and tell no secret."""
    command(name, *LOOKS[name], "--output", form)
    printed = "".join(capsys.readouterr())

    assert printed
    assert [] == [one for one in (*TRACES, *SECRETS) if one in printed]
