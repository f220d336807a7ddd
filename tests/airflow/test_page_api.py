"""What the page is told: shapes as they are described, headers that protect, and words for what is not there."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
from pydantic import TypeAdapter

from airflow_orchestration.plugins import page_api
from airflow_orchestration.plugins.answers import CONTENT_SECURITY_POLICY, entity_tag
from airflow_orchestration.plugins.detail_shapes import Quarantine, RoundAgentsShown, TimelinePage
from airflow_orchestration.plugins.history_shapes import FeedsOverTime, Leaderboard, RunsOverTime
from airflow_orchestration.plugins.run_shapes import RunView
from airflow_orchestration.plugins.web_app import app, openapi_text
from airflow_orchestration.storage.store import Attempt, RunKey, RunState, WorkUnit
from tests.airflow.page_server import QUERIES, RUN_ID, SIMPLE, Page, connected, managed, page_of
from tests.insights_pg.played import PlayedRun
from tests.unit.workflow.rounds import KEY as WITH_AGENTS
from tests.unit.workflow.rounds import Round

REPOSITORY = Path(__file__).parents[2]
STRANGER = "<img src=x onerror=alert(1)>"
SHAPES: dict[str, Any] = {
    "/api/dags/{dag_id}/run": RunView,
    "/api/dags/{dag_id}/timeline": TimelinePage,
    "/api/dags/{dag_id}/agents": list[RoundAgentsShown],
    "/api/dags/{dag_id}/quarantine": Quarantine,
    "/api/dags/{dag_id}/feeds": FeedsOverTime,
    "/api/runs": RunsOverTime,
    "/api/leaderboard": Leaderboard,
}
OF_A_RUN = [path for path in SHAPES if "run_id" in QUERIES[path]]
RUN, TIMELINE = "/api/dags/{dag_id}/run", "/api/dags/{dag_id}/timeline"
UNKNOWN = {
    "/api/dags/{dag_id}/run": 404,
    "/api/dags/{dag_id}/timeline": 404,
    "/api/dags/{dag_id}/quarantine": 404,
    "/api/dags/{dag_id}/agents": 200,
}
"""What is answered of a run that nobody knows. Agents may work where no pipeline is."""


@pytest.fixture(scope="module")
def dsn(create_with_a_run: Callable[[str], str]) -> str:
    return create_with_a_run("page_api")


@pytest.fixture(scope="module")
def page(dsn: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """The page with a run that is published, one that goes on, one that was refused, and one with agents."""
    folder = tmp_path_factory.mktemp("page_api")
    with (
        connected(dsn) as store,
        managed(SIMPLE, AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS="") as manager_of,
    ):
        going_on = PlayedRun(
            folder, store, lambda: psycopg.connect(dsn), {"north": {}, "absent": {}}, run_id="going on"
        )
        going_on.land(north="a,1,x\n")
        going_on.start()
        going_on.plan()
        going_on.work()
        refused = WorkUnit(run=RunKey(dag_id="things", run_id="refused"), round=0, unit="close_out")
        fence = store.claim(refused, Attempt(try_number=1, ti_id="t", process="p"))
        store.finish(fence, RunState.NOT_PUBLISHED, {"state": "not_published", "why": STRANGER})
        Round(folder / "agents", {"a": {}, "b": {}}, store=store).hire()
        token = manager_of().generate_jwt(SimpleAuthManagerUser(username="admin", role="ADMIN"))
        with page_of({"admin": token}) as served:
            yield served


@pytest.mark.parametrize("run_id", [RUN_ID, "going on", "refused", WITH_AGENTS.run_id])
@pytest.mark.parametrize("path", [RUN, TIMELINE])
def test_every_run_has_the_shape_that_is_described(page: Page, path: str, run_id: str) -> None:
    """Neither a field more nor one less, whatever became of the run."""
    told = page.json(path, run_id=run_id)

    assert TypeAdapter(SHAPES[path]).validate_python(told)
    assert told.get("run_id", run_id) == run_id


@pytest.mark.parametrize("path", SHAPES)
def test_every_answer_has_the_shape_that_is_described(page: Page, path: str) -> None:
    """So has every other route, each with something in it."""
    query = {"run_id": WITH_AGENTS.run_id} if path.endswith("agents") else {}
    told = page.json(path, **query)

    assert TypeAdapter(SHAPES[path]).validate_python(told)
    assert path == "/api/leaderboard" or any(told.values() if isinstance(told, dict) else told[0]["agents"])


def test_the_numbers_of_a_run_are_those_of_its_manifest(page: Page) -> None:
    """What was put aside by rule, and what came of each feed, adds up to what was recorded at the end."""
    view, aside = page.json(RUN), page.json("/api/dags/{dag_id}/quarantine")
    feeds = {feed["feed"]: feed for feed in view["manifest"]["feeds"]}

    assert "published_degraded" == view["state"]
    assert {"north": 1, "east": 1} == {rule["feed"]: rule["rows"] for rule in aside["rules"]}
    assert {"north": 1, "east": 1} == {
        name: feed["rows_quarantined"] for name, feed in feeds.items() if name != "south"
    }
    assert "table" == aside["where"]
    assert ["c,-1,\u00e4", "d,-2,x"] == sorted(
        sample["raw"] for rule in aside["rules"] for sample in rule["samples"]
    )


def test_a_strangers_text_is_data(page: Page) -> None:
    """It is told as it came, in JSON that is ASCII and is called JSON."""
    answer = page.get(RUN, run_id="refused")

    assert STRANGER == answer.json()["manifest"]["why"]
    assert ("application/json", True) == (answer.headers["content-type"], answer.content.isascii())


@pytest.mark.parametrize("run_id", [RUN_ID, "refused"])
def test_nothing_new_is_told_without_a_body(page: Page, run_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who names what they have is told that it still holds, before the run is read, and is protected all the same."""
    tag = page.get(RUN, run_id=run_id).headers["etag"]
    monkeypatch.setattr(page_api, "run_view", None)
    for known in (tag, tag.removeprefix("W/"), f'"other", {tag}'):
        with asking(page, known):
            answer = page.get(RUN, run_id=run_id)
        assert (304, b"", tag) == (answer.status_code, answer.content, answer.headers["etag"])
        assert ("no-store", CONTENT_SECURITY_POLICY) == (
            answer.headers["cache-control"],
            answer.headers["content-security-policy"],
        )


