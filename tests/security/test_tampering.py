"""Who may edit XComs, connections or Dag settings gains nothing by it."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest

from airflow_orchestration.domain.batch import Lane
from airflow_orchestration.exceptions import InputRefusedError, NotPublishedError
from airflow_orchestration.hooks.orchestration import ACCEPTED_EXTRAS, OrchestrationHook
from airflow_orchestration.operators.base import open_step, refuse_native_rendering
from airflow_orchestration.storage.postgres import PostgresStore
from airflow_orchestration.workflow.branch import run_branch
from airflow_orchestration.workflow.publish import publish
from tests.insights_pg.played import PlayedRun

SECRET = "sesame-of-an-extra"
EXTRAS = {
    "host": "elsewhere.example",
    "hostaddr": "10.0.0.1",
    "port": "1",
    "user": "postgres",
    "dbname": "other",
    "service": "other",
    "servicefile": "/tmp/service",
    "passfile": "/tmp/passwords",
    "password": SECRET,
    "options": "-c search_path=evil",
    "autocommit": True,
    "cursor": "dictcursor",
    "conninfo": f"host=elsewhere.example password={SECRET}",
    "iam": True,
    "sslpassword": SECRET,
    "requirepeer": "postgres",
}
"""What libpq or Airflow's provider would do something with that a connection's author did not mean."""


@pytest.fixture
def played(tmp_path: Path, migrated: str) -> Any:
    """A run that has merged, with the right of nobody to publish it yet."""
    with PostgresStore(lambda: psycopg.connect(migrated)) as store:
        run = PlayedRun(tmp_path, store, lambda: psycopg.connect(migrated), {"north": {}, "east": {}})
        run.land(north="a,1,x\n", east="b,2,y\n")
        run.start()
        run.plan()
        yield run


@pytest.mark.parametrize(
    "branch_id", ["{{ 7 * 191 }}", "../../etc/passwd", "b99", "", "b1' OR true --", "branch:alpha:b1"]
)
def test_a_branch_that_nobody_planned_does_no_work(played: PlayedRun, branch_id: str) -> None:
    """An XCom with other branch ids maps tasks that find nothing to do in the recorded plan, and register nothing."""
    with (
        played.step(1, "branch") as step,
        pytest.raises(LookupError),
    ):
        run_branch(step, branch_id, Lane.BETA)

    assert [] == list(played.store.outcomes(played.key))


def test_nothing_is_published_that_the_store_has_not_seen_approved(played: PlayedRun) -> None:
    """Whatever XComs say of gate and quality: the task that publishes asks the store."""
    played.work()
    played.look()
    with played.step(0, "publish") as step, pytest.raises(NotPublishedError, match="has approved no merge"):
        publish(step, lambda _: played.publisher)


@pytest.mark.parametrize("name", EXTRAS)
def test_a_connection_leads_where_it_says(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Extras that would lead it elsewhere, or change what a transaction is, are refused by name; no value is told."""
    connection = {
        "conn_type": "postgres",
        "host": "localhost",
        "extra": {name: EXTRAS[name], "sslmode": "prefer"},
    }
    monkeypatch.setenv("AIRFLOW_CONN_EDITED", json.dumps(connection))
    with pytest.raises(InputRefusedError) as refused:
        OrchestrationHook("edited").get_conn()

    assert [f"extra.{name}"] == [problem.path for problem in refused.value.problems]
    assert SECRET not in str(refused.value)
    assert name not in ACCEPTED_EXTRAS


def test_a_dag_that_makes_objects_of_texts_is_refused() -> None:
    """With native rendering a template is not sandboxed: every step refuses such a Dag before it claims anything."""
    context: Any = {"dag": SimpleNamespace(dag_id="native", render_template_as_native_obj=True), "ti": None}
    with pytest.raises(InputRefusedError, match="render_template_as_native_obj: must be False"):
        refuse_native_rendering(context)
    step = open_step(context, "nowhere", 0, "unit")
    with pytest.raises(InputRefusedError, match="Dag native"):
        step.__enter__()
