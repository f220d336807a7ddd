"""A run that can't begin is told of wherever runs are told of."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from airflow.sdk import timezone
from airflow.sdk.exceptions import AirflowFailException
from psycopg.conninfo import conninfo_to_dict

from airflow_orchestration.cli.manifest_view import headline
from airflow_orchestration.cli.run_views import explanation
from airflow_orchestration.dags.pipeline_dag import pipeline_dag
from airflow_orchestration.insights.completeness import DAG_RUN_NOTE
from airflow_orchestration.insights.run_view import run_view
from airflow_orchestration.operators import base
from airflow_orchestration.operators.analyze_batches import MOST_PROBLEMS, AnalyzeBatchesOperator
from airflow_orchestration.operators.publish import NOT_STARTED, CloseOutOperator
from airflow_orchestration.operators.reconcile import FindLateOperator
from airflow_orchestration.storage.postgres import PostgresStore
from airflow_orchestration.storage.store import RunKey

DEMO = Path(__file__).parents[2] / "dags" / "airport_reference.yaml"
KEY = RunKey(dag_id="airport_reference", run_id="refused")
PRUNED = "INSERT INTO orchestration.pruned_run (dag_id, run_id) VALUES (%s, %s)"


class Instance(SimpleNamespace):
    """A task instance whose XComs the other tasks of its run can read."""

    def __init__(self, kept: dict[str, Any]) -> None:
        super().__init__(
            dag_id=KEY.dag_id, run_id=KEY.run_id, id="1", try_number=1, max_tries=0, map_index=-1
        )
        self.start_date = timezone.utcnow()
        self.kept = kept

    def xcom_push(self, key: str, value: Any) -> None:
        self.kept[key] = value

    def xcom_pull(self, *, task_ids: str, map_indexes: int, key: str) -> Any:
        assert (task_ids, map_indexes) == ("analyze_batches", -1)
        return self.kept.get(key)


def context(dag: Any, conf: object, kept: dict[str, Any]) -> Any:
    run = SimpleNamespace(conf=conf, logical_date=None, run_after=timezone.utcnow())
    return {"ti": Instance(kept), "dag": dag, "dag_run": run}


@pytest.fixture
def store(migrated: str, monkeypatch: pytest.MonkeyPatch) -> PostgresStore:
    """The store behind the connection that tasks use."""
    monkeypatch.setattr(base, "die_with_parent", lambda: None)
    parts = conninfo_to_dict(migrated)
    names = {
        "conn_type": "postgres",
        "host": parts["host"],
        "login": parts["user"],
        "schema": parts["dbname"],
    }
    monkeypatch.setenv("AIRFLOW_CONN_ORCHESTRATION_DEFAULT", json.dumps(names))
    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "server")
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://north.example/air/")
    return PostgresStore(lambda: psycopg.connect(migrated))


def end(dag: Any, kept: dict[str, Any]) -> str:
    close_out: Any = dag.get_task("close_out")
    assert isinstance(close_out, CloseOutOperator)
    with pytest.raises(AirflowFailException) as failed:
        close_out.execute(context(dag, None, kept))
    return str(failed.value)


def test_a_refused_conf_stands_on_the_page_and_in_the_manifest(
    store: PostgresStore, capsys: pytest.CaptureFixture[str]
) -> None:
    """The last task records the problems, and says so in the note and where to look."""
    dag = pipeline_dag(DEMO)
    analyze: Any = dag.get_task("analyze_batches")
    assert isinstance(analyze, AnalyzeBatchesOperator)
    kept: dict[str, Any] = {}
    with pytest.raises(AirflowFailException):
        analyze.execute(context(dag, {"sync_floor": 7, **{f"x{n}": n for n in range(20)}}, kept))
    told = end(dag, kept)
    with store:
        view, why = run_view(store, KEY), explanation(store, KEY)["end"]

    assert view["manifest"]["why"].startswith("conf was refused: sync_floor: ")
    assert view["manifest"]["why"].endswith(f" and {21 - MOST_PROBLEMS} more")
    assert ["unknown_field", "out_of_range"] == view["manifest"]["codes"]
    assert ("not_published", []) == (view["state"], view["rounds"])
    assert "NOT PUBLISHED: the run was refused before it began" == headline(view["manifest"]) == why[0]
    assert f"Nothing was published: {view['manifest']['why']}." == kept[DAG_RUN_NOTE]
    assert view["manifest"]["why"] in told
    assert "https://north.example/air/orchestration/page?dag_id=airport_reference" in capsys.readouterr().out


def test_a_run_whose_first_task_told_nothing(store: PostgresStore) -> None:
    """A first task that was killed leaves no reason: the log is where to look."""
    end(pipeline_dag(DEMO), {})
    with store:
        assert NOT_STARTED == run_view(store, KEY)["manifest"]["why"]


@pytest.mark.parametrize("told", ["words", {"why": 1, "codes": ["cycle"]}, [], {"codes": ["cycle"]}])
def test_an_xcom_that_somebody_changed_is_no_reason(store: PostgresStore, told: object) -> None:
    """What is no refusal as the first task writes it is not taken for one."""
    end(pipeline_dag(DEMO), {"refused": told})
    with store:
        manifest = run_view(store, KEY)["manifest"]
    assert (NOT_STARTED, []) == (manifest["why"], manifest["codes"])


def test_codes_that_somebody_made_up_are_left_out(store: PostgresStore) -> None:
    """Only codes that there are come into the manifest."""
    end(pipeline_dag(DEMO), {"refused": {"why": "bad", "codes": ["cycle", "<img>", 7, ["x"]]}})
    with store:
        manifest = run_view(store, KEY)["manifest"]
    assert ("bad", ["cycle"]) == (manifest["why"], manifest["codes"])


def test_a_pruned_run_that_is_cleared_fails_at_once(store: PostgresStore) -> None:
    """No task of it is tried again, and nothing is written of it."""
    with closing(store._connect()) as connection:
        connection.execute(PRUNED, (KEY.dag_id, KEY.run_id))
        connection.commit()
        assert "was pruned on" in end(pipeline_dag(DEMO), {})
        assert [] == connection.execute("SELECT FROM orchestration.claim").fetchall()


@pytest.mark.parametrize("told", ["is unknown, or never came to its feeds", r"was pruned on 20\d\d"])
def test_a_run_that_can_not_be_repaired_is_told_why(store: PostgresStore, told: str) -> None:
    """Whoever names it to the Dag that repairs runs: it was pruned, or never was."""
    if "pruned" in told:
        with closing(store._connect()) as connection:
            connection.execute(PRUNED, (KEY.dag_id, KEY.run_id))
            connection.commit()
    find = FindLateOperator(task_id="find", pipeline_id=KEY.dag_id)
    asked: Any = {"dag_run": SimpleNamespace(conf={}), "params": {"run_id": KEY.run_id}}
    with pytest.raises(AirflowFailException, match=rf"run 'refused' of airport_reference {told}"):
        find.execute(asked)