@pytest.mark.parametrize("known", ['"other"', "", "*x", 'W/"'])
def test_what_is_not_known_is_told(page: Page, known: str) -> None:
    """Another tag, or none that makes sense, brings the whole run."""
    with asking(page, known):
        assert RUN_ID == page.json(RUN)["run_id"]


def test_who_may_see_rows_has_another_tag() -> None:
    """A right that was given or taken away is news."""
    assert entity_tag("1", rows_shown=True) != entity_tag("1", rows_shown=False)


@contextmanager
def asking(page: Page, known: str) -> Iterator[None]:
    """Let a page say what it has."""
    page.client.headers["If-None-Match"] = known
    try:
        yield
    finally:
        del page.client.headers["If-None-Match"]


@pytest.mark.parametrize("path", OF_A_RUN)
@pytest.mark.parametrize("run_id", ["never", "", "%", "~", "'; --"])
def test_a_run_that_nobody_knows(page: Page, path: str, run_id: str) -> None:
    """The answer says that it is none, and what that means; agents may be none, too."""
    answer = page.get(path, run_id=run_id)
    told = answer.json()

    assert UNKNOWN[path] == answer.status_code
    assert told == [] or (False, True) == (
        told["detail"]["known"],
        "orchestration_default" in told["detail"]["reason"],
    )


