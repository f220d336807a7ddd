"""The jobs of the demo's tenants are whole: each can be read, and gets the files that it reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_orchestration.domain.job_file import FoundJob, find_jobs, read_job
from airflow_orchestration.domain.pipeline_file import PipelineFile
from airflow_orchestration.domain.tenancy import Tenancy
from demo.agents import JOBS, NEWCOMER, NEWCOMERS_FILE, NEWCOMERS_JOB
from demo.scenarios import PIPELINES, TENANT_FILES, Landing, Tenants

REPOSITORY = Path(__file__).resolve().parents[2]
FOUND = [*find_jobs(REPOSITORY / "dags" / "tenants"), *find_jobs(NEWCOMERS_FILE.parents[1])]


def read(found: FoundJob, data: Path) -> PipelineFile:
    shared = ("orchestration_default",)
    return read_job(
        found.path, Tenancy(tenant=found.tenant, job=found.job, data=str(data), shared_conn_ids=shared)
    )


def test_every_tenant_has_its_job() -> None:
    """The demo triggers what the folders hold."""
    assert {**JOBS, NEWCOMER: NEWCOMERS_JOB} == {found.tenant: found.job for found in FOUND}
    assert 10 == len(FOUND)


@pytest.mark.parametrize("found", FOUND, ids=lambda found: found.tenant)
def test_what_a_job_reads_is_delivered(found: FoundJob, tmp_path: Path) -> None:
    """Each job and its contract are accepted, and before the first run every file is where the job looks for it."""
    pipeline_file = read(found, tmp_path)
    Tenants(Landing(tmp_path, TENANT_FILES)).before()
    roots = pipeline_file.pipeline.roots
    places = [feed.uri.split("/", 1) for feed in pipeline_file.pipeline.feeds if feed.uri]

    assert pipeline_file.read_contracts()
    assert [True] * len(places) == [(Path(roots[root]) / below).exists() for root, below in places]


def test_only_the_first_delivery_is_broken(tmp_path: Path) -> None:
    """What blue gets first is shorter than what it gets afterwards, and green has the whole list from the start."""
    scenario = PIPELINES["agents"]["tenants"](Landing(tmp_path, TENANT_FILES))
    scenario.before()
    sizes = {tenant: tmp_path / tenant / "landing" / "aircodes.json.gz" for tenant in ("blue", "green")}
    first = {tenant: path.stat().st_size for tenant, path in sizes.items()}
    scenario.afterwards()

    assert first["blue"] < first["green"] == sizes["blue"].stat().st_size
