"""What `plan` says of a run that would begin now, and that it leaves no trace."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from shutil import copytree
from typing import Any

import psycopg
import pytest

from airflow_orchestration.storage.postgres import PostgresStore
from airflow_orchestration.storage.store import RunKey, RunState
from demo.scenarios import Landing, Scenario
from tests.cli.commands import airflow_connection, command, exit_code
from tests.storage.builders import TERMS, claimed, decision, delivered
from tests.storage.builders import plan as planned

REPOSITORY = Path(__file__).parents[2]
TABLES = ("run", "claim", "round", "decision", "timeline", "feed_outcome")


@pytest.fixture
def pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The demo's pipeline file, with all lists landed but `vega`."""
    monkeypatch.delenv("AIRFLOW_CONN_ORCHESTRATION_DEFAULT", raising=False)
    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "client")  # whatever a command sets is gone after the test
    copytree(REPOSITORY / "dags", tmp_path / "dags")
    landing = tmp_path / ".orchestration" / "landing"
    Scenario(Landing(landing)).before()
    (landing / "vega.csv").unlink()
    return tmp_path / "dags" / "airport_reference.yaml"


@pytest.fixture
def past(migrated: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A store in which `vega` took 100 s in a run before."""
    key = RunKey(dag_id="airport_reference", run_id="before")
    with PostgresStore(lambda: psycopg.connect(migrated)) as store:
        store.save_run(claimed(store, run=key), {}, decision())
        store.open_round(claimed(store, "other", 1, run=key), planned(feeds=("vega",)), TERMS)
        store.register(claimed(store, "branch", 1, run=key), delivered("vega", 10, seconds=100))
        store.finish(claimed(store, "close_out", run=key), RunState.PUBLISHED, {})
    monkeypatch.setenv("AIRFLOW_CONN_ORCHESTRATION_DEFAULT", airflow_connection(migrated))
    return migrated


def read(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def feeds(told: Any) -> dict[str, Any]:
    return {one["feed"]: one for branch in told["branches"] for one in branch["feeds"]}


def test_a_plan_names_mode_branches_gate_and_what_is_not_there(
    pipeline: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A feed without a file is planned, and waited for; without a store costs are guessed, and that is said."""
    command("plan", str(pipeline))
    printed = capsys.readouterr().out
    lines = [" ".join(line.split()) for line in printed.splitlines()]
    assert lines[0].startswith("airport_reference: mode adaptive because moderate_work: complexity 0.")
    assert any(line.startswith("dispatch because ") and "s of work, done in" in line for line in lines)
    [vega] = [line for line in lines if " vega " in line]
    assert vega.endswith("landing/vega.csv waits")
    assert 1 == printed.count(" waits")
    gate = "decides within 25 s, needs 75% of weight 10, holds to its deadline, never without airportsdata"
    assert f"The gate {gate}" in lines
    assert "Not there yet, would be waited for: vega" in lines
    assert any("earlier runs can't be read: connection orchestration_default: " in line for line in lines)


def test_a_plan_is_json_for_programs(pipeline: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The recorded forms of the decisions, what each batch is routed by, and the gate's terms; conf counts."""
    conf = '{"sync_floor": 0.9, "batches": [{"id": "airportsdata"}, {"id": "vega", "priority": "high"}]}'
    command("plan", str(pipeline), "--conf", conf, "--output", "json")
    told = read(capsys)
    assert ("workflow_mode", "allocation") == (told["mode"]["policy"], told["allocation"]["policy"])
    assert {"airportsdata", "vega"} == set(feeds(told))
    assert "high" == feeds(told)["vega"]["route"]["priority"]
    assert (0.9, 25.0, ["airportsdata"], 4.0) == tuple(
        told["gate"][name] for name in ("floor", "deadline_seconds", "required", "expected_weight")
    )
    assert (["vega"], 4) == (told["waiting_for"], len(told["left_out"]))


def test_a_plan_knows_what_earlier_runs_took_and_writes_nothing(
    pipeline: Path, past: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Costs come from the store; neither a row nor a file is there that was not there before."""
    before = trace(pipeline, past)
    command("plan", str(pipeline), "--output", "json")
    told = read(capsys)
    assert 100 == feeds(told)["vega"]["cost_seconds"]
    assert 100 <= told["allocation"]["evidence"]["estimated_makespan"]
    assert told["no_history"] is None
    assert before == trace(pipeline, past)


@pytest.mark.parametrize(
    ("conf", "message"),
    [
        ("{", "--conf: 1 problem"),
        ('{"sync_floor": 0.1}', "sync_floor: is 0.1, the author allows no less than"),
    ],
)
def test_what_no_run_may_do_is_not_planned(
    pipeline: Path, conf: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A bad conf is refused as a run refuses it."""
    assert 2 == exit_code("plan", str(pipeline), "--conf", conf)
    assert message in capsys.readouterr().err


def trace(pipeline: Path, database: str) -> Any:
    files = {str(path): path.stat().st_mtime_ns for path in pipeline.parents[1].rglob("*")}
    with psycopg.connect(database) as connection:
        counts = [
            connection.execute(f"SELECT count(*) FROM orchestration.{table}").fetchone() for table in TABLES
        ]
    return files, counts


def test_a_deadline_of_a_day_is_a_moment(pipeline: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A time of day is told as the seconds that are left until then."""
    pipeline.write_text(pipeline.read_text().replace("deadline: 25", "deadline: '06:00 Europe/Berlin'"))
    command("plan", str(pipeline), "--output", "json")
    gate = read(capsys)["gate"]
    assert 0 < gate["deadline_seconds"] <= timedelta(days=1).total_seconds()
    assert gate["deadline_at"].endswith(("05:00:00+00:00", "04:00:00+00:00"))
