"""What people are shown of a run full of canaries: by the page's API and the command line, which a reader's login serves."""

from __future__ import annotations

import json

import pytest

from tests.airflow.page_server import QUERIES, Page
from tests.cli.commands import command
from tests.security.canaries import CELL, NAME, REJECTED_CELL, SECRETS, TRACES

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