@pytest.mark.parametrize(
    ("path", "query"),
    [
        (RUN, {"run_id": "a\x00b"}),
        (RUN, {"run_id": "a" * 251}),
        (RUN, {}),
        (TIMELINE, {"run_id": RUN_ID, "before": "0"}),
        (TIMELINE, {"run_id": RUN_ID, "before": str(2**63)}),
        (TIMELINE, {"run_id": RUN_ID, "round": "-1"}),
        (TIMELINE, {"run_id": RUN_ID, "round": str(2**31)}),
        ("/api/dags/{dag_id}/quarantine", {"run_id": RUN_ID, "feed": "\x00"}),
        ("/api/dags/{dag_id}/feeds", {"runs": "31"}),
        ("/api/runs", {"days": "0"}),
        ("/api/runs", {"days": "99999999999"}),
        ("/api/leaderboard", {"tenant": "\x00"}),
    ],
)
def test_what_can_not_be_asked_is_refused(page: Page, path: str, query: dict[str, str]) -> None:
    """The answer says what is wrong, not the database."""
    answer = page.get(path, **query)

    assert (422, list) == (answer.status_code, type(answer.json()["detail"]))


def test_the_largest_numbers_can_be_asked(page: Page) -> None:
    """What the columns hold is no error, and old events come page by page."""
    last = page.json(TIMELINE, before=str(2**63 - 1))["events"]
    older = page.json(TIMELINE, before=str(last[2]["id"]))["events"]

    assert [] == page.json(TIMELINE, round=str(2**31 - 1))["events"]
    assert [event["id"] for event in last[3:]] == [event["id"] for event in older]
    assert {1} == {event["round"] for event in page.json(TIMELINE, round="1")["events"]}


@pytest.mark.parametrize(
    ("path", "kept"),
    [(RUN, "no-store"), ("/page", "no-store"), ("/static/page.js", "no-cache"), ("/api/never", "no-store")],
)
def test_every_answer_is_protected(page: Page, path: str, kept: str) -> None:
    """No other site frames it, no browser guesses what it is, and no cache keeps data; an error is no exception."""
    headers = page.get(path, **QUERIES.get(path, {})).headers

    assert CONTENT_SECURITY_POLICY == headers["content-security-policy"]
    assert "script-src 'self'" in CONTENT_SECURITY_POLICY
    assert "unsafe" not in CONTENT_SECURITY_POLICY
    assert ["SAMEORIGIN", "nosniff", "same-origin", kept] == [
        headers[name]
        for name in ("x-frame-options", "x-content-type-options", "referrer-policy", "cache-control")
    ]


def test_the_page_keeps_to_what_its_policy_allows(page: Page) -> None:
    """Neither scripts nor styles stand in it, and every address is relative: Airflow may have a path."""
    answer = page.get("/page")

    assert "text/html" in answer.headers["content-type"]
    assert not [part for part in ("<style", " style=", " onclick", "://", '="/') if part in answer.text]
    assert "<script>" not in answer.text


def test_the_description_says_what_every_field_means() -> None:
    """No parameter-less prose: each field of each shape, and each route, has its sentence."""
    described = app.openapi()
    ours = [f"{path}" for path in described["paths"] if path.startswith("/api/")]
    silent = [
        f"{name}.{field}"
        for name, shape in described["components"]["schemas"].items()
        if not name.startswith(("Job", "RemovedJob"))
        for field, told in shape.get("properties", {}).items()  # a closed list of words has none
        if "description" not in told
    ]

    assert set(SHAPES) == set(ours)
    assert [] == silent
    assert all(described["paths"][path]["get"]["description"] for path in ours)
    answers = {
        (path, method): set(route["responses"])
        for path, of_path in described["paths"].items()
        for method, route in of_path.items()
    }
    for (path, method), codes in answers.items():
        about_one = "{" in path
        assert {"401", "403", "422", "503", *(["404"] if about_one and method != "put" else [])} <= codes, (
            path
        )
        assert (method in {"put", "delete"}) is ("415" in codes), path
        assert (method == "put") is ({"400", "409"} <= codes), path
    assert "Malformed" in described["components"]["schemas"]
    assert "HTTPValidationError" not in described["components"]["schemas"]
    for path in ours:
        assert "schema" in described["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]


def test_the_written_description_is_that_of_the_app(page: Page) -> None:
    """`make schemas` has been run since the routes changed, and the api-server tells the same."""
    written = (REPOSITORY / "docs" / "schemas" / "openapi.json").read_text()

    assert openapi_text() == written
    assert json.loads(written) == page.json("/api/openapi.json")
