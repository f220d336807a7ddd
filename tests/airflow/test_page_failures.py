"""What the page is told when something fails: words with a remedy that give nothing away, soon."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import httpx
import psycopg
import pytest
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

from airflow_orchestration.domain.contract import Contract
from airflow_orchestration.domain.pipeline import Pipeline
from airflow_orchestration.domain.run_spec import RunSpec
from airflow_orchestration.plugins import bounded, failures, page_api
from airflow_orchestration.plugins.answers import CONTENT_SECURITY_POLICY
from airflow_orchestration.storage.postgres import PostgresStore
from airflow_orchestration.storage.store import Attempt, RunKey, WorkUnit
from tests.airflow.page_server import (
    QUERIES,
    RUN_ID,
    SIMPLE,
    Page,
    connected,
    managed,
    page_of,
    server,
)
from tests.insights_pg.played import COLUMNS, CONTRACT, PlayedRun

RUN, TIMELINE = "/api/dags/{dag_id}/run", "/api/dags/{dag_id}/timeline"
OF_THE_STORE = [path for path in QUERIES if path != "/api/openapi.json"]


@pytest.fixture(scope="module")
def dsn(create_with_a_run: Callable[[str], str]) -> str:
    return create_with_a_run("page_failures")


@pytest.fixture(scope="module")
def page(dsn: str) -> Iterator[Page]:
    """The page with a run that is published."""
    with (
        connected(dsn),
        managed(SIMPLE, AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS="") as manager_of,
    ):
        token = manager_of().generate_jwt(SimpleAuthManagerUser(username="admin", role="ADMIN"))
        with page_of({"admin": token}) as served:
            yield served


def counting_run(folder: Path, store: PostgresStore, dsn: str) -> None:
    """Play a run whose second feed counts by a condition that can't be computed for a row."""
    run = PlayedRun(folder, store, lambda: psycopg.connect(dsn), {"north": {}}, run_id="counts")
    feed = {
        "id": "north",
        "dataset": "thing",
        "uri": "landing/north.csv",
        "format": "csv",
        "columns": COLUMNS,
    }
    measures = {"size": {"function": "count", "where": "name::INTEGER > 1"}}
    made = {
        "id": "made",
        "dataset": "counted",
        "type": "data_aggregation",
        "depends_on": ["north"],
        "aggregate": {"feeds": ["north"], "group_by": ["code"], "measures": measures},
    }
    pipeline = {
        "id": "things",
        "roots": {"landing": str(folder)},
        "staging": str(folder / "staging"),
        "contract": "unused",
        "datasets": {
            "thing": {"publish": {"table": "public.thing"}},
            "counted": {"publish": {"table": "public.counted"}},
        },
        "sync": {"deadline": 600},
        "feeds": [feed, made],
    }
    counted = Contract.model_validate(
        {
            "name": "counted",
            "key": ["code"],
            "columns": [
                {"name": "code", "type": "string", "required": True},
                {"name": "size", "type": "integer"},
            ],
        }
    )
    run.spec = RunSpec(
        pipeline=Pipeline.model_validate(pipeline),
        contracts=(CONTRACT, counted),
        run_date=run.spec.run_date,
    )
    run.land(north="a,1,4111-1111-secret\n")
    run.start()
    run.plan()
    run.work()


