"""Where a deployment keeps what pipeline files name, as everything inside Airflow sees it."""

from __future__ import annotations

import json
import re
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers_manager import ProvidersManager
from airflow.sdk import timezone

from airflow_orchestration.cli.plans import spec_of
from airflow_orchestration.dags.agent_factory import AgentFactoryHook
from airflow_orchestration.dags.pipeline_dag import pipeline_dag
from airflow_orchestration.domain.job_file import find_job
from airflow_orchestration.domain.run_spec import RunSpec
from airflow_orchestration.exceptions import InputRefusedError
from airflow_orchestration.get_provider_info import get_provider_info
from airflow_orchestration.hooks.pipeline_files import OPTION, SECTION
from airflow_orchestration.operators.analyze_batches import AnalyzeBatchesOperator
from tests.airflow.agent_folder import write_job

REPOSITORY = Path(__file__).parents[2]
DEMO = REPOSITORY / "dags" / "airport_reference.yaml"
LANDING = "s3://store@bucket/landing"
DAY = date(2026, 3, 1)


def deploy(monkeypatch: pytest.MonkeyPatch, **locations: str) -> None:
    monkeypatch.setenv("AIRFLOW__ORCHESTRATION__LOCATIONS", json.dumps(locations))


def spec_of_run(analyze: Any) -> RunSpec:
    """What a run of a Dag does, as its first task finds out."""
    assert isinstance(analyze, AnalyzeBatchesOperator)
    run = SimpleNamespace(conf=None, logical_date=None, run_after=timezone.datetime(2026, 3, 1))
    context: Any = {"dag_run": run}
    return analyze._spec(context)


def test_a_run_is_where_the_deployment_keeps_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The specification of a run, which is recorded, has the deployment's locations; a plan has the same."""
    dag = pipeline_dag(DEMO)
    deploy(monkeypatch, landing=LANDING, staging=str(tmp_path))
    spec = spec_of_run(dag.get_task("analyze_batches"))

    assert f"{LANDING}/vega.csv" == str(spec.location("vega"))
    assert (str(tmp_path), {"landing": LANDING}) == (spec.pipeline.staging, spec.pipeline.roots)
    assert spec == spec_of(str(DEMO), "null", DAY)


def test_a_laptop_needs_no_setting() -> None:
    """Without the setting, a run is where its file says."""
    spec = spec_of_run(pipeline_dag(DEMO).get_task("analyze_batches"))

    assert str(REPOSITORY / ".orchestration" / "landing" / "vega.csv") == str(spec.location("vega"))


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("{'landing': '/data'}", "is no JSON"),
        ('{"landing": "data"}', "landing: must be a full path"),
        ('{"landing": "nfs9://host/data"}', "landing: begins with nfs9://, which no provider here opens"),
    ],
)
def test_a_bad_setting_is_an_import_error(monkeypatch: pytest.MonkeyPatch, value: str, told: str) -> None:
    """Each Dag of a pipeline file says which setting is wrong, and how."""
    monkeypatch.setenv("AIRFLOW__ORCHESTRATION__LOCATIONS", value)
    with pytest.raises(InputRefusedError, match=re.escape(told)) as refused:
        pipeline_dag(DEMO)

    assert str(refused.value).startswith("Airflow's setting [orchestration] locations: 1 problem")


def test_jobs_of_tenants_stay_in_their_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A setting for pipeline files does not move a job: all tenants would read and write in one place."""
    write_job(tmp_path, "north", "airports")
    deploy(monkeypatch, landing="/shared/landing", staging="/shared/staging")
    factory = AgentFactoryHook(tmp_path / "agents", data="/data")
    pipeline = factory.read(find_job(tmp_path / "agents", "north", "airports")).pipeline

    assert {"landing": "/data/north/landing"} == pipeline.roots
    assert "/data/north/staging" == pipeline.staging
    assert (
        pipeline.roots
        == spec_of_run(factory.dag("north", "airports").get_task("analyze_batches")).pipeline.roots
    )


def test_airflow_knows_the_setting() -> None:
    """`airflow config list` and the configuration reference have it, with its default and an example that works."""
    known = dict(ProvidersManager().provider_configs)["airflow-provider-orchestration"]

    assert get_provider_info()["config"] == known
    assert [OPTION] == list(known[SECTION]["options"])
    assert "" == known[SECTION]["options"][OPTION]["default"]


def test_pipeline_files_are_read_in_one_place() -> None:
    """No other module above the domain reads them: it would miss what the deployment says."""
    package = REPOSITORY / "airflow_orchestration"
    readers = [
        path.relative_to(package).as_posix()
        for path in sorted(package.rglob("*.py"))
        if "read_pipeline_file" in path.read_text()
    ]

    assert ["domain/pipeline_file.py", "hooks/pipeline_files.py"] == readers
