"""The job registry on a real scheduler: jobs are rows, Dags follow with a refresh, runs stay on their revision."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest

from demo.processes import wait_until
from demo.settings import DAG_REFRESH_SECONDS
from demo.stack import Stack
from tests.integration.test_scenarios import trigger
from tests.registered_jobs import CONTRACT, specification

pytestmark = pytest.mark.integration

CHECK_INTERVAL = "AIRFLOW__DAG_PROCESSOR__BUNDLE_REFRESH_CHECK_INTERVAL"
PARSE_SECONDS = 7
"""What a busy machine takes to write the files, to parse them, and to answer."""

PATIENT = {"deadline": 900, "late": "discard"}
"""Nobody waits for it: all that a run here needs comes, on a busy machine later."""


def within(stack: Stack) -> float:
    """Seconds from a change to its Dag: the bundle is due, Airflow looks for what is due, and parses."""
    return DAG_REFRESH_SECONDS + float(stack.environment()[CHECK_INTERVAL]) + PARSE_SECONDS


def agents(stack: Stack, *words: str) -> str:
    """Run a command of the group, as a person would."""
    command = [str(Path(sys.executable).parent / "airflow"), "orchestration", "agents", *words]
    done = subprocess.run(command, env=stack.environment(), capture_output=True, text=True, check=True)
    return done.stdout


def put(stack: Stack, folder: Path, text: str) -> int:
    folder.mkdir(exist_ok=True)
    (folder / "sales.yaml").write_text(text)
    (folder / "sales.odcs.yaml").write_text(CONTRACT)
    kept = agents(stack, "put", "north", "sales", str(folder / "sales.yaml"), "--output", "json")
    return int(json.loads(kept)["revision"])


def land(stack: Stack, tenant: str, name: str) -> None:
    folder = stack.home / "tenants" / tenant / "landing"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("code,size\na,1\nb,2\n")


def dag_versions(stack: Stack, dag_id: str) -> list[dict[str, Any]]:
    answer: list[dict[str, Any]] = stack.api.get(f"/api/v2/dags/{dag_id}/dagVersions")["dag_versions"]
    return answer


def seconds_until_known(stack: Stack, dag_id: str) -> float:
    begun = time.monotonic()
    stack.api.wait_for_dag(dag_id)
    return time.monotonic() - begun


def run_of(stack: Stack, dag_id: str, run_id: str) -> dict[str, Any]:
    answer: dict[str, Any] = stack.api.get(f"/api/v2/dags/{dag_id}/dagRuns/{quote(run_id)}")
    return answer


def row_count(stack: Stack, table: str) -> int | None:
    with psycopg.connect(stack.warehouse_dsn) as connection:
        (there,) = connection.execute("SELECT to_regclass(%s) IS NOT NULL", [table]).fetchall()[0]
        return connection.execute(f"SELECT count(*) FROM {table}").fetchall()[0][0] if there else None


def test_jobs_of_the_registry_run(stack: Stack, tmp_path: Path) -> None:
    """A job that is put becomes a Dag; a run outlives a change of it; a Dag brings another tenant's job meanwhile."""
    with psycopg.connect(stack.warehouse_dsn) as connection:
        connection.execute("CREATE SCHEMA IF NOT EXISTS north; CREATE SCHEMA IF NOT EXISTS east")
    revision = put(stack, tmp_path / "one", specification(sync=PATIENT))
    assert seconds_until_known(stack, "north__sales") < within(stack)
    run_id = stack.api.trigger("north__sales")

    changed = {"publish": {"table": "north.sales_changed"}, "max_rounds": 2}
    put(stack, tmp_path / "two", specification(sync=PATIENT, **changed))
    assert wait_until(lambda: len(dag_versions(stack, "north__sales")) == 2, 60)

    land(stack, "east", "shop.csv")
    conf = {"specification": specification("east", sync=PATIENT), "contract": CONTRACT}
    assert "success" == trigger(stack, "registers_a_job", conf).state
    assert seconds_until_known(stack, "east__stock") < within(stack)
    assert "success" == trigger(stack, "east__stock").state
    assert 2 == row_count(stack, "east.sales")

    assert "running" == stack.api.run_state("north__sales", run_id)
    land(stack, "north", "shop.csv")
    assert "success" == stack.api.wait_for_run("north__sales", run_id)
    assert run_of(stack, "north__sales", run_id)["bundle_version"].startswith(f"{revision}-")
    assert (2, None) == (row_count(stack, "north.sales"), row_count(stack, "north.sales_changed"))
    assert 2 == len(dag_versions(stack, "north__sales"))
    assert 1 == len(dag_versions(stack, "east__stock"))