@pytest.mark.parametrize("path", OF_THE_STORE)
def test_the_deployers_mistakes_are_told_with_a_remedy(
    page: Page, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that is missing or can't be used is named, and nobody's request is to blame."""
    monkeypatch.delenv("AIRFLOW_CONN_ORCHESTRATION_DEFAULT")
    missing = page.get(path, **QUERIES[path])
    monkeypatch.setenv("AIRFLOW_CONN_ORCHESTRATION_DEFAULT", '{"conn_type": "mysql", "host": "x"}')
    wrong = page.get(path, **QUERIES[path])

    assert (503, True) == (missing.status_code, "add it under Admin, Connections" in missing.text)
    assert (503, True) == (wrong.status_code, "a postgres one is needed" in wrong.text)


def test_a_store_that_is_not_migrated_is_told_with_a_remedy(
    page: Page, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer is the command that is to be run, without the name of the database."""
    with closing(psycopg.connect(database)) as connection:
        at = connection.info
        address = {"conn_type": "postgres", "host": at.host, "login": at.user, "schema": at.dbname}
    monkeypatch.setenv("AIRFLOW_CONN_ORCHESTRATION_DEFAULT", json.dumps(address))
    answer = page.get(RUN, run_id=RUN_ID)

    told = answer.json()["detail"]
    assert (503, True, False) == (
        answer.status_code,
        "run `airflow orchestration migrate`" in told,
        address["schema"] in told,
    )


def test_a_store_that_is_away_gives_nothing_away(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither its place nor its user stands in the answer."""
    monkeypatch.setenv("AIRFLOW_CONN_ORCHESTRATION_DEFAULT", "postgres://secret@localhost:1/hidden")
    answer = page.get(RUN, run_id=RUN_ID)

    assert 503 == answer.status_code
    assert not [word for word in ("secret", "hidden", "localhost") if word in answer.text]


def test_a_store_that_never_answers_stops_nothing_else(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow goes on while more people ask for the page than there are threads; each of them is told to come again."""
    monkeypatch.setattr(bounded, "PATIENCE_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0), backlog=200) as silent:
        silent.settimeout(0)
        port = silent.getsockname()[1]
        monkeypatch.setenv("AIRFLOW_CONN_ORCHESTRATION_DEFAULT", f"postgres://u@127.0.0.1:{port}/x")
        meanwhile, answers = asyncio.run(all_ask(silent, page.tokens["admin"]))

    assert [200, 200] == meanwhile
    assert {503} == {answer.status_code for answer in answers}
    told = Counter(answer.headers.get("retry-after", answer.json()["detail"]) for answer in answers)
    assert {"5": 45 - bounded.AT_ONCE, failures.SILENT: bounded.AT_ONCE} == told


async def all_ask(silent: socket.socket, token: str) -> tuple[list[int], list[httpx.Response]]:
    """Ask for 45 lists of runs and jobs; return what another route answers while they wait, and after, and theirs."""
    headers = {"Authorization": f"Bearer {token}"}
    paths = ["/orchestration/api/runs", "/orchestration/jobs"] * 23
    transport = httpx.ASGITransport(server())
    async with asyncio.timeout(20), httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        waiting = [asyncio.create_task(client.get(path, headers=headers)) for path in paths[:45]]
        loop = asyncio.get_running_loop()
        held = [await loop.sock_accept(silent) for _ in range(bounded.AT_ONCE)]
        async with asyncio.timeout(1):
            meanwhile = await client.get("/other")
        answers = await asyncio.gather(*waiting)
        after = await client.get("/other")
        for connection, _ in held:
            connection.close()
    return [meanwhile.status_code, after.status_code], list(answers)


def test_the_store_is_read_and_never_written(page: Page) -> None:
    """A mistake in what the page reads can't change what is recorded."""
    reading = page_api.store()
    store = next(reading)
    unit = WorkUnit(run=RunKey(dag_id="things", run_id=RUN_ID), round=0, unit="publish")
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        store.claim(unit, Attempt(try_number=9, ti_id="t", process="p"))
    reading.close()

    assert 200 == page.get(RUN, run_id=RUN_ID).status_code


def test_a_connection_is_open_for_one_request(page: Page, dsn: str) -> None:
    """Nothing stays open where the page has been read: many api-servers share one database."""

    def others() -> int:
        with closing(psycopg.connect(dsn)) as connection:
            row = connection.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = 'page_failures'"
            ).fetchone()
            assert row is not None
            return int(row[0])

    before = others()
    for path in OF_THE_STORE:
        page.get(path, **QUERIES[path])
    assert any(others() <= before for _ in range(100))  # the server lets go of each in its own time


def test_a_mistake_of_ours_is_told_as_one(page: Page, dsn: str) -> None:
    """What was recorded and can't be read is no unknown run; the answer is protected, and has none of it."""
    with psycopg.connect(dsn) as connection:
        connection.execute(
            "INSERT INTO orchestration.run (dag_id, run_id, started_at, spec, mode) "
            "VALUES ('things', 'broken', now(), %s, '{}')",
            ('{"secret": 1}',),
        )
    answer = page.get(RUN, run_id="broken")

    assert (500, ["detail"]) == (answer.status_code, list(answer.json()))
    assert "api-server's log" in answer.json()["detail"]
    assert ("no-store", CONTENT_SECURITY_POLICY) == (
        answer.headers["cache-control"],
        answer.headers["content-security-policy"],
    )


def test_a_right_that_lacks_is_named(page: Page, dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A role that may not read a table is the deployer's to mend: the table is told, and nothing of the server."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("DROP ROLE IF EXISTS page_reader")
        connection.execute("CREATE ROLE page_reader LOGIN")
        connection.execute("GRANT USAGE ON SCHEMA orchestration TO page_reader")
        connection.execute("GRANT SELECT ON orchestration.migration TO page_reader")
    address = json.loads(os.environ["AIRFLOW_CONN_ORCHESTRATION_DEFAULT"])
    monkeypatch.setenv("AIRFLOW_CONN_ORCHESTRATION_DEFAULT", json.dumps({**address, "login": "page_reader"}))
    answer = page.get(RUN, run_id=RUN_ID)

    told = answer.json()["detail"]
    assert (503, True) == (answer.status_code, "permission denied for table run; grant it" in told)
    assert not [word for word in (address["host"], address["schema"], "page_reader") if word in told]


@pytest.mark.usefixtures("page")
def test_the_connection_gives_up_soon() -> None:
    """The server ends a statement that takes longer than a person waits."""
    reading = page_api.store()
    store = next(reading)
    with store.readings._transaction() as cursor:
        row = cursor.execute("SHOW statement_timeout").fetchone()
    reading.close()

    assert {"statement_timeout": "5s"} == row


def test_no_value_of_a_row_is_told_without_the_right_to_logs(page: Page, dsn: str, tmp_path: Path) -> None:
    """A feed that fails on a value of a row says where, and not what the value is."""
    with PostgresStore(lambda: psycopg.connect(dsn)) as store:
        counting_run(tmp_path, store, dsn)
    answers = [page.get(path, run_id="counts").text for path in (RUN, TIMELINE)]

    assert [False, False] == ["secret" in answer for answer in answers]
    assert ["a row can't be aggregated (Conversion Error)" in answer for answer in answers] == [True, True]
